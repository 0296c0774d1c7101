"""Scale bars off the anatomy: millimetres where they are proven, else pixels."""

from dataclasses import dataclass

from reports.forms.overlay.placing import Board
from reports.model import Box, ImageInfo, Spacing

NICE_MM = (1, 2, 5, 10, 20, 50, 100, 200)
NICE_PX = (10, 20, 50, 100, 200, 500, 1000, 2000)
WIDEST, TALLEST = 0.25, 0.45
"""Most of its region that a bar may take, as shares of width and height."""

SAME = 0.01
"""Spacings this near, as a share, need no bar of their own for the depth."""


@dataclass(frozen=True, kw_only=True)
class ScaleBar:
    """A corner in image pixels, and how far a length reaches from it to the right and upwards.

    `depth_px` is 0 where the length is as long in depth as across.
    """

    x: float
    y: float
    across_px: float
    depth_px: float
    text: str
    text_at: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class _Length:
    across_px: float
    depth_px: float
    text: str


def scale_bars(image: ImageInfo, board: Board, width_of_text: float) -> tuple[ScaleBar, ...]:
    """Return a bar for each region whose spacing is proven; without any, one in pixels.

    Each stands in a corner that holds no structure, or under the image; its place is taken.
    `width_of_text` is the most that a bar's text takes, in heights of a line.
    """
    whole: Box = (0, 0, image.width_px, image.height_px)
    proven = [(region.box, region.spacing_mm) for region in image.regions if region.spacing_mm]
    if not image.regions and image.spacing_mm:
        proven = [(whole, image.spacing_mm)]
    bars = [(box, _in_mm(box, spacing)) for box, spacing in proven] or [(whole, _in_px(whole))]
    several = len(image.regions) > 1
    return tuple(
        _placed(box, length, board, width_of_text, f" (region {place})" if several else "")
        for place, (box, length) in enumerate(bars, start=1)
        if length is not None
    )


def _in_mm(box: Box, spacing: Spacing) -> _Length | None:
    wide, tall = box[2] - box[0], box[3] - box[1]
    equal = abs(spacing.x / spacing.y - 1) < SAME
    for length in reversed(NICE_MM):
        across, depth = length / spacing.x, length / spacing.y
        if across <= WIDEST * wide and depth <= TALLEST * tall:
            return _Length(across_px=across, depth_px=0.0 if equal else depth, text=f"{length} mm")
    return None


def _in_px(box: Box) -> _Length | None:
    for length in reversed(NICE_PX):
        if length <= WIDEST * (box[2] - box[0]):
            return _Length(across_px=float(length), depth_px=0.0, text=f"{length} px")
    return None


def _placed(
    region: Box, length: _Length, board: Board, width_of_text: float, named: str
) -> ScaleBar:
    """Return the bar in the first free corner of its region, else in the first room below."""
    line = board.line
    wide = max(length.across_px, width_of_text * line) + 0.4 * line
    tall = length.depth_px + 1.5 * line
    inset = 0.5 * line
    left, right = region[0] + inset, region[2] - inset - wide
    top, bottom = region[1] + inset, region[3] - inset - tall
    corners = ((left, bottom), (right, bottom), (left, top), (right, top))
    for x, y in corners:
        box = (x, y, x + wide, y + tall)
        if x >= region[0] and y >= region[1] and board.is_free(box, bar=True):
            return _bar(box, length, board, length.text)
    y = board.height + 0.3 * line
    while not board.is_free((inset, y, inset + wide, y + tall), bar=True):
        y += 0.5 * line
    return _bar((inset, y, inset + wide, y + tall), length, board, length.text + named)


def _bar(box: Box, length: _Length, board: Board, text: str) -> ScaleBar:
    board.fill(box)
    line = board.line
    x, y = box[0] + 0.2 * line, box[3] - 0.3 * line
    inside = length.depth_px > 0
    return ScaleBar(
        x=x,
        y=y,
        across_px=length.across_px,
        depth_px=length.depth_px,
        text=text,
        text_at=(x + (0.4 * line if inside else 0.0), y - 0.4 * line),
    )
