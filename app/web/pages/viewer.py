"""The viewer: the report page with its evidence drawn on the image, and its pictures."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment
from markupsafe import Markup

from app.errors import ServiceError
from app.jobs.queue import CANCELLED
from app.storage.analysis import Analysis
from app.storage.tables import JobState
from app.web.dependencies import Served, Services
from app.web.pages import frame_strip, worklist
from app.web.pages.templating import html_page, templates
from app.web.pages.times import utc_text
from app.web.pages.workbench import (
    calibration_of,
    drawn_structures,
    image_facts,
    layers_of,
    windows_of,
)
from app.web.problems import OK, problem_of
from reports.forms.biometry import has_biometry
from reports.forms.html import ARTICLE_STYLE, Around, to_fragment
from reports.forms.study.html import STUDY_STYLE
from reports.forms.thumbnail import to_thumbnail
from reports.model import Report

HERE = Path(__file__).parent
THUMBNAIL_PX = (160, 120)

router = APIRouter(include_in_schema=False)


@router.get("/static/report.css")
def report_style() -> Response:
    """Return the style sheet of the report's article."""
    return Response(ARTICLE_STYLE, media_type="text/css")


@router.get("/static/study.css")
def study_style() -> Response:
    """Return what the article of a study adds to that style sheet."""
    return Response(STUDY_STYLE, media_type="text/css")


def install(app: FastAPI) -> None:
    """Add the pages, their script and their style sheet to the application."""
    app.include_router(router)
    app.include_router(worklist.router)
    app.include_router(frame_strip.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


@router.get("/analyses/{analysis_id}/view")
def view(analysis_id: str, served: Served) -> HTMLResponse:
    """Show the report page or, until there is a report, the steps so far."""
    try:
        analysis = served.store.analysis(analysis_id)
        report = served.store.report(analysis_id) if analysis.ended else None
        if report is None:
            return _progress_page(analysis, served)
    except ServiceError as error:
        problem = problem_of(error)
        return html_page("problem.html", problem.status, problem=problem)
    return _report_page(report, served)


@router.get("/analyses/{analysis_id}/image.png")
def picture(analysis_id: str, served: Served) -> Response:
    """Return the analysed frame as a PNG without metadata.

    Raises:
        NotFound: there is no analysis of that id.
    """
    analysis = served.store.analysis(analysis_id)
    png = served.store.png(analysis.image_key)
    return Response(png, media_type="image/png", headers=frame_strip.KEEP)


@router.get("/analyses/{analysis_id}/thumbnail.png")
def thumbnail(analysis_id: str, served: Served, version: int = 0) -> Response:
    """Return a small version of the analysed frame as a PNG, with what that report found.

    Version 0 is the frame alone. The newest report is drawn, whichever is named; a browser keeps it
    only where it is the one that it named.

    Raises:
        NotFound: there is no analysis of that id.
    """
    analysis = served.store.analysis(analysis_id)
    report = served.store.report(analysis_id) if version else None
    current = report is None or report.version == version
    png = to_thumbnail(report, served.store.png(analysis.image_key), THUMBNAIL_PX)
    return Response(png, media_type="image/png", headers=frame_strip.KEEP if current else None)


@router.get("/favicon.ico")
def icon() -> FileResponse:
    """Return the icon, for pages that name none."""
    return FileResponse(HERE / "static" / "icon.svg", headers=frame_strip.KEEP)


def _report_page(report: Report, served: Services) -> HTMLResponse:
    below = _TEMPLATES.get_template("below_image.html").render(
        report=report,
        layers=layers_of(report),
        structures=drawn_structures(report),
        facts=image_facts(report),
        windows=windows_of(report),
        calibration=calibration_of(report),
        frames_kept=served.store.cine.screening(report.analysis_id) is not None,
    )
    around = Around(
        below_image=Markup(below),  # the template escapes what it holds
        cards=frozenset(served.manifest.specialists),
    )
    studies = served.store.studies
    place = studies.place(report.analysis_id)
    return html_page(
        "report.html",
        OK,
        report=report,
        place=place,
        earlier=() if place is None else studies.earlier_named(place.study_id),
        article=to_fragment(report, f"/analyses/{report.analysis_id}/image.png", around),
        biometry=has_biometry(report),
        called=report.request.label or utc_text(report.created_at),
    )


def _progress_page(analysis: Analysis, served: Services) -> HTMLResponse:
    failed = analysis.state is JobState.FAILED
    cancelled = failed and analysis.problem == CANCELLED
    records = served.store.records(analysis.id, analysis.version)
    return html_page(
        "progress.html",
        OK,
        analysis_id=analysis.id,
        heading=_heading(failed, cancelled),
        cancelled=cancelled,
        question_given=analysis.question_given,
        running=not analysis.ended,
        problem=(analysis.problem or "No reason was recorded.") if failed else None,
        received=analysis.created_at,
        received_text=utc_text(analysis.created_at),
        image_href=f"/analyses/{analysis.id}/image.png",
        screening=served.store.cine.screening(analysis.id),
        steps=[record.step for record in records],
    )


def _heading(failed: bool, cancelled: bool) -> str:
    if cancelled:
        return "Analysis cancelled"
    return "Analysis failed" if failed else "Analysing"


_TEMPLATES: Environment = templates()
