"""The reader process: takes DICOM files on its standard input, gives frames or refusals on its output.

It exists so that a hostile file can spend only this process's memory and time: the limits are the kernel's, and
whatever goes wrong here ends here. It says fixed sentences only, for a library's words may quote the file.
"""

import os
import resource
import sys
import warnings
from pathlib import Path
from typing import IO

from pydicom import config

from app.dicom_dataset import read
from app.dicom_wire import Answer, Ask, Refusal, receive, send
from app.errors import ImageRejected, RequestRejected

HEADROOM_BYTES = 448 * 2**20
"""Memory that reading may take beyond the started process; an image of 25 million pixels fits."""

CPU_MAX_S = 600
"""Processor time of one process; an orphan that hangs ends by it."""

REQUEST_MAX_BYTES = 2**30

_DAMAGED = Refusal(
    error="ImageUnreadable",
    sentence="The DICOM file is damaged or cut short: its image cannot be decoded. Send the whole file.",
)
_TOO_LARGE = Refusal(
    error="ImageTooLarge",
    sentence="Reading the DICOM file takes more memory than is allowed; send a smaller image.",
)


def main() -> None:
    """Nothing; answers until its input ends, or until a file took all the memory it may have."""
    warnings.simplefilter("ignore")
    config.settings.reading_validation_mode = config.IGNORE
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # A library that prints must not write answers.
    _limit()
    send(answers, Answer())
    while (request := receive(sys.stdin.buffer, REQUEST_MAX_BYTES)) is not None:
        ask = Ask.model_validate_json(request[0])
        if not _answered(answers, ask, request[1]):
            return


def _answered(answers: IO[bytes], ask: Ask, data: bytes) -> bool:
    """Whether this process may read another file."""
    try:
        header, pixels = read(data, ask)
    except (ImageRejected, RequestRejected) as error:
        send(answers, Answer(refusal=Refusal(error=type(error).__name__, sentence=str(error))))
    except MemoryError:
        send(answers, Answer(refusal=_TOO_LARGE))
        return False
    except Exception:  # noqa: BLE001 - the boundary of a hostile file; decoders raise whatever they like.
        send(answers, Answer(refusal=_DAMAGED))
    else:
        send(answers, Answer(header=header), pixels.tobytes())
    return True


def _limit() -> None:
    """Lets the kernel hold this process to its memory, its time, and no files at all."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + HEADROOM_BYTES
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, CPU_MAX_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    main()
