"""Whether an outline can be the structure that it is said to be: number, size, shape and place.

Each reason is a clause for a reader. A reason flags: it never changes a number or takes it away.
The ranges are those of people's outlines with a margin (`ustri evaluate plausibility` fits them
again; `docs/experiments.md` holds how many true outlines they flag).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from reports.errors import OutlineDegenerate
from reports.measure import head, progression
from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import area, box_iou, box_of, in_widths
from reports.measure.lines import nearest_points, within
from reports.measure.numbers import Seen, calibration_for
from reports.measure.outlines.contour import ellipse_residual, hole_share, solidity
from reports.measure.outlines.ranges import EXPECTED, Expected, Span
from reports.model import Box, ImageInfo, NamedPoint, Ring

LEAST_PART = 0.05
"""Share of a structure's area below which a part is a crumb, and no part to be counted."""

LEAST_BOX_IOU = 0.5
"""Overlap from which a box and an outline show the same thing (Everingham 2010, section 4.2)."""

MOST_OFF = 0.06
"""How far a landmark may lie from the border that it belongs on, as a share of the longer side.

Twice the mean error of the shipped head landmarks (11.9 of 448 px); labels lie within 0.003 (axes
of hc18) and 0.022 (symphysis' ends and tangent point of psfhs).
"""

CAVUM_LEAST_HC_MM = 99.0
"""Head circumference below which no cavum septi pellucidi is expected.

It is the third centile at 15 weeks (INTERGROWTH-21st). Falco 2000, Ultrasound Obstet Gynecol
16:549, saw the cavum in 40 % of fetuses at 15 weeks, and in all of them from 18 to 37 weeks.
"""

CAVUM_LEAST_BPD_MM = 31.0
"""Biparietal diameter of the smallest heads in which Falco 2000 saw a cavum, in a third of them."""

CAVUM_SHARE: Span = (0.05, 0.25)
"""Longer side of a cavum's box ÷ longer side of the brain's box.

0.07 to 0.20 in the train rows of fetal_head_tv (Alzubaidi 2023), with a margin.
"""

VENTRICLE_SHARE: Span = (0.04, 0.27)
"""Longer side of a lateral ventricle's box ÷ the brain's: 0.05 to 0.22 in fetal_head_tv."""

INNER_SHARES: Mapping[str, Span] = {
    "cavum septi pellucidi": CAVUM_SHARE,
    "lateral ventricle": VENTRICLE_SHARE,
}
"""How long a structure's box may be within the brain's box, by its label."""

ON_BORDER: Mapping[str, tuple[str, tuple[str, ...]]] = {
    head.HEAD: ("points:head_axes", (*head.LONG_ENDS, *head.SHORT_ENDS)),
    progression.SYMPHYSIS: (progression.POINTS, (progression.FAR, progression.NEAR)),
    progression.HEAD: (progression.POINTS, (progression.TANGENT,)),
}
"""The slot and the names of the landmarks that belong on a structure's border, by its label."""


class Fault(StrEnum):
    """What is implausible of a structure."""

    PARTS = "parts"
    PIECES = "pieces"
    SIZE = "size"
    BAY = "bay"
    HOLE = "hole"
    ELLIPSE = "ellipse"
    ELONGATION = "elongation"
    POSITION = "position"
    BOX = "box"
    LANDMARK = "landmark"
    AGE = "age"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a structure is implausible: its kind, and a clause that a reader understands."""

    fault: Fault
    clause: str


@dataclass(frozen=True, kw_only=True)
class Features:
    """What plausibility is judged by, of one structure in one image."""

    parts: int
    """Parts of at least `LEAST_PART` of the area."""
    gap: float | None
    """Least gap between two such parts ÷ the sum of their radii; None for a single part."""
    share: float
    """The area of all parts ÷ that of the scanned area, or of the image where that is unknown."""
    diameter_mm: float | None
    """Diameter of the circle of all parts' area; None without millimetres."""
    holes: float
    solidity: float
    residual: float
    elongation: float
    x: float
    """Where the centre of the largest part lies, as a share of the scanned area's width."""
    y: float
    """The same of its height."""


