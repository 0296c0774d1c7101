"""What this processor is and can do, from Linux' own file: psutil knows no instruction sets."""

import hashlib
import platform
from functools import cache
from pathlib import Path


@cache
def cpu_features() -> str:
    """Return a digest of this CPU's name and instruction sets; code for another CPU may not run."""
    return hashlib.sha256("\n".join([platform.machine(), *cpu_lines()]).encode()).hexdigest()


@cache
def cpu_lines() -> tuple[str, ...]:
    """Return what the system tells of this CPU's name and instruction sets."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return (platform.processor(),)
    return tuple(sorted({line for line in lines if line.startswith(("model name", "flags"))}))


def int8_pays() -> bool:
    """Return whether this CPU multiplies int8 in one instruction (VNNI).

    On one that does not, int8 takes about as long as fp32 (docs/experiments.md).
    """
    return any("vnni" in line for line in cpu_lines())
