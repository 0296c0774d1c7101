"""Reading of DICOM bytes in a separate process: frames, and what their file states about them."""

import atexit
import importlib.util
import logging
import sys
import threading
from dataclasses import dataclass
from typing import Self

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
from app.images.dicom.sealing import FileKey
from app.images.isolated.process import IsolatedProcess

log = logging.getLogger(__name__)

START_S = 60.0
"""Time limit for the reader's start, on a machine that is busy."""

READ_S = 6.0
"""Time limit for a frame including its file; a large one takes a fraction of a second."""

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


class DicomFile:
    """One file while its frames are read; when it is left, no process keeps any of it."""

    def __init__(self, data: bytes, key: FileKey | None = None) -> None:
        """Remember what to read; the patient's fields are sealed under `key` where there is one."""
        self._data, self._key = data, key
        self.sealed: bytes | None = None
        """The sealed patient's fields once a frame was read; None: not asked for, or not valid."""
        self.patient_sha256: str | None = None
        """A digest of the patient's id once a frame was read; None: the file states none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _READER.forget(self._data)

    def frame(self, limit_pixels: int, frame: int = 0, timeout_s: float = READ_S) -> Frame:
        """Decode one frame, counted from 0; the file is sent and parsed once for all of them.

        Raises:
            ImageUnsupported: it is no ultrasound image, in a syntax that is not decoded, or
                pydicom is missing.
            ImageTooLarge: its header states more than is read, or reading it takes more memory
                than is allowed.
            ImageUnreadable: it is damaged, or takes too long.
            RequestRejected: it has no frame of that number.
            NotReady: the reader process does not start.
        """
        if importlib.util.find_spec("pydicom") is None:
            raise ImageUnsupported(
                "This installation reads PNG and JPEG; for DICOM, pip install 'ustri[dicom]'."
            )
        ask = Ask(frame=frame, limit_pixels=limit_pixels)
        if self._key is not None:
            sealing = {"key": self._key.key.hex(), "about": self._key.about.hex()}
            ask = ask.model_copy(update=sealing)
        answer, payload = _READER.reply(self._data, ask, timeout_s)
        if answer.sealed is not None:
            self.sealed = bytes.fromhex(answer.sealed)
        self.patient_sha256 = answer.patient_sha256 or self.patient_sha256
        return _frame(answer, payload)


class _Reader:
    """The reader process, and the file that it has open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = IsolatedProcess(CHILD, does="reads DICOM files", start_s=START_S)
        self._open: bytes | None = None

    def reply(self, data: bytes, ask: Ask, timeout_s: float) -> tuple[Answer, bytes]:
        """Return the reply to one request.

        Requests wait for one another, so that the memory of several files does not add up.
        """
        with self._lock:
            if self._open is not data:
                self._forget()
            if self._process.start():
                self._open = None
            again = self._open is data
            reply = self._process.exchange(
                ask.model_copy(update={"again": again}),
                b"" if again else data,
                Answer,
                timeout_s=timeout_s,
                payload_max_bytes=3 * ask.limit_pixels,
            )
            self._open = data
            if reply.answer is None:
                self._end()
        if reply.answer is None:
            log.warning("A DICOM file was given up: its reader ended or took too long.")
            raise ImageUnreadable(_GAVE_UP)
        return reply.answer, reply.payload

    def forget(self, data: bytes) -> None:
        """End the process that has that file open, if one has."""
        with self._lock:
            if self._open is data:
                self._forget()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _forget(self) -> None:
        if self._open is not None:
            self._process.tell(Ask(done=True))
        self._open = None

    def _end(self) -> None:
        self._process.end()
        self._open = None


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
