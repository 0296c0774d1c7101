"""The HTTP interface: what comes in is handed to the store, and what is stored is shown."""

import time
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from app import progress
from app.analysis import Analysis
from app.cards import card_page, list_page
from app.drawing import draw
from app.errors import AnalysisFailed, AnalysisStopped, NotFound, NotReady
from app.forms import negotiated, report_response, wants_page
from app.intake import SPECIALIST_FIELDS, accept, read_form, read_image, region
from app.jobs import CANCELLED, EXPIRED, cancel
from app.metrics import REFUSALS, Refusal, question
from app.progress import Standing, path_of, standing
from app.rendering import MEDIA, ReportForm
from app.responses import ACCEPTED, NO_CONTENT, OK, RETRY_AFTER_S
from app.schema import ANALYSIS_BODY, PROBLEMS, SPECIALIST_BODY
from app.services import Services, services
from app.tables import JobState
from planner.exam import COLOUR_REFUSED
from reports.model import Colour, ExamCode, ImageInfo, Report
from specialists.card import Card, card_of
from specialists.errors import Declined, Unavailable
from specialists.licence import research_only_of
from specialists.manifest import (
    DataSource,
    Kind,
    Manifest,
    Metric,
    Roi,
    SpecialistEntry,
    Threshold,
)
from specialists.result import Result

router = APIRouter(responses=PROBLEMS)
Served = Annotated[Services, Depends(services)]
_FORMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {media: {} for media in MEDIA.values()}}
}
_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}}}


class Listed(BaseModel):
    """A specialist, and whether it can run; `not_installed` says why not.

    `research_only` says why its weights and its backbone's may be used for research only.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    installed: bool
    not_installed: str | None
    kind: Kind
    title: str
    exams: tuple[ExamCode, ...]
    task_id: str
    labels: tuple[str, ...]
    landmarks: tuple[str, ...]
    units: str
    requires: tuple[str, ...]
    provides: tuple[str, ...]
    roi: Roi
    absence_known: bool
    thresholds: dict[str, Threshold]
    training_data: tuple[DataSource, ...]
    research_only: str | None = None
    metrics: tuple[Metric, ...]
    model: str
    sha256: str | None


class Answer(BaseModel):
    """One specialist's result, or why it is not assessed; `image` says what was converted."""

    model_config = ConfigDict(frozen=True)

    specialist: str
    image: ImageInfo
    result: Result | None
    not_assessed: str | None


@router.post(
    "/analyze",
    response_model=Report,
    responses={202: {"model": Standing, "description": "Accepted; Location says where it stands"}},
    openapi_extra=ANALYSIS_BODY,
)
async def analyze(
    request: Request,
    served: Served,
    prefer: Annotated[str, Header()] = "",
    accept_header: Annotated[str | None, Header(alias="accept")] = None,
) -> Response:
    """The report of one image; with `Prefer: respond-async`, or when it takes too long, where it will be."""
    form = negotiated(accept_header)
    accepted = await accept(request)
    respond_async = "respond-async" in (part.strip().lower() for part in prefer.split(","))
    if not respond_async:
        analysis = await progress.wait_for_end(
            served.store, served.news, accepted.analysis_id, served.settings.wait_s
        )
        if analysis.ended:
            return await run_in_threadpool(_report, served, analysis, form)
    here = await run_in_threadpool(standing, served.store, accepted.analysis_id)
    headers = {"Location": path_of(here.id), "Retry-After": "1"}
    if respond_async:
        headers["Preference-Applied"] = "respond-async"
    return JSONResponse(here.model_dump(mode="json"), ACCEPTED, headers)


@router.get("/analyses/{analysis_id}")
def show(analysis_id: str, served: Served) -> Standing:
    """Where that analysis stands."""
    return standing(served.store, analysis_id)


@router.post("/analyses/{analysis_id}/cancel")
def stop(analysis_id: str, served: Served) -> Standing:
    """Gives that analysis up: no further step of it is begun, and it gets no report."""
    cancel(served.store, analysis_id)
    served.news.tell(analysis_id, ended=True)
    return standing(served.store, analysis_id)


