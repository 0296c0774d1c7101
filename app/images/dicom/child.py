"""Reader process: receives DICOM files on standard input, returns frames or refusals on output.

A hostile file can spend only this process's memory and time: the kernel enforces the limits, and
whatever goes wrong here ends here. Refusals are fixed sentences, because a library's own message
may quote the file.
"""

import sys
import warnings

from pydicom import config

from app.errors import ImageRejected, RequestRejected
from app.images.dicom.dataset import Opened, open_file, read_frame
from app.images.dicom.identity import original
from app.images.dicom.messages import Answer, Ask, Refusal
from app.images.isolated.framing import receive, send
from app.images.isolated.limits import address_space, answer_stream, limit

HEADROOM_BYTES = 448 * 2**20
"""Memory for reading, beyond that of the started process; 25 million pixels fit."""

LEFT_MAX_BYTES = 64 * 2**20
"""Memory that may stay allocated after a file before a fresh process takes over."""

CPU_MAX_S = 600
"""Processor time of one process; it ends an orphan that hangs."""

REQUEST_MAX_BYTES = 2**30

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


def main() -> None:
    """Answer requests until the input ends, or a file has taken all the memory it may have."""
    warnings.simplefilter("ignore")
    config.settings.reading_validation_mode = config.IGNORE
    answers = answer_stream()
    started_bytes = address_space()
    limit(started_bytes + HEADROOM_BYTES, CPU_MAX_S)
    send(answers, Answer())
    opened: Opened | None = None
    while (request := receive(sys.stdin.buffer, REQUEST_MAX_BYTES)) is not None:
        ask = Ask.model_validate_json(request[0])
        opened = opened if ask.again else None
        answer, payload, opened = _answer(ask, request[1], opened)
        del request
        # Memory that a file left allocated is lost to the next one: a fresh process reads that.
        held_bytes = len(payload) + (0 if opened is None else opened.size_bytes)
        last = answer.last or address_space() - started_bytes - held_bytes > LEFT_MAX_BYTES
        send(answers, answer.model_copy(update={"last": last}), payload)
        if last:
            return


def _answer(ask: Ask, data: bytes, opened: Opened | None) -> tuple[Answer, bytes, Opened | None]:
    """Return the requested frame or the reason why there is none, and the opened file.

    The opened file is kept so that its next frame need not open it again.
    """
    try:
        if ask.original:
            return Answer(original=original(data)), b"", None
        opened = opened or open_file(data, ask.limit_pixels)
        header, pixels = read_frame(opened, ask.frame)
        return Answer(header=header), pixels.tobytes(), opened
    except (ImageRejected, RequestRejected) as error:
        refusal = Refusal(error=type(error).__name__, sentence=str(error))
        return Answer(refusal=refusal), b"", opened
    except MemoryError:
        return Answer(refusal=_TOO_LARGE, last=True), b"", None
    except Exception:  # noqa: BLE001 - a hostile file; decoders raise anything.
        return Answer(refusal=_DAMAGED), b"", opened


if __name__ == "__main__":
    main()
