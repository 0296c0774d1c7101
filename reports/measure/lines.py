"""Directions, distances and fitted lines, in the unit of a scale; pure functions.

Angles are taken after both axes are scaled: in pixels that are not square, a direction differs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.errors import NotMeasurable
from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import SQUARE_PX, Scale, Segment
from reports.model import Point, Ring

_Points = npt.NDArray[np.float64]

_MOST_SAMPLES = 200
"""Theil-Sen compares every pair of points: beyond this many, they are thinned out evenly."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """The line y = `slope` · x + `intercept`, seen from `x_min` to `x_max`; in the scale's unit."""

    slope: float
    intercept: float
    x_min: float
    x_max: float
    scale: Scale

    @property
    def inclination_deg(self) -> float:
        """Angle to the horizontal; positive where the line gets deeper to the right."""
        return math.degrees(math.atan(self.slope))

    def depth_at(self, x: float) -> float:
        """Return y at x, both in the unit of the scale."""
        return self.slope * x + self.intercept

    @property
    def ends(self) -> tuple[Point, Point]:
        """Both ends, in image pixels."""
        left, right = (
            (x / self.scale[0], self.depth_at(x) / self.scale[1]) for x in (self.x_min, self.x_max)
        )
        return left, right


def robust_line(points: npt.ArrayLike, scale: Scale = SQUARE_PX) -> Line:
    """Fit the line with the median slope over all pairs of points and the median intercept.

    Theil 1950 and Sen 1968 (J Am Stat Assoc 63:1379): up to 29 % of the points may be wrong.

    Args:
        points: (N, 2) in image pixels.
        scale: the size (x, y) of one pixel.

    Raises:
        NotMeasurable: there are fewer than two columns of points.
    """
    scaled = np.asarray(points, dtype=np.float64).reshape(-1, 2) * scale
    scaled = scaled[np.argsort(scaled[:, 0], kind="stable")]
    if len(scaled) > _MOST_SAMPLES:
        scaled = scaled[np.linspace(0, len(scaled) - 1, _MOST_SAMPLES).astype(int)]
    x, y = scaled.T
    if not len(x) or x[0] == x[-1]:
        raise NotMeasurable("Its outline spans too few image columns for a line.")
    from scipy.stats import theilslopes  # 0.4 s and 31 MB, which only muscle reports need.

    # The stubs know only the methods of siegelslopes.
    fit = theilslopes(y, x, method="joint")  # type: ignore[call-overload]
    return Line(
        slope=float(fit.slope),
        intercept=float(fit.intercept),
        x_min=float(x[0]),
        x_max=float(x[-1]),
        scale=scale,
    )


