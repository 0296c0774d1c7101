"""The image that a bench analyses: drawn, one megapixel, answered by all three breast specialists; and copies that nobody has seen."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import PIL.Image

from app.bench.figures import SIDE_PX
from app.errors import NotReady
from planner.case import Case
from specialists.image import Image, image_of
from specialists.phantom import Options, draw
from specialists.phantom_tissue import Lesion

TOOLS = ("breast_lesion_det", "breast_lesion", "breast_2cls")
"""The three specialists of a breast analysis that the target speaks of."""

SEEDS = 20
"""Drawn images that are tried until one is analysed by all three."""


class Subject:
    """One drawn image, and any number that differ from it in a corner: nobody has seen them, and they cost the same."""

    def __init__(self, analyse: Callable[[Image], Case]) -> None:
        self._pixels, self.case = _answered(analyse)
        self.specialists = tuple(
            record.step.action for record in self.case.records if record.result is not None
        )
        self._marks = 0
        self._lock = threading.Lock()

    def fresh(self) -> Image:
        """An image that nobody has seen."""
        return image_of(self._marked())

    def png(self) -> bytes:
        """The file of one that nobody has seen."""
        file = io.BytesIO()
        PIL.Image.fromarray(self._marked()).save(file, format="PNG", compress_level=1)
        return file.getvalue()

    def pngs(self, count: int) -> list[bytes]:
        """As many such files."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda _: self.png(), range(count)))

    def _marked(self) -> npt.NDArray[np.uint8]:
        with self._lock:
            self._marks += 1
            mark = self._marks
        pixels = self._pixels.copy()
        pixels[0, :4] = np.frombuffer(mark.to_bytes(4, "big"), np.uint8)
        return pixels


def _answered(analyse: Callable[[Image], Case]) -> tuple[npt.NDArray[np.uint8], Case]:
    """A drawn image that all three specialists answer for, and its analysis.

    Raises:
        NotReady: there is none, or one of them is not installed.
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
