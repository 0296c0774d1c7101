"""A breast lesion or thyroid nodule: its size, and its descriptors as computed.

Orientation, shape, margin irregularity and posterior echo ratio are geometry or mean grey values
with the definitions of `reports.measure.outlines.descriptors`; none is a category of a lexicon.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.head import PERCENT
from reports.measure.numbers import (
    AREA,
    LONG_AXIS,
    NOT_AVAILABLE,
    RATIO,
    SHORT_AXIS,
    UNITLESS,
    Number,
    Seen,
    angle_reason,
    at_image_edge,
    calibration_for,
    lesion_numbers,
    square_note,
)
from reports.measure.outlines.contour import roughness
from reports.measure.outlines.descriptors import (
    Orientation,
    orientation,
    outline_of,
    posterior_echo,
)
from reports.model import MaskEvidence, Measurement

LESION, NODULE = "mask:lesion", "mask:nodule"
MARGIN = "margin irregularity"
POSTERIOR = "posterior echo ratio"
NAMES = (LONG_AXIS, SHORT_AXIS, AREA, RATIO, MARGIN, POSTERIOR)
ORIENTATION, SHAPE = "orientation", "shape"

MARGIN_FORMULA = (
    "root mean square distance between the outline and itself smoothed over a twentieth of its "
    "length, in percent of the radius of its ellipse: 0 % for an ellipse"
)
POSTERIOR_FORMULA = (
    "mean grey value behind the middle half of the outline, as deep as the outline is high, ÷ mean "
    "grey value beside it at the same depth; above 1 it is brighter behind; the beam is taken to "
    "run down the image"
)
NO_PIXELS = "The grey values of the image are not at hand."
_EDGE = "The outline reaches the edge of the image, which may cut it off."


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What an outline is like, in a word, and the geometry that says so.

    `value` is None where `reason` says why it is not assessed.
    """

    name: str
    value: str | None
    reason: str
    rests_on: tuple[MaskEvidence, ...]


def lesion_and_echo_numbers(seen: Seen, slot: str) -> tuple[Number, ...]:
    """Measure the size, ratio, margin and echoes of every outlined part, in their order."""
    return tuple(
        number
        for mask in seen.masks(slot)
        for number in (*lesion_numbers(mask, seen.image), _margin(mask, seen), _echo(mask, seen))
    )


def qualities(seen: Seen, slot: str, measured: Sequence[Measurement]) -> tuple[Quality, ...]:
    """Return orientation and shape of the largest outlined part; none where there is no part.

    The orientation follows from the interval of the ratio in `measured`.
    """
    mask = seen.largest(slot)
    if mask is None:
        return ()
    cut = (_EDGE,) if at_image_edge(mask.polygons[0], seen.image) else ()
    ratio = next((m for m in measured if m.name == RATIO and mask.id in m.evidence), None)
    return _orientation(mask, ratio, cut), _shape(mask, seen, cut)


def _orientation(mask: MaskEvidence, ratio: Measurement | None, cut: tuple[str, ...]) -> Quality:
    if ratio is None or ratio.value is None:
        why = "It follows from the taller-than-wide ratio, which was not measured."
        return Quality(name=ORIENTATION, value=None, reason=why, rests_on=(mask,))
    found = orientation(ratio.interval)
    if ratio.interval is None:
        why = "The taller-than-wide ratio has no interval that would tell it from 1."
    else:
        where = {
            Orientation.PARALLEL: "lies below 1",
            Orientation.NOT_PARALLEL: "lies above 1",
            Orientation.UNDETERMINED: "crosses 1",
        }
        why = f"The interval of the taller-than-wide ratio {where[found]}; depth is the image's y."
    return Quality(
        name=ORIENTATION, value=str(found), reason=" ".join([why, *cut]), rests_on=(mask,)
    )


def _shape(mask: MaskEvidence, seen: Seen, cut: tuple[str, ...]) -> Quality:
    calibration = calibration_for(seen.image, mask.polygons[0])
    try:
        found = outline_of(mask.polygons, calibration.scale)
    except OutlineDegenerate as error:
        return Quality(name=SHAPE, value=None, reason=str(error), rests_on=(mask,))
    why = (
        f"The outline covers {100 * found.solidity:.0f} % of its convex hull, departs from its "
        f"ellipse by {100 * found.residual:.0f} % of the radius and is {found.elongation:.1f} "
        "times as long as wide."
    )
    reason = angle_reason(calibration, why, *cut)
    return Quality(name=SHAPE, value=str(found.shape), reason=reason, rests_on=(mask,))


def _margin(mask: MaskEvidence, seen: Seen) -> Number:
    calibration = calibration_for(seen.image, mask.polygons[0])
    value: float | None = None
    try:
        value = 100 * roughness(mask.polygons, calibration.scale)
        reason = angle_reason(calibration)
    except OutlineDegenerate as error:
        reason = str(error)
    return Number(
        name=MARGIN,
        value=value,
        unit=PERCENT,
        formula=MARGIN_FORMULA + square_note(calibration),
        reason=reason,
        rests_on=(mask,),
    )


def _echo(mask: MaskEvidence, seen: Seen) -> Number:
    value: float | None = None
    pixels = seen.grey()
    if pixels is None:
        reason = NO_PIXELS
    else:
        try:
            found = posterior_echo(pixels, mask.polygons, seen.scanned())
            value, reason = found.ratio, f"{found.note[:1].upper()}{found.note[1:]}."
        except NotMeasurable as error:  # what the image shows behind and beside is too little
            why = str(error)
            reason = f"{NOT_AVAILABLE}: {why[:1].lower()}{why[1:]}"
    return Number(
        name=POSTERIOR,
        value=value,
        unit=UNITLESS,
        formula=POSTERIOR_FORMULA,
        reason=reason,
        rests_on=(mask,),
    )
