"""Circumference and its percentile, diameters, cephalic index and age of an outlined fetal head.

All are of one ellipse, that with the second moments of the outlined head: the specialist learnt
to outline the filled ellipse along the skull's outer border (van den Heuvel 2018, PLoS ONE
13:e0200412), so that its axes are outer to outer. Landmarks of the same axes, where there are
any, only check it: `landmark_diameters`.
"""

from collections.abc import Sequence

import numpy as np

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.ellipse import Ellipse, ellipse_of
from reports.measure.geometry import Scale
from reports.measure.gestation import (
    age_interval,
    head_percentile,
    head_rank,
    weeks_and_days,
    weeks_of,
)
from reports.measure.lines import length
from reports.measure.numbers import (
    NOT_AVAILABLE,
    Calibration,
    Number,
    Seen,
    angle_reason,
    calibration_for,
    drawn_line,
    reason_of,
    square_note,
)
from reports.model import ImageInfo, MaskEvidence, NamedPoint, Point, Ring

MASK = "mask:head"
HEAD = "head"
HC = "head circumference"
BPD = "biparietal diameter"
OFD = "occipitofrontal diameter"
CEPHALIC_INDEX = "cephalic index"
GESTATIONAL_AGE = "gestational age"
HC_PERCENTILE = "head circumference percentile"
PERCENT = "%"
PERCENTILE = "percentile"
WEEKS = "wk"

LONG_ENDS = ("long axis left end", "long axis right end")
SHORT_ENDS = ("short axis upper end", "short axis lower end")

MOST_ON_EDGE = 0.10
"""Largest share of the outline on the image's edge; above it the head is cut off.

A circle cut that far reads 1 % too little.
"""

LEAST_FILL = 0.95
"""Outline area ÷ ellipse area below which it is no ellipse: 1 for each, 0.955 for a rectangle."""

LEAST_RATIO = 0.5
"""Short ÷ long axis below which it is no head.

It is a cephalic index of 50 %, far below any scaphocephaly.
"""

HC_MM = (40.0, 450.0)
"""Head circumferences, in mm, from before the first-trimester scan to beyond term.

Outside of them, the spacing or the outline is wrong.
"""

AGE_WEEKS = (14.0, 40.0)
"""The gestational ages, in weeks, for which the formula is reported."""

CEPHALIC_INDEX_RANGE = (70.0, 86.0)
"""The normal range of the cephalic index, in %: 2 standard deviations around the mean.

Hadlock 1981, AJR 137:83, from 14 to 40 weeks: mean 78.3, 1 standard deviation from 74 to 83. Later
work finds the same width around lower means: 75.9 (SD 3.7) at 17 to 22 weeks and 77.8 (SD 3.5) at
28 to 33 weeks (Constantine 2020, Ultrasound Q 36:255).
"""

_HC_FORMULA = (
    "exact circumference of the ellipse with the second moments of the outlined head (outer border)"
)
_BPD_FORMULA = "short axis of the ellipse of the outlined head, outer to outer"
_OFD_FORMULA = "long axis of the ellipse of the outlined head, outer to outer"
_INDEX_FORMULA = "100 × biparietal ÷ occipitofrontal diameter"
_AGE_FORMULA = "8.96 + 0.540·HC + 0.0003·HC³ weeks, HC in cm (Hadlock 1984, Radiology 152:497)"
_PERCENTILE_FORMULA = (
    "share of fetuses of the stated age with a smaller head circumference, normal around the "
    "INTERGROWTH-21st standard (Papageorghiou 2014, Lancet 384:869): mean −28.2849 + 1.69267·g² − "
    "0.397485·g²·ln g mm, SD 1.98735 + g³·(0.0136772 − 0.00726264·ln g + 0.000976253·ln² g) mm, g "
    "in weeks"
)


