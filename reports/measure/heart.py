"""Areas of the left heart, and the ventricle's long axis, from outlines in an apical view.

One frame shows the heart at one moment: no volume, no ejection fraction and no judgement of size
follows from it. Areas and lengths depend on how the view cuts the heart, foreshortened or not.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.geometry import SQUARE_PX, Scale, Segment, area
from reports.measure.numbers import (
    Number,
    Seen,
    at_image_edge,
    calibration_for,
    drawn_line,
    reason_of,
)
from reports.measure.outlines.contour import resampled
from reports.model import MaskEvidence, Ring

MASK = "mask:heart"
CAVITY, WALL, ATRIUM = "left ventricular cavity", "myocardium", "left atrium"
CAVITY_AREA = "left ventricular cavity area"
LONG_AXIS = "left ventricular long axis"
WALL_AREA = "myocardial area"
ATRIUM_AREA = "left atrial area"

NEAR_WALL = 0.1
"""Distance from the myocardium up to which the cavity's border is lined by it.

It is a share of the radius of the circle of the cavity's area; outlines of a network leave gaps.
"""

OPEN_SHARE = (0.025, 0.3)
"""Share of the cavity's border that the mitral plane takes.

0.04 to 0.18 in the labels of camus (Leclerc 2019), with a margin.
"""

MM2_PER_CM2 = 100.0
"""Areas of the heart are stated in cm² (Lang 2015)."""

_AREA_FORMULA = "area inside the outline, less its holes (shoelace formula)"
AXIS_FORMULA = (
    "distance from the middle of the mitral plane to the apex: the plane is the longest stretch of "
    "the cavity's border without myocardium beside it, its middle lies halfway between the ends of "
    "that stretch, and the apex is the point of the border furthest from there (after Lang 2015, "
    "J Am Soc Echocardiogr 28:1)"
)
_EDGE = "The outline reaches the edge of the image: the true size may be larger."

_Points = npt.NDArray[np.float64]


def heart_numbers(seen: Seen) -> tuple[Number, ...]:
    """Measure the cavity, its long axis, the myocardium and the atrium, each if it was outlined."""
    cavity, wall = seen.largest(MASK, CAVITY), seen.largest(MASK, WALL)
    atrium = seen.largest(MASK, ATRIUM)
    return (
        *_area(CAVITY_AREA, cavity, seen),
        *_long_axis(cavity, wall, seen),
        *_area(WALL_AREA, wall, seen),
        *_area(ATRIUM_AREA, atrium, seen),
    )


def ventricle_axis(
    cavity: Sequence[Ring], wall: Sequence[Ring], scale: Scale = SQUARE_PX
) -> Segment:
    """Return the line from the middle of the mitral plane to the apex of the left ventricle.

    Raises:
        NotMeasurable: the myocardium closes around the cavity or does not surround it, so that
            there is no mitral plane, or the apex is not lined by it.
        OutlineDegenerate: an outline has no area.
    """
    inside = area(cavity[:1], scale)
    if not inside > 0:
        raise OutlineDegenerate("The outline of the cavity has no area.")
    border = resampled(cavity[0], scale)
    lining = np.concatenate([resampled(ring, scale) for ring in wall])
    near = NEAR_WALL * float(np.sqrt(inside / np.pi))
    apart: _Points = np.asarray(cKDTree(lining).query(border)[0], dtype=np.float64)
    first, count = _longest_run(apart > near)
    low, high = OPEN_SHARE
    if count < low * len(border):
        raise NotMeasurable(
            "The outlined myocardium closes around the cavity: the mitral plane is not shown."
        )
    if count > high * len(border):
        raise NotMeasurable(
            "The outlined myocardium does not surround the cavity: the mitral plane is not known."
        )
    ends = border[[first, (first + count - 1) % len(border)]]
    middle = ends.mean(axis=0)
    apex = int(np.linalg.norm(border - middle, axis=1).argmax())
    if apart[apex] > near:
        raise NotMeasurable("The apex of the cavity has no myocardium beside it.")
    tip: _Points = border[apex]
    return Segment(
        start=(float(middle[0] / scale[0]), float(middle[1] / scale[1])),
        end=(float(tip[0] / scale[0]), float(tip[1] / scale[1])),
        length=float(np.linalg.norm(tip - middle)),
    )


def _longest_run(flags: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Return start and length of the longest run of true flags around a ring; (0, 0): none."""
    if flags.all():
        return 0, len(flags)
    if not flags.any():
        return 0, 0
    offset = int(np.flatnonzero(~flags)[0])
    edges = np.diff(np.concatenate([[0], np.roll(flags, -offset).astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    best = int((stops - starts).argmax())
    return (int(starts[best]) + offset) % len(flags), int(stops[best] - starts[best])


def _area(name: str, mask: MaskEvidence | None, seen: Seen) -> tuple[Number, ...]:
    if mask is None:
        return ()
    calibration = calibration_for(seen.image, mask.polygons[0])
    unit, per_unit = ("cm²", MM2_PER_CM2) if calibration.unit == "mm" else ("px²", 1.0)
    value = area(mask.polygons, calibration.scale) / per_unit
    edge = [_EDGE] if at_image_edge(mask.polygons[0], seen.image) else []
    return (
        Number(
            name=name,
            value=value or None,
            unit=unit,
            formula=_AREA_FORMULA,
            reason=reason_of(calibration, *edge) if value else "The outline has no area.",
            rests_on=(mask,),
        ),
    )


def _long_axis(
    cavity: MaskEvidence | None, wall: MaskEvidence | None, seen: Seen
) -> tuple[Number, ...]:
    if cavity is None:
        return ()
    masks = tuple(mask for mask in (cavity, wall) if mask is not None)
    calibration = calibration_for(seen.image, [p for mask in masks for p in mask.polygons[0]])
    line: Segment | None = None
    try:
        if wall is None:
            raise NotMeasurable("The segmentation outlined no myocardium.")
        line = ventricle_axis(cavity.polygons, wall.polygons, calibration.scale)
        edge = [_EDGE] if at_image_edge(cavity.polygons[0], seen.image) else []
        reason = reason_of(calibration, *edge)
    except (NotMeasurable, OutlineDegenerate) as error:
        reason = str(error)
    return (
        Number(
            name=LONG_AXIS,
            value=line.length if line else None,
            unit=calibration.unit,
            formula=AXIS_FORMULA,
            reason=reason,
            rests_on=masks,
            drawn=drawn_line(LONG_AXIS, line) if line else (),
        ),
    )
