"""Decide which of the lines that were read in a picture are blackened.

All go but a scale's marks: bare numbers of one to three digits near an edge, read with certainty,
beside no other text. "12 03 1961" read as three numbers, or "58" before a "Y", is a line of text.
What only looks like text stays: speckle, calipers, arrows and what else holds no letter or digit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.images.burned_in.messages import PixelBox

EDGE_SHARE = 0.15
"""Width of the edge as a share of the picture's shorter side."""

CERTAIN = 0.9
"""Score from which a reading counts as certain; of a clear mark it is 0.97 and more."""

READ_MIN = 0.5
"""Score below which a detected place holds no letters, but speckle: RapidOCR's own threshold."""

SURE_TEXT = 0.8
"""Score of the detection from which a place is text although it cannot be read."""

LINE_SHARE = 0.15
"""Most that a line is high, as a share of the picture's shorter side.

A whole sector can look like a letter: of real pictures without text, hearts are read as "A" and
heads as "0". Higher text counts where it is `WORD_MIN` letters, read with certainty.
"""

WORD_MIN = 3
"""Letters from which a reading is a word; speckle and graphics are read as one or two.

Fewer, standing alone, must be two digits, which may be an age, or read with certainty: a mirrored
"60" is read as "oa", at 0.5 to 0.85.
"""

GAP_HEIGHTS = 2.0
"""Gap within a line of text in heights of a line; the marks of a scale stand further apart."""

_MARK = re.compile(r"\d{1,3}", re.ASCII)
_AGE = re.compile(r"\d\d", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A detected place: its bounds in pixels, its detection score, and what was read there."""

    box: tuple[float, float, float, float]
    detected: float
    text: str
    read: float


def blackened(lines: Sequence[Line], size_px: tuple[int, int]) -> tuple[PixelBox, ...]:
    """Return the boxes to blacken in a picture of that (height, width)."""
    texts = [line for line in lines if _may_be_text(line, size_px)]
    gone = [
        line
        for line in texts
        if (_stands_alone(line) and not _is_mark(line, size_px))
        or any(_beside(line, other) for other in texts if other is not line)
    ]
    return tuple(_grown(line.box, size_px) for line in gone)


def _may_be_text(line: Line, size_px: tuple[int, int]) -> bool:
    text = line.text.strip()
    x_min, y_min, x_max, y_max = line.box
    if min(x_max - x_min, y_max - y_min) > LINE_SHARE * min(size_px):
        return len(text) >= WORD_MIN and line.read >= CERTAIN
    return (text != "" and line.read >= READ_MIN) or line.detected >= SURE_TEXT


def _stands_alone(line: Line) -> bool:
    """Return whether a line is text although no other stands beside it."""
    letters = sum(letter.isalnum() for letter in line.text)
    if letters >= WORD_MIN or line.detected >= SURE_TEXT:
        return True
    return letters > 0 and (line.read >= CERTAIN or _AGE.fullmatch(line.text.strip()) is not None)


def _is_mark(line: Line, size_px: tuple[int, int]) -> bool:
    if _MARK.fullmatch(line.text.strip()) is None or line.read < CERTAIN:
        return False
    height, width = size_px
    x_min, y_min, x_max, y_max = line.box
    edge = EDGE_SHARE * min(height, width)
    return min(x_max, y_max, width - x_min, height - y_min) <= edge


def _beside(line: Line, other: Line) -> bool:
    """Return whether the two stand on one line, closer than words of different things do."""
    height = max(line.box[3] - line.box[1], other.box[3] - other.box[1])
    overlap = min(line.box[3], other.box[3]) - max(line.box[1], other.box[1])
    gap = max(line.box[0], other.box[0]) - min(line.box[2], other.box[2])
    return overlap >= 0.5 * height and gap <= GAP_HEIGHTS * height


def _grown(box: tuple[float, float, float, float], size_px: tuple[int, int]) -> PixelBox:
    """Return the box with a margin of an eighth of a line, for strokes that reach out of it."""
    height, width = size_px
    x_min, y_min, x_max, y_max = box
    margin = max(2.0, min(x_max - x_min, y_max - y_min) / 8)
    return (
        max(0, int(x_min - margin)),
        max(0, int(y_min - margin)),
        min(width, int(x_max + margin) + 1),
        min(height, int(y_max + margin) + 1),
    )
