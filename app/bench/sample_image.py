"""The image that a bench analyses: drawn, one megapixel, answered by all three breast specialists.

Variants of it differ in one corner, so that each is new to every cache.
"""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import PIL.Image

from app.bench.results import SIDE_PX
from app.errors import NotReady
from planner.case import Case
from specialists.image import Image, image_of
from specialists.phantom.draw import Options, draw
from specialists.phantom.tissue import Lesion

TOOLS = ("breast_lesion_det", "breast_lesion", "breast_2cls")
"""The three specialists of the breast analysis that the performance target is about."""

SEEDS = 20
"""Images that are drawn at most, until all three specialists answer one."""


class Subject:
    """One drawn image, and any number of unseen variants that cost the same to analyse.

    A variant differs from the image in four pixels of one corner.
    """

    def __init__(self, analyse: Callable[[Image], Case]) -> None:
        self._pixels, self.case = _find_answered(analyse)
        self.specialists = tuple(
            record.step.action for record in self.case.records if record.result is not None
        )
        self._marks = 0
        self._lock = threading.Lock()

    def fresh(self) -> Image:
        """Return an unseen variant."""
        return image_of(self._mark_next())

    def png(self) -> bytes:
        """Return an unseen variant as a PNG file."""
        file = io.BytesIO()
        PIL.Image.fromarray(self._mark_next()).save(file, format="PNG", compress_level=1)
        return file.getvalue()

    def pngs(self, count: int) -> list[bytes]:
        """Return `count` unseen variants as PNG files."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda _: self.png(), range(count)))

    def _mark_next(self) -> npt.NDArray[np.uint8]:
        with self._lock:
            self._marks += 1
            mark = self._marks
        pixels = self._pixels.copy()
        pixels[0, :4] = np.frombuffer(mark.to_bytes(4, "big"), np.uint8)
        return pixels


def _find_answered(analyse: Callable[[Image], Case]) -> tuple[npt.NDArray[np.uint8], Case]:
    """Draw images until all three specialists answer one; return its pixels and its analysis.

    Raises:
        NotReady: none of `SEEDS` images is answered by all three, or one of them is not installed.
    """
    for seed in range(SEEDS):
        options = Options(lesion=Lesion.BENIGN)
        drawn = draw("breast", seed=seed, height_px=SIDE_PX, width_px=SIDE_PX, options=options)
        case = analyse(image_of(drawn.pixels))
        answered = {record.step.action for record in case.records if record.result is not None}
        if answered >= set(TOOLS):
            return drawn.pixels, case
    raise NotReady(
        f"None of {SEEDS} drawn images is analysed by {', '.join(TOOLS)}: nothing to measure."
    )
