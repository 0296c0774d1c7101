"""Processes that tests start: with default signals, and gone when their test has ended.

The signals are the default ones whatever pytest inherited.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

END_S = 60.0
RUN_S = 240.0
FOR_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
"""Ignored by Python itself, which gives them back to its children."""


def give_children_default_signals() -> None:
    """Handle, and do nothing on, every signal that this process was started to ignore.

    A shell starts what it runs in the background with SIGINT ignored, `nohup` with SIGHUP. Both are
    inherited for ever, and a service under test would not see its Ctrl-C. A handler is not
    inherited: a new program starts with the default.
    """
    for number in signal.valid_signals() - FOR_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def start(command: list[Any], **options: Any) -> subprocess.Popen[Any]:
    """Start a process that the caller ends by `end` in any case; `started` does so by itself."""
    return subprocess.Popen(command, **options)


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process that still runs, and wait for it."""
    process.kill()
    process.wait(END_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@contextmanager
def started(command: list[Any], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that is gone at the end, whatever happened meanwhile."""
    process = start(command, **options)
    try:
        yield process
    finally:
        end(process)


def finished(
    command: list[Any], *, limit_s: float = RUN_S, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a process to its end and return it; it is killed when it takes longer than `limit_s`.

    Its output is text unless `text` is false.
    """
    options = {"capture_output": True, "text": True, "check": False} | options
    return subprocess.run(command, timeout=limit_s, **options)
