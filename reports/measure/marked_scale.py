"""Millimetres from two points of a known distance that a reader marks on an image without any."""

import math
from collections.abc import Sequence

from reports.errors import PointsUnusable, SpacingKnown
from reports.measure.geometry import SQUARE_PX, Scale, inside
from reports.measure.intervals import EXACT, ScaleError
from reports.model import ImageInfo, Point, ReaderCalibration, Region, Spacing

SOURCE = "two points of a known distance, marked by the reader"
"""The source of such a spacing, as the report states it."""

MOST_ERROR = 0.1
"""The largest error of a marked distance, as a share of it; points that are nearer are refused."""

LEAST_ERROR_PX = 0.5
"""No click is taken for more exact than this, however large the image was displayed."""


def calibrate(image: ImageInfo, marked: ReaderCalibration) -> ImageInfo:
    """Return the image with the spacing that follows from the marked points.

    A distance in pixels is measured in widths of a pixel; where the source states no ratio of a
    pixel's sides, pixels are taken to be square. Of an image with regions, the one that holds both
    points is calibrated.

    Raises:
        SpacingKnown: the image's source states millimetres.
        PointsUnusable: a point lies outside the image or its region, or the points are too near.
    """
    if states_spacing(image):
        raise SpacingKnown(
            f"The image states its millimetres itself ({image.spacing_source}); "
            "a reader's two points would contradict it."
        )
    box = (0.0, 0.0, float(image.width_px), float(image.height_px))
    if not inside(marked.points, box):
        raise PointsUnusable(
            f"Both points must lie in the image, from (0, 0) to ({image.width_px}, "
            f"{image.height_px})."
        )
    scale = _widths(image)
    apart, error = _apart(marked.points, scale), _error(marked, scale)
    if apart * MOST_ERROR < error:
        raise PointsUnusable(
            f"The points are {apart:.1f} px apart; mark two that are at least "
            f"{math.ceil(error / MOST_ERROR)} px apart, so that the scale is known to "
            f"{100 * MOST_ERROR:.0f} %."
        )
    across = marked.distance_mm / apart
    spacing = Spacing(x=across * scale[0], y=across * scale[1])
    regions = _regions(image.regions, marked.points, spacing)
    return image.model_copy(
        update={
            "regions": regions,
            "spacing_mm": spacing if len(regions) < 2 else None,
            "spacing_source": SOURCE,
            "spacing_reason": None,
            "reader_calibration": marked,
        }
    )


def states_spacing(image: ImageInfo) -> bool:
    """Return whether the source of an image states millimetres for any part of it."""
    if image.reader_calibration is not None:
        return False
    return image.spacing_mm is not None or any(part.spacing_mm for part in image.regions)


def click_error(display_scale: float) -> float:
    """Return how far a click may lie from what it is meant for: a displayed pixel, in image pixels.

    Args:
        display_scale: displayed pixels per pixel of the image, while the points were marked.
    """
    return max(1 / display_scale, LEAST_ERROR_PX)


def scale_error(image: ImageInfo) -> ScaleError:
    """Return how far a length may differ by the error of the two clicks, as multiples of it.

    Both points may lie `e` pixels from where the reader meant them, along the line between them
    and away from, or towards, each other. Of points that are `d` pixels apart the true distance is
    between `d - 2e` and `d + 2e`, and a true length between `d / (d + 2e)` and `d / (d - 2e)` times
    the measured one. An interval whose ends are multiplied so (an area's by the square) holds at
    least as often as before, if no click errs by more than `e`.
    """
    marked = image.reader_calibration
    if marked is None:
        return EXACT
    scale = _widths(image)
    apart, error = _apart(marked.points, scale), _error(marked, scale)
    return apart / (apart + error), apart / (apart - error)


def _widths(image: ImageInfo) -> Scale:
    """Return a pixel's (width, height) in widths of a pixel."""
    return SQUARE_PX if image.aspect_ratio is None else (1.0, image.aspect_ratio)


def _apart(points: Sequence[Point], scale: Scale) -> float:
    (x, y), (other_x, other_y) = points
    return math.hypot((x - other_x) * scale[0], (y - other_y) * scale[1])


def _error(marked: ReaderCalibration, scale: Scale) -> float:
    """Return the most that the distance may err by, in widths of a pixel."""
    return 2 * marked.error_px * max(scale)


def _regions(
    regions: tuple[Region, ...], points: Sequence[Point], spacing: Spacing
) -> tuple[Region, ...]:
    held = [inside(points, region.box) for region in regions]
    if regions and not any(held):
        raise PointsUnusable("Both points must lie in one of the image's analysed regions.")
    return tuple(
        region.model_copy(update={"spacing_mm": spacing}) if holds else region
        for region, holds in zip(regions, held, strict=True)
    )