def head_numbers(seen: Seen) -> tuple[Number, ...]:
    """Measure HC, BPD, OFD, cephalic index, age and percentile of the largest outlined head.

    Without an outlined head there are none, and without a stated age there is no percentile.
    """
    mask, image, count = seen.largest(MASK), seen.image, len(seen.masks(MASK))
    if mask is None:
        return ()
    calibration = calibration_for(image, mask.polygons[0])
    others = (
        (f"The segmentation outlined {count} regions; the largest was measured.",)
        if count > 1
        else ()
    )
    try:
        ellipse = head_ellipse(mask.polygons, image)
    except (NotMeasurable, OutlineDegenerate) as error:
        return _gaps(mask, calibration, str(error), seen.gestational_age)
    reason = reason_of(calibration, *others)

    def size(
        name: str, value: float, formula: str, drawn: tuple[tuple[str, Point], ...] = ()
    ) -> Number:
        return Number(
            name=name,
            value=value,
            unit=calibration.unit,
            formula=formula,
            reason=reason,
            rests_on=(mask,),
            drawn=drawn,
        )

    return (
        size(HC, ellipse.circumference, _HC_FORMULA),
        size(BPD, ellipse.short.length, _BPD_FORMULA, drawn_line(BPD, ellipse.short)),
        size(OFD, ellipse.long.length, _OFD_FORMULA, drawn_line(OFD, ellipse.long)),
        Number(
            name=CEPHALIC_INDEX,
            value=100 / ellipse.elongation,
            unit=PERCENT,
            formula=_INDEX_FORMULA + square_note(calibration),
            reason=angle_reason(calibration, *others),
            rests_on=(mask,),
        ),
        _age(ellipse, mask, calibration),
        *_percentile(ellipse, mask, calibration, seen.gestational_age),
    )


def head_ellipse(rings: Sequence[Ring], image: ImageInfo) -> Ellipse:
    """Return the ellipse of an outlined head, in mm where the image states its spacing.

    Raises:
        NotMeasurable: the outline is cut off by the image, no ellipse, or no head by its size.
        OutlineDegenerate: the outline has no area.
    """
    on_edge = edge_share(rings[0], image)
    if on_edge > MOST_ON_EDGE:
        raise NotMeasurable(
            f"The image cuts the head off: {100 * on_edge:.0f} % of it lies on the image's edge."
        )
    calibration = calibration_for(image, rings[0])
    ellipse = ellipse_of(rings, calibration.scale)
    if ellipse.fill < LEAST_FILL:
        raise NotMeasurable(
            f"The outline is no ellipse: it covers {100 * ellipse.fill:.0f} % of the one fitted."
        )
    if ellipse.elongation > 1 / LEAST_RATIO:
        raise NotMeasurable(
            "The outline is not that of a head: "
            f"it is {ellipse.elongation:.1f} times as long as wide."
        )
    low, high = HC_MM
    if calibration.unit == "mm" and not low <= ellipse.circumference <= high:
        raise NotMeasurable(
            f"A circumference of {ellipse.circumference:.0f} mm is implausible "
            f"(expected {low:.0f} to {high:.0f} mm): "
            "the pixel spacing or the outline must be wrong."
        )
    return ellipse


def edge_share(ring: Ring, image: ImageInfo) -> float:
    """Return the share of an outline's length, in pixels, within one pixel of the image's edge."""
    points = np.asarray(ring, dtype=np.float64)
    following = np.roll(points, -1, axis=0)
    lengths = np.linalg.norm(following - points, axis=1)
    edges = ((0, 0.0), (1, 0.0), (0, float(image.width_px)), (1, float(image.height_px)))
    along = np.zeros(len(points), dtype=np.bool_)
    for axis, edge in edges:
        along |= (np.abs(points[:, axis] - edge) <= 1) & (np.abs(following[:, axis] - edge) <= 1)
    total = float(lengths.sum())
    return float(lengths[along].sum()) / total if total else 0.0


