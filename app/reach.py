"""How the web process reaches specialists: through the worker beside it, or through workers elsewhere."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool

from app.asks import Asks, Limits
from app.errors import DeadlinePassed, NotReady, QueueFull
from app.ingest import Ingested
from app.settings import Settings
from app.store import Store
from app.wake import Doorbell
from reports.model import Box
from specialists.batching import Patience
from specialists.errors import Cancelled, Overdue
from specialists.image import Image
from specialists.result import Result

REPLY_POLL_S = 0.02
Gone = Callable[[], Awaitable[bool]]
"""Whether the asker went away."""

GONE_POLL_S = 0.2

Run = Callable[[str, Image, Box | None, Patience], Result]


class LocalReach:
    """The specialists of this process; `ring` wakes its workers."""

    def __init__(self, run: Run, ring: Callable[[], None], limits: Limits) -> None:
        self._run = run
        self._ring = ring
        self._limits = limits
        self._lock = threading.Lock()
        self._inside = 0

    def wake(self, _: str) -> None:
        """Nothing; the workers look for jobs now."""
        self._ring()

    async def ask(
        self, specialist_id: str, ingested: Ingested, roi: Box | None, gone: Gone
    ) -> Result:
        """One specialist's answer, beside the running analyses.

        Raises:
            QueueFull: too many ask already.
            DeadlinePassed: it waited too long for its turn, or its asker went away meanwhile.
            Declined, Rejected, Unavailable: as the specialist says.
        """
        with self._lock:
            if self._inside >= self._limits.waiting:
                raise QueueFull(
                    f"{self._inside} questions to specialists wait; try again in a moment."
                )
            self._inside += 1
        patience = Patience(self._limits.deadline_s)
        answer = asyncio.ensure_future(
            run_in_threadpool(self._in_time, specialist_id, ingested.image, roi, patience)
        )
        try:
            while not answer.done():
                if await gone():
                    patience.cancel()
                await asyncio.wait({answer}, timeout=GONE_POLL_S)
            return answer.result()
        finally:
            patience.cancel()
            with self._lock:
                self._inside -= 1

    def _in_time(
        self, specialist_id: str, image: Image, roi: Box | None, patience: Patience
    ) -> Result:
        try:
            patience.check()
            return self._run(specialist_id, image, roi, patience)
        except Overdue as error:
            raise DeadlinePassed(
                "The specialist had no time for this question; try again later."
            ) from error
        except Cancelled as error:
            raise DeadlinePassed("The request was given up before its turn.") from error


class RemoteReach:
    """The specialists of the workers that share this store."""

    def __init__(self, settings: Settings, store: Store, doorbell: Doorbell) -> None:
        self._store = store
        self._asks = Asks(store, settings.lease_s)
        self._limits = limits_of(settings)
        self._doorbell = doorbell
        self._silent_s = max(settings.lease_s, 1.0)

    def wake(self, analysis_id: str) -> None:
        """Nothing; the workers are told of that analysis, and find it by themselves where that fails."""
        self._doorbell.ring(analysis_id)

    async def ask(
        self, specialist_id: str, ingested: Ingested, roi: Box | None, gone: Gone
    ) -> Result:
        """One specialist's answer, from whichever worker takes the question.

        Raises:
            NotReady: no worker is alive.
            QueueFull: too many ask already.
            DeadlinePassed: no worker answered in time, or the asker went away.
            Declined, Rejected, Unavailable: as the specialist says.
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
    """The limits of direct questions in these settings."""
    return Limits(waiting=settings.asks_limit, deadline_s=settings.ask_s)
