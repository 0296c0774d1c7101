"""Inference clients: the web process uses specialists of its own or of workers elsewhere."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from app.errors import DeadlinePassed, NotReady, QueueFull
from app.images.ingest import Ingested
from app.jobs.doorbell import Doorbell
from app.jobs.inference_requests import InferenceRequests, Limits
from app.settings import Settings
from app.storage.store import Store
from reports.model import Box
from specialists.deadline import Deadline
from specialists.errors import Cancelled, Overdue
from specialists.image import Image
from specialists.result import Result

REPLY_POLL_S = 0.02
Gone = Callable[[], Awaitable[bool]]
"""Returns whether the HTTP client has disconnected."""

GONE_POLL_S = 0.2

Run = Callable[[str, Image, Box | None, Deadline], Result]


class LocalInferenceClient:
    """A client of the specialists in this process; `ring` wakes its workers."""

    def __init__(self, run: Run, ring: Callable[[], None], limits: Limits) -> None:
        self._run = run
        self._ring = ring
        self._limits = limits
        self._lock = threading.Lock()
        self._inside = 0

    def wake(self, _: str) -> None:
        """Make the workers poll for jobs now."""
        self._ring()

    async def ask(
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

    def __init__(self, settings: Settings, store: Store, doorbell: Doorbell) -> None:
        self._store = store
        self._asks = InferenceRequests(store, settings.lease_s)
        self._limits = limits_of(settings)
        self._doorbell = doorbell
        self._silent_s = max(settings.lease_s, 1.0)

    def wake(self, analysis_id: str) -> None:
        """Notify the workers of that analysis; they find it by polling if that fails."""
        self._doorbell.ring(analysis_id)

    async def ask(
        self, specialist_id: str, ingested: Ingested, roi: Box | None, gone: Gone
    ) -> Result:
        """Return one specialist's result from whichever worker takes the request.

        Raises:
            NotReady: no worker is alive.
            QueueFull: too many inference requests are waiting already.
            DeadlinePassed: no worker answered in time, or the client disconnected.
            Declined, Rejected, Unavailable: as the specialist raises them.
        """
        if not await run_in_threadpool(self._store.workers_alive, time.time() - self._silent_s):
            raise NotReady("No worker is alive that could answer; try again later.")
        ask_id = await run_in_threadpool(self._put, specialist_id, ingested, roi)
        try:
            await run_in_threadpool(self._doorbell.ring, ask_id)
            until = time.monotonic() + self._limits.deadline_s
            while time.monotonic() < until:
                reply = await run_in_threadpool(self._asks.reply, ask_id)
                if reply is not None:
                    return reply.opened()
                if await gone():
                    raise DeadlinePassed("The request was given up before it was answered.")
                await asyncio.sleep(REPLY_POLL_S)
            raise DeadlinePassed("No worker answered in time; try again later.")
        finally:
            await run_in_threadpool(self._asks.forget, ask_id)

    def _put(self, specialist_id: str, ingested: Ingested, roi: Box | None) -> str:
        info = ingested.image.info
        return self._asks.put(specialist_id, ingested.png, info, roi, limits=self._limits)


def limits_of(settings: Settings) -> Limits:
    """Return the limits of inference requests in these settings."""
    return Limits(waiting=settings.asks_limit, deadline_s=settings.ask_s)
