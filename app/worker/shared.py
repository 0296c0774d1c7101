"""Resources that the workers of one process share: gate, publisher, policy and wake-up signal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.jobs.pubsub import Publisher
from app.worker.wakeup import Wakeup
from planner.policy import Policy


class Gate:
    """A readers-writer lock: many threads hold it together, or one holds it alone.

    A thread that waits to hold it alone goes before threads that come later.
    """

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._alone = threading.Lock()
        self._inside = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the gate together with others; no thread holds it alone meanwhile."""
        with self._alone, self._free:
            self._inside += 1
        try:
            yield
        finally:
            with self._free:
                self._inside -= 1
                self._free.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the gate alone; no other thread is inside meanwhile."""
        with self._alone:
            with self._free:
                self._free.wait_for(lambda: self._inside == 0)
            yield


@dataclass(frozen=True, kw_only=True)
class SharedResources:
    """Resources that the workers of one process share, besides their tools."""

    gate: Gate
    publisher: Publisher
    policy: Policy
    wakeup: Wakeup
