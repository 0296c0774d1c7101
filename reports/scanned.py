"""Pixels → the outline of the area that was scanned, so that nothing is measured at its edge unawares."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from reports.geometry import convex_hull
from reports.model import Point, Ring

DARK = 8
"""Grey values up to this one are background: JPEG noise beside a black background stays below it."""

FINE_PX = 256
"""Longer sides are thinned to at most this many rows or columns: an edge needs no more."""

LEAST_SHARE = 0.1
"""A smaller bright area is not the field of view, but text, or an image that shows next to nothing."""


def scanned_outline(pixels: npt.NDArray[np.uint8]) -> Ring | None:
    """The convex hull of the largest connected area of (H, W) pixels that shows any echo; None without one.

    A sector's hull follows its sides and its far arc. Its near arc is bridged by a chord, so that "inside the
    hull" does not prove "scanned" there. It is right to within one step of the thinned raster.
    """
    step = -(-max(pixels.shape) // FINE_PX)
    shown = _mostly(pixels[::step, ::step] > DARK)
    reach = max(1, round(max(shown.shape) / 100))  # bridges shadows and the gaps between echoes
    padded = np.pad(shown, 2 * reach, mode="edge")
    padded = _shrunk(_grown(padded, reach), reach)
    padded = _grown(_shrunk(padded, reach), reach)  # drops ticks, text and the grey bar
    shown = padded[2 * reach : -2 * reach, 2 * reach : -2 * reach]
    labels, count = ndimage.label(shown)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())[1:]
    largest = labels == int(sizes.argmax()) + 1
    if sizes.max() < LEAST_SHARE * shown.size:
        return None
    rows = np.flatnonzero(largest.any(axis=1))
    first = largest[rows].argmax(axis=1)
    last = largest.shape[1] - largest[rows, ::-1].argmax(axis=1)
    corners = [(x, y) for x in (first, last) for y in (rows, rows + 1)]  # no other is on the hull
    points = np.concatenate([np.stack(pair, axis=1) for pair in corners]).astype(np.float64)
    height, width = pixels.shape
    hull = np.minimum(convex_hull(points) * step, (width, height))
    return tuple(_point(corner) for corner in hull)


def unknown() -> Ring | None:
    """No outline: of a case whose pixels are not at hand."""
    return None


def _mostly(shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether most of each pixel's 3 × 3 neighbours are set: the median of what was compared, compared."""
    height, width = shown.shape
    padded = np.pad(shown, 1, mode="symmetric").astype(np.uint8)
    rows = padded[:height] + padded[1 : height + 1] + padded[2:]
    count = rows[:, :width] + rows[:, 1 : width + 1] + rows[:, 2:]
    return np.asarray(count > 4)


def _grown(shown: npt.NDArray[np.bool_], times: int) -> npt.NDArray[np.bool_]:
    """What is set, and what lies within so many steps up, down, left or right of it."""
    for _ in range(times):
        grown = shown.copy()
        grown[1:] |= shown[:-1]
        grown[:-1] |= shown[1:]
        grown[:, 1:] |= shown[:, :-1]
        grown[:, :-1] |= shown[:, 1:]
        shown = grown
    return shown


def _shrunk(shown: npt.NDArray[np.bool_], times: int) -> npt.NDArray[np.bool_]:
    """What is still set when that many steps are taken from everywhere that is not, outside included."""
    for _ in range(times):
        left = shown.copy()
        left[1:] &= shown[:-1]
        left[:-1] &= shown[1:]
        left[:, 1:] &= shown[:, :-1]
        left[:, :-1] &= shown[:, 1:]
        left[[0, -1]], left[:, [0, -1]] = False, False
        shown = left
    return shown


def edge_distance(point: Point, outline: Ring) -> float:
    """Pixels from a point to the nearest side of a convex outline; negative outside of it."""
    corners = np.asarray(outline, dtype=np.float64)
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(sides, axis=1)
    offsets = np.asarray(point) - corners
    depth = (sides[:, 0] * offsets[:, 1] - sides[:, 1] * offsets[:, 0]) / lengths
    return float(depth.min())


def _point(corner: npt.NDArray[np.float64]) -> Point:
    return float(corner[0]), float(corner[1])