def gestational_age_weeks(hc_cm: float) -> float:
    """Return weeks from a head circumference in cm: 8.96 + 0.540·HC + 0.0003·HC³.

    Hadlock 1984, Radiology 152:497 to 501.

    Raises:
        NotMeasurable: the age lies outside the weeks for which it is reported.
    """
    weeks = _weeks(hc_cm)
    low, high = AGE_WEEKS
    if not low <= weeks <= high:
        raise NotMeasurable(
            f"The head circumference of {10 * hc_cm:.1f} mm lies outside the {low:.0f} to "
            f"{high:.0f} weeks for which the formula is used."
        )
    return weeks


def _weeks(hc_cm: float) -> float:
    return 8.96 + 0.540 * hc_cm + 0.0003 * hc_cm**3


def landmark_diameters(points: Sequence[NamedPoint], scale: Scale) -> tuple[float, float]:
    """Return the long and short axis from the landmarks at their ends, in the unit of the scale.

    Raises:
        NotMeasurable: a landmark was not located; the message names it.
    """
    places: dict[str, Point] = {point.name: (point.x, point.y) for point in points}
    missing = [name for name in (*LONG_ENDS, *SHORT_ENDS) if name not in places]
    if missing:
        raise NotMeasurable(f"Not located: {', '.join(missing)}.")
    one = length(places[LONG_ENDS[0]], places[LONG_ENDS[1]], scale)
    other = length(places[SHORT_ENDS[0]], places[SHORT_ENDS[1]], scale)
    return max(one, other), min(one, other)


def _age(ellipse: Ellipse, mask: MaskEvidence, calibration: Calibration) -> Number:
    weeks: float | None = None
    if calibration.unit == "px":
        reason = _needs_mm(calibration)
    else:
        try:
            weeks = gestational_age_weeks(ellipse.circumference / 10)
            reason = reason_of(calibration)
        except NotMeasurable as error:
            reason = str(error)
    return Number(
        name=GESTATIONAL_AGE,
        value=weeks,
        unit=WEEKS,
        formula=_AGE_FORMULA,
        reason=reason,
        rests_on=(mask,),
        follows=(HC, lambda hc_mm: _weeks(hc_mm / 10)),
        widened=age_interval,
    )


def _percentile(
    ellipse: Ellipse, mask: MaskEvidence, calibration: Calibration, age: str | None
) -> tuple[Number, ...]:
    if age is None:
        return ()
    weeks, rank = weeks_of(age), None
    if calibration.unit == "px":
        reason = _needs_mm(calibration)
    else:
        try:
            rank = head_percentile(ellipse.circumference, weeks)
            reason = reason_of(calibration, f"At the stated age of {weeks_and_days(weeks)}.")
        except NotMeasurable as error:
            reason = str(error)
    return (
        Number(
            name=HC_PERCENTILE,
            value=rank,
            unit=PERCENTILE,
            formula=_PERCENTILE_FORMULA,
            reason=reason,
            rests_on=(mask,),
            least=None,
            follows=(HC, lambda hc_mm: head_rank(hc_mm, weeks)),
        ),
    )


def _needs_mm(calibration: Calibration) -> str:
    return f"{NOT_AVAILABLE}: it needs millimetres, but {calibration.why}."


def _gaps(
    mask: MaskEvidence, calibration: Calibration, reason: str, age: str | None
) -> tuple[Number, ...]:
    percentile = () if age is None else ((HC_PERCENTILE, PERCENTILE, _PERCENTILE_FORMULA),)
    named = (
        (HC, calibration.unit, _HC_FORMULA),
        (BPD, calibration.unit, _BPD_FORMULA),
        (OFD, calibration.unit, _OFD_FORMULA),
        (CEPHALIC_INDEX, PERCENT, _INDEX_FORMULA),
        (GESTATIONAL_AGE, WEEKS, _AGE_FORMULA),
        *percentile,
    )
    return tuple(
        Number(name=name, value=None, unit=unit, formula=formula, reason=reason, rests_on=(mask,))
        for name, unit, formula in named
    )