def turn_deg(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the turn from one direction to another, in degrees from 0 to 360.

    The positive sense is from left over down to right on the screen.
    """
    (x0, y0), (x1, y1) = np.asarray(first), np.asarray(second)
    return math.degrees(math.atan2(y0, x0) - math.atan2(y1, x1)) % 360


def axial_deg(degrees: float) -> float:
    """Return the angle between two undirected lines, in (-90, 90] degrees."""
    return 90 - (90 - degrees) % 180


def length(start: Point, end: Point, scale: Scale = SQUARE_PX) -> float:
    """Return the distance between two pixel points, in the unit of the scale."""
    return math.hypot((end[0] - start[0]) * scale[0], (end[1] - start[1]) * scale[1])


def long_axis(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> Segment:
    """Return the chord through the centroid along the principal axis, within the outline's reach.

    It runs from left to right. The principal axis is that of the second moments, as in
    `ellipse_of`.

    Raises:
        OutlineDegenerate: the outline has no area.
    """
    axis = ellipse_of(rings, scale).long
    start, end = (np.array(point) * scale for point in (axis.start, axis.end))
    centre, along = (start + end) / 2, (end - start) / np.linalg.norm(end - start)
    reach = (np.asarray(rings[0], dtype=np.float64) * scale - centre) @ along
    low, high = centre + reach.min() * along, centre + reach.max() * along
    return Segment(
        start=(float(low[0] / scale[0]), float(low[1] / scale[1])),
        end=(float(high[0] / scale[0]), float(high[1] / scale[1])),
        length=float(reach.max() - reach.min()),
    )


def first_crossing(
    start: Point, direction: npt.ArrayLike, ring: Ring, scale: Scale = SQUARE_PX
) -> Point | None:
    """Return where a ray from a pixel point first meets a ring, in pixels; None: nowhere.

    `direction` is in the unit of the scale.
    """
    origin = np.array(start) * scale
    ray = np.asarray(direction, dtype=np.float64)
    corners = np.asarray(ring, dtype=np.float64) * scale - origin
    sides = np.roll(corners, -1, axis=0) - corners
    cross = ray[0] * sides[:, 1] - ray[1] * sides[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        along_ray = (corners[:, 0] * sides[:, 1] - corners[:, 1] * sides[:, 0]) / cross
        along_side = (corners[:, 0] * ray[1] - corners[:, 1] * ray[0]) / cross
    hit = (cross != 0) & (along_ray >= 0) & (along_side >= 0) & (along_side <= 1)
    if not hit.any():
        return None
    x, y = origin + ray * along_ray[hit].min()
    return float(x / scale[0]), float(y / scale[1])


def angle_at(line: Line, through: Point, inclination_deg: float) -> tuple[Point, Point, Point]:
    """Return the sides of the acute angle that a direction makes with a line, in image pixels.

    They are a point along the direction, the corner on the line, and a point of the line. The
    corner is where the direction meets the line from `through` or, if the line is not seen there,
    straight below or above that point.
    """
    scale, turn = line.scale, math.radians(inclination_deg)
    x, y = through[0] * scale[0], through[1] * scale[1]
    along = np.array([math.cos(turn), math.sin(turn)])
    rise = along[1] - line.slope * along[0]
    corner_x = x + along[0] * (line.depth_at(x) - y) / rise if rise else x
    if not line.x_min <= corner_x <= line.x_max:
        corner_x = x
    corner = np.array([corner_x, line.depth_at(corner_x)])
    reach = float(np.hypot(x - corner[0], y - corner[1]))
    towards = np.sign(rise * (y - line.depth_at(x))) or 1.0  # to the side on which the point lies
    beside = np.array([1.0, line.slope]) / math.hypot(1.0, line.slope)
    beside *= np.sign(beside @ (towards * along)) or 1.0
    ends = (corner + reach * towards * along, corner, corner + reach * beside)
    first, middle, last = ((float(px / scale[0]), float(py / scale[1])) for px, py in ends)
    return first, middle, last


def nearest_points(one: Ring, other: Ring, scale: Scale = SQUARE_PX) -> Segment:
    """Return the shortest line between two rings' borders, from `one` to `other`, in pixels."""
    first = _nearest_to_sides(one, other, scale)
    second = _nearest_to_sides(other, one, scale)
    if first.length <= second.length:
        return first
    return Segment(start=second.end, end=second.start, length=second.length)


def within(point: Point, ring: Ring) -> bool:
    """Return whether a point lies inside a ring (even-odd rule)."""
    x, y = np.asarray(ring, dtype=np.float64).T
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    spans = (y > point[1]) != (y_next > point[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = x + (point[1] - y) * (x_next - x) / (y_next - y)
    return bool(np.count_nonzero(spans & (crossing > point[0])) % 2)


def _nearest_to_sides(corners: Ring, ring: Ring, scale: Scale) -> Segment:
    """Return the shortest line from a corner of one ring to a side of the other."""
    points = np.asarray(corners, dtype=np.float64) * scale
    starts = np.asarray(ring, dtype=np.float64) * scale
    sides = np.roll(starts, -1, axis=0) - starts
    squared = np.maximum((sides**2).sum(axis=1), 1e-18)
    offsets = points[:, None] - starts[None]  # (N, M, 2)
    share = np.clip((offsets * sides).sum(axis=2) / squared, 0, 1)
    feet = starts + share[..., None] * sides
    apart = np.linalg.norm(points[:, None] - feet, axis=2)
    corner, side = np.unravel_index(int(apart.argmin()), apart.shape)
    start, end = points[corner] / scale, feet[corner, side] / scale
    return Segment(
        start=(float(start[0]), float(start[1])),
        end=(float(end[0]), float(end[1])),
        length=float(apart[corner, side]),
    )
