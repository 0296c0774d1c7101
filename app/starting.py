"""A start without the garbage collector: what is imported and loaded lives as long as the process, and none of it is garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing; whatever is made meanwhile is never looked through for garbage, neither now nor later.

    Libraries make a million objects, which every full collection would walk through: at the start a dozen times, later
    in the middle of an analysis.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collects:
            gc.enable()
