"""Outlines → measurements with their unit, formula and evidence; no physical quantity has a default."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.errors import OutlineDegenerate
from reports.geometry import (
    SQUARE_PX,
    Scale,
    Segment,
    area,
    box_of,
    extent,
    inside,
    long_and_short_axis,
)
from reports.model import (
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
NO_INTERVAL = "No interval is given: it is not calibrated yet."
UNITLESS = "1"
"""UCUM's unit of a ratio."""

_DECIMALS = 4
_LONG_FORMULA = "maximum Feret diameter: greatest distance between two points of the outline"
_SHORT_FORMULA = "longest chord of the outline's convex hull perpendicular to the long axis"
_AREA_FORMULA = "area inside the outline, less its holes (shoelace formula)"
_RATIO_FORMULA = "height ÷ width of the outline's upright extent; depth is the image's y"
_EDGE_REASON = "The outline reaches the edge of the image: the true size may be larger."


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The unit that a set of points may be measured in; `reason` says why it is not mm."""

    scale: Scale
    unit: Literal["mm", "px"]
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements in order, and the end points of those that are drawn."""

    measurements: tuple[Measurement, ...]
    evidence: tuple[PointsEvidence, ...]


@dataclass(frozen=True)
class _Number:
    name: str
    value: float | None
    unit: str
    formula: str
    reason: str
    drawn: Segment | None = None


def calibration_for(image: ImageInfo, points: Sequence[Point]) -> Calibration:
    """Millimetres where all points share one proven spacing, else pixels and the sentence why."""
    if not image.regions:
        if image.spacing_mm is None:
            return _in_px(image.spacing_reason or "the image states no pixel spacing")
        return _in_mm(image.spacing_mm)
    spacings = {
        (region.spacing_mm.x, region.spacing_mm.y) if region.spacing_mm else None
        for region in image.regions
        if inside(points, region.box)
    }
    if not spacings:
        return _in_px("the points do not lie in one calibrated region of the image")
    if len(spacings) > 1:
        return _in_px("the points lie in overlapping regions that state different spacings")
    spacing = spacings.pop()
    if spacing is None:
        return _in_px(
            image.spacing_reason
            or "the region of the image that holds the points states no pixel spacing"
        )
    return _in_mm(Spacing(x=spacing[0], y=spacing[1]))


def lesion_measurements(
    mask: MaskEvidence, image: ImageInfo, *, first_measurement: int, first_evidence: int
) -> Measured:
    """Long axis, short axis, area and taller-than-wide ratio of one component.

    Ids count up from `m{first_measurement}` and `e{first_evidence}`. Each measurement rests on the
    end points that it is drawn between, if any, then on the mask.
    """
    measurements = []
    evidence: list[PointsEvidence] = []
    for index, number in enumerate(_lesion_numbers(mask.polygons, image)):
        rests_on = [mask.id]
        if number.drawn is not None:
            points = _end_points(
                number.name, number.drawn, mask, f"e{first_evidence + len(evidence)}"
            )
            evidence.append(points)
            rests_on.insert(0, points.id)
        measurements.append(_measurement(f"m{first_measurement + index}", number, tuple(rests_on)))
    return Measured(measurements=tuple(measurements), evidence=tuple(evidence))


def _in_mm(spacing: Spacing) -> Calibration:
    return Calibration(scale=(spacing.x, spacing.y), unit="mm", reason=None)


def _in_px(why: str) -> Calibration:
    reason = f"Lengths are in px and pixels are assumed square: {why}."
    return Calibration(scale=SQUARE_PX, unit="px", reason=reason)


def _lesion_numbers(rings: Sequence[Ring], image: ImageInfo) -> tuple[_Number, ...]:
    calibration = calibration_for(image, rings[0])
    unit = calibration.unit
    square = ", assuming square pixels" if unit == "px" else ""
    try:
        axes = long_and_short_axis(rings, calibration.scale)
    except OutlineDegenerate as error:
        reason, long, short, inner_area, ratio = str(error), None, None, None, None
    else:
        reason, long, short = _reason(rings, image, calibration), axes.long, axes.short
        inner_area = area(rings, calibration.scale)
        width, height = extent(rings, calibration.scale)
        ratio = height / width
    return (
        _Number(LONG_AXIS, long.length if long else None, unit, _LONG_FORMULA, reason, long),
        _Number(SHORT_AXIS, short.length if short else None, unit, _SHORT_FORMULA, reason, short),
        _Number(AREA, inner_area, f"{unit}²", _AREA_FORMULA, reason),
        _Number(RATIO, ratio, UNITLESS, _RATIO_FORMULA + square, reason),
    )


def _reason(rings: Sequence[Ring], image: ImageInfo, calibration: Calibration) -> str:
    sentences = [calibration.reason] if calibration.reason else []
    x_min, y_min, x_max, y_max = box_of(rings)
    # An outline runs through pixel centres or along pixel edges: within one pixel is at the edge.
    if x_min <= 1 or y_min <= 1 or x_max >= image.width_px - 1 or y_max >= image.height_px - 1:
        sentences.append(_EDGE_REASON)
    return " ".join([*sentences, NO_INTERVAL])


def _end_points(name: str, drawn: Segment, mask: MaskEvidence, evidence_id: str) -> PointsEvidence:
    ends = (("start", drawn.start), ("end", drawn.end))
    return PointsEvidence(
        id=evidence_id,
        specialist=mask.specialist,
        step=mask.step,
        points=tuple(
            NamedPoint(name=f"{name}, {end}", x=round(x, _DECIMALS), y=round(y, _DECIMALS))
            for end, (x, y) in ends
        ),
    )


def _measurement(measurement_id: str, number: _Number, evidence: tuple[str, ...]) -> Measurement:
    measured = number.value is not None
    return Measurement(
        id=measurement_id,
        name=number.name,
        state=MeasurementState.MEASURED if measured else MeasurementState.NOT_ASSESSED,
        reason=number.reason,
        value=round(number.value, _DECIMALS) if number.value is not None else None,
        unit=number.unit,
        formula=number.formula,
        evidence=evidence,
    )
