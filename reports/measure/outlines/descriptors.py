"""Descriptors of a lesion or nodule as computed: shape, orientation, margin, echoes behind it.

Each is geometry or a mean of grey values with a stated definition; none is a category of a lexicon
and none says what a lesion is. `docs/experiments.md` holds how each relates to malignancy in our
data (`ustri evaluate descriptors`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from reports.errors import NotMeasurable
from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import SQUARE_PX, Scale, box_of, rasterize
from reports.measure.outlines.contour import ellipse_residual, roughness, solidity
from reports.model import Ring

LEAST_SOLIDITY = 0.90
"""Outline area ÷ area of its convex hull below which a shape is irregular.

With `MOST_RESIDUAL`: the least regular tenth of the benign lesions of busbra (Gómez-Flores 2024),
train rows, whose outlines are the rougher of our two breast sources.
"""

MOST_RESIDUAL = 0.11
"""Distance from the ellipse (`ellipse_residual`) above which a shape is irregular."""

MOST_ROUND = 1.2
"""Long ÷ short axis of the ellipse up to which a regular shape is round, and oval beyond it.

No lexicon gives a number. In busi and busbra, 5 % of the benign lesions are rounder.
"""

GAP = 0.05
"""Rows and columns that are left out around a lesion, as a share of its height and width.

The border of an outline is half inside the lesion.
"""

BEHIND = 0.5
"""The middle share of a lesion's width behind which the echoes are taken.

Behind the sides, refraction casts shadows at the edges of any smooth lesion.
"""

DEPTH = 1.0
"""How far behind the lesion the echoes are taken, as a share of its height."""

BESIDE = 0.5
"""Width of the strip on each side, as a share of the lesion's width."""

LEAST_DEPTH = 0.25
"""Share of a lesion's height that must be shown behind it."""

LEAST_SHOWN = 0.5
"""Share of an area that must lie in the scanned area for it to count."""


class Shape(StrEnum):
    """The shape of an outline by its ellipse and its convex hull."""

    ROUND = "round"
    OVAL = "oval"
    IRREGULAR = "irregular"


