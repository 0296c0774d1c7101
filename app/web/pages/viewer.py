"""The viewer: a worklist with upload, and the report page with its evidence drawn on the image."""

import io
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import PIL.Image
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment
from starlette.concurrency import run_in_threadpool

from app.errors import NotFound, ServiceError
from app.observability.metrics import count_refused
from app.storage.analysis import Analysis
from app.storage.tables import JobState
from app.web.dependencies import Served, Services
from app.web.pages.frame_strip import scale_bars_of, strip_of
from app.web.pages.templating import templates
from app.web.problems import OK, SEE_OTHER, Problem, problem_of
from app.web.uploads import accept
from planner.exam import unserved
from planner.protocols import read_protocols
from reports.forms.biometry import has_biometry
from reports.forms.svg import to_svg_layers, view_box
from reports.measure.intervals import caveat
from reports.model import (
    BoxEvidence,
    Evidence,
    ExamCode,
    MaskEvidence,
    Measurement,
    Outcome,
    PointsEvidence,
    Report,
)
from reports.wording import digits, exam_basis, number, score_text
from specialists.manifest import Manifest

HERE = Path(__file__).parent
ROWS = 25
"""Rows on one page of the worklist."""

THUMBNAIL_PX = (160, 120)
_KEEP = {"Cache-Control": "private, max-age=86400, immutable"}
"""An image never changes: its address names its analysis."""

_TONES = {Outcome.REPORTED: "good", Outcome.PARTIAL: "warn", Outcome.REFUSED: "bad"}

router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Add the pages, their script and their style sheet to the application."""
    app.include_router(router)
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


ONE_LAYER_FROM = 4
"""From this number on, overlays of one name (fascicles of a muscle) share a switch."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one switch shows and hides: an overlay, or the many outlines of one structure."""

    ids: tuple[str, ...]
    kind: str
    name: str


