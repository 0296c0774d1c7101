"""Angle of progression, the station it corresponds to, and head–symphysis distance.

The orientation is assumed: the end of the symphysis that lies further right in the image is the
inferior one, as in the training set psfhs (Chen 2024, Scientific Data 11:436). A mirrored probe
inverts it, which the image does not show, so that every report states the assumption.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.geometry import SQUARE_PX, Scale, Segment, in_widths
from reports.measure.lines import first_crossing, length, long_axis, turn_deg, within
from reports.measure.numbers import (
    DEGREES,
    NOT_AVAILABLE,
    Calibration,
    Number,
    Seen,
    angle_reason,
    at_image_edge,
    calibration_for,
    reason_of,
    square_note,
)
from reports.measure.scan_area import edge_distance
from reports.model import ImageInfo, NamedPoint, Point, PointsEvidence, Ring

POINTS = "points:aop"
MASK = "mask:head_symphysis"
SYMPHYSIS = "pubic symphysis"
HEAD = "fetal head"
AOP = "angle of progression"
HSD = "head–symphysis distance"
STATION = "head station"
CENTIMETRES = "cm"

FAR, NEAR, TANGENT = "symphysis far end", "symphysis near end", "tangent point"

NEAR_EDGE = 0.01
"""A tangent point this near to the scanned area's edge, or beyond it, is where the view ends.

It is a share of the image's longer side. 2.2 % of the labels in psfhs are that near; nearly all
others lie more than 4 of 256 px inside.
"""

LEAST_SYMPHYSIS = 0.05
"""Length of the symphysis below which its direction is a guess.

It is a share of the image's longer side; the shortest in psfhs has 0.14.
"""

AOP_DEG = (40.0, 220.0)
"""The angles of psfhs's labels (59° to 210°), with a margin on both sides."""

STATION_CM = (-3.0, 5.0)
"""The head stations, in cm, for which the relation to the angle is tabulated.

They are those of the ISUOG guideline 2018, Ultrasound Obstet Gynecol 52:128.
"""

STATION_FORMULA = (
    "head station = 0.0937·angle of progression − 10.911 cm, 0 at the ischial spines, positive "
    "below them (Tutschek 2011, BJOG 118:62)"
)

AOP_FORMULA = (
    "angle at the inferior end of the symphysis, between its long axis and the tangent to the "
    "fetal skull; the end of the symphysis further right in the image is taken as inferior"
)
HSD_FORMULA = (
    "distance from the inferior end of the symphysis to the fetal skull along the infrapubic "
    "line, which is perpendicular to the symphysis' long axis (Youssef 2013, Ultrasound Obstet "
    "Gynecol 41:419)"
)


@dataclass(frozen=True, kw_only=True)
class Progression:
    """An angle of progression, and its three points in image pixels."""

    far: Point
    near: Point
    tangent: Point
    deg: float


def progression_numbers(seen: Seen) -> tuple[Number, ...]:
    """Measure the angle and its station from the landmarks, and the distance from the outlines.

    Each is measured only where its slot was answered.
    """
    points = seen.points(POINTS)
    angle = () if points is None else _angle_and_station(points, seen)
    return (*angle, *_distance(seen))