class Orientation(StrEnum):
    """Whether an outline is wider than tall, with depth along the image's y."""

    PARALLEL = "parallel"
    NOT_PARALLEL = "not parallel"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What the shape of an outline rests on; the numbers are ratios without a unit."""

    shape: Shape
    solidity: float
    residual: float
    elongation: float
    roughness: float


@dataclass(frozen=True, kw_only=True)
class PosteriorEcho:
    """Mean grey behind a lesion ÷ mean grey beside it at the same depth, and where it was taken.

    Above 1 the tissue behind is brighter than beside. Grey values are compressed by the scanner, so
    that the ratio depends on gain and dynamic range.
    """

    ratio: float
    depth_share: float
    """How far behind the lesion the field was used, as a share of its height."""
    field_ends: bool
    """Whether the scanned area ends before the depth that was asked for."""
    sides: int
    """How many sides of the lesion show tissue: 1 or 2."""

    @property
    def note(self) -> str:
        """Where the echoes were taken, as a clause."""
        sides = "both sides" if self.sides == 2 else "one side only"
        depth = f"{100 * self.depth_share:.0f} % of its height"
        ends = ", where the scanned area ends" if self.field_ends else ""
        return f"compared with {sides}, down to {depth} behind it{ends}"


def outline_of(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> Outline:
    """Return the shape of an outline and the numbers that decide it.

    Irregular: its hull is covered by less than `LEAST_SOLIDITY`, or it is further from its ellipse
    than `MOST_RESIDUAL`. Else round up to an elongation of `MOST_ROUND`, and oval beyond.

    Raises:
        OutlineDegenerate: the outline has no area.
    """
    covered, residual = solidity(rings), ellipse_residual(rings, scale)
    elongation = ellipse_of(rings, scale).elongation
    if covered < LEAST_SOLIDITY or residual > MOST_RESIDUAL:
        shape = Shape.IRREGULAR
    else:
        shape = Shape.ROUND if elongation <= MOST_ROUND else Shape.OVAL
    return Outline(
        shape=shape,
        solidity=covered,
        residual=residual,
        elongation=elongation,
        roughness=roughness(rings, scale),
    )


def orientation(interval: tuple[float, float] | None) -> Orientation:
    """Return the orientation by the interval of the taller-than-wide ratio.

    It is undetermined where the interval crosses 1, and where there is none to go by.
    """
    if interval is None:
        return Orientation.UNDETERMINED
    low, high = interval
    if high < 1:
        return Orientation.PARALLEL
    return Orientation.NOT_PARALLEL if low > 1 else Orientation.UNDETERMINED


def posterior_echo(
    pixels: npt.NDArray[np.uint8], rings: Sequence[Ring], scanned: Ring | None
) -> PosteriorEcho:
    """Compare the echoes behind a lesion with those beside it at the same depth.

    The beam is taken to run down the image's columns, as of a linear probe.

    Args:
        pixels: (H, W) grey values of the image.
        rings: the lesion's outline in image pixels.
        scanned: the outline of the scanned area; None where it is unknown.

    Raises:
        NotMeasurable: the scanned area is unknown, ends behind the lesion, shows no tissue beside
            it or is black there.
    """
    if scanned is None:
        raise NotMeasurable("Where the scanned area ends is not known.")
    height, width = pixels.shape
    shown = rasterize([scanned], width, height)
    x_min, y_min, x_max, y_max = box_of(rings)
    wide, tall = x_max - x_min, y_max - y_min
    if not (wide > 0 and tall > 0):
        raise NotMeasurable("The outline has no area.")
    top = y_max + GAP * tall
    inset = (1 - BEHIND) / 2 * wide
    behind = _span(x_min + inset, x_max - inset, width)
    rows, ends = _rows_shown(shown[:, behind], top, top + DEPTH * tall)
    depth = (rows.stop - rows.start) / tall
    if depth < LEAST_DEPTH:
        raise NotMeasurable(
            "The scanned area ends behind the lesion: too little of it is shown there."
        )
    strip = (GAP * wide, (GAP + BESIDE) * wide)
    sides = [
        _span(x_min - strip[1], x_min - strip[0], width),
        _span(x_max + strip[0], x_max + strip[1], width),
    ]
    # A strip that the image cuts counts by the part that it would have.
    whole = BESIDE * wide * (rows.stop - rows.start)
    kept = [side for side in sides if shown[rows, side].sum() >= LEAST_SHOWN * whole]
    if not kept:
        raise NotMeasurable("The scanned area shows no tissue beside the lesion at that depth.")
    beside = np.concatenate([pixels[rows, side][shown[rows, side]] for side in kept])
    if not beside.mean() > 0:
        raise NotMeasurable("The image is black beside the lesion at that depth.")
    return PosteriorEcho(
        ratio=float(pixels[rows, behind][shown[rows, behind]].mean() / beside.mean()),
        depth_share=depth,
        field_ends=ends,
        sides=len(kept),
    )


def _span(start: float, stop: float, size: int) -> slice:
    """Return the pixels whose centres lie between two positions, within the image."""
    first, last = (min(max(round(end), 0), size) for end in (start, stop))
    return slice(first, max(last, first))


def _rows_shown(shown: npt.NDArray[np.bool_], start: float, stop: float) -> tuple[slice, bool]:
    """Return the rows from `start` on that the scanned area shows, and whether it ends first."""
    wanted = _span(start, stop, len(shown))
    if not shown.shape[1]:
        return slice(wanted.start, wanted.start), True
    enough = shown[wanted].mean(axis=1) >= LEAST_SHOWN
    count = len(enough) if enough.all() else int(np.argmin(enough))
    return slice(wanted.start, wanted.start + count), count < round(stop - start) - 1
