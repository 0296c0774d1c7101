"""The doorbell: wakes workers when something waits. Whatever it loses is found by looking into the store.

With Redis it is a Dramatiq queue that carries ids. Nothing depends on it: each method swallows Redis's absence, says so
once in the log, and the store is looked into as without it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from app.settings import Settings

log = logging.getLogger(__name__)

QUEUE = "ustri"
ACTOR = "wake"
SILENT_S = 5.0
"""How long a Redis that did not answer is left alone, so that its absence costs no request more than one wait."""

TIMEOUT_S = 0.5
MESSAGE_MS = 60_000
"""A ring that nobody heard for this long is dropped; what it announced was found without it."""


class Doorbell(Protocol):
    """Rings at some worker; never raises, for a lost ring costs a moment only."""

    def ring(self, item_id: str) -> None:
        """Nothing; a worker looks into the store now, for what was put there under that id."""

    @property
    def state(self) -> str:
        """What readiness says of it."""

    def close(self) -> None:
        """Nothing; gives its connections back."""


class NoBell:
    """No doorbell: workers look by themselves."""

    def ring(self, item_id: str) -> None:
        """Nothing."""

    @property
    def state(self) -> str:
        """That none is set up."""
        return "not set; workers look into the store"

    def close(self) -> None:
        """Nothing."""


class RedisBell:
    """A Dramatiq queue in Redis."""

    def __init__(self, url: str) -> None:
        from dramatiq.brokers.redis import RedisBroker  # Here, for it needs the extra `queue`.

        quiet_dramatiq()
        self._broker = RedisBroker(  # type: ignore[no-untyped-call]
            url=url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, middleware=[]
        )
        self._away_until = 0.0
        self._away = False

    def ring(self, item_id: str) -> None:
        """Nothing; a worker is told of that id, unless Redis is away."""
        from dramatiq import Message
        from dramatiq.errors import BrokerError
        from redis.exceptions import RedisError

        if time.monotonic() < self._away_until:
            return
        message: Message[None] = Message(
            queue_name=QUEUE, actor_name=ACTOR, args=(item_id,), kwargs={}, options={}
        )
        try:
            if QUEUE not in self._broker.get_declared_queues():
                self._broker.declare_queue(QUEUE)
            self._broker.enqueue(message)
        except (BrokerError, RedisError, OSError) as error:
            self._away_until = time.monotonic() + SILENT_S
            if not self._away:
                log.warning(
                    "Redis is away (%s); workers look into the store.", type(error).__name__
                )
            self._away = True
        else:
            if self._away:
                log.info("Redis is back.")
            self._away = False

    @property
    def state(self) -> str:
        """Whether Redis answered when it was last spoken to."""
        return "away; workers look into the store" if self._away else "reached"

    def close(self) -> None:
        """Nothing; gives its connections back."""
        self._broker.close()
        self._broker.client.close()


def doorbell_of(settings: Settings) -> Doorbell:
    """The doorbell of these settings."""
    return NoBell() if settings.redis_url is None else RedisBell(settings.redis_url)


@contextmanager
def listening(settings: Settings, wake: Callable[[], None]) -> Iterator[None]:
    """Nothing; meanwhile, `wake` is called when the doorbell rings, if there is one."""
    if settings.redis_url is None:
        yield
        return
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.middleware import AgeLimit

    quiet_dramatiq()
    broker = RedisBroker(  # type: ignore[no-untyped-call]
        url=settings.redis_url, middleware=[AgeLimit(max_age=MESSAGE_MS)]
    )

    @dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)
    def heard(_item_id: str) -> None:
        wake()

    listener = dramatiq.Worker(broker, worker_threads=1)
    listener.start()
    try:
        yield
    finally:
        listener.stop(timeout=5000)
        broker.close()
        broker.client.close()


def quiet_dramatiq() -> None:
    """Nothing; Dramatiq repeats a lost connection every few seconds, and names ids: we say it once ourselves."""
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL + 1)
