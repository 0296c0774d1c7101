"""Start a process: spare it needless garbage collection, and let SIGTERM end it at any time.

What is imported and loaded at the start lives as long as the process, and none of it is garbage.
"""

import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uncollected() -> Iterator[None]:
    """Exempt all objects that are created while inside from garbage collection, now and later.

    Libraries create a million objects, which every full collection would traverse: a dozen times
    during the start, and later in the middle of an analysis.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collects:
            gc.enable()


def end_when_told() -> None:
    """Make SIGTERM end this process from now on, in the middle of its start as well.

    Without a handler the first process of a container would ignore the signal: the kernel does not
    apply a signal's default action to process 1.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
