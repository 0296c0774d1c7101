"""Measurements with unit, formula and evidence, made of outlines.

No physical quantity has a default.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from reports.errors import OutlineDegenerate
from reports.measure.geometry import (
    SQUARE_PX,
    Scale,
    Segment,
    area,
    extent,
    inside,
    long_and_short_axis,
    size_px2,
)
from reports.measure.intervals import (
    LARGEST_ONLY,
    NO_INTERVAL,
    NOT_CALIBRATED,
    Interval,
    Intervals,
    NoInterval,
    too_wide,
)
from reports.measure.scan_area import unknown
from reports.model import (
    Evidence,
    ImageInfo,
    MaskEvidence,
    Measurement,
    MeasurementState,
    NamedPoint,
    Point,
    PointsEvidence,
    Ring,
    Spacing,
)

LONG_AXIS = "long axis"
SHORT_AXIS = "short axis"
AREA = "area"
RATIO = "taller-than-wide ratio"
UNITLESS = "1"
"""UCUM's unit of a ratio."""
DEGREES = "deg"
"""UCUM's unit of an angle."""
OF_A_COMPONENT = frozenset({LONG_AXIS, SHORT_AXIS, AREA, RATIO})
"""Names that do not say what was measured: their statements begin with the structure."""
SQUARE_ASSUMED = ", assuming square pixels"
NOT_AVAILABLE = "Not available from this image"
"""How the reason begins of what no image like this one can answer, however well it is read.

It is no gap: a report that lacks nothing else is *reported*.
"""

_NONE: Intervals = {}
Doubts = Mapping[str, Sequence[str]]
"""Why numbers that rest on a piece of evidence are unreliable, as clauses, by its id."""

_NO_DOUBTS: Doubts = {}
_DECIMALS = 4
_LONG_FORMULA = "maximum Feret diameter: greatest distance between two points of the outline"
_SHORT_FORMULA = "longest chord of the outline's convex hull perpendicular to the long axis"
_AREA_FORMULA = "area inside the outline, less its holes (shoelace formula)"
_RATIO_FORMULA = "height ÷ width of the outline's upright extent; depth is the image's y"
_EDGE_REASON = "The outline reaches the edge of the image: the true size may be larger."


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The unit in which a set of points may be measured; `reason` says why it is not mm.

    One px is the width of a pixel; where the aspect ratio is stated, `scale` holds it.
    """

    scale: Scale
    unit: Literal["mm", "px"]
    reason: str | None
    square_assumed: bool
    why: str | None = None
    """The bare cause of `reason`, as a clause."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements in order, and the points of those that are drawn."""

    measurements: tuple[Measurement, ...]
    evidence: tuple[PointsEvidence, ...]


