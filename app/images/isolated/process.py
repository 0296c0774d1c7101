"""The service's side of a process of its own: started on demand, asked, ended."""

import logging
import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from app.errors import NotReady
from app.images.isolated.framing import Message, receive, send

log = logging.getLogger(__name__)

ANSWER_MAX_BYTES = 1 << 20
"""Longest answer without its payload."""

_ROOT = Path(__file__).resolve().parents[3]
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}

Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True, kw_only=True)
class Reply(Generic[Answer]):
    """What came back from the process.

    `answer` is None where it ended, was ended at the time limit (`timed_out`), or sent nothing
    valid.
    """

    answer: Answer | None
    payload: bytes = b""
    timed_out: bool = False


class IsolatedProcess:
    """A process without the service's settings; it greets with one message when it is ready.

    One thread at a time may use it: it starts it, then asks it.
    """

    def __init__(self, command: Sequence[str], *, does: str, start_s: float) -> None:
        """Remember how to start it; `does` completes "the process that …"."""
        self._command, self._does, self._start_s = command, does, start_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The number of the running process; None where none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> bool:
        """Start the process where none runs, and return whether that was so.

        Raises:
            NotReady: it does not start.
        """
        if self.pid is not None:
            return False
        self.end()
        process = self._process = self._launch()
        timer = threading.Timer(self._start_s, process.kill)
        timer.start()
        try:
            greeting = process.stdout and receive(process.stdout, ANSWER_MAX_BYTES)
        finally:
            timer.cancel()
        if not greeting:
            self.end()
            code = process.returncode
            log.error("The process that %s ended at its start: exit code %s.", self._does, code)
            raise NotReady(f"The process that {self._does} does not start (exit code {code}).")
        return True

    def exchange(
        self,
        ask: Message,
        payload: bytes,
        answer: type[Answer],
        *,
        timeout_s: float,
        payload_max_bytes: int = 0,
    ) -> Reply[Answer]:
        """Send one request to the process that was started, and return the reply."""
        process, ended = self._process, threading.Event()
        if process is None or process.stdin is None or process.stdout is None:
            return Reply(answer=None)

        def stop() -> None:
            ended.set()
            process.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            send(process.stdin, ask, payload)
            reply = receive(process.stdout, payload_max_bytes + ANSWER_MAX_BYTES)
            if reply is not None:
                return Reply(answer=answer.model_validate_json(reply[0]), payload=reply[1])
        except (OSError, ValidationError):
            log.debug("The process that %s gave no valid answer.", self._does)
        finally:
            timer.cancel()
        return Reply(answer=None, timed_out=ended.is_set())

    def tell(self, message: Message) -> None:
        """Send a message that has no reply to the process, if one runs."""
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            send(process.stdin, message)
        except OSError:
            log.debug("The process that %s has ended.", self._does)

    def end(self) -> None:
        """End the process, if one runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    log.debug("The process that %s ended before its pipe was emptied.", self._does)
        process.wait()

    def _launch(self) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("USTRI_")}
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | _ONE_THREAD | {"PYTHONPATH": str(_ROOT)},
            cwd=_ROOT,
            start_new_session=True,
        )
