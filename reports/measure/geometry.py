"""Lengths, areas, boxes and masks of outlines in image pixels.

The functions are pure, so that a corrected outline can be measured again anywhere. Each that
returns a length or an area takes `scale`, the size (x, y) of one pixel, and scales both axes
before it measures, since pixels need not be square. A scale of (1, 1) measures in pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.errors import OutlineDegenerate
from reports.model import Box, Point, Ring

Scale = tuple[float, float]
"""The size (x, y) of one pixel, in mm per pixel, or (1, 1) for pixels."""

SQUARE_PX: Scale = (1.0, 1.0)


def in_widths(scale: Scale) -> Scale:
    """Return the scale in which lengths are in widths of a pixel, true in every direction."""
    return 1.0, scale[1] / scale[0]


_Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A straight line between two points in image pixels; `length` is in the unit of the scale."""

    start: Point
    end: Point
    length: float


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The longest line through an outline's convex hull, and the longest perpendicular to it."""

    long: Segment
    short: Segment


def area(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> float:
    """Return the area of the first ring less the holes that follow, in the scale's unit squared."""
    outer, *holes = (abs(_shoelace(ring)) for ring in rings)
    return (outer - sum(holes)) * scale[0] * scale[1]


def size_px2(rings: Sequence[Ring]) -> float:
    """Return the area in pixels by which outlines are ordered.

    It is rounded, so that outlines of one size keep their order on every processor.
    """
    return round(area(rings), 6)


def long_and_short_axis(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> Axes:
    """Find the outer ring's maximum Feret diameter and the longest chord of its hull across it.

    Both end on the convex hull, so that what is drawn is what is measured. They are perpendicular
    after scaling, which need not look so in pixels.

    Raises:
        OutlineDegenerate: the outer ring has no area.
    """
    hull = convex_hull(np.asarray(rings[0], dtype=np.float64) * scale)
    x, y = hull.T
    apart = np.sqrt(np.subtract.outer(x, x) ** 2 + np.subtract.outer(y, y) ** 2)  # (N, N)
    first, last = np.unravel_index(int(np.argmax(apart)), apart.shape)
    length = float(apart[first, last])
    along = (hull[last] - hull[first]) / length
    across = np.array([-along[1], along[0]])
    low, high = _widest_chord((hull - hull[first]) @ np.stack([along, across], axis=1))
    back = np.stack([along, across])
    return Axes(
        long=_segment(hull[first], hull[last], scale),
        short=_segment(low @ back + hull[first], high @ back + hull[first], scale),
    )


def extent(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> tuple[float, float]:
    """Return the width and height of the box around the outer ring, in the scale's unit."""
    x_min, y_min, x_max, y_max = box_of(rings)
    return (x_max - x_min) * scale[0], (y_max - y_min) * scale[1]


def box_of(rings: Sequence[Ring]) -> Box:
    """Return the smallest box around the outer ring."""
    xs, ys = zip(*rings[0], strict=True)
    return (min(xs), min(ys), max(xs), max(ys))


def box_iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes; 0 where they do not overlap."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = _box_area(one) + _box_area(other) - shared
    return shared / union if union > 0 else 0.0


def inside(points: Iterable[Point], box: Box) -> bool:
    """Return whether every point lies in the box or on its edge."""
    return all(box[0] <= x <= box[2] and box[1] <= y <= box[3] for x, y in points)


def rasterize(rings: Sequence[Ring | _Points], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return (height, width) bool: the pixels whose centres are inside by the even-odd rule."""
    edges = np.concatenate([np.empty((0, 4)), *(_edges(ring) for ring in rings)])
    edge, row = _rows_crossed(edges[:, 1], edges[:, 3], height)
    inside = np.zeros((height, width), dtype=np.bool_)
    if not len(row):
        return inside
    x0, y0, x1, y1 = edges[edge].T
    x = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    top, left = int(row.min()), int(column.min())
    tall, wide = int(row.max()) + 1 - top, int(column.max()) + 1 - left
    odd = np.zeros((tall, wide), dtype=np.bool_)  # only around the edges: the rest stays false
    np.logical_xor.at(odd.ravel(), (row - top) * wide + (column - left), True)
    np.logical_xor.accumulate(odd, axis=1, out=odd)
    inside[top : top + tall, left : left + wide] = odd[:, : width - left]
    return inside


def _edges(ring: Ring | _Points) -> _Points:
    """Return (N, 4) x0, y0, x1, y1 of a ring's edges."""
    points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    return np.concatenate([points, _following(points)], axis=1)


def _rows_crossed(
    y0: npt.NDArray[np.float64], y1: npt.NDArray[np.float64], height: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return edge and row index of each crossing of an edge with a line through pixel centres."""
    first, stop = (
        np.clip(np.ceil(bound(y0, y1) - 0.5), 0, height).astype(np.int64)
        for bound in (np.minimum, np.maximum)
    )
    counts = stop - first
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    return edge, row


def _shoelace(ring: Ring) -> float:
    x, y = np.asarray(ring, dtype=np.float64).T
    # Relative to the first point: far from the origin the products would lose digits.
    x, y = x - x[0], y - y[0]
    return float(np.dot(x, _following(y)) - np.dot(y, _following(x))) / 2


def _following(corners: _Points) -> _Points:
    """Return for each corner of a ring the next one; `np.roll` takes several times as long."""
    return np.concatenate([corners[1:], corners[:1]])


def _box_area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def convex_hull(points: _Points) -> _Points:
    """Return the (N, 2) corners of the convex hull in order (Andrew's monotone chain).

    Raises:
        OutlineDegenerate: the points have no area.
    """
    ordered = _outermost(points)
    hull = _half_hull(ordered)[:-1] + _half_hull(ordered[::-1])[:-1]
    if len(hull) < 3:
        raise OutlineDegenerate("The outline has no area, so that it has no axes.")
    return np.array(hull)


def _outermost(points: _Points) -> list[Point]:
    """Return the lowest and the highest point at each x, in order: no other can be a corner."""
    if not len(points):
        return []
    x, y = points[np.lexsort((points[:, 1], points[:, 0]))].T
    once = np.ones(len(x), np.bool_)
    once[1:] = (x[1:] != x[:-1]) | (y[1:] != y[:-1])
    x, y = x[once], y[once]
    another = np.ones(len(x) + 1, np.bool_)
    another[1:-1] = x[1:] != x[:-1]
    kept = another[1:] | another[:-1]
    return list(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


def _half_hull(ordered: list[Point]) -> list[Point]:
    chain: list[Point] = []
    for x, y in ordered:
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _widest_chord(hull: _Points) -> tuple[_Points, _Points]:
    """Return the ends of the longest chord across the long axis of a hull.

    `hull` is (N, 2), as positions along and across its long axis. No point lies beyond the ends of
    that axis, so that each half of the hull is a function of the position along it. Their distance
    is concave, and linear between corners: it is greatest at a corner.
    """
    positions = np.unique(hull[:, 0])
    upper = _height_at(positions, hull[hull[:, 1] >= 0])
    lower = _height_at(positions, hull[hull[:, 1] <= 0])
    at = int(np.argmax(upper - lower))
    return np.array([positions[at], lower[at]]), np.array([positions[at], upper[at]])


def _height_at(positions: _Points, chain: _Points) -> _Points:
    ends = np.array([[positions[0], 0.0], [positions[-1], 0.0]])
    chain = np.concatenate([ends, chain])
    chain = chain[np.argsort(chain[:, 0], kind="stable")]
    return np.interp(positions, chain[:, 0], chain[:, 1])


def _segment(start: _Points, end: _Points, scale: Scale) -> Segment:
    return Segment(
        start=(float(start[0] / scale[0]), float(start[1] / scale[1])),
        end=(float(end[0] / scale[0]), float(end[1] / scale[1])),
        length=float(np.linalg.norm(end - start)),
    )
