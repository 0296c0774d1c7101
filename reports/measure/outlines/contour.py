"""Outlines as evenly spaced points: hull, smoothness and distance from an ellipse."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from reports.errors import OutlineDegenerate
from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import SQUARE_PX, Scale, area, convex_hull
from reports.model import Ring

_Points = npt.NDArray[np.float64]

POINTS = 512
"""Points by which an outline is resampled: one is finer than a pixel of any structure here."""

COARSE, FINE = 1 / 20, 1 / 100
"""Standard deviations of two smoothings, as shares of the outline's length.

Of waves along the outline the coarse one keeps half the height where four go round and nothing
where ten do, so that an oval with a few gentle bulges stays itself. The fine one removes what
comes from the pixel raster.
"""


def resampled(ring: Ring | _Points, scale: Scale = SQUARE_PX, points: int = POINTS) -> _Points:
    """Return (points, 2) evenly spaced points along a ring, in the unit of the scale.

    Raises:
        OutlineDegenerate: the ring has no length.
    """
    corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2) * scale
    closed = np.concatenate([corners, corners[:1]])
    lengths = np.linalg.norm(np.diff(closed, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if not along[-1] > 0:
        raise OutlineDegenerate("The outline has no length.")
    at = np.arange(points) * along[-1] / points
    return np.stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)], axis=1)


def solidity(rings: Sequence[Ring]) -> float:
    """Return the share of its convex hull that the outer ring covers: 1 where it has no bay.

    Raises:
        OutlineDegenerate: the outer ring has no area.
    """
    hull = convex_hull(np.asarray(rings[0], dtype=np.float64))
    corners: Ring = tuple((float(x), float(y)) for x, y in hull)
    return area(rings[:1]) / area((corners,))


def hole_share(rings: Sequence[Ring]) -> float:
    """Return the share of the outer ring's area that its holes take.

    Raises:
        OutlineDegenerate: the outer ring has no area.
    """
    outer = area(rings[:1])
    if not outer > 0:
        raise OutlineDegenerate("The outline has no area.")
    return 1 - area(rings) / outer


def ellipse_residual(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> float:
    """Return how far the outer ring is from its ellipse: 0 for an ellipse, 0.11 for a rectangle.

    The ellipse is `ellipse_of`. It is stretched into a circle of radius 1, and the outline with it;
    the residual is the root mean square of the points' distances from that circle.

    Raises:
        OutlineDegenerate: the outer ring has no area.
    """
    radii = np.linalg.norm(_rounded(rings, scale), axis=1)
    return float(np.sqrt(np.mean((radii - 1) ** 2)))


def roughness(rings: Sequence[Ring], scale: Scale = SQUARE_PX) -> float:
    """Return how far the outer ring is from its smoothed self: 0 for an ellipse.

    It is stretched as for `ellipse_residual`. The roughness is the root mean square of the
    distances between evenly spaced points of the outline, freed of the pixel raster, and the same
    points after a coarser smoothing; 1 is the radius of the circle.

    Raises:
        OutlineDegenerate: the outer ring has no area.
    """
    points = resampled(_rounded(rings, scale))
    apart = _smoothed(points, FINE) - _smoothed(points, COARSE)
    return float(np.sqrt((apart**2).sum(axis=1).mean()))


def _rounded(rings: Sequence[Ring], scale: Scale) -> _Points:
    """Return (N, 2) points of the outer ring, stretched so that its ellipse is the unit circle."""
    ellipse = ellipse_of(rings, scale)
    centre = np.array(ellipse.centre) * scale
    axes = np.stack(
        [
            (np.array(axis.end) - axis.start) * scale * 2 / axis.length**2
            for axis in (ellipse.long, ellipse.short)
        ]
    )
    stretched: _Points = (resampled(rings[0], scale) - centre) @ axes.T
    return stretched


def _smoothed(points: _Points, by: float) -> _Points:
    """Return the ring smoothed by a Gaussian, and grown again as much as a circle shrinks by it."""
    centre = points.mean(axis=0)
    smooth = ndimage.gaussian_filter1d(points, by * len(points), axis=0, mode="wrap")
    grown: _Points = centre + (smooth - centre) / float(np.exp(-((2 * np.pi * by) ** 2) / 2))
    return grown
