"""Publish/subscribe in this process and, over Redis, between all that share a store.

One mechanism wakes idle workers ("there is work") and whoever waits for a step, the end of an
analysis or the reply to an inference request. A message states only that something happened; what
happened is in the store. Nothing depends on a message: without them, everyone polls the store.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Protocol

from app.settings import Settings

log = logging.getLogger(__name__)

ENDED = "ended"
"""Follows the id in the message of what may have ended."""

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
"""How long a Redis that did not answer is left alone.

Its absence thus costs no request more than one wait.
"""

PING_S = 15
"""Interval at which a silent connection is tested; a broken network says nothing by itself."""

POLLING = "workers poll the store"


class Channel(StrEnum):
    """The two channels in Redis; a process listens to those that concern it."""

    CHANGES = "ustri:changes"
    WORK = "ustri:work"


class Work(StrEnum):
    """Kinds of work that idle threads wait for."""

    ANALYSIS = "analysis"
    INFERENCE = "inference"


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

    async def wait(self, poll_s: float | None = None) -> None:
        """Wait until the event is set or the next poll is due.

        Without messages the polling interval doubles, up to `POLL_MAX_S`; `poll_s` sets it instead.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), poll_s or self._wait_s)
        longer_s = min(2 * self._wait_s, POLL_MAX_S)
        self._wait_s = self._first_poll_s if self._event.is_set() else longer_s
        self._event.clear()


class Publisher(Protocol):
    """The interface for announcing work and changes. No method raises."""

    def offer(self, work: Work) -> None:
        """Wake an idle thread of each process that does such work."""

    def publish(self, subject: str, *, ended: bool = False) -> None:
        """Wake the subscribers of an analysis or inference request, named by its id.

        Those with `end_only` are woken only if it may have ended.
        """


class LocalPublisher:
    """Publish/subscribe between the threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._wake: Callable[[Work], None] | None = None

    @property
    def state(self) -> str:
        """State of Redis, for the readiness report."""
        return f"not set; {POLLING}"

    @property
    def reached(self) -> bool:
        """Whether messages reach other processes, as far as this one knows."""
        return False

    @contextmanager
    def subscribed(self, subject: str, *, end_only: bool = False) -> Iterator[Subscription]:
        """Subscribe to an analysis or inference request, or only to its end, while inside.

        The caller polls the store once after subscribing, before it waits, so that it misses
        nothing.
        """
        subscription = Subscription(end_only=end_only)
        with self._lock:
            self._subscriptions[subject].add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[subject].discard(subscription)
                if not self._subscriptions[subject]:
                    del self._subscriptions[subject]

    @contextmanager
    def working(self, wake: Callable[[Work], None]) -> Iterator[None]:
        """Call `wake` whenever work is offered, while inside."""
        self._wake = wake
        try:
            yield
        finally:
            self._wake = None

    def offer(self, work: Work) -> None:
        """Wake an idle thread of this process, if it does such work."""
        if (wake := self._wake) is not None:
            wake(work)

    def publish(self, subject: str, *, ended: bool = False) -> None:
        """Wake the subscribers of a subject; those with `end_only` only if it may have ended."""
        with self._lock:
            subscriptions = tuple(self._subscriptions.get(subject, ()))
        for subscription in subscriptions:
            if ended or not subscription.end_only:
                subscription.notify()

    def close(self) -> None:
        """Do nothing."""


class RedisPublisher(LocalPublisher):
    """Publish/subscribe between all processes that share a Redis.

    While Redis is unreachable, which is logged once, it works within this process only.
    """

    def __init__(self, url: str, channels: Collection[Channel]) -> None:
        from redis import Redis  # Needs the extra `queue`.

        super().__init__()
        self._redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            health_check_interval=PING_S,
        )
        self._sender = uuid.uuid4().hex
        self._channels = channels
        self._away = False
        self._away_until = 0.0
        self._closing = threading.Event()
        self._listening = threading.Thread(target=self._listen, name="pubsub", daemon=True)
        self._listening.start()

    @property
    def state(self) -> str:
        """State of Redis, for the readiness report: whether it answered the last call."""
        return "reached" if self.reached else f"away; {POLLING}"

    @property
    def reached(self) -> bool:
        """Whether Redis answered the last call."""
        return not self._away

    def offer(self, work: Work) -> None:
        """Wake an idle thread of each process that does such work."""
        super().offer(work)
        self._send(Channel.WORK, work)

    def publish(self, subject: str, *, ended: bool = False) -> None:
        """Wake subscribers in all processes; those with `end_only` only if it may have ended."""
        super().publish(subject, ended=ended)
        self._send(Channel.CHANGES, f"{subject} {ENDED}" if ended else subject)

    def close(self) -> None:
        """End the listening thread and close the connections."""
        self._closing.set()
        self._listening.join(5.0)
        self._redis.close()

    def _send(self, channel: Channel, message: str) -> None:
        from redis.exceptions import RedisError

        if time.monotonic() < self._away_until:
            return
        try:
            self._redis.publish(channel, f"{self._sender} {message}")
        except (RedisError, OSError) as error:
            self._note_away(error)
        else:
            self._note_back()

    def _listen(self) -> None:
        from redis.exceptions import RedisError

        while not self._closing.is_set():
            try:
                listener = self._redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
                with listener as heard:
                    heard.subscribe(*self._channels)
                    self._note_back()
                    while not self._closing.is_set():
                        message = heard.get_message(timeout=TIMEOUT_S)
                        if message is not None:
                            self._hear(Channel(message["channel"].decode()), message["data"])
            except (RedisError, OSError) as error:
                self._note_away(error)
                self._closing.wait(RETRY_S)

    def _hear(self, channel: Channel, data: bytes) -> None:
        sender, subject, *words = data.decode().split()
        if sender == self._sender:
            return  # This process heard it when it was sent.
        if channel is Channel.WORK:
            super().offer(Work(subject))
        else:
            super().publish(subject, ended=ENDED in words)

    def _note_away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + SILENT_S
        with self._lock:
            known, self._away = self._away, True
        if not known and not self._closing.is_set():
            log.warning("Redis is away (%s); %s.", type(error).__name__, POLLING)

    def _note_back(self) -> None:
        self._away_until = 0.0
        with self._lock:
            was_away, self._away = self._away, False
        if was_away:
            log.info("Redis is back.")


def publisher_of(settings: Settings, channels: Collection[Channel]) -> LocalPublisher:
    """Return the publisher of these settings, which listens to those channels of other processes.

    Without Redis, it works within this process only.
    """
    if settings.redis_url is None:
        return LocalPublisher()
    return RedisPublisher(settings.redis_url, channels)
