"""The worker process, which serves no HTTP API.

It runs a store, a worker pool, and the subscription that wakes the pool.
"""

import logging
import signal
import threading
from types import FrameType

from app.jobs.pubsub import Channel, publisher_of
from app.observability.exporter import exposed
from app.settings import Settings
from app.startup import end_when_told, uncollected
from app.storage.connect import open_store
from app.worker.pool import WorkerPool
from planner.run import Tools

DRAIN_S = 25.0
"""How long a running step may take after SIGTERM; a container is killed after 30 s."""

WATCH_S = 1.0


def work(settings: Settings, tools: Tools) -> None:
    """Run the pool until SIGTERM or Ctrl-C, then finish running steps and hand back their jobs.

    Raises:
        StoreUnavailable: the store cannot be opened.
        NotReady: a worker broke, or a step did not end in time; its lease expires by itself.
    """
    end_when_told()
    store = open_store(settings)
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    publisher = publisher_of(settings, (Channel.WORK,))
    with uncollected():
        pool = WorkerPool(settings, store, tools, publisher)
    try:
        with exposed(settings), publisher.working(pool.wake):
            pool.start(responder=True)
            logging.getLogger(__name__).info("The workers look for what waits.")
            while not stopping.wait(WATCH_S):
                pool.check()
    finally:
        try:
            pool.stop(DRAIN_S)
        finally:
            publisher.close()
            store.close()
