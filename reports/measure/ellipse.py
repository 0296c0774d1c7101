"""Ellipses that stand for outlines, their axes and their circumference; pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ellipe

from reports.errors import OutlineDegenerate
from reports.measure.geometry import SQUARE_PX, Scale, Segment
from reports.model import Point, Ring

_Points = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ellipse:
    """An ellipse; end points and centre in image pixels, lengths in the unit of the scale.

    `fill` is the outline's area ÷ the ellipse's: 1 for an ellipse, and smaller the less the outline
    resembles one.
    """

    centre: Point
    long: Segment
    short: Segment
    circumference: float
    fill: float

    @property
    def elongation(self) -> float:
        """Long axis ÷ short axis."""
        return self.long.length / self.short.length


def ellipse_of(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> Ellipse:
    """Return the ellipse with the second moments of the area inside the outer ring.

    The moments are the polygon's own (Green's theorem; Steger 1996, "On the calculation of
    arbitrary moments of polygons"), not those of a raster. A semi-axis is twice the standard
    deviation along it, as for a filled ellipse. Holes are filled: the border that counts is the
    outer one.

    Raises:
        OutlineDegenerate: the outer ring has no area, or all of it on one line.
    """
    points = np.asarray(rings[0], dtype=np.float64) * scale
    area, mean, covariance = _moments(points)
    variances, directions = np.linalg.eigh(covariance)  # ascending
    if variances[0] <= 1e-9 * variances[1]:
        raise OutlineDegenerate("The outline has no width, so that no ellipse fits it.")
    short, long = (2 * math.sqrt(float(value)) for value in variances)
    return Ellipse(
        centre=_pixel(mean, scale),
        long=_axis(mean, directions[:, 1] * long, scale),
        short=_axis(mean, directions[:, 0] * short, scale),
        circumference=circumference(long, short),
        fill=area / (math.pi * long * short),
    )


def circumference(long: float, short: float) -> float:
    """Return the exact circumference of an ellipse with these semi-axes: 4·a·E(m), m = 1 - (b/a)².

    E is the complete elliptic integral of the second kind (Abramowitz and Stegun 1964, 17.3.3).
    """
    return float(4 * long * ellipe(1 - (short / long) ** 2))


def _moments(points: _Points) -> tuple[float, _Points, _Points]:
    """Return area, centroid (2,) and covariance (2, 2) of the inside of a closed polygon (N, 2)."""
    origin = points.mean(axis=0)
    x, y = (points - origin).T
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    cross = x * y_next - x_next * y
    area = float(cross.sum()) / 2
    if len(points) < 3 or abs(area) <= 1e-12:
        raise OutlineDegenerate("The outline has no area, so that no ellipse fits it.")
    mean = np.array([((x + x_next) * cross).sum(), ((y + y_next) * cross).sum()]) / (6 * area)
    xx = ((x * x + x * x_next + x_next * x_next) * cross).sum() / (12 * area)
    yy = ((y * y + y * y_next + y_next * y_next) * cross).sum() / (12 * area)
    mixed = x * y_next + 2 * x * y + 2 * x_next * y_next + x_next * y
    xy = (mixed * cross).sum() / (24 * area)
    covariance = np.array([[xx, xy], [xy, yy]]) - np.outer(mean, mean)
    return abs(area), mean + origin, covariance


def _axis(mean: _Points, half: _Points, scale: Scale) -> Segment:
    """Return the axis from left to right, or from top to bottom if it is vertical."""
    if (half[0], half[1]) < (0.0, 0.0):
        half = -half
    return Segment(
        start=_pixel(mean - half, scale),
        end=_pixel(mean + half, scale),
        length=2 * float(np.linalg.norm(half)),
    )


def _pixel(point: _Points, scale: Scale) -> Point:
    return float(point[0] / scale[0]), float(point[1] / scale[1])
