"""Routes by which a reader calibrates an image without spacing: two points and their distance."""

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from app.errors import RequestRejected, ServiceError
from app.jobs.revisions import calibrated
from app.observability.metrics import count_refused
from app.web.dependencies import Served
from app.web.openapi import PROBLEMS
from app.web.pages.templating import templates
from app.web.problems import CREATED, OK, SEE_OTHER, problem_of
from app.web.progress import path_of
from reports.canonical import to_json
from reports.errors import ReportError
from reports.measure.marked_scale import click_error
from reports.model import Point, ReaderCalibration, Report

router = APIRouter(responses=PROBLEMS)

MOST_MM = 1000.0
"""More than any ultrasound image shows; beyond it, a unit was mistaken."""

_FIELDS = ("x1", "y1", "x2", "y2", "distance_mm")


class Marked(BaseModel):
    """Two points in image pixels, (x, y), and their distance.

    `display_scale` says how many displayed pixels a pixel of the image had while they were marked:
    each point is taken to lie within one displayed pixel of what it is meant for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    points: tuple[Point, Point]
    distance_mm: Annotated[float, Field(gt=0.0, le=MOST_MM)]
    display_scale: Annotated[float, Field(ge=0.01, le=100.0)] = 1.0

    @property
    def calibration(self) -> ReaderCalibration:
        """What is recorded of it."""
        return ReaderCalibration(
            points=self.points,
            distance_mm=self.distance_mm,
            error_px=click_error(self.display_scale),
        )


@router.post(
    "/analyses/{analysis_id}/calibration",
    response_model=Report,
    status_code=CREATED,
    responses={200: {"model": Report, "description": "The newest version has that calibration"}},
)
def calibrate(analysis_id: str, served: Served, marked: Marked) -> Response:
    """Measure the report anew in mm, by two points of a known distance, as its next version.

    No network runs. When the request is repeated, no further version is made.
    """
    made = calibrated(served.store, served.manifest, analysis_id, marked.calibration)
    return Response(
        to_json(made.report),
        status_code=OK if made.replayed else CREATED,
        media_type="application/json",
        headers={"Location": f"{path_of(analysis_id)}/report.json"},
    )


@router.post("/analyses/{analysis_id}/calibrate", include_in_schema=False)
async def calibrate_by_form(analysis_id: str, request: Request, served: Served) -> Response:
    """Do the same for the form of the report page, and lead back to the page."""
    async with request.form(max_files=0, max_fields=len(_FIELDS)) as form:
        given = {name: str(form.get(name, "")) for name in _FIELDS}
    try:
        marked = _read(given)
        await run_in_threadpool(
            calibrated, served.store, served.manifest, analysis_id, marked.calibration
        )
    except (ServiceError, ReportError) as error:
        count_refused(error)
        problem = problem_of(error)
        html = _TEMPLATES.get_template("problem.html").render(
            page="problem", problem=problem, back=f"{path_of(analysis_id)}/view"
        )
        return HTMLResponse(html, problem.status)
    return RedirectResponse(f"{path_of(analysis_id)}/view", SEE_OTHER)


def _read(given: dict[str, str]) -> Marked:
    """Return what the form holds.

    Raises:
        RequestRejected: a field is missing or no such number.
    """
    numbers = {name: text.strip().replace(",", ".") for name, text in given.items()}
    try:
        return Marked.model_validate(
            {
                "points": [[numbers["x1"], numbers["y1"]], [numbers["x2"], numbers["y2"]]],
                "distance_mm": numbers["distance_mm"],
            }
        )
    except ValidationError as error:
        raise RequestRejected(
            "Give both points in image pixels, and their distance in mm: a number above 0, "
            f"at most {MOST_MM:.0f}."
        ) from error


_TEMPLATES = templates()
