"""Finds, removes and moves burnt-in marks of an ultrasound image.

Marks are caliper crosses, dotted lines and letters. The finder relies on one property: print is
white, thin in the horizontal direction, and abrupt, whereas bright tissue lies in layers that are
wide. It misses grey and worn marks, and takes single bright specks for marks; `docs/experiments.md`
states how often.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import (
    binary_dilation,
    find_objects,
    grey_opening,
    label,
    maximum_filter,
    uniform_filter,
)

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

STROKE_PX = 7
"""Width that no stroke of print reaches, at the size of the stored images."""

WHITE, ABRUPT = 150, 75
"""Grey of a stroke, and how much it stands out from what lies beside it."""

LEAST_PX = 5
"""Fewest pixels of a mark; fewer are a speck."""

REACH_PX, CHAIN = 4, 12
"""Distance of a dot from the next one of its line, and most dots that follow a found stroke."""

MARGIN_PX = 2
"""Margin that is filled around a stroke, where compression smeared it."""

AROUND_PX = 8
"""Margin around a mark from which its filling is computed."""

ROUNDS = 120
"""Rounds of the filling; over gaps this small it has converged by then."""


def marks(pixels: Grey) -> Mask:
    """Return a (H, W) mask of marks, their smeared edges included."""
    values = pixels.astype(np.int16)
    narrow = values - grey_opening(values, size=(1, STROKE_PX))
    strokes = (narrow >= ABRUPT) & (values >= WHITE)
    joined, _ = label(binary_dilation(strokes, np.ones((3, 3), np.bool_)))
    kept = np.zeros_like(strokes)
    for index, where in enumerate(find_objects(joined), start=1):
        part = strokes[where] & (joined[where] == index)
        if _printed(values[where], part):
            kept[where] |= part
    kept = _grown(kept, values)
    found: Mask = maximum_filter(kept.astype(np.uint8), 2 * MARGIN_PX + 1) > 0
    return found


def _grown(kept: Mask, values: npt.NDArray[np.int16]) -> Mask:
    """Return the strokes with the level arms and the dots that continue them."""
    thin = values - grey_opening(values, size=(STROKE_PX, STROKE_PX)) >= ABRUPT
    low = values - grey_opening(values, size=(5, 1)) >= ABRUPT
    dots = thin & low & (values >= WHITE)
    for _ in range(CHAIN):
        near = maximum_filter(kept.astype(np.uint8), 2 * REACH_PX + 1) > 0
        longer = kept | (dots & near)
        if (longer == kept).all():
            break
        kept = longer
    return kept


def _printed(values: npt.NDArray[np.int16], part: Mask) -> bool:
    """Return whether a group of strokes is as tall as print and as white throughout."""
    if int(part.sum()) < LEAST_PX:
        return False
    rows = np.flatnonzero(part.any(1))
    tall = rows[-1] - rows[0] + 1
    wide = int(part.any(0).sum())
    return bool(tall >= 4 and tall >= wide / 12 and np.median(values[part]) >= WHITE + 20)


def without(pixels: Grey, where: Mask) -> Grey:
    """Return the image with that part filled from its surroundings.

    It is filled by diffusion, and speckled like its surroundings.
    """
    if not where.any():
        return pixels
    filled = pixels.copy()
    near = maximum_filter(where.astype(np.uint8), 2 * AROUND_PX + 1) > 0
    for part in find_objects(label(near)[0]):
        filled[part] = _filled(pixels[part], where[part])
    return filled


def _filled(pixels: Grey, where: Mask) -> Grey:
    values = pixels.astype(np.float64)
    around = (maximum_filter(where.astype(np.uint8), 9) > 0) & ~where
    if not around.any():  # nothing but marks: nothing to fill them from
        return pixels
    values[where] = values[around].mean()
    for _ in range(ROUNDS):
        values[where] = uniform_filter(values, 3)[where]
    texture = pixels - uniform_filter(pixels.astype(np.float64), 5)
    speckle = texture[around]
    speckle = speckle[
        np.abs(speckle) <= np.quantile(np.abs(speckle), 0.9)
    ]  # without dots that were missed
    rng = np.random.default_rng(int(where.sum()))
    values[where] += rng.choice(speckle, int(where.sum()))
    filled: Grey = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return filled


def pasted(pixels: Grey, source: Grey, where: Mask) -> Grey:
    """Return the image with the marks of `source` at the same relative place, in the same size."""
    out = pixels.copy()
    height, width = pixels.shape
    y, x = np.nonzero(where)
    row = np.minimum((y - y.min()) + _shift(y, source.shape[0], height), height - 1)
    column = np.minimum((x - x.min()) + _shift(x, source.shape[1], width), width - 1)
    out[row, column] = np.maximum(out[row, column], source[y, x])
    return out


def _shift(positions: npt.NDArray[np.int64], source: int, target: int) -> int:
    """Return where the first position lands, so that their middle keeps its place in the image."""
    middle = (positions.min() + positions.max() + 1) / 2 / source * target
    length = positions.max() + 1 - positions.min()
    return int(np.clip(round(middle - length / 2), 0, max(0, target - length)))
