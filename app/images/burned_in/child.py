"""Text finding process: receives decoded pixels on standard input, returns boxes on output.

Detection and reading are PP-OCR's networks, which lie in rapidocr's wheel and run in OpenVINO. The
process has limits like the DICOM reader's, and opens no connection: a model that is missing ends
it.
"""

import math
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rapidocr
from rapidocr import EngineType, RapidOCR

from app.images.burned_in.messages import Found, Search
from app.images.burned_in.rule import Line, blackened
from app.images.isolated.framing import receive, send
from app.images.isolated.freed_memory import overwrite_freed_memory
from app.images.isolated.limits import address_space, answer_stream, limit

SIDE_MAX_PX = 1024
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
AROUND_PX = 11
"""Side of what counts as around a pixel, at half the size: more than a large letter's strokes."""

LINES_MAX = 400
"""Most lines that are read; further ones are blackened unread."""

SCREEN_SHARE = 0.1
"""Share of the picture itself in what is searched."""

DETECTED_MIN = 0.3
"""Score from which a detected place is read; the reading tells text from speckle."""

_MULTIPLE_PX = 32
_MODELS = Path(rapidocr.__file__).parent / "models"


def main() -> None:
    """Answer requests until the input ends, or the process has grown too large."""
    warnings.simplefilter("ignore")
    overwrite_freed_memory()
    answers = answer_stream()
    sys.addaudithook(_refuse_connections)
    engine = _engine()
    engine._load_det_model()
    engine._load_rec_model()
    started_bytes = address_space()
    limit(started_bytes + HEADROOM_BYTES, CPU_MAX_S)
    send(answers, Found())
    while (request := receive(sys.stdin.buffer, REQUEST_MAX_BYTES)) is not None:
        found = _answer(engine, Search.model_validate_json(request[0]), request[1])
        del request  # It waits for the next picture without this one.
        last = found.gave_up is not None or address_space() - started_bytes > LEFT_MAX_BYTES
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
            "Det.box_thresh": DETECTED_MIN,
            "EngineConfig.openvino.inference_num_threads": 1,
        }
    )


def _answer(engine: RapidOCR, ask: Search, data: bytes) -> Found:
    shape = (ask.height_px, ask.width_px, ask.channels)
    try:
        pixels = np.frombuffer(data, np.uint8).reshape(shape)
        return Found(boxes=blackened(_lines(engine, pixels), shape[:2]))
    except MemoryError:
        return Found(gave_up="memory")
    except Exception:  # noqa: BLE001 - libraries raise anything, and must not quote what was read.
        return Found(gave_up="failure")


def _lines(engine: RapidOCR, pixels: npt.NDArray[np.uint8]) -> list[Line]:
    """Return the lines of text of (H, W) or (H, W, 3) pixels, with what is read in each."""
    height, width = pixels.shape[:2]
    view = _view(pixels)
    corners, scores = _detected(engine, view)
    if not scores:
        return []
    read = engine.recognize_txt(engine.crop_text_regions(view, corners[:LINES_MAX]))
    words = list(zip(read.txts or (), read.scores or (), strict=True))
    words += [("", 0.0)] * (len(corners) - len(words))
    ratio = np.asarray((width / view.shape[1], height / view.shape[0]), np.float32)
    lines = []
    for index, (points, (text, score)) in enumerate(zip(corners * ratio, words, strict=True)):
        (x_min, y_min), (x_max, y_max) = points.min(axis=0), points.max(axis=0)
        lines.append(
            Line(
                box=(float(x_min), float(y_min), float(x_max), float(y_max)),
                detected=scores[index] if index < LINES_MAX else 1.0,
                text=text,
                read=float(score),
            )
        )
    return lines


def _view(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what is searched, (H, W, 3), its sides multiples of 32.

    It is what is brighter in the picture than around, where letters on tissue stand out, with a
    little of the picture itself, for the largest letters.
    """
    height, width = pixels.shape[:2]
    scale = min(ENLARGED_MAX, SIDE_MAX_PX / max(height, width))
    size = (_rounded(width * scale), _rounded(height * scale))
    screen = cv2.resize(
        pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    half = cv2.resize(screen, (size[0] // 2, size[1] // 2), interpolation=cv2.INTER_AREA)
    around = cv2.resize(cv2.medianBlur(half, AROUND_PX), size)
    strokes = cv2.subtract(screen, around)
    view = cv2.addWeighted(screen, SCREEN_SHARE, strokes, 1 - SCREEN_SHARE, 0).astype(np.uint8)
    return np.repeat(view[..., None], 3, axis=2) if view.ndim == 2 else view


def _detected(
    engine: RapidOCR, view: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], list[float]]:
    """Return the corners (N, 4, 2) of the lines of a view, and their scores.

    RapidOCR's own way there takes a quarter of the search to normalise the view.
    """
    detector = engine._load_det_model()
    values = cv2.dnn.blobFromImage(view, 1 / 127.5, mean=(127.5, 127.5, 127.5))
    corners, scores = detector.postprocess_op(detector.session(values), view.shape[:2])
    return np.asarray(corners, np.float32).reshape(-1, 4, 2), [float(score) for score in scores]


def _rounded(side_px: float) -> int:
    """Return the side as the multiple of 32 that the detection network takes."""
    return max(1, math.floor(side_px / _MULTIPLE_PX + 0.5)) * _MULTIPLE_PX


def _refuse_connections(event: str, _: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise PermissionError("The process that finds text opens no connection.")


if __name__ == "__main__":
    main()