@router.get("/")
def worklist(served: Served, page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> HTMLResponse:
    """Show the newest analyses, with the form that adds one."""
    return _worklist_page(served, page)


@router.post("/")
async def upload(request: Request, served: Served) -> Response:
    """Redirect to the new analysis, or show the worklist with the reason if it is not accepted."""
    try:
        accepted = await accept(request)
    except ServiceError as error:
        count_refused(error)
        return await run_in_threadpool(_worklist_page, served, 1, problem_of(error))
    return RedirectResponse(f"/analyses/{accepted.analysis_id}/view", SEE_OTHER)


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
    return Response(png, media_type="image/png", headers=_KEEP)


@router.get("/analyses/{analysis_id}/frames/{index}.png")
def frame_picture(analysis_id: str, index: int, served: Served) -> Response:
    """Return one frame of a multi-frame file, as it was kept.

    Raises:
        NotFound: that frame was not kept.
    """
    for frame in served.store.cine.frames(analysis_id):
        if frame.index == index:
            png = served.store.png(frame.key)
            return Response(png, media_type="image/png", headers=_KEEP)
    raise NotFound(f"The analysis keeps no frame {index}.")


@router.get("/analyses/{analysis_id}/frames/{index}")
def frame_page(analysis_id: str, index: int, served: Served) -> HTMLResponse:
    """Show one frame of a multi-frame file, the router's scores for it, and links to all others."""
    try:
        analysis = served.store.analysis(analysis_id)
        strip = strip_of(served.store.cine.frames(analysis_id), index, analysis.exam)
        if strip is None:
            raise NotFound(f"The analysis keeps no frame {index}.")
    except ServiceError as error:
        problem = problem_of(error)
        return _page("problem.html", problem.status, problem=problem)
    here = f"/analyses/{analysis_id}"
    return _page("cine.html", OK, here=here, strip=strip, analysed=analysis.image.frame)


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
    return Response(small.getvalue(), media_type="image/png", headers=_KEEP)


@router.get("/favicon.ico")
def icon() -> FileResponse:
    """Return the icon, for pages that name none."""
    return FileResponse(HERE / "static" / "icon.svg", headers=_KEEP)


def _worklist_page(served: Services, page: int, problem: Problem | None = None) -> HTMLResponse:
    last = page * ROWS
    found = served.store.worklist(limit=last + 1)
    rows = [_row(analysis, served) for analysis in found[last - ROWS : last]]
    return _page(
        "worklist.html",
        OK if problem is None else problem.status,
        problem=problem,
        rows=rows,
        exams=exam_choices(served.manifest).items(),
        limit_bytes=served.settings.limit_bytes,
        blacken_text=served.settings.blacken_text,
        newer=f"/?page={page - 1}" if page > 1 else None,
        older=f"/?page={page + 1}" if len(found) > last else None,
        range_text=f"{last - ROWS + 1} to {last - ROWS + len(rows)}",
    )


def _report_page(report: Report, served: Services) -> HTMLResponse:
    by_step: defaultdict[int, list[str]] = defaultdict(list)
    for item in report.evidence:
        by_step[item.step].append(item.id)
    return _page(
        "report.html",
        OK,
        report=report,
        tone=_TONES[report.outcome],
        image_href=f"/analyses/{report.analysis_id}/image.png",
        overlay=to_svg_layers(report),
        view_box=view_box(report),
        layers=layers_of(report),
        rules=scale_bars_of(report.image),
        evidence={item.id: item for item in report.evidence},
        names=evidence_names(report),
        evidence_by_step=by_step,
        specialists=frozenset(served.manifest.specialists),
        biometry=has_biometry(report),
    )


def _progress_page(analysis: Analysis, served: Services) -> HTMLResponse:
    failed = analysis.state is JobState.FAILED
    records = served.store.records(analysis.id, analysis.version)
    return _page(
        "progress.html",
        OK,
        analysis_id=analysis.id,
        heading="Analysis failed" if failed else "Analysing",
        running=not analysis.ended,
        problem=(analysis.problem or "No reason was recorded.") if failed else None,
        received=analysis.created_at,
        received_text=utc_text(analysis.created_at),
        image_href=f"/analyses/{analysis.id}/image.png",
        screening=served.store.cine.screening(analysis.id),
        steps=[record.step for record in records],
    )


def _row(analysis: Analysis, served: Services) -> Row:
    report = served.store.report(analysis.id) if analysis.report_id else None
    here = f"/analyses/{analysis.id}"
    requested = exam_titles()[analysis.exam] if analysis.exam else "Not recognised yet"
    failed = analysis.state is JobState.FAILED
    return Row(
        href=f"{here}/view",
        thumbnail=f"{here}/thumbnail.png",
        exam=report.exam.title if report else requested,
        synthetic=analysis.image.synthetic,
        summary=_summary(report) if report else (analysis.problem or ""),
        outcome=str(report.outcome) if report else ("failed" if failed else "in progress"),
        tone=_TONES[report.outcome] if report else ("bad" if failed else "busy"),
        status=str(report.status) if report else str(analysis.state),
        received=analysis.created_at,
        link="Open report" if report else ("See why" if failed else "Follow"),
    )


def _summary(report: Report) -> str:
    if report.outcome is Outcome.REFUSED:
        return report.reason or ""
    # The badge already says that an image is synthetic, as does the impression's first sentence.
    sentences = report.impression[1:] if report.image.synthetic else report.impression
    return sentences[0] if sentences else ""


def exam_titles() -> dict[ExamCode, str]:
    """Return the exams that a protocol covers with their titles, in protocol order."""
    return {code: protocol.title for code, protocol in read_protocols().exams.items()}


def exam_choices(manifest: Manifest) -> dict[ExamCode, str]:
    """Return the exams to choose from with their titles, in protocol order.

    A title says so if its exam is not served here.
    """
    protocols = read_protocols()
    return {
        code: f"{title} (not served here)" if unserved(code, protocols, manifest) else title
        for code, title in exam_titles().items()
    }


def layers_of(report: Report) -> tuple[Layer, ...]:
    """Return the layers of a report's overlays, in the order of its evidence.

    Many outlines of one name share a layer. Scores are not drawn.
    """
    names = evidence_names(report)
    drawn = [
        i for i in report.evidence if isinstance(i, BoxEvidence | MaskEvidence | PointsEvidence)
    ]
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for item in drawn:
        alike[_name(item)].append(item.id)
    layers: dict[tuple[str, ...], Layer] = {}
    for item in drawn:
        whole = tuple(alike[_name(item)])
        many = len(whole) >= ONE_LAYER_FROM
        ids = whole if many else (item.id,)
        name = f"{_name(item)} 1 to {len(whole)}" if many else names[item.id]
        layers.setdefault(ids, Layer(ids=ids, kind=item.kind, name=name))
    return tuple(layers.values())


def evidence_names(report: Report) -> dict[str, str]:
    """Return a display name for each piece of evidence, by id; numbered where several share it."""
    plain = {item.id: _name(item) for item in report.evidence}
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for evidence_id, name in plain.items():
        alike[name].append(evidence_id)
    return {
        evidence_id: name
        if len(alike[name]) == 1
        else f"{name} {alike[name].index(evidence_id) + 1}"
        for evidence_id, name in plain.items()
    }


def _name(item: Evidence) -> str:
    match item:
        case BoxEvidence():
            return f"Box of {item.specialist}"
        case MaskEvidence():
            return f"Outline of {item.label}"
        case PointsEvidence():
            first = item.points[0].name.partition(",")[0] if item.points else "Points"
            return first[:1].upper() + first[1:]
        case _:
            return f"Scores of {item.specialist}"


def amount(item: Measurement) -> str:
    """Return a measured value with its unit and, where it was calibrated, its interval."""
    if item.value is None:
        return ""
    text = number(item.value, item.unit)
    if item.interval is not None:
        low, high = (digits(bound, item.unit) for bound in item.interval)
        share = "" if item.coverage is None else f"{100 * item.coverage:.0f} % "
        text += f" ({share}interval {low} to {high})"
    return text


def utc_text(stamp: str) -> str:
    """Return an ISO 8601 time as text in UTC, as a reader without JavaScript sees it."""
    return f"{datetime.fromisoformat(stamp).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _templates() -> Environment:
    environment = templates()
    environment.filters |= {
        "amount": amount,
        "caveat": caveat,
        "exam_basis": exam_basis,
        "score_text": score_text,
        "words": lambda state: str(state).replace("_", " "),
    }
    return environment


_TEMPLATES = _templates()


def _page(name: str, status: int, **values: object) -> HTMLResponse:
    text = _TEMPLATES.get_template(name).render({"page": name.removesuffix(".html"), **values})
    return HTMLResponse(text, status_code=status)
