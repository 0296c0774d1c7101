"""The cross-sectional area of a nerve, one number for one nerve, or none."""

from reports.measure.geometry import area
from reports.measure.nerve import MASK, NERVE, section_area
from reports.measure.numbers import Number, Seen
from reports.measure.plausibility import LEAST_PART, Fault, implausible

CROSS_SECTION = "nerve cross-sectional area"

_SPLIT = frozenset({Fault.PARTS, Fault.PIECES})
"""Faults that leave open which parts are one nerve."""


def cross_sections(seen: Seen) -> tuple[Number, ...]:
    """Measure each nerve's cross-sectional area, the largest nerve first.

    Crumbs beside a nerve are left out. Where several parts may be pieces of one nerve, there is one
    number without a value, whose reason says so. Without an outlined nerve there is none.
    """
    masks = sorted(seen.masks(MASK, NERVE), key=lambda m: area(m.polygons), reverse=True)
    if not masks:
        return ()
    total = sum(area(mask.polygons) for mask in masks)
    nerves = [mask for mask in masks if area(mask.polygons) >= LEAST_PART * total] or masks[:1]
    reasons = implausible(NERVE, [m.polygons for m in nerves], seen.image, None)
    split = [reason.clause for reason in reasons if reason.fault in _SPLIT]
    measured = [section_area(CROSS_SECTION, mask, seen) for mask in nerves]
    if not split:
        return tuple(measured)
    first = measured[0]
    return (
        Number(
            name=CROSS_SECTION,
            value=None,
            unit=first.unit,
            formula=first.formula,
            reason=f"Which parts are one nerve is not known: {'; '.join(split)}.",
            rests_on=tuple(nerves),
        ),
    )