@router.get(
    "/analyses/{analysis_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def follow(
    analysis_id: str,
    served: Served,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Its steps as server-sent events, from after Last-Event-ID to `done`; 204 when the end was seen."""
    analysis = await run_in_threadpool(served.store.analysis, analysis_id)
    seen = progress.after(analysis, last_event_id)
    if seen is None:
        return Response(status_code=NO_CONTENT)
    closing = anyio.Event()
    return EventSourceResponse(
        progress.events(served.store, served.news, analysis_id, seen, closing),
        shutdown_event=closing,
        shutdown_grace_period=progress.CLOSE_S,
    )


@router.get("/analyses/{analysis_id}/report", response_model=Report, responses=_FORMS)
def show_report(
    analysis_id: str,
    served: Served,
    accept_header: Annotated[str | None, Header(alias="accept")] = None,
) -> Response:
    """Its newest report, in the form that Accept names."""
    return _report(served, served.store.analysis(analysis_id), negotiated(accept_header))


@router.get("/analyses/{analysis_id}/report.{suffix}", response_model=Report, responses=_FORMS)
def show_report_form(analysis_id: str, suffix: str, served: Served) -> Response:
    """Its newest report, in the form that the suffix names: json, html, txt, pdf, dcm (SR), seg.dcm, fhir.json.

    The SR and the SEG refer to the picture in image.dcm.
    """
    try:
        form = ReportForm(suffix)
    except ValueError:
        raise NotFound(
            f"There is no form .{suffix[:20]} of a report; there are {', '.join(ReportForm)}."
        ) from None
    return _report(served, served.store.analysis(analysis_id), form)


@router.get(
    "/analyses/{analysis_id}/evidence/{evidence_id}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def show_evidence(analysis_id: str, evidence_id: str, served: Served) -> Response:
    """The crop, mask, points or scores behind one statement."""
    analysis = served.store.analysis(analysis_id)
    report = served.store.report(analysis_id)
    items = () if report is None else report.evidence
    for item in items:
        if item.id == evidence_id:
            png = draw(item, served.store.png(analysis.image_key))
            return Response(png, media_type="image/png")
    raise NotFound(f"The analysis has no evidence {evidence_id[:20]!r}.")


@router.get("/specialists", response_model=list[Listed], responses=_PAGE)
def list_specialists(
    served: Served, accept_header: Annotated[str | None, Header(alias="accept")] = None
) -> Response:
    """The closed tool set: what is installed, and why the rest is not; a page where Accept prefers one."""
    if wants_page(accept_header):
        return _varying(list_page(served.manifest))
    listed = [_entry(entry, served.manifest) for entry in served.manifest.specialists.values()]
    return _varying(JSONResponse([entry.model_dump(mode="json") for entry in listed], OK))


@router.get("/specialists/{specialist_id}/card", response_model=Card, responses=_PAGE)
def show_card(
    specialist_id: str,
    served: Served,
    accept_header: Annotated[str | None, Header(alias="accept")] = None,
) -> Response:
    """Its model card: use, data, figures, limits, thresholds, provenance; a page where Accept prefers one."""
    entry = _listed(served, specialist_id)
    card = card_of(entry, served.manifest)
    if wants_page(accept_header):
        return _varying(card_page(card))
    return _varying(JSONResponse(card.model_dump(mode="json"), OK))


@router.post("/specialists/{specialist_id}", openapi_extra=SPECIALIST_BODY)
async def ask_specialist(specialist_id: str, request: Request, served: Served) -> Answer:
    """One specialist's answer on one image, without the planner; nothing is stored."""
    entry = _listed(served, specialist_id)
    form = await read_form(request, SPECIALIST_FIELDS)
    ingested = await read_image(request, form)
    roi = region(form, entry, ingested)
    if not entry.installed:
        why = (entry.not_installed or "no weights").rstrip(".")
        raise Unavailable(f"{entry.id} is not installed: {why}.")
    info, result, reason = ingested.image.info, None, None
    if info.colour is Colour.COLOUR:
        reason = COLOUR_REFUSED
        REFUSALS.labels(Refusal.COLOUR).inc()
    else:
        try:
            with question(entry.id):
                result = await served.reach.ask(entry.id, ingested, roi, request.is_disconnected)
        except Declined as error:
            reason = str(error)
    return Answer(specialist=entry.id, image=info, result=result, not_assessed=reason)


@router.get("/healthz")
def alive() -> dict[str, str]:
    """That the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(served: Served) -> dict[str, str]:
    """That the store is reached and a worker, its weights loaded, gave a heartbeat of late."""
    since = time.time() - max(served.settings.lease_s, 1.0)
    if not served.store.workers_alive(since):
        raise NotReady("No worker gave a heartbeat of late; analyses wait until one does.")
    return {
        "status": "ready",
        "store": "reached",
        "worker": "alive",
        "weights": "loaded",
        "doorbell": served.doorbell.state,
    }


def _entry(entry: SpecialistEntry, manifest: Manifest) -> Listed:
    research_only = research_only_of(entry, manifest)
    return Listed.model_validate(entry).model_copy(update={"research_only": research_only})


def _listed(served: Services, specialist_id: str) -> SpecialistEntry:
    entry = served.manifest.specialists.get(specialist_id)
    if entry is None:
        raise NotFound(
            f"There is no specialist {specialist_id[:60]!r}; GET /specialists lists them."
        )
    return entry


def _varying(response: Response) -> Response:
    response.headers["Vary"] = "Accept"
    return response


def _report(served: Services, analysis: Analysis, form: ReportForm) -> Response:
    response = report_response(served.store, analysis.id, form)
    if response is not None:
        return response
    if analysis.state is JobState.FAILED:
        if analysis.problem in (CANCELLED, EXPIRED):
            raise AnalysisStopped(analysis.problem)
        raise AnalysisFailed(analysis.problem or "The analysis was given up.")
    raise NotFound(
        f"There is no report yet: the analysis is {analysis.state}. Ask again in "
        f"{RETRY_AFTER_S} s, or follow {path_of(analysis.id)}/events."
    )