def progression_of_points(
    points: Sequence[NamedPoint], image: ImageInfo, scanned: Ring | None
) -> Progression:
    """Return the angle from the three landmarks.

    They are scaled to mm where the image states its spacing, else to the widths of a pixel.

    Raises:
        NotMeasurable: a landmark was not located, the tangent point lies where the view ends, or
            the points contradict the assumed orientation or each other.
    """
    places: dict[str, Point] = {point.name: (point.x, point.y) for point in points}
    missing = [name for name in (FAR, NEAR, TANGENT) if name not in places]
    if missing:
        raise NotMeasurable(f"Not located: {', '.join(missing)}.")
    far, near, tangent = places[FAR], places[NEAR], places[TANGENT]
    if near[0] <= far[0]:
        raise NotMeasurable(
            "The symphysis' inferior end was located left of its superior end, "
            "against the assumed orientation."
        )
    scale = calibration_for(image, (far, near, tangent)).scale
    widths = in_widths(scale)
    longer_side = max(image.width_px, image.height_px * widths[1])
    if length(far, near, widths) < LEAST_SYMPHYSIS * longer_side:
        raise NotMeasurable("The symphysis' ends were located too close together for a direction.")
    if at_image_edge([tangent], image):
        raise NotMeasurable(
            "The tangent point lies on the image's edge, where the skull is cut off."
        )
    if scanned is not None and edge_distance(tangent, scanned, widths) < NEAR_EDGE * longer_side:
        raise NotMeasurable(
            "The tangent point lies on the edge of the scanned area, where the skull is cut off."
        )
    degrees = turn_deg(_from(near, far, scale), _from(near, tangent, scale))
    return _plausible(Progression(far=far, near=near, tangent=tangent, deg=degrees))


def progression_of_outlines(
    symphysis: Sequence[Ring], head: Sequence[Ring], scale: Scale = SQUARE_PX
) -> Progression:
    """Return the angle between the symphysis' principal axis and the tangent to the head.

    Of the two tangents it is that with the larger angle. Barbera 2009, Ultrasound Obstet Gynecol
    33:313, defines the angle.

    Raises:
        NotMeasurable: the symphysis' end lies inside the head.
        OutlineDegenerate: the symphysis has no area.
    """
    axis = long_axis(symphysis, scale)
    far, near = axis.start, axis.end
    if within(near, head[0]):
        raise NotMeasurable("The outlined symphysis reaches into the outlined head.")
    back = _from(near, far, scale)
    corners = (np.asarray(head[0], dtype=np.float64) - near) * scale
    middle = turn_deg(back, corners.mean(axis=0))
    # Relative to the head's middle, so that no corner's angle jumps from 360 to 0 degrees.
    turns = [middle + (turn_deg(back, corner) - middle + 180) % 360 - 180 for corner in corners]
    widest = int(np.argmax(turns))
    return _plausible(
        Progression(far=far, near=near, tangent=head[0][widest], deg=float(turns[widest]))
    )


def infrapubic_distance(
    symphysis: Sequence[Ring], head: Sequence[Ring], scale: Scale = SQUARE_PX
) -> Segment:
    """Return the line from the symphysis' inferior end to the head, perpendicular to its long axis.

    Youssef 2013, Ultrasound Obstet Gynecol 41:419 to 424.

    Raises:
        NotMeasurable: the line does not meet the head, or starts inside of it.
        OutlineDegenerate: the symphysis has no area.
    """
    axis = long_axis(symphysis, scale)
    far, near = axis.start, axis.end
    if within(near, head[0]):
        raise NotMeasurable("The outlined symphysis reaches into the outlined head.")
    back = _from(near, far, scale)
    down = (back[1], -back[0])  # a quarter turn from left to down
    met = first_crossing(near, down, head[0], scale)
    if met is None:
        raise NotMeasurable(
            "The infrapubic line, perpendicular to the symphysis at its inferior end, "
            "does not meet the outlined head."
        )
    return Segment(start=near, end=met, length=length(near, met, scale))


def head_station_cm(aop_deg: float, calibration: Calibration) -> float:
    """Return the head station that an angle of progression corresponds to, in cm.

    0 is at the ischial spines, positive below them. Tutschek 2011, BJOG 118:62: 0.0937·angle −
    10.911 (coefficients read second-hand: `docs/formulas.md`). It is the angle again in
    another unit, and no measurement of its own: where pixels are not square the angle itself is
    wrong by degrees, and the station by half a centimetre.

    Args:
        aop_deg: the angle of progression.
        calibration: of the three landmarks.

    Raises:
        NotMeasurable: the pixels' aspect is only assumed, or no such station is tabulated.
    """
    if calibration.square_assumed:
        raise NotMeasurable(
            f"{NOT_AVAILABLE}: it needs the true shape of the pixels, which are only assumed to be "
            f"square, since {calibration.why}."
        )
    station = _station(aop_deg)
    low, high = STATION_CM
    if not low - 0.05 <= station <= high + 0.05:
        raise NotMeasurable(
            f"An angle of {aop_deg:.0f}° corresponds to no station from {low:.0f} to "
            f"+{high:.0f} cm, for which the relation is known.".replace("-", "−")
        )
    return station


