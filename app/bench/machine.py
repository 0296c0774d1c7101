"""The machine that figures belong to: processor, memory, system, packages and source."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from app.bench.results import Machine, Memory

PACKAGES = ("ustri", "torch", "openvino", "numpy", "fastapi", "uvicorn", "sqlalchemy", "pillow")


def this_machine() -> Machine:
    """Describe this machine as it is now."""
    return Machine(
        date=datetime.now(UTC).date().isoformat(),
        commit=_commit(),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
        system=f"{_system()}, Linux {platform.release()}",
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        gpu=_gpu(),
    )


def memory_of(pid: int) -> Memory:
    """Return the memory that a process holds now, and held at most.

    From Linux' own file, since psutil does not know the most that a process has held.

    Raises:
        OSError: there is no such process.
    """
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kilobytes = {
        name: float(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if name in ("VmRSS", "VmHWM")
    }
    return Memory(
        resident=round(kilobytes["VmRSS"] / 1024, 1), peak=round(kilobytes["VmHWM"] / 1024, 1)
    )


def processor_s(pid: int) -> float:
    """Return the processor time that a process and its ended children have taken.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    spent = psutil.Process(pid).cpu_times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    stated = {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in reversed(lines))
    }
    if "model name" not in stated:
        return platform.processor() or platform.machine()
    family = f"family {stated.get('cpu family')}, model {stated.get('model')}"
    wide = [name for name in ("avx512f", "avx512_bf16", "amx_bf16") if name in stated["flags"]]
    return f"{stated['model name']} ({', '.join([family, *wide])})"


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    folder = Path(__file__).parent
    asked = {
        "head": ["git", "rev-parse", "--short=12", "HEAD"],
        "changed": ["git", "status", "--porcelain", "--untracked-files=no", "--", ":/*.py"],
    }
    said = {}
    for name, command in asked.items():
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, check=True, timeout=30
            )
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        said[name] = done.stdout.strip()
    return said["head"] + ("+" if said["changed"] else "")
