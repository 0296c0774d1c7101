"""Wake-up signal (doorbell) that tells workers to poll the store; a lost signal does no harm.

With Redis, it is a Dramatiq queue that carries ids. Nothing depends on it: every method tolerates
an unreachable Redis and logs that once, and workers poll the store as they do without Redis.
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
"""How long a Redis that did not answer is left alone.

Its absence thus costs no request more than one wait.
"""

TIMEOUT_S = 0.5
MESSAGE_MS = 60_000
"""Age at which an unread signal is dropped; workers have found what it announced by polling."""


class Doorbell(Protocol):
    """A signal to some worker. It never raises, because a lost signal costs only a moment."""

    def ring(self, item_id: str) -> None:
        """Signal a worker to poll the store now for what was put there under `item_id`."""

    @property
    def state(self) -> str:
        """State for the readiness report."""

    def close(self) -> None:
        """Close the connections."""


class NoBell:
    """No signal: workers find work by polling."""

    def ring(self, item_id: str) -> None:
        """Do nothing."""

    @property
    def state(self) -> str:
        """State for the readiness report: not set up."""
        return "not set; workers look into the store"

    def close(self) -> None:
        """Do nothing."""


class RedisBell:
    """A signal over a Dramatiq queue in Redis."""

    def __init__(self, url: str) -> None:
        from dramatiq.brokers.redis import RedisBroker  # Needs the extra `queue`.

        quiet_dramatiq()
        self._broker = RedisBroker(  # type: ignore[no-untyped-call]
            url=url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, middleware=[]
        )
        self._away_until = 0.0
        self._away = False

    def ring(self, item_id: str) -> None:
        """Send the id to a worker, unless Redis is unreachable."""
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
        """Whether Redis answered the last call."""
        return "away; workers look into the store" if self._away else "reached"

    def close(self) -> None:
        """Close the connections."""
        self._broker.close()
        self._broker.client.close()


def doorbell_of(settings: Settings) -> Doorbell:
    """Return the doorbell that the settings ask for."""
    return NoBell() if settings.redis_url is None else RedisBell(settings.redis_url)


@contextmanager
def listening(settings: Settings, wake: Callable[[], None]) -> Iterator[None]:
    """Call `wake` on every signal while the context is open, if Redis is configured."""
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
    """Silence Dramatiq's logger.

    It repeats a lost connection every few seconds and writes ids; this module logs the loss once.
    """
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL + 1)