def _station(aop_deg: float) -> float:
    return 0.0937 * aop_deg - 10.911


def _from(start: Point, end: Point, scale: Scale) -> Point:
    return (end[0] - start[0]) * scale[0], (end[1] - start[1]) * scale[1]


def _plausible(found: Progression) -> Progression:
    low, high = AOP_DEG
    if not math.isfinite(found.deg) or not low <= found.deg <= high:
        raise NotMeasurable(
            f"An angle of {found.deg:.0f}° is implausible (expected {low:.0f}° to {high:.0f}°)."
        )
    return found


def _angle_and_station(points: PointsEvidence, seen: Seen) -> tuple[Number, Number]:
    calibration = calibration_for(seen.image, [(point.x, point.y) for point in points.points])
    found: Progression | None = None
    try:
        found = progression_of_points(points.points, seen.image, seen.scanned())
        reason = angle_reason(calibration)
    except NotMeasurable as error:
        reason = str(error)
    angle = Number(
        name=AOP,
        value=found.deg if found else None,
        unit=DEGREES,
        formula=AOP_FORMULA + square_note(calibration),
        reason=reason,
        rests_on=(points,),
        drawn=(
            (f"{AOP}, {FAR}", found.far),
            (f"{AOP}, {NEAR}", found.near),
            (f"{AOP}, {TANGENT}", found.tangent),
        )
        if found
        else (),
    )
    return angle, _head_station(angle, calibration)


def _head_station(angle: Number, calibration: Calibration) -> Number:
    station: float | None = None
    try:
        if angle.value is None:
            raise NotMeasurable(f"It follows from the angle of progression. {angle.reason}")
        station, reason = head_station_cm(angle.value, calibration), ""
    except NotMeasurable as error:
        reason = str(error)
    return Number(
        name=STATION,
        value=station,
        unit=CENTIMETRES,
        formula=STATION_FORMULA,
        reason=reason,
        rests_on=angle.rests_on,
        least=None,
        follows=(AOP, _station),
    )


def _distance(seen: Seen) -> tuple[Number, ...]:
    """Measure from the largest symphysis to the largest head; none where neither was outlined."""
    pubis, skull = seen.largest(MASK, SYMPHYSIS), seen.largest(MASK, HEAD)
    both = tuple(mask for mask in (pubis, skull) if mask is not None)
    if not both:
        return ()
    calibration = calibration_for(seen.image, [p for mask in both for p in mask.polygons[0]])
    line: Segment | None = None
    try:
        if pubis is None or skull is None:
            absent = HEAD if pubis else SYMPHYSIS
            raise NotMeasurable(f"The segmentation outlined no {absent}.")
        line = infrapubic_distance(pubis.polygons, skull.polygons, calibration.scale)
        if at_image_edge([line.start, line.end], seen.image):
            raise NotMeasurable("It ends at the image's edge, where the outline is cut off.")
        reason = reason_of(calibration)
    except (NotMeasurable, OutlineDegenerate) as error:
        line, reason = None, str(error)
    return (
        Number(
            name=HSD,
            value=line.length if line else None,
            unit=calibration.unit,
            formula=HSD_FORMULA,
            reason=reason,
            rests_on=both,
            drawn=((f"{HSD}, symphysis", line.start), (f"{HSD}, head", line.end)) if line else (),
        ),
    )
