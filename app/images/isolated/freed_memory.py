"""Overwriting of memory that a process frees, so that it does not hold what was uploaded before."""

import ctypes

_M_PERTURB = -6
"""glibc's mallopt(3): freed blocks are filled with this byte, but for the smallest ones."""

_FILL = 0xA5


def overwrite_freed_memory() -> bool:
    """Have the C library overwrite what is freed from now on; return whether it can.

    Blocks of about a kilobyte and less, which it keeps for its thread, and Python's own small
    objects stay as they were until they are used again. Other C libraries than glibc cannot do it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_PERTURB, _FILL) == 1
