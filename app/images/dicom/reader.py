"""Reading of DICOM bytes in a separate process: one frame, and what its file states about it."""

import atexit
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from app.errors import (
    FrameUnreadable,
    ImageTooLarge,
    ImageUnreadable,
    ImageUnsupported,
    NotReady,
    RequestRejected,
)
from app.images.dicom.messages import META_START, Answer, Ask, Header, Original, receive, send

log = logging.getLogger(__name__)

START_S = 60.0
"""Time limit for the reader's start, on a machine that is busy."""

READ_S = 6.0
"""Time limit for a frame including its file; a large one takes a fraction of a second."""

FILES_MAX = 200
"""Files per reader process; then a fresh one replaces it, so that nothing it leaked stays."""

_HEADER_MAX_BYTES = 1 << 20
_ROOT = Path(__file__).resolve().parents[3]
_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error
    for error in (
        *(FrameUnreadable, ImageTooLarge, ImageUnreadable, ImageUnsupported),
        RequestRejected,
    )
}
_GAVE_UP = (
    "The DICOM file could not be read within the memory and time that one file may take; "
    "it is damaged, or not what it says."
)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One decoded frame: `pixels` is (H, W) or (H, W, 3) uint8."""

    header: Header
    pixels: npt.NDArray[np.uint8]


def is_dicom(data: bytes) -> bool:
    """Return whether the bytes begin as a DICOM file (PS3.10 7.1), with or without preamble."""
    return data[128:132] == b"DICM" or data.startswith(META_START)


def read_dicom(data: bytes, limit_pixels: int, frame: int = 0, within_s: float = READ_S) -> Frame:
    """Decode one frame of a file, counted from 0.

    Consecutive calls with the same `data` object transfer and parse the file only once.

    Raises:
        ImageUnsupported: it is no ultrasound image, in a syntax that is not decoded, or pydicom is
            missing.
        ImageTooLarge: its header states more than is read, or reading it takes more memory than is
            allowed.
        ImageUnreadable: it is damaged, or takes too long.
        RequestRejected: it has no frame of that number.
        NotReady: the reader process does not start.
    """
    if importlib.util.find_spec("pydicom") is None:
        raise ImageUnsupported(
            "This installation reads PNG and JPEG; for DICOM, pip install 'ustri[dicom]'."
        )
    ask = Ask(frame=frame, limit_pixels=limit_pixels)
    return _frame(*_READER.reply(data, ask, within_s))


def read_original(data: bytes) -> Original | None:
    """Return the patient and study attributes of a file; None if it does not state them validly.

    Raises:
        ImageRejected: it is damaged, or takes too long.
        NotReady: the reader process does not start.
    """
    answer, _ = _READER.reply(data, Ask(frame=0, limit_pixels=0, original=True), READ_S)
    if answer.refusal is not None:
        raise _ERRORS.get(answer.refusal.error, ImageUnreadable)(answer.refusal.sentence)
    return answer.original


class _Reader:
    """A reader process that is started on demand, and replaced when it is old or was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._files = 0
        self._sent: bytes | None = None

    def reply(self, data: bytes, ask: Ask, within_s: float) -> tuple[Answer, bytes]:
        """Return the reply to one request.

        Requests wait for one another, so that the memory of several files does not add up.
        """
        with self._lock:
            process = self._ready()
            again = self._sent is data and not ask.original
            ask = ask.model_copy(update={"again": again})
            self._files += not again
            reply = _exchange(process, b"" if again else data, ask, within_s)
            self._sent = data if reply is not None and reply[0].header is not None else None
            if reply is None or reply[0].last or self._files >= FILES_MAX:
                self._end()
        if reply is None:
            log.warning("A DICOM file was given up: its reader ended or took too long.")
            raise ImageUnreadable(_GAVE_UP)
        return reply

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("USTRI_")}
        limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "app.images.dicom.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | limits | {"PYTHONPATH": str(_ROOT)},
            cwd=_ROOT,
            start_new_session=True,
        )
        self._files = 0
        timer = threading.Timer(START_S, process.kill)
        timer.start()
        try:
            greeting = process.stdout and receive(process.stdout, _HEADER_MAX_BYTES)
        finally:
            timer.cancel()
        if not greeting:
            self._end()
            raise NotReady("The process that reads DICOM files does not start; see the log.")
        return process

    def _end(self) -> None:
        process, self._process, self._sent = self._process, None, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    log.debug("The reader ended before its pipe was emptied.")
        process.wait()


def _exchange(
    process: subprocess.Popen[bytes], data: bytes, ask: Ask, within_s: float
) -> tuple[Answer, bytes] | None:
    """Send one request and return the reply.

    None: the process ended, was killed at the time limit, or sent an invalid reply.
    """
    if process.stdin is None or process.stdout is None:
        return None
    timer = threading.Timer(within_s, process.kill)
    timer.start()
    try:
        send(process.stdin, ask, data)
        reply = receive(process.stdout, 3 * ask.limit_pixels + _HEADER_MAX_BYTES)
        return reply and (Answer.model_validate_json(reply[0]), reply[1])
    except (OSError, ValidationError):
        return None
    finally:
        timer.cancel()


def _frame(answer: Answer, payload: bytes) -> Frame:
    if answer.refusal is not None:
        raise _ERRORS.get(answer.refusal.error, ImageUnreadable)(answer.refusal.sentence)
    header = answer.header
    if header is None:
        raise ImageUnreadable(_GAVE_UP)
    size = (header.height_px, header.width_px)
    shape = size if header.channels == 1 else (*size, 3)
    if min(size) < 1 or int(np.prod(shape)) != len(payload):
        raise ImageUnreadable(_GAVE_UP)
    return Frame(header=header, pixels=np.frombuffer(payload, dtype=np.uint8).reshape(shape))


_READER = _Reader()
atexit.register(_READER.close)
