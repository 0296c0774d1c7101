"""The state of an analysis: as one response, as a wait for its end, and as server-sent events."""

from collections.abc import AsyncIterator

import anyio
from pydantic import BaseModel, ConfigDict
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.errors import RequestRejected
from app.jobs.pubsub import LocalPublisher, Subscription
from app.storage.analysis import Analysis
from app.storage.frames import Screening
from app.storage.store import Store
from app.storage.tables import JobState
from reports.model import ExamCode, ImageInfo, Outcome, Scope
from specialists.deadline import Deadline

END = "end"
CLOSE_S = 2.0
"""Time for a stream to end by itself when the service stops.

The browser resumes the stream when the service has started again.
"""


class Links(BaseModel):
    """The addresses of the parts of an analysis."""

    model_config = ConfigDict(frozen=True)

    self: str
    events: str
    report: str
    image: str
    view: str


class Standing(BaseModel):
    """One analysis, what was requested, and how far it has come."""

    model_config = ConfigDict(frozen=True)

    id: str
    state: JobState
    created_at: str
    version: int
    exam: ExamCode | None
    question_given: bool
    scope: Scope
    frame: int | None
    external_id: str | None
    image: ImageInfo
    screening: Screening | None
    """How many frames of a multi-frame file were screened; null if there was nothing to choose."""
    steps: int
    attempts: int
    outcome: Outcome | None
    report_id: str | None
    problem: str | None
    """Why the analysis was given up."""
    links: Links


def path_of(analysis_id: str) -> str:
    """Return the address of that analysis, as a path."""
    return f"/analyses/{analysis_id}"


def standing(store: Store, analysis_id: str) -> Standing:
    """Return the state of that analysis.

    Raises:
        NotFound: there is no analysis of that id.
    """
    analysis = store.analysis(analysis_id)
    here = path_of(analysis_id)
    return Standing(
        id=analysis.id,
        state=analysis.state,
        created_at=analysis.created_at,
        version=analysis.version,
        exam=analysis.exam,
        question_given=analysis.question_given,
        scope=analysis.scope,
        frame=analysis.frame,
        external_id=analysis.external_id,
        image=analysis.image,
        screening=store.cine.screening(analysis_id),
        steps=len(store.records(analysis_id, analysis.version)),
        attempts=analysis.attempts,
        outcome=analysis.outcome,
        report_id=analysis.report_id,
        problem=analysis.problem,
        links=Links(
            self=here,
            events=f"{here}/events",
            report=f"{here}/report",
            image=f"{here}/image.png",
            view=f"{here}/view",
        ),
    )


async def wait_for_end(
    store: Store, publisher: LocalPublisher, analysis_id: str, wait_s: float
) -> Analysis:
    """Return that analysis once it has ended, or as it is after `wait_s`."""
    deadline = Deadline(wait_s)
    with publisher.subscribed(analysis_id, end_only=True) as subscription:
        while deadline.remaining_s:
            if await run_in_threadpool(store.ended, analysis_id):
                break
            with anyio.move_on_after(deadline.remaining_s):
                await subscription.wait()
    return await run_in_threadpool(store.analysis, analysis_id)


EVENT_ID = rf"^([0-9]+\.([0-9]+|{END}))?$"
"""What Last-Event-ID may hold: the version of a report and the index of a step, or its end."""


def after(analysis: Analysis, last_event_id: str) -> int | None:
    """Return the index of the last step that the client saw; -1 for none, None if it saw the end.

    After the end of a run that is run again, all steps are told anew.

    Raises:
        RequestRejected: the id is not one that this stream sends.
    """
    if not last_event_id:
        return -1
    version, _, index = last_event_id.partition(".")
    if not version.isdecimal() or not (index.isdecimal() or index == END):
        raise RequestRejected("Last-Event-ID is not an id that this stream sent.")
    if int(version) != analysis.version:
        return -1
    if index == END:
        return None if analysis.ended else -1  # It may run again.
    return int(index)


async def events(
    store: Store, publisher: LocalPublisher, analysis_id: str, seen: int, closing: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    """Yield the events of an analysis until its end, or until `closing` is set.

    There is a `step` for each record after `seen`, a `state` whenever the state or the screening
    changes, and `done` at the end.
    """
    told: tuple[JobState, Screening | None] | None = None
    with publisher.subscribed(analysis_id) as subscription:
        while not closing.is_set():
            # The state is read before the records, so that no record can be missed at the end.
            analysis = await run_in_threadpool(store.analysis, analysis_id)
            for record in await run_in_threadpool(
                store.records, analysis_id, analysis.version, seen
            ):
                seen = record.step.index
                yield ServerSentEvent(
                    record.step.model_dump_json(), event="step", id=f"{analysis.version}.{seen}"
                )
            here = await run_in_threadpool(standing, store, analysis_id)
            if analysis.ended:
                yield ServerSentEvent(
                    here.model_dump_json(), event="done", id=f"{analysis.version}.{END}"
                )
                return
            if (here.state, here.screening) != told:
                told = (here.state, here.screening)
                yield ServerSentEvent(here.model_dump_json(), event="state")
            await _next(subscription, closing)


async def _next(subscription: Subscription, closing: anyio.Event) -> None:
    """Wait until a change is published, the next poll is due, or the service is closing."""
    async with anyio.create_task_group() as either:

        async def cancel_at_closing() -> None:
            await closing.wait()
            either.cancel_scope.cancel()

        either.start_soon(cancel_at_closing)
        await subscription.wait()
        either.cancel_scope.cancel()
