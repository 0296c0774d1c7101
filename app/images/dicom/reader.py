"""Reading of DICOM bytes in a separate process: one frame, and what its file states about it."""

import atexit
import importlib.util
import logging
import sys
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.errors import (
    FrameUnreadable,
    ImageTooLarge,
    ImageUnreadable,
    ImageUnsupported,
    RequestRejected,
)
from app.images.dicom.messages import META_START, Answer, Ask, Header
from app.images.isolated.process import IsolatedProcess
from reports.forms.dicom.identity import InstanceIdentity

log = logging.getLogger(__name__)

START_S = 60.0
"""Time limit for the reader's start, on a machine that is busy."""

READ_S = 6.0
"""Time limit for a frame including its file; a large one takes a fraction of a second."""

FILES_MAX = 200
"""Files per reader process; then a fresh one replaces it, so that nothing it leaked stays."""

CHILD = (sys.executable, "-m", "app.images.dicom.child")
"""The command that starts the process."""

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


def read_dicom(data: bytes, limit_pixels: int, frame: int = 0, timeout_s: float = READ_S) -> Frame:
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
    return _frame(*_READER.reply(data, ask, timeout_s))


def read_original(data: bytes) -> InstanceIdentity | None:
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
    """A reader process with the file that it has opened; a fresh one replaces it when it is old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = IsolatedProcess(CHILD, does="reads DICOM files", start_s=START_S)
        self._files = 0
        self._sent: bytes | None = None

    def reply(self, data: bytes, ask: Ask, timeout_s: float) -> tuple[Answer, bytes]:
        """Return the reply to one request.

        Requests wait for one another, so that the memory of several files does not add up.
        """
        with self._lock:
            if self._process.start():
                self._files, self._sent = 0, None
            again = self._sent is data and not ask.original
            ask = ask.model_copy(update={"again": again})
            self._files += not again
            reply = self._process.exchange(
                ask,
                b"" if again else data,
                Answer,
                timeout_s=timeout_s,
                payload_max_bytes=3 * ask.limit_pixels,
            )
            answer = reply.answer
            self._sent = data if answer is not None and answer.header is not None else None
            if answer is None or answer.last or self._files >= FILES_MAX:
                self._end()
        if answer is None:
            log.warning("A DICOM file was given up: its reader ended or took too long.")
            raise ImageUnreadable(_GAVE_UP)
        return answer, reply.payload

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        self._process.end()
        self._sent = None


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