def implausible(
    label: str, parts: Sequence[Sequence[Ring]], image: ImageInfo, scanned: Ring | None
) -> tuple[Reason, ...]:
    """Return why the outlined parts cannot be such a structure; empty where nothing says so.

    Args:
        label: the structure, as the specialist names it; of an unknown one nothing is expected.
        parts: the outlines of all its parts, each the outer ring and its holes.
        image: the image that they lie in.
        scanned: the outline of the scanned area; None where it is unknown. One that does not hold
            the structure is no field of view, and the image counts in its place.
    """
    expected = EXPECTED.get(label)
    if expected is None or not parts:
        return ()
    try:
        seen = features_of(parts, image, scanned)
    except OutlineDegenerate:
        return (Reason(fault=Fault.SIZE, clause="the outline has no area"),)
    found = (*_number(seen, expected), _size(seen, expected), *_shape(seen, expected))
    return tuple(reason for reason in (*found, _position(seen, expected)) if reason is not None)


def implausible_in(seen: Seen, slot: str) -> dict[str, tuple[Reason, ...]]:
    """Return the reasons of a slot's structures by label; one that is plausible has none."""
    labels = dict.fromkeys(mask.label for mask in seen.masks(slot))
    return {
        label: implausible(
            label, [m.polygons for m in seen.masks(slot, label)], seen.image, seen.scanned()
        )
        for label in labels
    }


def features_of(
    parts: Sequence[Sequence[Ring]], image: ImageInfo, scanned: Ring | None
) -> Features:
    """Return what the parts of a structure are judged by.

    Raises:
        OutlineDegenerate: the largest part has no area.
    """
    ordered = sorted(parts, key=area, reverse=True)
    corners = [corner for part in ordered for corner in part[0]]
    calibration = calibration_for(image, corners)
    scale = in_widths(calibration.scale)
    total, largest = sum(area(part) for part in ordered), ordered[0]
    counted = [part for part in ordered if area(part) >= LEAST_PART * total]
    ellipse = ellipse_of(largest, scale)
    field = scanned if scanned and within(ellipse.centre, scanned) else _frame(image)
    x_min, y_min, x_max, y_max = box_of([field])
    in_mm = total * calibration.scale[0] * calibration.scale[1]
    return Features(
        parts=len(counted),
        gap=min((_gap(one, other) for one, other in combinations(counted, 2)), default=None),
        share=total / area([field]),
        diameter_mm=2 * math.sqrt(in_mm / math.pi) if calibration.unit == "mm" else None,
        holes=hole_share(largest),
        solidity=solidity(largest),
        residual=ellipse_residual(largest, scale),
        elongation=ellipse.elongation,
        x=(ellipse.centre[0] - x_min) / (x_max - x_min),
        y=(ellipse.centre[1] - y_min) / (y_max - y_min),
    )


def box_reason(parts: Sequence[Sequence[Ring]], box: Box) -> Reason | None:
    """Return that a detector's box and the extent of the outlines do not show the same thing."""
    boxes = [box_of(part) for part in parts]
    if not boxes:
        return None
    lows, highs = zip(*boxes, strict=True), zip(*boxes, strict=True)
    x_min, y_min, *_ = (min(side) for side in lows)
    *_, x_max, y_max = (max(side) for side in highs)
    overlap = box_iou((x_min, y_min, x_max, y_max), box)
    if overlap >= LEAST_BOX_IOU:
        return None
    clause = f"the outline's extent and the detector's box overlap by {_percent(overlap)} only"
    return Reason(fault=Fault.BOX, clause=clause)


def landmark_reason(
    part: Sequence[Ring],
    points: Sequence[NamedPoint],
    image: ImageInfo,
    most: float = MOST_OFF,
) -> Reason | None:
    """Return that landmarks which belong on an outline lie off it.

    Args:
        part: the structure's largest part.
        points: the landmarks that belong on its border.
        image: the image that they lie in.
        most: how far a landmark may be from the border, as a share of the image's longer side.
    """
    reach = most * max(image.width_px, image.height_px)
    off = [
        point.name
        for point in points
        if nearest_points(((point.x, point.y),), part[0]).length > reach
    ]
    if not off:
        return None
    clause = f"{len(off)} of {len(points)} landmarks lie off the outline: {', '.join(off)}"
    return Reason(fault=Fault.LANDMARK, clause=clause)


def inner_box_reason(name: str, inner: Box, outer: Box, expected: Span) -> Reason | None:
    """Return that a structure's box is too small or too large within the brain's box."""
    share = _longer(inner) / _longer(outer)
    low, high = expected
    if low <= share <= high:
        return None
    clause = (
        f"the {name} measures {_percent(share)} of the brain's length "
        f"(expected {_percent(low)} to {_percent(high)})"
    )
    return Reason(fault=Fault.SIZE, clause=clause)


