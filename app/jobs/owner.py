"""Identity of a process, from which other processes can tell whether it is still alive."""

import json
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

CLOCK_STEP_S = 1.5
"""How far two readings of one start may differ: the kernel rounds the boot time to a second."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process, distinct from every other one that has or had the same pid.

    `started_s` is its start in seconds since boot, which setting the clock does not change.
    """

    host: str
    namespace: str
    pid: int
    started_s: float

    @property
    def known_dead(self) -> bool:
        """Whether it ran on this host, in the pid namespace of this process, and is gone."""
        here = this_process()
        if (self.host, self.namespace) != (here.host, here.namespace):
            return False
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return abs(_started_s(process) - self.started_s) > CLOCK_STEP_S
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def this_process() -> Process:
    """Return the identity of the calling process."""
    namespace = Path("/proc/self/ns/pid")  # psutil has no pid namespaces.
    return Process(
        host=socket.gethostname(),
        namespace=str(namespace.readlink()) if namespace.exists() else "",
        pid=os.getpid(),
        started_s=_started_s(psutil.Process()),
    )


def new_owner() -> str:
    """Create a name for a worker of this process, from which others see if it is alive."""
    here = this_process()
    return json.dumps([here.host, here.namespace, here.pid, here.started_s, uuid.uuid4().hex])


def owner_process(owner: str) -> Process:
    """Return the process in which `new_owner` made that name."""
    host, namespace, pid, started_s, _ = json.loads(owner)
    return Process(host=host, namespace=namespace, pid=pid, started_s=float(started_s))


def _started_s(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
