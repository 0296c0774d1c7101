"""A signal for which the idle threads of a process wait; each call wakes one of them."""

import threading


class Wakeup:
    """A semaphore that holds no more calls than there are threads to hear them."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._calls = 0
        self._called = threading.Condition()

    def call_one(self) -> None:
        """Wake one idle thread; if none is idle, the next that becomes so goes on at once."""
        with self._called:
            self._calls = min(self._calls + 1, self._threads)
            self._called.notify()

    def call_all(self) -> None:
        """Wake every idle thread."""
        with self._called:
            self._calls = self._threads
            self._called.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait until this thread is called, or for that time."""
        with self._called:
            if self._called.wait_for(lambda: self._calls > 0, timeout_s):
                self._calls -= 1
