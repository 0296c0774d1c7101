"""Inference clients: the web process uses specialists of its own or of workers elsewhere."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from app.errors import DeadlinePassed, NotReady, QueueFull
from app.images.ingest import Ingested
from app.jobs.inference_requests import InferenceRequests, Limits
from app.jobs.pubsub import LocalPublisher, Work
from app.settings import Settings
from app.storage.store import Store
from reports.model import Box
from specialists.deadline import Deadline
from specialists.errors import Cancelled, Overdue
from specialists.image import Image
from specialists.result import Result

REPLY_POLL_S = 0.02
"""Interval at which a reply is looked for that no message will announce."""

Gone = Callable[[], Awaitable[bool]]
"""Returns whether the HTTP client has disconnected."""

GONE_POLL_S = 0.2

Run = Callable[[str, Image, Box | None, Deadline], Result]


class LocalInferenceClient:
    """A client of the specialists in this process."""

    def __init__(self, run: Run, limits: Limits) -> None:
        self._run = run
        self._limits = limits
        self._lock = threading.Lock()
        self._inside = 0

    async def infer(
        self, specialist_id: str, ingested: Ingested, roi: Box | None, gone: Gone
    ) -> Result:
        """Return one specialist's result, computed beside the running analyses.

        Raises:
            QueueFull: too many inference requests are waiting already.
            DeadlinePassed: the request waited too long for its turn, or its client disconnected.
            Declined, Rejected, Unavailable: as the specialist raises them.
        """
        with self._lock:
            if self._inside >= self._limits.waiting:
                raise QueueFull(
                    f"{self._inside} questions to specialists wait; try again in a moment."
                )
            self._inside += 1
        deadline = Deadline(self._limits.deadline_s)
        answer = asyncio.ensure_future(
            run_in_threadpool(self._in_time, specialist_id, ingested.image, roi, deadline)
        )
        try:
            while not answer.done():
                if await gone():
                    deadline.cancel()
                await asyncio.wait({answer}, timeout=GONE_POLL_S)
            return answer.result()
        finally:
            deadline.cancel()
            with self._lock:
                self._inside -= 1

    def _in_time(
        self, specialist_id: str, image: Image, roi: Box | None, deadline: Deadline
    ) -> Result:
        try:
            deadline.check()
            return self._run(specialist_id, image, roi, deadline)
        except Overdue as error:
            raise DeadlinePassed(
                "The specialist had no time for this question; try again later."
            ) from error
        except Cancelled as error:
            raise DeadlinePassed("The request was given up before its turn.") from error


class RemoteInferenceClient:
    """A client of the specialists in the workers that share this store."""

    def __init__(self, settings: Settings, store: Store, publisher: LocalPublisher) -> None:
        self._store = store
        self._requests = InferenceRequests(store, settings.lease_s)
        self._limits = limits_of(settings)
        self._publisher = publisher

    async def infer(
        self, specialist_id: str, ingested: Ingested, roi: Box | None, gone: Gone
    ) -> Result:
        """Return one specialist's result from whichever worker takes the request.

        Raises:
            NotReady: no worker is alive.
            QueueFull: too many inference requests are waiting already.
            DeadlinePassed: no worker answered in time, or the client disconnected.
            Declined, Rejected, Unavailable: as the specialist raises them.
        """
        if not await run_in_threadpool(self._store.alive_workers):
            raise NotReady("No worker is alive that could answer; try again later.")
        request_id = await run_in_threadpool(self._put, specialist_id, ingested, roi)
        try:
            with self._publisher.subscribed(request_id, end_only=True) as answered:
                await run_in_threadpool(self._publisher.offer, Work.INFERENCE)
                until = time.monotonic() + self._limits.deadline_s
                while time.monotonic() < until:
                    reply = await run_in_threadpool(self._requests.reply, request_id)
                    if reply is not None:
                        return reply.opened()
                    if await gone():
                        raise DeadlinePassed("The request was given up before it was answered.")
                    await answered.wait(GONE_POLL_S if self._publisher.reached else REPLY_POLL_S)
            raise DeadlinePassed("No worker answered in time; try again later.")
        finally:
            await run_in_threadpool(self._requests.forget, request_id)

    def _put(self, specialist_id: str, ingested: Ingested, roi: Box | None) -> str:
        info = ingested.image.info
        return self._requests.put(specialist_id, ingested.png, info, roi, limits=self._limits)


def limits_of(settings: Settings) -> Limits:
    """Return the limits of inference requests in these settings."""
    return Limits(waiting=settings.asks_limit, deadline_s=settings.ask_s)
