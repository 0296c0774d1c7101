"""Finding of burned-in text in a separate process, and its blackening."""

import atexit
import importlib.util
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from app.errors import ImageUnreadable, NotReady, SettingsError
from app.images.burned_in.messages import Found, PixelBox, Search
from app.images.dicom.messages import receive, send

log = logging.getLogger(__name__)

FindText = Callable[[npt.NDArray[np.uint8]], tuple[PixelBox, ...]]
"""Returns the places of text in (H, W) or (H, W, 3) pixels."""

START_S = 120.0
"""Time limit for the start of the process, which loads two networks, on a machine that is busy."""

SEARCH_S = 60.0
"""Time limit for one picture; a full screen of text takes about two seconds."""

PICTURES_MAX = 500
"""Pictures per process; then a fresh one replaces it, so that nothing it leaked stays."""

_ANSWER_MAX_BYTES = 1 << 20
_ROOT = Path(__file__).resolve().parents[3]


def text_finder(wanted: bool) -> FindText | None:
    """Return what finds text in pictures; None where it is not wanted.

    Raises:
        SettingsError: it is wanted, and the package that reads text is not installed.
    """
    if not wanted:
        return None
    if importlib.util.find_spec("rapidocr") is None or importlib.util.find_spec("cv2") is None:
        raise SettingsError(
            "USTRI_BLACKEN_TEXT is on, and what finds burned-in text is not installed: "
            "pip install 'ustri[ocr]', or set USTRI_BLACKEN_TEXT=false to keep pictures as they "
            "arrive."
        )
    return find_text


def find_text(pixels: npt.NDArray[np.uint8]) -> tuple[PixelBox, ...]:
    """Return the places of text in (H, W) or (H, W, 3) pixels that are to be blackened.

    Raises:
        ImageUnreadable: the search takes more memory or time than one picture may take.
        NotReady: the process does not start.
    """
    return _FINDER.boxes(pixels)


def blacken(pixels: npt.NDArray[np.uint8], boxes: Sequence[PixelBox]) -> npt.NDArray[np.uint8]:
    """Return the pixels with these boxes set to black."""
    if not boxes:
        return pixels
    black = pixels.copy()
    for x_min, y_min, x_max, y_max in boxes:
        black[y_min:y_max, x_min:x_max] = 0
    return black


class _Finder:
    """A process that is started on demand, and replaced when it is old or was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pictures = 0

    def boxes(self, pixels: npt.NDArray[np.uint8]) -> tuple[PixelBox, ...]:
        """Return what `find_text` does; pictures wait for one another."""
        height, width = pixels.shape[:2]
        search = Search(height_px=height, width_px=width, channels=1 if pixels.ndim == 2 else 3)
        with self._lock:
            found = _exchange(self._ready(), search, np.ascontiguousarray(pixels).tobytes())
            self._pictures += 1
            if found is None or found.last or self._pictures >= PICTURES_MAX:
                self._end()
        if found is None or found.gave_up:
            log.warning("The search for text in a picture was given up.")
            raise ImageUnreadable(
                "The search for burned-in text took more memory or time than one picture may "
                "take, and a picture that was not searched is not kept."
            )
        return found.boxes

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
            [sys.executable, "-m", "app.images.burned_in.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept | limits | {"PYTHONPATH": str(_ROOT)},
            cwd=_ROOT,
            start_new_session=True,
        )
        self._pictures = 0
        timer = threading.Timer(START_S, process.kill)
        timer.start()
        try:
            greeting = process.stdout and receive(process.stdout, _ANSWER_MAX_BYTES)
        finally:
            timer.cancel()
        if not greeting:
            self._end()
            raise NotReady("The process that finds burned-in text does not start; see the log.")
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    log.debug("The process ended before its pipe was emptied.")
        process.wait()


def _exchange(process: subprocess.Popen[bytes], search: Search, data: bytes) -> Found | None:
    """Send one picture and return the reply.

    None: the process ended, was killed at the time limit, or sent an invalid reply.
    """
    if process.stdin is None or process.stdout is None:
        return None
    timer = threading.Timer(SEARCH_S, process.kill)
    timer.start()
    try:
        send(process.stdin, search, data)
        reply = receive(process.stdout, _ANSWER_MAX_BYTES)
        return None if reply is None else Found.model_validate_json(reply[0])
    except (OSError, ValidationError):
        return None
    finally:
        timer.cancel()


_FINDER = _Finder()
atexit.register(_FINDER.close)
