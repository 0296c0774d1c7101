"""Identity of a process, from which other processes can tell whether it is still alive."""

import json
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process, distinct from every other one that has or had the same pid."""

    host: str
    namespace: str
    pid: int
    started: str

    @property
    def known_dead(self) -> bool:
        """Whether it ran on this host, in the pid namespace of this process, and is gone."""
        here = this_process()
        if (self.host, self.namespace) != (here.host, here.namespace):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _started(self.pid) != self.started


def this_process() -> Process:
    """Return the identity of the calling process."""
    namespace = Path("/proc/self/ns/pid")
    return Process(
        host=socket.gethostname(),
        namespace=str(namespace.readlink()) if namespace.exists() else "",
        pid=os.getpid(),
        started=_started(os.getpid()),
    )


def new_owner() -> str:
    """Create a name for a worker of this process, from which others see if it is alive."""
    here = this_process()
    return json.dumps([here.host, here.namespace, here.pid, here.started, uuid.uuid4().hex])


def owner_process(owner: str) -> Process:
    """Return the process in which `new_owner` made that name."""
    host, namespace, pid, started, _ = json.loads(owner)
    return Process(host=host, namespace=namespace, pid=pid, started=started)


def _started(pid: int) -> str:
    """Return a process's start time in clock ticks since boot; empty if /proc does not have it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # proc(5): starttime is field 22, state field 3.
