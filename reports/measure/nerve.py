"""Cross-sectional areas of outlined nerves and vessels, and each nerve's distance to a vessel.

A nerve has one area, or none where its parts may be pieces of one nerve.
"""

from collections.abc import Sequence
from dataclasses import replace

from reports.errors import OutlineDegenerate
from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import area, size_px2
from reports.measure.lines import length, nearest_points
from reports.measure.numbers import (
    Number,
    Seen,
    at_image_edge,
    calibration_for,
    drawn_line,
    reason_of,
)
from reports.measure.outlines.plausibility import LEAST_PART, Fault, implausible
from reports.model import MaskEvidence

MASK = "mask:nerve_vessel"
NERVE, VESSEL = "nerve", "vessel"
NERVE_AREA = "nerve cross-sectional area"
VESSEL_AREA = "vessel cross-sectional area"
DISTANCE = "nerve–vessel distance"
GAP = "nerve–vessel gap"

MOST_MM2 = 400.0
"""The largest cross-section, in mm², of a forearm structure (a circle of 23 mm).

Beyond it, the spacing or the outline is wrong.
"""

_AREA_FORMULA = "area inside the outline, less its holes (shoelace formula)"
_DISTANCE_FORMULA = "distance between the centroids of a nerve and of the vessel nearest to it"
_GAP_FORMULA = "shortest distance between the outlines of a nerve and of the vessel nearest to it"

_SPLIT = frozenset({Fault.PARTS, Fault.PIECES})
"""Faults that leave open which parts are one nerve."""

_CUT = "The nerve or the vessel reaches the image's edge, so that its centre is not known."


def nerve_numbers(seen: Seen) -> tuple[Number, ...]:
    """Measure each nerve's and vessel's area, then each nerve's distance and gap to a vessel.

    The vessel is the one nearest to the nerve. Crumbs are left out. Where several parts may be
    pieces of one nerve, its area, distance and gap are one number each without a value, whose
    reason says so.
    """
    nerves, vessels = _parts(seen, NERVE), _parts(seen, VESSEL)
    split = _split(nerves, seen)
    areas = [section_area(NERVE_AREA, mask, seen) for mask in nerves]
    apart = [number for nerve in nerves for number in _apart(nerve, vessels, seen)]
    if split is not None:
        areas = [_unknown(areas[0], nerves, split)]
        apart = [_unknown(number, nerves, split) for number in apart[:2]]
    return (*areas, *(section_area(VESSEL_AREA, mask, seen) for mask in vessels), *apart)


def _parts(seen: Seen, label: str) -> tuple[MaskEvidence, ...]:
    """Return a structure's outlined parts, the largest first, without its crumbs."""
    masks = sorted(seen.masks(MASK, label), key=lambda m: size_px2(m.polygons), reverse=True)
    total = sum(area(mask.polygons) for mask in masks)
    return tuple(m for m in masks if area(m.polygons) >= LEAST_PART * total) or tuple(masks[:1])


def _split(nerves: Sequence[MaskEvidence], seen: Seen) -> str | None:
    """Return why it is not known which parts are one nerve, as a sentence; None where it is."""
    reasons = implausible(NERVE, [m.polygons for m in nerves], seen.image, None)
    split = [reason.clause for reason in reasons if reason.fault in _SPLIT]
    return f"Which parts are one nerve is not known: {'; '.join(split)}." if split else None


def _unknown(number: Number, nerves: tuple[MaskEvidence, ...], why: str) -> Number:
    return replace(number, value=None, reason=why, rests_on=nerves, drawn=())


def section_area(name: str, mask: MaskEvidence, seen: Seen) -> Number:
    """Measure the area of one outlined part; it is not assessed where the image cuts it off."""
    calibration = calibration_for(seen.image, mask.polygons[0])
    value: float | None = area(mask.polygons, calibration.scale)
    reason = reason_of(calibration)
    if value == 0:
        value, reason = None, "The outline has no area."
    elif at_image_edge(mask.polygons[0], seen.image):
        value, reason = None, "The outline reaches the image's edge, which cuts it off."
    elif calibration.unit == "mm" and value is not None and value > MOST_MM2:
        reason = f"An area of {value:.0f} mm² is implausible (at most {MOST_MM2:.0f} mm² expected)."
        value = None
    return Number(
        name=name,
        value=value,
        unit=f"{calibration.unit}²",
        formula=_AREA_FORMULA,
        reason=reason,
        rests_on=(mask,),
    )


def _apart(
    nerve: MaskEvidence, vessels: tuple[MaskEvidence, ...], seen: Seen
) -> tuple[Number, Number]:
    if not vessels:
        return _no_pair(nerve, "The segmentation outlined no vessel.")
    border = nerve.polygons[0]
    corners = [*border, *(point for vessel in vessels for point in vessel.polygons[0])]
    scale = calibration_for(seen.image, corners).scale
    lines = [nearest_points(border, v.polygons[0], scale) for v in vessels]
    vessel = vessels[min(range(len(lines)), key=lambda index: lines[index].length)]
    # Calibrate this pair alone: a vessel in another region may have made the scale above px.
    calibration = calibration_for(seen.image, [*border, *vessel.polygons[0]])
    gap = nearest_points(border, vessel.polygons[0], calibration.scale)
    try:
        start, end = (ellipse_of(mask.polygons).centre for mask in (nerve, vessel))
    except OutlineDegenerate as error:
        return _no_pair(nerve, str(error))
    rests_on, reason = (nerve, vessel), reason_of(calibration)
    cut = at_image_edge([*border, *vessel.polygons[0]], seen.image)
    return (
        Number(
            name=DISTANCE,
            value=None if cut else length(start, end, calibration.scale),
            unit=calibration.unit,
            formula=_DISTANCE_FORMULA,
            reason=_CUT if cut else reason,
            rests_on=rests_on,
            drawn=() if cut else ((f"{DISTANCE}, nerve", start), (f"{DISTANCE}, vessel", end)),
        ),
        Number(
            name=GAP,
            value=gap.length,
            unit=calibration.unit,
            formula=_GAP_FORMULA,
            reason=reason,
            rests_on=rests_on,
            drawn=drawn_line(GAP, gap),
        ),
    )


def _no_pair(nerve: MaskEvidence, reason: str) -> tuple[Number, Number]:
    distance, gap = (
        Number(name=name, value=None, unit=None, formula=formula, reason=reason, rests_on=(nerve,))
        for name, formula in ((DISTANCE, _DISTANCE_FORMULA), (GAP, _GAP_FORMULA))
    )
    return distance, gap
