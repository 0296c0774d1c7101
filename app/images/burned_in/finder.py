"""Finding of burned-in text in a separate process, and its blackening."""

import atexit
import hashlib
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from app.errors import ImageUnreadable, SettingsError
from app.images.burned_in.messages import Found, GaveUp, PixelBox, Search
from app.images.isolated.process import IsolatedProcess
from specialists.errors import PictureUnreadable

log = logging.getLogger(__name__)

FindText = Callable[[npt.NDArray[np.uint8]], tuple[PixelBox, ...]]
"""Returns the places of text in (H, W) or (H, W, 3) pixels."""

START_S = 120.0
"""Time limit for the start of the process, which loads two networks, on a machine that is busy."""

SEARCH_S = 60.0
"""Time limit for one picture; a full screen of text takes about two seconds."""

PICTURES_MAX = 500
"""Pictures per process; then a fresh one replaces it, so that nothing it leaked stays."""

CHILD = (sys.executable, "-m", "app.images.burned_in.child")
"""The command that starts the process."""

_REASONS: Mapping[GaveUp, str] = {
    "memory": "needs more memory than one picture may take",
    "failure": "failed on this picture",
}


def text_finder(wanted: bool) -> FindText | None:
    """Return what finds text in pictures; None where it is not wanted.

    Raises:
        SettingsError: it is wanted, and the package that reads text is not installed.
    """
    if not wanted:
        return None
    if any(importlib.util.find_spec(name) is None for name in ("rapidocr", "cv2", "openvino")):
        raise SettingsError(
            "What finds burned-in text is not installed: pip install 'ustri[ocr]', or take "
            "pictures as they are (USTRI_BLACKEN_TEXT=false; a command without --blacken-text)."
        )
    return find_text


def find_text(pixels: npt.NDArray[np.uint8]) -> tuple[PixelBox, ...]:
    """Return the places of text in (H, W) or (H, W, 3) pixels that are to be blackened.

    Raises:
        ImageUnreadable: the search takes more memory or time than one picture may take, or fails.
        NotReady: the process does not start.
    """
    return _FINDER.boxes(pixels)


class Blackener:
    """Blackens the text of a training's images, and remembers where it was in each of them.

    A training reads its images several times; what was found once is not searched for again.
    """

    def __init__(self, find_text: FindText = find_text) -> None:
        self._find = find_text
        self._known: dict[bytes, tuple[PixelBox, ...]] = {}

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return (H, W) or (H, W, 3) pixels with their text set to black.

        Raises:
            PictureUnreadable: the search for text is given up.
            NotReady: the process that finds text does not start.
        """
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        key = digest.digest()
        if key not in self._known:
            try:
                self._known[key] = self._find(pixels)
            except ImageUnreadable as error:
                raise PictureUnreadable(str(error)) from error
        return blacken(pixels, self._known[key])


def blacken(pixels: npt.NDArray[np.uint8], boxes: Sequence[PixelBox]) -> npt.NDArray[np.uint8]:
    """Return the pixels with these boxes set to black."""
    if not boxes:
        return pixels
    black = pixels.copy()
    for x_min, y_min, x_max, y_max in boxes:
        black[y_min:y_max, x_min:x_max] = 0
    return black


class TextFinder:
    """A process that finds text; a fresh one replaces it when it is old or was ended."""

    def __init__(self, command: Sequence[str] = CHILD, search_s: float = SEARCH_S) -> None:
        self._search_s = search_s
        self._lock = threading.Lock()
        self._process = IsolatedProcess(command, does="finds burned-in text", start_s=START_S)
        self._pictures = 0

    @property
    def pid(self) -> int | None:
        """The number of the running process; None where none runs."""
        return self._process.pid

    def boxes(self, pixels: npt.NDArray[np.uint8]) -> tuple[PixelBox, ...]:
        """Return what `find_text` does; pictures wait for one another.

        A process that ends without an answer, killed by whoever needed its memory, is replaced
        once.
        """
        height, width = pixels.shape[:2]
        search = Search(height_px=height, width_px=width, channels=1 if pixels.ndim == 2 else 3)
        data = np.ascontiguousarray(pixels).tobytes()
        with self._lock:
            found = self._search(search, data) or self._search(search, data)
        if found is None:
            raise _give_up("ended twice without an answer")
        if found.gave_up is not None:
            raise _give_up(_REASONS[found.gave_up])
        return found.boxes

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._process.end()

    def _search(self, search: Search, data: bytes) -> Found | None:
        """Send one picture and return the answer; None where the process ended or sent none.

        Raises:
            ImageUnreadable: the time limit was reached.
            NotReady: the process does not start.
        """
        if self._process.start():
            self._pictures = 0
        reply = self._process.exchange(search, data, Found, timeout_s=self._search_s)
        self._pictures += 1
        if reply.answer is None or reply.answer.last or self._pictures >= PICTURES_MAX:
            self._process.end()
        if reply.timed_out:
            raise _give_up(f"was ended after {self._search_s:g} s")
        return reply.answer


def _give_up(why: str) -> ImageUnreadable:
    log.warning("The search for text in a picture %s.", why)
    return ImageUnreadable(
        f"The search for burned-in text {why}, and a picture that was not searched is not kept."
    )


_FINDER = TextFinder()
atexit.register(_FINDER.close)
