"""What the workers of one process share beside their tools: who may run at once, who is told, who plans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.news import News
from planner.case import Case
from planner.choose import Action, Choice, Chooser
from reports.model import PlannerRef
from specialists.image import Image


class Gate:
    """Lets many in, or one alone; who waits to be alone is let in before those who come after."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._alone = threading.Lock()
        self._inside = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Nothing; nobody is alone meanwhile."""
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
        """Nothing; nobody else is inside meanwhile."""
        with self._alone:
            with self._free:
                self._free.wait_for(lambda: self._inside == 0)
            yield


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What the workers of one process share beside their tools."""

    gate: Gate
    news: News
    chooser: Chooser


class SharedChooser:
    """A planner that several threads may ask, one at a time; specialists need no lock, their engine has its own."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self._lock = threading.Lock()

    @property
    def ref(self) -> PlannerRef:
        """What the report's provenance says of it."""
        return self._chooser.ref

    @property
    def sees(self) -> bool:
        """Whether it looks at the image."""
        return self._chooser.sees

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """One of the legal actions."""
        with self._lock:
            return self._chooser.choose(image, case, legal)
