"""The one type of a time limit: when a caller stops waiting for an answer."""

import threading
import time

from specialists.errors import Cancelled, Overdue


class Deadline:
    """The time by which an answer is wanted; without seconds there is no limit until `cancel`."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + max(seconds, 0.0)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Withdraw the request.

        Work that has not begun is skipped; a caller that is waiting for another thread's pass
        learns of it when that pass ends.
        """
        self._cancelled.set()

    @property
    def remaining_s(self) -> float | None:
        """Seconds that are left, at least 0; None without a limit."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def check(self) -> None:
        """Raise an error if the answer is no longer wanted.

        Raises:
            Cancelled: the request was withdrawn.
            Overdue: the deadline has passed.
        """
        if self._cancelled.is_set():
            raise Cancelled("The request was withdrawn before it was answered.")
        if self.remaining_s == 0.0:
            raise Overdue("The answer did not come in the time that was given for it.")
