"""Burned-in text of the frames of one file: searched once where it stays in place."""

import numpy as np
import numpy.typing as npt

from app.images.burned_in.finder import FindText
from app.images.burned_in.messages import PixelBox

Boxes = tuple[PixelBox, ...]

SAMPLES = 4
"""Frames that are searched before text counts as staying in place; they lie evenly in the file."""

KNOWN_SHARE = 0.8
"""Share of a place that lies in known ones from which it is no new place."""


class CineText:
    """The places of text in frames that are given in reading order, coarse to fine.

    While the samples show text at the places of the first frame only, further frames are blackened
    there without a search; once one shows text elsewhere, every frame is searched.
    """

    def __init__(self, find_text: FindText | None) -> None:
        self._find = find_text
        self._known: Boxes = ()
        self._searched = 0
        self._moves = False

    def boxes(self, pixels: npt.NDArray[np.uint8]) -> Boxes | None:
        """Return the places to blacken in the next frame; None where no text is looked for."""
        if self._find is None:
            return None
        if self._searched >= SAMPLES and not self._moves:
            return self._known
        found = self._find(pixels)
        new = tuple(box for box in found if not _covered(box, self._known))
        self._moves = self._moves or (self._searched > 0 and new != ())
        self._searched += 1
        own = self._known + new
        if not self._moves:
            self._known = own
        return own


def _covered(box: PixelBox, known: Boxes) -> bool:
    x_min, y_min, x_max, y_max = box
    inside = np.zeros((y_max - y_min, x_max - x_min), np.bool_)
    for left, top, right, bottom in known:
        rows = slice(max(0, top - y_min), max(0, bottom - y_min))
        inside[rows, max(0, left - x_min) : max(0, right - x_min)] = True
    return bool(inside.mean() >= KNOWN_SHARE)
