"""Resources that the workers of one process share: gate, publisher, policy and wake-up signal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.jobs.pubsub import Publisher
from app.worker.wakeup import Wakeup
from planner.case import Case
from planner.policy import Action, Choice, Policy
from reports.provenance import PlannerRef
from specialists.image import Image


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


class SharedPolicy:
    """A policy that several threads may use, one at a time.

    Specialists need no lock here: their engine has its own.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lock = threading.Lock()

    @property
    def ref(self) -> PlannerRef:
        """The policy's entry in the provenance of a report."""
        return self._policy.ref

    @property
    def sees(self) -> bool:
        """Whether the policy looks at the image."""
        return self._policy.sees

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Choose one of the legal actions."""
        with self._lock:
            return self._policy.choose(image, case, legal)
