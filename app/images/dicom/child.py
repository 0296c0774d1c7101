"""Reader process: receives DICOM files on standard input, returns frames or refusals on output.

A hostile file can spend only this process's memory and time: the kernel enforces the limits, and
whatever goes wrong here ends here. Refusals are fixed sentences, because a library's own message
may quote the file.

The process itself never meets a file. It forks a process for each one, which has the libraries
loaded already, and whose memory, with all that the file stated of a patient, ends with it.
"""

import ctypes
import os
import signal
import sys
import warnings
from dataclasses import dataclass
from io import FileIO
from typing import IO

from cryptography.hazmat.primitives.ciphers import aead  # noqa: F401 - loaded before the fork.
from pydicom import config

from app.errors import ImageRejected, RequestRejected
from app.images.dicom.dataset import Opened, open_file, read_frame, scan_file
from app.images.dicom.identity import original, patient_sha256
from app.images.dicom.messages import Answer, Ask, Refusal
from app.images.dicom.sealing import FileKey
from app.images.isolated.framing import receive, send
from app.images.isolated.limits import address_space, answer_stream, limit

HEADROOM_BYTES = 448 * 2**20
"""Memory for reading, beyond that of the started process; 25 million pixels fit."""

CPU_MAX_S = 600
"""Processor time of the process of one file; it ends an orphan that hangs."""

REQUEST_MAX_BYTES = 2**30

_NEXT, _INPUT_ENDED = 0, 3
"""Exit codes of the process of one file: it is done with, or nobody asks any more."""

_PR_SET_PDEATHSIG = 1
_DAMAGED = Refusal(
    error="ImageUnreadable",
    sentence=(
        "The DICOM file is damaged or cut short: its image cannot be decoded. Send the whole file."
    ),
)
_TOO_LARGE = Refusal(
    error="ImageTooLarge",
    sentence="Reading the DICOM file takes more memory than is allowed; send a smaller image.",
)


@dataclass(frozen=True, kw_only=True)
class _File:
    """The file of this process: its bytes until it is opened, and its sealed patient."""

    data: bytes = b""
    opened: Opened | None = None
    sealed: str | None = None
    patient_sha256: str | None = None


def main() -> None:
    """Fork a process for each file until the input ends, or one of them breaks."""
    warnings.simplefilter("ignore")
    config.settings.reading_validation_mode = config.IGNORE
    answers = answer_stream()
    limit(address_space() + HEADROOM_BYTES, CPU_MAX_S)
    send(answers, Answer())
    while (process := os.fork()) != 0:
        _, status = os.waitpid(process, 0)
        if os.waitstatus_to_exitcode(status) != _NEXT:
            return
    os._exit(_serve(answers))


def _serve(answers: IO[bytes]) -> int:
    """Answer what is asked of one file, and return the exit code of its process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # Whoever kills one kills both.
    file, asks = _File(), FileIO(sys.stdin.fileno())  # A buffer might hold what is the next one's.
    while (request := receive(asks, REQUEST_MAX_BYTES)) is not None:
        ask = Ask.model_validate_json(request[0])
        if ask.done:
            return _NEXT
        file = file if ask.again else _File(data=request[1])
        del request
        answer, payload, file = _answer(ask, file)
        send(answers, answer, payload)
        del payload
    return _INPUT_ENDED


def _answer(ask: Ask, file: _File) -> tuple[Answer, bytes, _File]:
    """Return the requested frame or the reason why there is none, and the file.

    The file is kept open, so that its next frame need not open it again.
    """
    try:
        if file.opened is None:
            file = _open(ask, file.data)
        header, pixels = read_frame(_opened(file), ask.frame)
        answer = Answer(header=header, sealed=file.sealed, patient_sha256=file.patient_sha256)
        return answer, pixels.tobytes(), file
    except (ImageRejected, RequestRejected) as error:
        refusal = Refusal(error=type(error).__name__, sentence=str(error))
        return Answer(refusal=refusal), b"", file
    except MemoryError:
        return Answer(refusal=_TOO_LARGE), b"", file
    except Exception:  # noqa: BLE001 - a hostile file; decoders raise anything.
        return Answer(refusal=_DAMAGED), b"", file


def _open(ask: Ask, data: bytes) -> _File:
    """Open a file and, where a key came with the request, seal what it states of the patient."""
    scanned, sealed = scan_file(data), None
    if ask.key is not None and (patient := original(scanned)) is not None:
        key = FileKey(key=bytes.fromhex(ask.key), about=bytes.fromhex(ask.about))
        sealed = key.seal(patient.model_dump_json().encode()).hex()
    return _File(
        opened=open_file(scanned, ask.limit_pixels),
        sealed=sealed,
        patient_sha256=patient_sha256(scanned),
    )


def _opened(file: _File) -> Opened:
    if file.opened is None:
        raise ValueError("no file was sent")
    return file.opened


if __name__ == "__main__":
    main()
