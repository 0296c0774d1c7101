"""Fascicle length, extrapolated along a straight line to both aponeuroses.

A fascicle is rarely shown whole. Its line and the lines of the two aponeuroses are taken to be
straight, and its length is the distance between their crossings, whether the image shows them or
not: the linear extrapolation of Blazevich 2006 (J Anat 209:289), whose error grows with the part
that is not seen (Kwah 2013, J Appl Physiol 114:761, reviews it).
"""

import math

import numpy as np

from reports.errors import NotMeasurable
from reports.measure.geometry import Segment
from reports.measure.lines import Line, axial_deg
from reports.measure.muscle import APONEUROSIS, FASCICLE, Layers, Pennation, layers_of, pennation
from reports.measure.numbers import Number, Seen, calibration_for, drawn_line, reason_of
from reports.model import ImageInfo, Point

FASCICLE_LENGTH = "fascicle length"

LEAST_ANGLE_DEG = 5.0
"""The angle between fascicles and an aponeurosis below which their crossing is not known.

An error of 1° in an angle of 5° moves the crossing by a fifth of the length.
"""

MOST_MULTIPLE = 2.0
"""The length ÷ the part of it inside the image above which it is a guess: half must be seen."""

LENGTH_FORMULA = (
    "distance between the crossings of the fascicles' line (their median angle, through the middle "
    "of the fragments) with the lines through both aponeuroses' inner edges (linear extrapolation, "
    "Blazevich 2006, J Anat 209:289)"
)


def fascicle_length(layers: Layers, fascicles: Pennation, image: ImageInfo) -> Segment:
    """Return the line from the superficial to the deep aponeurosis along the fascicles.

    Its ends may lie outside of the image. Its length is in the unit of the layers' scale.

    Raises:
        NotMeasurable: the fascicles run nearly along an aponeurosis, or too little of the length is
            shown.
    """
    scale = layers.deep.scale
    centre = np.array(fascicles.centre) * scale
    turn = math.radians(fascicles.inclination_deg)
    along = np.array([math.cos(turn), math.sin(turn)])
    ends = []
    for line in (layers.superficial, layers.deep):
        apart = abs(axial_deg(fascicles.inclination_deg - line.inclination_deg))
        if apart < LEAST_ANGLE_DEG:
            raise NotMeasurable(
                f"The fascicles run at {apart:.0f}° to an aponeurosis, nearly along it, so that "
                "where they end is not known."
            )
        ends.append(centre + along * _distance(centre, along, line))
    start, end = (_pixel(point, scale) for point in ends)
    shown = _share_inside(start, end, image)
    if shown * MOST_MULTIPLE < 1:
        raise NotMeasurable(
            f"The image shows {100 * shown:.0f} % of the fascicles' length; "
            f"{100 / MOST_MULTIPLE:.0f} % are needed to extrapolate the rest."
        )
    return Segment(start=start, end=end, length=float(np.linalg.norm(ends[1] - ends[0])))


def length_numbers(seen: Seen) -> tuple[Number, ...]:
    """Measure the fascicle length; without outlined fascicles there is none."""
    fragments, layers = seen.masks(FASCICLE), seen.masks(APONEUROSIS)
    if not fragments:
        return ()
    corners = [corner for mask in (*layers, *fragments) for corner in mask.polygons[0]]
    calibration = calibration_for(seen.image, corners)
    line: Segment | None = None
    try:
        if not layers:
            raise NotMeasurable("The aponeuroses were not outlined.")
        found = layers_of([m.polygons for m in layers], seen.image, calibration.scale)
        fascicles = pennation([m.polygons for m in fragments], found, seen.image)
        line = fascicle_length(found, fascicles, seen.image)
        shown = _share_inside(line.start, line.end, seen.image)
        seen_part = f"The image shows {100 * shown:.0f} % of it." if shown < 0.995 else ""
        reason = reason_of(calibration, *([seen_part] if seen_part else []), *found.note)
    except NotMeasurable as error:
        reason = str(error)
    return (
        Number(
            name=FASCICLE_LENGTH,
            value=line.length if line else None,
            unit=calibration.unit,
            formula=LENGTH_FORMULA,
            reason=reason,
            rests_on=(*fragments, *layers),
            drawn=drawn_line(FASCICLE_LENGTH, line) if line else (),
        ),
    )


def _distance(centre: np.ndarray, along: np.ndarray, line: Line) -> float:
    """Return how far along a direction from the centre the line is crossed; negative behind it."""
    x, y = centre
    return float((line.depth_at(x) - y) / (along[1] - line.slope * along[0]))


def _share_inside(start: Point, end: Point, image: ImageInfo) -> float:
    """Return the share of a line, between image pixels, that lies within the image."""
    first, last = 0.0, 1.0
    for at, to, size in zip(start, end, (image.width_px, image.height_px), strict=True):
        if at == to:
            if not 0 <= at <= size:
                return 0.0
            continue
        one, other = (0 - at) / (to - at), (size - at) / (to - at)
        first, last = max(first, min(one, other)), min(last, max(one, other))
    return max(last - first, 0.0)


def _pixel(point: np.ndarray, scale: tuple[float, float]) -> Point:
    return float(point[0] / scale[0]), float(point[1] / scale[1])
