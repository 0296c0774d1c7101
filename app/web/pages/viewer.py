"""The viewer: a worklist, and the report page with its evidence drawn on the image."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import PIL.Image
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment
from markupsafe import Markup

from app.errors import ServiceError
from app.jobs.queue import CANCELLED
from app.storage.analysis import Analysis
from app.storage.tables import JobState
from app.storage.worklist import Entry
from app.web.dependencies import Served, Services
from app.web.pages import frame_strip
from app.web.pages.templating import templates
from app.web.pages.upload import upload_form
from app.web.pages.workbench import (
    calibration_of,
    drawn_structures,
    image_facts,
    layers_of,
    windows_of,
)
from app.web.problems import OK, problem_of
from planner.protocols import read_protocols
from reports.forms.biometry import has_biometry
from reports.forms.html import ARTICLE_STYLE, Around, to_fragment
from reports.forms.study.html import STUDY_STYLE
from reports.model import ExamCode, Outcome, Report

HERE = Path(__file__).parent
ROWS = 25
"""Rows on one page of the worklist."""

UNREADABLE = "The report was written in a form that cannot be read here; its JSON is kept."

THUMBNAIL_PX = (160, 120)
_TONES = {Outcome.REPORTED: "good", Outcome.PARTIAL: "warn", Outcome.REFUSED: "bad"}

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
    app.include_router(frame_strip.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the worklist, as displayed."""

    href: str
    thumbnail: str
    exam: str
    synthetic: bool
    summary: str
    outcome: str
    tone: str
    status: str
    received: str
    link: str

    @property
    def received_text(self) -> str:
        """The time of arrival for a reader without JavaScript."""
        return utc_text(self.received)


@router.get("/")
def worklist(served: Served, page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> HTMLResponse:
    """Show the newest analyses, with the form that adds one."""
    return _worklist_page(served, page)


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
        return _page("problem.html", problem.status, problem=problem)
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
def thumbnail(analysis_id: str, served: Served) -> Response:
    """Return a small version of the analysed frame as a PNG.

    Raises:
        NotFound: there is no analysis of that id.
    """
    analysis = served.store.analysis(analysis_id)
    with PIL.Image.open(io.BytesIO(served.store.png(analysis.image_key)), formats=("PNG",)) as full:
        full.thumbnail(THUMBNAIL_PX)
        small = io.BytesIO()
        full.save(small, format="PNG")
    return Response(small.getvalue(), media_type="image/png", headers=frame_strip.KEEP)


@router.get("/favicon.ico")
def icon() -> FileResponse:
    """Return the icon, for pages that name none."""
    return FileResponse(HERE / "static" / "icon.svg", headers=frame_strip.KEEP)


def _worklist_page(served: Services, page: int) -> HTMLResponse:
    before = (page - 1) * ROWS
    found = served.store.worklist.page(ROWS, before)
    last = before + len(found.entries)
    return _page(
        "worklist.html",
        OK,
        rows=[_row(entry) for entry in found.entries],
        form=upload_form(served),
        newer=f"/?page={page - 1}" if page > 1 else None,
        older=f"/?page={page + 1}" if last < found.total else None,
        range_text=f"{before + 1} to {last} of {found.total}",
    )


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
    return _page(
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
    return _page(
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


def _row(entry: Entry) -> Row:
    here = f"/analyses/{entry.analysis_id}"
    if entry.outcome is not None:
        return _reported_row(entry, entry.outcome, here)
    failed = entry.state is JobState.FAILED
    exam = entry.requested_exam
    return Row(
        href=f"{here}/view",
        thumbnail=f"{here}/thumbnail.png",
        exam=exam_titles()[exam] if exam else "Not recognised yet",
        synthetic=entry.synthetic,
        summary=entry.problem or "",
        outcome="failed" if failed else "in progress",
        tone="bad" if failed else "busy",
        status=str(entry.state),
        received=entry.created_at,
        link="See why" if failed else "Follow",
    )


def _reported_row(entry: Entry, outcome: Outcome, here: str) -> Row:
    """Return the row of an analysis with a report, by its id where that could not be read."""
    said = entry.summary
    return Row(
        href=f"{here}/view" if said else f"{here}/report.json",
        thumbnail=f"{here}/thumbnail.png",
        exam=said.title if said else f"Analysis {entry.analysis_id}",
        synthetic=entry.synthetic,
        summary=said.headline if said else UNREADABLE,
        outcome=str(outcome),
        tone=_TONES[outcome],
        status=str(said.status if said else entry.state),
        received=entry.created_at,
        link="Open report" if said else "Open JSON",
    )


def exam_titles() -> dict[ExamCode, str]:
    """Return the exams that a protocol covers with their titles, in protocol order."""
    return {code: protocol.title for code, protocol in read_protocols().exams.items()}


def utc_text(stamp: str) -> str:
    """Return an ISO 8601 time as text in UTC, as a reader without JavaScript sees it."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_TEMPLATES: Environment = templates()


def _page(name: str, status: int, **values: object) -> HTMLResponse:
    text = _TEMPLATES.get_template(name).render({"page": name.removesuffix(".html"), **values})
    return HTMLResponse(text, status_code=status)
