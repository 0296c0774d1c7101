"""The planner's time: how much of it a step has used, and steps of several threads together.

A step's limit counts processor time, so that a machine which is busy with something else changes no
plan. None of the plain clocks counts it: that of the process includes what its other threads do, by
which a full queue would change plans, and that of the step's thread leaves out the pool to which
torch and OpenVINO hand parts of each product. But the thread takes its own part of every product
and then waits for the others. So its time, multiplied by the number of threads that share the work,
is what the step costs, whoever else computes meanwhile.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

STUCK = 10
"""A step that waits without computing is given up after this many times its limit."""
LEAST_WAIT_S = 0.005


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The processor time that one planner step may use, and the number of steps per case."""

    step_s: float = 60.0
    steps: int = 32


class Meter:
    """The processor time that work in one thread has used, as other threads may read it.

    `threads` is the number of threads that share the work.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._clock: int | None = None
        self._from_s = 0.0

    def begin(self) -> None:
        """Count from now on the time of the calling thread, which must outlast the meter."""
        clock = time.pthread_getcpuclockid(threading.get_ident())
        self._from_s = time.clock_gettime(clock)
        self._clock = clock

    def used_s(self) -> float:
        """Return the processor time used so far; 0 before the work begins."""
        if self._clock is None:
            return 0.0
        return (time.clock_gettime(self._clock) - self._from_s) * self.threads


class Steps(Generic[T]):
    """Runs steps of several threads, at most `at_once` of them together.

    A step that was given up goes on in its thread, since nothing can end it, and keeps its place.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="planner")
        self._changed = threading.Condition()
        self._running: set[Future[T]] = set()
        self._given_up: set[Future[T]] = set()

    def begun(self, work: Callable[[], T]) -> Future[T] | None:
        """Begin a step once there is a place; return None if steps given up have all places."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._running) < self._at_once or self._stuck)
            if self._stuck:
                return None
            step = self._pool.submit(work)
            self._running.add(step)
        step.add_done_callback(self._end)
        return step

    def give_up(self, step: Future[T]) -> None:
        """Note that nobody waits for that step any more."""
        with self._changed:
            self._given_up.add(step)
            self._given_up &= self._running
            self._changed.notify_all()

    @property
    def _stuck(self) -> bool:
        return len(self._given_up) >= self._at_once

    def _end(self, step: Future[T]) -> None:
        with self._changed:
            self._running.discard(step)
            self._given_up.discard(step)
            self._changed.notify_all()


def ends_in_time(step: Future[T], meter: Meter, limit_s: float) -> bool:
    """Wait for the step, and return whether it ended before it used `limit_s` of processor time.

    A step that does not compute at all is given up after `STUCK` times that on the clock.
    """
    give_up_at = time.monotonic() + STUCK * limit_s
    while not step.done():
        left_s = limit_s - meter.used_s()
        patience_s = give_up_at - time.monotonic()
        if left_s <= 0 or patience_s <= 0:
            return False
        # It cannot use up what is left sooner than that.
        wait_s = min(max(left_s / meter.threads, LEAST_WAIT_S), patience_s)
        try:
            step.exception(timeout=wait_s)
        except TimeoutError:
            continue
    return True
