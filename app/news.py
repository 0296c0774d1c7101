"""News of analyses: who waits for a step or an end is told at once, in this process and, over Redis, in others.

News say only that something changed; what it is stands in the store. Where none come, waiting means looking now and then.
"""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from app.settings import Settings

CHANNEL = "ustri:news"
ENDED = "ended"
"""Follows the id in a message of an analysis that may have ended."""

FIRST_LOOK_S = 0.02
END_LOOK_S = 0.05
"""First look of who waits for the end, which no analysis reaches much sooner; looks cost the workers' time."""

TOLD_LOOK_S = 0.5
"""Longest time between looks; a waiter that is told comes sooner."""

TIMEOUT_S = 0.5
RETRY_S = 1.0
SILENT_S = 5.0
"""How long a Redis that did not answer is left alone."""


class Bell:
    """One waiter's bell; it may be rung from any thread. Who waits for the end alone is not called for the steps before."""

    def __init__(self, *, end_only: bool = False) -> None:
        self.end_only = end_only
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._first_look_s = END_LOOK_S if end_only else FIRST_LOOK_S
        self._wait_s = self._first_look_s

    def ring(self) -> None:
        """Nothing; the waiter looks now. One whose loop has ended waits no more."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self) -> None:
        """Nothing, once it rang or it is time to look; without news, looks become rarer."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), self._wait_s)
        longer_s = min(2 * self._wait_s, TOLD_LOOK_S)
        self._wait_s = self._first_look_s if self._rung.is_set() else longer_s
        self._rung.clear()


class News(Protocol):
    """How changes are told."""

    def tell(self, analysis_id: str, *, ended: bool = False) -> None:
        """Nothing; whoever waits for that analysis looks now, or for its end where it may have ended. Never raises."""

    def close(self) -> None:
        """Nothing; gives its connections back."""


class LocalNews:
    """News of this process's workers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells: defaultdict[str, set[Bell]] = defaultdict(set)

    @contextmanager
    def following(self, analysis_id: str, *, end_only: bool = False) -> Iterator[Bell]:
        """A bell that rings when that analysis moves on, or ends; look after it was made, then wait."""
        bell = Bell(end_only=end_only)
        with self._lock:
            self._bells[analysis_id].add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells[analysis_id].discard(bell)
                if not self._bells[analysis_id]:
                    del self._bells[analysis_id]

    def tell(self, analysis_id: str, *, ended: bool = False) -> None:
        """Nothing; whoever waits for that analysis looks now, or for its end where it may have ended."""
        with self._lock:
            bells = tuple(self._bells.get(analysis_id, ()))
        for bell in bells:
            if ended or not bell.end_only:
                bell.ring()

    def close(self) -> None:
        """Nothing."""


class RedisNews(LocalNews):
    """News of all processes that share a Redis; while it is away, those of this process only."""

    def __init__(self, url: str, *, hear: bool) -> None:
        from redis import Redis  # Here, for it needs the extra `queue`.

        super().__init__()
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        self._away_until = 0.0
        self._closing = threading.Event()
        self._hearing = threading.Thread(target=self._hear, name="news", daemon=True)
        self._hears = hear
        if hear:
            self._hearing.start()

    def tell(self, analysis_id: str, *, ended: bool = False) -> None:
        """Nothing; whoever waits for that analysis looks now, or for its end, in any process."""
        from redis.exceptions import RedisError

        super().tell(analysis_id, ended=ended)
        if time.monotonic() < self._away_until:
            return
        try:
            self._redis.publish(CHANNEL, f"{analysis_id} {ENDED}" if ended else analysis_id)
        except (RedisError, OSError):
            # The doorbell says in the log that Redis is away; a waiter looks by itself.
            self._away_until = time.monotonic() + SILENT_S

    def close(self) -> None:
        """Nothing; the thread ends and connections are given back."""
        self._closing.set()
        if self._hears:
            self._hearing.join(5.0)
        self._redis.close()

    def _hear(self) -> None:
        from redis.exceptions import RedisError

        while not self._closing.is_set():
            try:
                listener = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                with listener as heard:
                    heard.subscribe(CHANNEL)
                    while not self._closing.is_set():
                        message = heard.get_message(timeout=TIMEOUT_S)
                        if message is not None:
                            analysis_id, _, word = bytes(message["data"]).decode().partition(" ")
                            super().tell(analysis_id, ended=word == ENDED)
            except (RedisError, OSError):
                self._closing.wait(RETRY_S)


def news_of(settings: Settings, *, hear: bool) -> LocalNews:
    """The news of these settings; `hear` where somebody waits for them."""
    if settings.redis_url is None:
        return LocalNews()
    return RedisNews(settings.redis_url, hear=hear)
