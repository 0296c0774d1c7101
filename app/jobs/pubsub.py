"""Publish/subscribe for changes of analyses, in this process and, over Redis, in others.

Whoever waits for a step or the end of an analysis is notified at once. A message states only that
something changed; what changed is in the store. Without messages, a subscriber polls the store.
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
"""Follows the id in the message of an analysis that may have ended."""

FIRST_POLL_S = 0.02
END_POLL_S = 0.05
"""First polling interval of a subscriber that waits for the end.

No analysis ends much sooner, and polling costs the workers' time.
"""

POLL_MAX_S = 0.5
"""Longest polling interval; a subscriber that is notified polls sooner."""

TIMEOUT_S = 0.5
RETRY_S = 1.0
SILENT_S = 5.0
"""How long a Redis that did not answer is left alone."""


class Subscription:
    """One subscriber's wake-up event; it may be set from any thread.

    A subscriber with `end_only` is not woken for the steps before the end.
    """

    def __init__(self, *, end_only: bool = False) -> None:
        self.end_only = end_only
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._first_poll_s = END_POLL_S if end_only else FIRST_POLL_S
        self._wait_s = self._first_poll_s

    def notify(self) -> None:
        """Wake the subscriber to poll the store now; ignored once its event loop has closed."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Wait until the event is set or the next poll is due.

        Without messages the polling interval doubles, up to `POLL_MAX_S`.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), self._wait_s)
        longer_s = min(2 * self._wait_s, POLL_MAX_S)
        self._wait_s = self._first_poll_s if self._event.is_set() else longer_s
        self._event.clear()


class Publisher(Protocol):
    """The interface for announcing changes of analyses."""

    def publish(self, analysis_id: str, *, ended: bool = False) -> None:
        """Wake an analysis's subscribers; those with `end_only` only if it may have ended.

        Never raises.
        """

    def close(self) -> None:
        """Close the connections."""


class LocalPublisher:
    """Publish/subscribe between the workers and subscribers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)

    @contextmanager
    def subscribed(self, analysis_id: str, *, end_only: bool = False) -> Iterator[Subscription]:
        """Subscribe to an analysis, or only to its end, while the context is open.

        The caller polls the store once after subscribing, before it waits, so that it misses
        nothing.
        """
        subscription = Subscription(end_only=end_only)
        with self._lock:
            self._subscriptions[analysis_id].add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[analysis_id].discard(subscription)
                if not self._subscriptions[analysis_id]:
                    del self._subscriptions[analysis_id]

    def publish(self, analysis_id: str, *, ended: bool = False) -> None:
        """Wake an analysis's subscribers; those with `end_only` only if it may have ended."""
        with self._lock:
            subscriptions = tuple(self._subscriptions.get(analysis_id, ()))
        for subscription in subscriptions:
            if ended or not subscription.end_only:
                subscription.notify()

    def close(self) -> None:
        """Do nothing."""


class RedisPublisher(LocalPublisher):
    """Publish/subscribe between all processes that share a Redis.

    While Redis is unreachable, it works within this process only.
    """

    def __init__(self, url: str, *, listen: bool) -> None:
        from redis import Redis  # Needs the extra `queue`.

        super().__init__()
        self._redis = Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        self._away_until = 0.0
        self._closing = threading.Event()
        self._listening = threading.Thread(target=self._listen, name="news", daemon=True)
        self._listens = listen
        if listen:
            self._listening.start()

    def publish(self, analysis_id: str, *, ended: bool = False) -> None:
        """Wake subscribers in all processes; those with `end_only` only if it may have ended."""
        from redis.exceptions import RedisError

        super().publish(analysis_id, ended=ended)
        if time.monotonic() < self._away_until:
            return
        try:
            self._redis.publish(CHANNEL, f"{analysis_id} {ENDED}" if ended else analysis_id)
        except (RedisError, OSError):
            # `app.jobs.doorbell` logs that Redis is unreachable; subscribers poll meanwhile.
            self._away_until = time.monotonic() + SILENT_S

    def close(self) -> None:
        """End the listening thread and close the connections."""
        self._closing.set()
        if self._listens:
            self._listening.join(5.0)
        self._redis.close()

    def _listen(self) -> None:
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
                            super().publish(analysis_id, ended=word == ENDED)
            except (RedisError, OSError):
                self._closing.wait(RETRY_S)


def publisher_of(settings: Settings, *, listen: bool) -> LocalPublisher:
    """Return the publisher of these settings; set `listen` where this process subscribes."""
    if settings.redis_url is None:
        return LocalPublisher()
    return RedisPublisher(settings.redis_url, listen=listen)
