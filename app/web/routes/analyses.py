"""Routes of analyses: submit images, follow, cancel, retry, get the report in any form."""

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from app.errors import AnalysisFailed, AnalysisStopped, NotFound
from app.jobs.queue import CANCELLED, EXPIRED
from app.storage.analysis import Analysis
from app.storage.tables import JobState
from app.web import progress
from app.web.batch import Batch, accept_all, counts_of
from app.web.control import retry_analysis, stop_analysis
from app.web.dependencies import Served, Services
from app.web.negotiation import negotiated, report_response
from app.web.openapi import (
    ANALYSIS_BODY,
    BATCH_BODY,
    PROBLEMS,
    REPORT_LINKS,
    RETRY_BODY,
    analysis_links,
)
from app.web.problems import ACCEPTED, MULTI_STATUS, NO_CONTENT, RETRY_AFTER_S
from app.web.progress import Standing, path_of, standing
from app.web.uploads import ANALYSIS_FIELDS, accept, read_parts
from reports.forms.evidence_png import draw
from reports.forms.render import MEDIA, ReportForm
from reports.model import Report

router = APIRouter(responses=PROBLEMS)
Accept = Annotated[str | None, Header(alias="accept", include_in_schema=False)]
"""OpenAPI takes it from the media types of responses, and ignores it as a parameter."""

Suffix = Annotated[str, Path(json_schema_extra={"enum": list(ReportForm)})]
_FORMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {media: {} for media in MEDIA.values()}}
}


@router.post(
    "/analyze",
    response_model=Report,
    responses={
        200: REPORT_LINKS,
        202: {
            "model": Standing,
            "description": "Accepted; Location says where it stands",
            **analysis_links("/id"),
        },
    },
    openapi_extra=ANALYSIS_BODY,
)
async def analyze(
    request: Request,
    served: Served,
    prefer: Annotated[str, Header()] = "",
    accept_header: Accept = None,
) -> Response:
    """Analyse one image and return its report.

    With `Prefer: respond-async`, or if the analysis takes too long, the response is 202 with the
    address of the analysis.
    """
    form = negotiated(accept_header)
    accepted = await accept(request)
    respond_async = "respond-async" in (part.strip().lower() for part in prefer.split(","))
    if not respond_async:
        analysis = await progress.wait_for_end(
            served.store, served.publisher, accepted.analysis_id, served.settings.wait_s
        )
        if analysis.ended:
            return await run_in_threadpool(_report, served, analysis, form)
    here = await run_in_threadpool(standing, served.store, accepted.analysis_id)
    headers = {"Location": path_of(here.id), "Retry-After": "1"}
    if respond_async:
        headers["Preference-Applied"] = "respond-async"
    return JSONResponse(here.model_dump(mode="json"), ACCEPTED, headers)


@router.post(
    "/analyses",
    status_code=MULTI_STATUS,
    responses={207: {"description": "What became of each file"}},
    openapi_extra=BATCH_BODY,
)
async def analyze_each(request: Request, served: Served) -> Batch:
    """Start an analysis of each image in the request, without waiting for reports.

    A file may be a ZIP archive, whose files are taken one by one. Every file has its result in the
    response, and one that is refused stops none. Folders and what systems add to archives are
    skipped. Not opened are archives in archives and encrypted entries; entries that are links or
    have absolute paths, `..` or backslashes in their names; and what unpacks to suspiciously much.
    """
    async with read_parts(request, ANALYSIS_FIELDS, served.settings.limit_batch_files) as parts:
        entries = await accept_all(request, parts, request.headers.get("idempotency-key"))
    return Batch(counts=counts_of(entries), entries=entries)


@router.get("/analyses/{analysis_id}")
def show(analysis_id: str, served: Served) -> Standing:
    """Return the state of the analysis."""
    return standing(served.store, analysis_id)


@router.post("/analyses/{analysis_id}/cancel")
def stop(analysis_id: str, served: Served) -> Standing:
    """Cancel the analysis: no further step of it is begun, and it gets no report."""
    stop_analysis(served, analysis_id)
    return standing(served.store, analysis_id)


@router.post("/analyses/{analysis_id}/retry", openapi_extra=RETRY_BODY)
async def retry(analysis_id: str, request: Request, served: Served) -> Standing:
    """Queue an analysis that failed or was cancelled again: the same image and request.

    Recorded steps are not run again, and a deadline counts anew. A question was erased when the
    analysis ended, so it is sent again. An analysis that waits or runs is left as it is.
    """
    await retry_analysis(request, served, analysis_id)
    return await run_in_threadpool(standing, served.store, analysis_id)


@router.get(
    "/analyses/{analysis_id}/events",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def follow(
    analysis_id: str,
    served: Served,
    last_event_id: Annotated[str, Header(json_schema_extra={"pattern": progress.EVENT_ID})] = "",
) -> Response:
    """Stream the steps of the analysis as server-sent events, from after Last-Event-ID to `done`.

    The response is 204 if Last-Event-ID is that of the end.
    """
    analysis = await run_in_threadpool(served.store.analysis, analysis_id)
    seen = progress.after(analysis, last_event_id)
    if seen is None:
        return Response(status_code=NO_CONTENT)
    closing = anyio.Event()
    return EventSourceResponse(
        progress.events(served.store, served.publisher, analysis_id, seen, closing),
        shutdown_event=closing,
        shutdown_grace_period=progress.CLOSE_S,
    )


@router.get("/analyses/{analysis_id}/report", response_model=Report, responses=_FORMS)
def show_report(
    analysis_id: str,
    served: Served,
    accept_header: Accept = None,
) -> Response:
    """Return the newest report of the analysis in the form that Accept prefers."""
    return _report(served, served.store.analysis(analysis_id), negotiated(accept_header))


@router.get("/analyses/{analysis_id}/report.{suffix}", response_model=Report, responses=_FORMS)
def show_report_form(analysis_id: str, suffix: Suffix, served: Served) -> Response:
    """Return the newest report of the analysis in the form that the suffix names.

    The suffixes are json, html, txt, pdf, dcm (SR), seg.dcm, biometry.dcm (SR of a fetal head's
    sizes in millimetres), image.dcm and fhir.json. The SRs and the SEG refer to the image in
    image.dcm.
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
    """Return the crop, mask, points or scores behind one statement, as a PNG."""
    analysis = served.store.analysis(analysis_id)
    report = served.store.report(analysis_id)
    for item in () if report is None else report.evidence:
        if report is not None and item.id == evidence_id:
            png = draw(item, report, served.store.png(analysis.image_key))
            return Response(png, media_type="image/png")
    raise NotFound(f"The analysis has no evidence {evidence_id[:20]!r}.")


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
