"""Text finding process: receives decoded pixels on standard input, returns boxes on output.

Detection and reading are PP-OCR's networks, which lie in rapidocr's wheel and run in OpenVINO. The
process has limits like the DICOM reader's, and opens no connection: a model that is missing ends
it.
"""

import math
import os
import resource
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rapidocr
from rapidocr import EngineType, RapidOCR

from app.images.burned_in.messages import Found, Search
from app.images.burned_in.rule import Line, blackened
from app.images.dicom.messages import receive, send

SIDE_MAX_PX = 1280
"""Longest side of the searched picture, to which a larger one is reduced."""

ENLARGED_MAX = 2.0
"""Most that a smaller picture is enlarged, so that its text has the size of a screen's."""

HEADROOM_BYTES = 2 * 2**30
"""Memory for searching, beyond that of the started process."""

LEFT_MAX_BYTES = 2**30
"""Memory that may stay allocated after a picture before a fresh process takes over."""

CPU_MAX_S = 3600
"""Processor time of one process; it ends an orphan that hangs."""

REQUEST_MAX_BYTES = 2**30
AROUND_PX = 15
"""Side of what counts as around a pixel of the searched picture: a few strokes of a letter."""

LINES_MAX = 400
"""Most lines that are read; further ones are blackened unread."""

_MULTIPLE_PX = 32
_MODELS = Path(rapidocr.__file__).parent / "models"


def main() -> None:
    """Answer requests until the input ends, or the process has grown too large."""
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # A library's prints must not mix with answers.
    sys.addaudithook(_refuse_connections)
    engine = _engine()
    engine._load_det_model()
    engine._load_rec_model()
    started_bytes = _address_space()
    _limit(started_bytes)
    send(answers, Found())
    while (request := receive(sys.stdin.buffer, REQUEST_MAX_BYTES)) is not None:
        found = _answer(engine, Search.model_validate_json(request[0]), request[1])
        last = found.gave_up or _address_space() - started_bytes > LEFT_MAX_BYTES
        send(answers, found.model_copy(update={"last": last}))
        if last:
            return


def _engine() -> RapidOCR:
    """Return the networks; the paths of their files are given, so that none is looked for."""
    cv2.setNumThreads(1)
    kinds = ("Det", "Rec", "Cls")
    return RapidOCR(
        params={f"{kind}.engine_type": EngineType.OPENVINO for kind in kinds}
        | {
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Global.use_preprocess_img": False,
            "Global.use_vertical_padding": False,
            "Global.text_score": 0.0,
            "Det.model_path": str(_MODELS / "PP-OCRv6_det_small.onnx"),
            "Rec.model_path": str(_MODELS / "PP-OCRv6_rec_small.onnx"),
            "Det.limit_side_len": 2 * SIDE_MAX_PX,
            "Det.limit_type": "max",
            "EngineConfig.openvino.inference_num_threads": 1,
        }
    )


def _answer(engine: RapidOCR, ask: Search, data: bytes) -> Found:
    shape = (ask.height_px, ask.width_px, ask.channels)
    try:
        pixels = np.frombuffer(data, np.uint8).reshape(shape)
        return Found(boxes=blackened(_lines(engine, pixels), shape[:2]))
    except Exception:  # noqa: BLE001 - libraries raise anything, and must not quote what was read.
        return Found(gave_up=True)


def _lines(engine: RapidOCR, pixels: npt.NDArray[np.uint8]) -> list[Line]:
    """Return the lines of text of (H, W, 1 or 3) pixels, with what is read in each.

    The picture is searched as it is, and once more with only what is brighter than around it:
    letters on tissue are found in that view alone, and large ones in the first.
    """
    height, width = pixels.shape[:2]
    scale = min(ENLARGED_MAX, SIDE_MAX_PX / max(height, width))
    size = (_rounded(width * scale), _rounded(height * scale))
    screen = cv2.resize(
        pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    around = np.asarray(cv2.medianBlur(screen, AROUND_PX), np.uint8)
    strokes = np.asarray(cv2.subtract(screen, around), np.uint8)
    ratio = (width / size[0], height / size[1])
    return [
        line
        for view in (screen, strokes)
        for line in _read(engine, np.asarray(view, np.uint8), ratio)
    ]


def _read(
    engine: RapidOCR, view: npt.NDArray[np.uint8], ratio: tuple[float, float]
) -> Iterator[Line]:
    """Yield the lines of one view, in pixels of the picture, which is `ratio` times as large."""
    if view.ndim == 2:
        view = np.repeat(view[..., None], 3, axis=2)
    found = engine._load_det_model()(view)
    if found.boxes is None:
        return
    corners = np.asarray(found.boxes, np.float32)
    read = engine.recognize_txt(engine.crop_text_regions(view, corners[:LINES_MAX]))
    words = list(zip(read.txts or (), read.scores or (), strict=True))
    for index, points in enumerate(corners * np.asarray(ratio, np.float32)):
        text, score = words[index] if index < len(words) else ("", 0.0)
        (x_min, y_min), (x_max, y_max) = points.min(axis=0), points.max(axis=0)
        yield Line(
            box=(float(x_min), float(y_min), float(x_max), float(y_max)),
            detected=float(found.scores[index]) if index < len(words) else 1.0,
            text=text,
            read=float(score),
        )


def _rounded(side_px: float) -> int:
    """Return the side as the multiple of 32 that the detection network takes."""
    return max(1, math.floor(side_px / _MULTIPLE_PX + 0.5)) * _MULTIPLE_PX


def _refuse_connections(event: str, _: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError("The process that finds text opens no connection.")


def _address_space() -> int:
    """Return the bytes that this process has mapped, which is what RLIMIT_AS counts; Linux only."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()


def _limit(started_bytes: int) -> None:
    """Set kernel limits on this process: memory, processor time, and no files written at all."""
    for what, limit in (
        (resource.RLIMIT_AS, started_bytes + HEADROOM_BYTES),
        (resource.RLIMIT_CPU, CPU_MAX_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    main()
