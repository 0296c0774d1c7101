"""The outline of the scanned area of an image, so that measurements at its edge are noticed."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from reports.measure.geometry import SQUARE_PX, Scale, convex_hull
from reports.model import Point, Ring

DARK = 8
"""Grey values up to this one are background: JPEG noise on a black background stays below it."""

FINE_PX = 256
"""Longer sides are thinned to at most this many rows or columns: an edge needs no more."""

LEAST_SHARE = 0.1
"""A bright area of a smaller share is not the field of view, but text or a nearly empty image."""


def scanned_outline(pixels: npt.NDArray[np.uint8]) -> Ring | None:
    """Return the convex hull of the largest connected area of (H, W) pixels with any echo.

    A sector's hull follows its sides and its far arc. Its near arc is bridged by a chord, so that
    "inside the hull" does not prove "scanned" there. It is exact to one step of the thinned raster.
    None: no area is large enough.
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


def unknown() -> None:
    """Return None: where a case has no pixels at hand, what follows from them is unknown."""


def _mostly(shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which pixels have most of their 3 × 3 neighbourhood set.

    This equals comparing the median-filtered image with the threshold.
    """
    height, width = shown.shape
    padded = np.pad(shown, 1, mode="symmetric").astype(np.uint8)
    rows = padded[:height] + padded[1 : height + 1] + padded[2:]
    count = rows[:, :width] + rows[:, 1 : width + 1] + rows[:, 2:]
    return np.asarray(count > 4)


def _grown(shown: npt.NDArray[np.bool_], times: int) -> npt.NDArray[np.bool_]:
    """Dilate the mask by `times` pixels up, down, left and right."""
    for _ in range(times):
        grown = shown.copy()
        grown[1:] |= shown[:-1]
        grown[:-1] |= shown[1:]
        grown[:, 1:] |= shown[:, :-1]
        grown[:, :-1] |= shown[:, 1:]
        shown = grown
    return shown


def _shrunk(shown: npt.NDArray[np.bool_], times: int) -> npt.NDArray[np.bool_]:
    """Erode the mask by `times` pixels up, down, left and right; the outside counts as not set."""
    for _ in range(times):
        left = shown.copy()
        left[1:] &= shown[:-1]
        left[:-1] &= shown[1:]
        left[:, 1:] &= shown[:, :-1]
        left[:, :-1] &= shown[:, 1:]
        left[[0, -1]], left[:, [0, -1]] = False, False
        shown = left
    return shown


def edge_distance(point: Point, outline: Ring, scale: Scale = SQUARE_PX) -> float:
    """Return the distance from a point to a convex outline; negative outside of it."""
    corners = np.asarray(outline, dtype=np.float64) * scale
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.linalg.norm(sides, axis=1)
    offsets = np.asarray(point) * scale - corners
    depth = (sides[:, 0] * offsets[:, 1] - sides[:, 1] * offsets[:, 0]) / lengths
    return float(depth.min())


def _point(corner: npt.NDArray[np.float64]) -> Point:
    return float(corner[0]), float(corner[1])