def cavum_age_reason(*, hc_mm: float | None, bpd_mm: float | None) -> Reason | None:
    """Return that a head is too small to show a cavum septi pellucidi; None without millimetres."""
    if hc_mm is not None and hc_mm < CAVUM_LEAST_HC_MM:
        size = f"a head circumference of {hc_mm:.0f} mm"
    elif bpd_mm is not None and bpd_mm < CAVUM_LEAST_BPD_MM:
        size = f"a biparietal diameter of {bpd_mm:.0f} mm"
    else:
        return None
    clause = f"{size} is that of a fetus before 15 weeks, in whom no cavum is seen yet"
    return Reason(fault=Fault.AGE, clause=clause)


def _number(seen: Features, expected: Expected) -> tuple[Reason, ...]:
    low, high = expected.parts
    found = []
    if not low <= seen.parts <= high:
        usual = f"{low}" if low == high else f"{low} to {high}"
        pieces = "1 part" if seen.parts == 1 else f"{seen.parts} separate parts"
        clause = f"it was outlined in {pieces}, where {usual} would be usual"
        found.append(Reason(fault=Fault.PARTS, clause=clause))
    if expected.least_gap is not None and seen.gap is not None and seen.gap < expected.least_gap:
        clause = "two of its parts lie so close together that they may be pieces of one"
        found.append(Reason(fault=Fault.PIECES, clause=clause))
    return tuple(found)


def _size(seen: Features, expected: Expected) -> Reason | None:
    if seen.diameter_mm is not None and expected.diameter_mm is not None:
        low, high = expected.diameter_mm
        if low <= seen.diameter_mm <= high:
            return None
        clause = (
            f"it is as large as a circle of {seen.diameter_mm:.0f} mm "
            f"(expected {low:.0f} to {high:.0f} mm)"
        )
        return Reason(fault=Fault.SIZE, clause=clause)
    low, high = expected.share
    if low <= seen.share <= high:
        return None
    clause = (
        f"it covers {_percent(seen.share)} of the field "
        f"(expected {_percent(low)} to {_percent(high)})"
    )
    return Reason(fault=Fault.SIZE, clause=clause)


def _shape(seen: Features, expected: Expected) -> tuple[Reason | None, ...]:
    bay = hole = ellipse = elongation = None
    if seen.solidity < expected.least_solidity:
        clause = f"the outline has a bay: it covers {_percent(seen.solidity)} of its convex hull"
        bay = Reason(fault=Fault.BAY, clause=clause)
    if seen.holes > expected.most_holes:
        clause = f"the outline has holes: they take {_percent(seen.holes)} of it"
        hole = Reason(fault=Fault.HOLE, clause=clause)
    if expected.most_residual is not None and seen.residual > expected.most_residual:
        clause = (
            f"the outline departs from its ellipse by {_percent(seen.residual)} of the radius "
            f"(at most {_percent(expected.most_residual)} expected)"
        )
        ellipse = Reason(fault=Fault.ELLIPSE, clause=clause)
    low, high = expected.elongation
    if not low <= seen.elongation <= high:
        clause = (
            f"it is {seen.elongation:.1f} times as long as wide (expected {low:.1f} to {high:.1f})"
        )
        elongation = Reason(fault=Fault.ELONGATION, clause=clause)
    return bay, hole, ellipse, elongation


def _position(seen: Features, expected: Expected) -> Reason | None:
    sideways, down = expected.x, expected.y
    where = []
    if not sideways[0] <= seen.x <= sideways[1]:
        where.append("at the left" if seen.x < sideways[0] else "at the right")
    if not down[0] <= seen.y <= down[1]:
        where.append("at the top" if seen.y < down[0] else "at the bottom")
    if not where:
        return None
    clause = f"its centre lies {' and '.join(where)} of the field, where it is not expected"
    return Reason(fault=Fault.POSITION, clause=clause)


def _gap(one: Sequence[Ring], other: Sequence[Ring]) -> float:
    radii = sum(math.sqrt(area(part) / math.pi) for part in (one, other))
    return nearest_points(one[0], other[0]).length / radii


def _frame(image: ImageInfo) -> Ring:
    width, height = float(image.width_px), float(image.height_px)
    return (0.0, 0.0), (width, 0.0), (width, height), (0.0, height)


def _longer(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _percent(share: float) -> str:
    """Return a share as a percentage, with one decimal below 10 %."""
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"