@dataclass(frozen=True, kw_only=True)
class Number:
    """A measurement without ids; `value` is None where `reason` says why it is not assessed.

    `drawn` names the points it is drawn through, in image pixels. `rests_on` holds the evidence
    behind it, first the one whose specialist the drawn points are ascribed to. `least` is the
    lowest value that the quantity can have. `follows` names the number that this one is computed
    from, and gives the formula, which rises with that number. `widened` adds, to the value and the
    ends that follow so, an error of the formula itself.
    """

    name: str
    value: float | None
    unit: str | None
    formula: str
    reason: str
    rests_on: tuple[Evidence, ...]
    drawn: tuple[tuple[str, Point], ...] = ()
    least: float | None = 0.0
    follows: tuple[str, Callable[[float], float]] | None = None
    widened: Callable[[float, tuple[float, float]], tuple[float, float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an exam's measurements are made of: the evidence by slot, and the image it lies in.

    `scanned` returns the outline of the scanned area (`reports.measure.scan_area`), `grey` the
    image's (H, W) uint8 grey values; only the formulas that need them call them, and where there
    are no pixels at hand both return None. `gestational_age` is the sender's, such as `19w6d`.
    """

    image: ImageInfo
    evidence: Mapping[str, Sequence[Evidence]] = field(default_factory=dict)
    scanned: Callable[[], Ring | None] = unknown
    grey: Callable[[], npt.NDArray[np.uint8] | None] = unknown
    gestational_age: str | None = None

    def masks(self, slot: str, label: str | None = None) -> tuple[MaskEvidence, ...]:
        """Return the outlined components of a slot in order; with `label`, only those of it."""
        return tuple(
            item
            for item in self.evidence.get(slot, ())
            if isinstance(item, MaskEvidence) and label in {None, item.label}
        )

    def largest(self, slot: str, label: str | None = None) -> MaskEvidence | None:
        """Return the component with the greatest area in pixels; None: there is none."""
        return max(self.masks(slot, label), key=lambda mask: size_px2(mask.polygons), default=None)

    def points(self, slot: str) -> PointsEvidence | None:
        """Return the landmarks of a slot; None: there are none."""
        found = [i for i in self.evidence.get(slot, ()) if isinstance(i, PointsEvidence)]
        return found[0] if found else None


def calibration_for(image: ImageInfo, points: Sequence[Point]) -> Calibration:
    """Return mm per pixel where all points share one stated spacing, else pixels and the reason."""
    if not image.regions:
        if image.spacing_mm is None:
            return _in_px(image, image.spacing_reason or "the image states no pixel spacing")
        return _in_mm(image.spacing_mm, image)
    spacings = {
        (region.spacing_mm.x, region.spacing_mm.y) if region.spacing_mm else None
        for region in image.regions
        if inside(points, region.box)
    }
    if not spacings:
        return _in_px(image, "the points do not lie in one calibrated region of the image")
    if len(spacings) > 1:
        return _in_px(image, "the points lie in overlapping regions that state different spacings")
    spacing = spacings.pop()
    if spacing is None:
        return _in_px(
            image,
            image.spacing_reason
            or "the region of the image that holds the points states no pixel spacing",
        )
    return _in_mm(Spacing(x=spacing[0], y=spacing[1]), image)


def outline_numbers(seen: Seen, slot: str, names: Collection[str]) -> tuple[Number, ...]:
    """Measure every outlined component of the slot, in the order of the evidence.

    Only the numbers of those names are kept.
    """
    return tuple(
        number
        for mask in seen.masks(slot)
        for number in lesion_numbers(mask, seen.image)
        if number.name in names
    )


def assemble(
    numbers: Sequence[Number],
    *,
    first_measurement: int,
    first_evidence: int,
    intervals: Intervals = _NONE,
    doubts: Doubts = _NO_DOUBTS,
) -> Measured:
    """Return the numbers as measurements, and evidence of the points that they are drawn through.

    Ids count up from `m{first_measurement}` and `e{first_evidence}`. Each measurement rests on its
    drawn points, if any, then on what it was made of. Of the numbers that share a name, only the
    first, which is of the largest region, has the interval of that name. A number is unreliable
    where there are `doubts` of what it rests on, where its interval is too wide, and where the
    number that it follows from is.
    """
    firsts = {number.name: number for number in reversed(numbers)}
    measurements = []
    evidence: list[PointsEvidence] = []
    for index, number in enumerate(numbers):
        rests_on = [item.id for item in number.rests_on]
        if number.drawn:
            points = _drawn(number, f"e{first_evidence + len(evidence)}")
            evidence.append(points)
            rests_on.insert(0, points.id)
        found = _interval(number, firsts, intervals)
        made = _measurement(f"m{first_measurement + index}", number, found, tuple(rests_on))
        if number.value is not None:
            why = dict.fromkeys(_unreliable(number, firsts, intervals, doubts))
            made = made.model_copy(update={"unreliable": "; ".join(why) or None})
        measurements.append(made)
    return Measured(measurements=tuple(measurements), evidence=tuple(evidence))


def reason_of(calibration: Calibration, *sentences: str) -> str:
    """Return the note beside a number: why it is in px, and what else limits it."""
    return " ".join([*([calibration.reason] if calibration.reason else []), *sentences])


def angle_reason(calibration: Calibration, *sentences: str) -> str:
    """Return the note beside an angle or a ratio, which has no unit of length."""
    square = [f"Square pixels are assumed: {calibration.why}."]
    return " ".join([*(square if calibration.square_assumed else ()), *sentences])


def square_note(calibration: Calibration) -> str:
    """Return how the formula of an angle or a ratio ends; empty where the pixel aspect is known."""
    return SQUARE_ASSUMED if calibration.square_assumed else ""


def at_image_edge(points: Sequence[Point], image: ImageInfo) -> bool:
    """Return whether any point is within a pixel of the image's edge."""
    # An outline runs through pixel centres or along pixel edges: within one pixel is at the edge.
    return any(
        min(x, y) <= 1 or x >= image.width_px - 1 or y >= image.height_px - 1 for x, y in points
    )


def _in_mm(spacing: Spacing, image: ImageInfo) -> Calibration:
    by_reader = image.reader_calibration is not None
    square = by_reader and image.aspect_ratio is None
    why = "two points do not show how high a pixel is for its width" if square else None
    scale = (spacing.x, spacing.y)
    return Calibration(scale=scale, unit="mm", reason=None, square_assumed=square, why=why)


def _in_px(image: ImageInfo, why: str) -> Calibration:
    ratio = image.aspect_ratio
    how = "Lengths are in px"
    if ratio is None:
        how += " and pixels are assumed square"
    elif ratio != 1:
        how += f", each the width of a pixel, which is {ratio:.4g} times as high as wide"
    return Calibration(
        scale=SQUARE_PX if ratio is None else (1.0, ratio),
        unit="px",
        reason=f"{how}: {why}.",
        square_assumed=ratio is None,
        why=why,
    )


def lesion_numbers(mask: MaskEvidence, image: ImageInfo) -> tuple[Number, ...]:
    """Measure the long axis, short axis, area and taller-than-wide ratio of one component."""
    rings = mask.polygons
    calibration = calibration_for(image, rings[0])
    unit, square = calibration.unit, square_note(calibration)

    def number(name: str, value: float | None, unit: str, formula: str, reason: str) -> Number:
        return Number(
            name=name, value=value, unit=unit, formula=formula, reason=reason, rests_on=(mask,)
        )

    try:
        axes = long_and_short_axis(rings, calibration.scale)
    except OutlineDegenerate as error:
        return (
            number(LONG_AXIS, None, unit, _LONG_FORMULA, str(error)),
            number(SHORT_AXIS, None, unit, _SHORT_FORMULA, str(error)),
            number(AREA, None, f"{unit}²", _AREA_FORMULA, str(error)),
            number(RATIO, None, UNITLESS, _RATIO_FORMULA + square, str(error)),
        )
    edge = [_EDGE_REASON] if at_image_edge(rings[0], image) else []
    reason = reason_of(calibration, *edge)
    width, height = extent(rings, calibration.scale)
    return (
        replace(
            number(LONG_AXIS, axes.long.length, unit, _LONG_FORMULA, reason),
            drawn=drawn_line(LONG_AXIS, axes.long),
        ),
        replace(
            number(SHORT_AXIS, axes.short.length, unit, _SHORT_FORMULA, reason),
            drawn=drawn_line(SHORT_AXIS, axes.short),
        ),
        number(AREA, area(rings, calibration.scale), f"{unit}²", _AREA_FORMULA, reason),
        number(RATIO, height / width, UNITLESS, _RATIO_FORMULA + square, reason),
    )


def drawn_line(name: str, line: Segment) -> tuple[tuple[str, Point], ...]:
    """Return the named end points of a line."""
    return ((f"{name}, start", line.start), (f"{name}, end", line.end))


def _drawn(number: Number, evidence_id: str) -> PointsEvidence:
    by = number.rests_on[0]
    return PointsEvidence(
        id=evidence_id,
        specialist=by.specialist,
        step=by.step,
        frame=by.frame,
        points=tuple(
            NamedPoint(name=name, x=round(x, _DECIMALS), y=round(y, _DECIMALS))
            for name, (x, y) in number.drawn
        ),
    )


_Ends = tuple[tuple[float, float], Interval]
"""The ends of an interval, and the calibration that they come from."""


def _interval(
    number: Number, firsts: Mapping[str, Number], intervals: Intervals
) -> _Ends | NoInterval:
    """Return the number's interval.

    That of a number that follows from another one is the other's interval, put through the formula.
    """
    if number.follows is not None:
        name, formula = number.follows
        found = _interval(firsts[name], firsts, intervals)
        if isinstance(found, NoInterval):
            return found
        (low, high), known = found
        ends = formula(low), formula(high)
        if number.widened is not None and number.value is not None:
            ends = number.widened(number.value, ends)
        return ends, known
    own = intervals.get(number.name, NoInterval(reason=NOT_CALIBRATED))
    if isinstance(own, NoInterval):
        return own
    if number is not firsts[number.name] or number.value is None:
        return NoInterval(reason=LARGEST_ONLY)
    return own.around(number.value, number.least, number.unit), own


def _unreliable(
    number: Number, firsts: Mapping[str, Number], intervals: Intervals, doubts: Doubts
) -> list[str]:
    """Return the clauses that say why a number must not be relied on, and what it follows from."""
    why = [clause for item in number.rests_on for clause in doubts.get(item.id, ())]
    if number.follows is not None:
        return [*why, *_unreliable(firsts[number.follows[0]], firsts, intervals, doubts)]
    found = _interval(number, firsts, intervals)
    if number.value is None or number.least is None or isinstance(found, NoInterval):
        return why
    ends, known = found
    wide = too_wide(number.value, ends, known.coverage)
    return why if wide is None else [*why, wide]


def _measurement(
    measurement_id: str, number: Number, found: _Ends | NoInterval, evidence: tuple[str, ...]
) -> Measurement:
    measured = number.value is not None
    reason, interval, known = number.reason, None, None
    if measured and isinstance(found, NoInterval):
        reason = f"{reason} {NO_INTERVAL} {found.reason}.".strip()
    elif measured and not isinstance(found, NoInterval):
        (low, high), known = found
        interval = (round(low, _DECIMALS) + 0.0, round(high, _DECIMALS) + 0.0)
    return Measurement(
        id=measurement_id,
        name=number.name,
        state=MeasurementState.MEASURED if measured else MeasurementState.NOT_ASSESSED,
        reason=reason or None,
        value=round(number.value, _DECIMALS) + 0.0 if number.value is not None else None,
        unit=number.unit,
        interval=interval,
        coverage=None if known is None else known.coverage,
        held_elsewhere=None if known is None else known.elsewhere,
        formula=number.formula,
        evidence=evidence,
    )
