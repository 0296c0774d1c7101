"""Muscle thickness, inclinations and pennation angle from outlines and landmarks.

The pennation angle is the one that fascicles make with the deep aponeurosis (Narici 1996,
J Physiol 496:287): with a line fitted robustly to that aponeurosis' inner edge, not with the
image's horizontal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.ellipse import ellipse_of
from reports.measure.geometry import Scale, Segment, box_of, in_widths, rasterize
from reports.measure.lines import Line, angle_at, axial_deg, length, robust_line
from reports.measure.numbers import (
    DEGREES,
    Calibration,
    Number,
    Seen,
    angle_reason,
    calibration_for,
    drawn_line,
    reason_of,
    square_note,
)
from reports.model import ImageInfo, MaskEvidence, NamedPoint, Point, PointsEvidence, Ring

POINTS = "points:thickness"
APONEUROSIS = "mask:aponeurosis"
FASCICLE = "mask:fascicle"
THICKNESS = "muscle thickness"
SUPERFICIAL_INCLINATION = "superficial aponeurosis inclination"
DEEP_INCLINATION = "deep aponeurosis inclination"
PENNATION_ANGLE = "pennation angle"

UPPER, LOWER = "superficial aponeurosis", "deep aponeurosis"

ONE_COLUMN = 0.05
"""The most that the two points' columns may differ, as a share of the image's width."""

LEAST_WIDTH = 0.15
"""Share of the image's width below which a part is a fragment that shows no direction."""

SIDE_BY_SIDE = 0.25
"""Share of the narrower part's columns; parts that have fewer in common are pieces of one layer."""

ONE_LAYER = 0.08
"""Parts this near in depth are one layer: an aponeurosis may show two sheets.

It is a share of the image's height.
"""

LEAST_FRAGMENTS = 3
"""Fewer fascicle fragments say little of a muscle's fascicles, and have no spread to judge by."""

LEAST_ELONGATION = 2.0
"""Length ÷ width below which a fragment has no direction."""

LEAST_LENGTH = 0.025
"""Share of the image's longer side (11 px of 448) below which a fragment has no direction.

That of a shorter one comes from the pixel raster.
"""

MOST_SPREAD_DEG = 10.0
"""Largest distance between the quartiles of the fragments' angles, in degrees.

In the data set timtrack (van der Zee 2022), observers differ by a median of 1.2°.
"""

MOST_ANGLE_DEG = 60.0
"""The angle, in degrees, above which a pattern of fragments is no pennation.

At maximal contraction men's soleus has 40° on average (Manal 2006, J Appl Biomech 22:255).
"""

THICKNESS_FORMULA = (
    "vertical distance between the inner edges of the superficial and the deep aponeurosis, "
    "in one image column"
)
_INCLINATION_FORMULA = (
    "angle between the horizontal and the line through the aponeurosis' inner edge (Theil-Sen); "
    "positive where it gets deeper to the right"
)
_SIDES = tuple(f"{PENNATION_ANGLE}, {end}" for end in ("fascicles", "corner", "deep aponeurosis"))
_ANGLE_FORMULA = (
    "median angle, weighted by length, between the principal axes of the fascicle fragments "
    "and the line through the deep aponeurosis' inner edge (Theil-Sen)"
)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The lines through both aponeuroses' inner edges, and the outlines each was fitted to.

    `superficial_parts` and `deep_parts` are indices of outlines.
    """

    superficial: Line
    deep: Line
    superficial_parts: tuple[int, ...]
    deep_parts: tuple[int, ...]
    outlined: int
    """How many layers were outlined; these are the two uppermost."""

    @property
    def note(self) -> tuple[str, ...]:
        """The sentence that more than two layers were outlined, if they were."""
        if self.outlined == 2:
            return ()
        return (f"{self.outlined} layers were outlined; the two uppermost were taken.",)


@dataclass(frozen=True, kw_only=True)
class Pennation:
    """The median angle of the fascicle fragments, its quartiles in degrees, and their number."""

    deg: float
    low: float
    high: float
    fragments: int
    inclination_deg: float
    """The fascicles' own angle to the horizontal; positive where they get deeper to the right."""
    centre: Point
    """The middle of the fragments' centres, in image pixels."""


def muscle_numbers(seen: Seen) -> tuple[Number, ...]:
    """Measure the thickness, the aponeuroses' inclinations and the pennation angle.

    The thickness is from the landmarks, the others are from the outlines.
    """
    points, layers = seen.points(POINTS), seen.masks(APONEUROSIS)
    corners = [corner for mask in layers for corner in mask.polygons[0]]
    calibration = calibration_for(seen.image, corners)
    found: Layers | None = None
    why = "the aponeuroses were not outlined"
    if layers:
        try:
            found = layers_of([m.polygons for m in layers], seen.image, calibration.scale)
        except NotMeasurable as error:
            why = str(error)
    return (
        *(() if points is None else (_thickness(points, seen.image),)),
        *(_inclinations(layers, found, calibration, why) if layers else ()),
        *_fascicles(seen, layers, found, why),
    )


def thickness_between(points: Sequence[NamedPoint], image: ImageInfo) -> Segment:
    """Return the vertical line between the two landmarks, at their mean column.

    Its length is in mm where the image states its spacing.

    Raises:
        NotMeasurable: a landmark was not located, or they are not above each other.
    """
    places: dict[str, Point] = {point.name: (point.x, point.y) for point in points}
    missing = [name for name in (UPPER, LOWER) if name not in places]
    if missing:
        raise NotMeasurable(f"Not located: {', '.join(missing)}.")
    (x0, y0), (x1, y1) = places[UPPER], places[LOWER]
    if y1 <= y0:
        raise NotMeasurable("The deep aponeurosis was located above the superficial one.")
    if abs(x1 - x0) > ONE_COLUMN * image.width_px:
        raise NotMeasurable("The two points do not lie in one image column.")
    column = (x0 + x1) / 2
    scale = calibration_for(image, ((x0, y0), (x1, y1))).scale
    return Segment(start=(column, y0), end=(column, y1), length=(y1 - y0) * scale[1])


def layers_of(outlines: Sequence[Sequence[Ring]], image: ImageInfo, scale: Scale) -> Layers:
    """Return the two uppermost layers among outlines, each with the line through its inner edge.

    Raises:
        NotMeasurable: there are fewer than two layers, or their lines cross in the image.
    """
    spans = [box_of(rings) for rings in outlines]
    wide = [n for n, (x0, _, x1, _) in enumerate(spans) if x1 - x0 >= LEAST_WIDTH * image.width_px]
    if len(wide) < 2:
        raise NotMeasurable(
            f"{len(wide)} of {len(outlines)} outlines are wide enough for an aponeurosis; "
            "two are needed."
        )
    rasters = {n: rasterize(outlines[n], image.width_px, image.height_px) for n in wide}
    layers = _grouped({n: raster for n, raster in rasters.items() if raster.any()})
    if len(layers) < 2:
        raise NotMeasurable("The outlines show one aponeurosis; two are needed.")
    upper, lower = layers[:2]
    superficial = robust_line(_edge(upper, rasters, lowest=True), scale)
    deep = robust_line(_edge(lower, rasters, lowest=False), scale)
    for x in (0.0, image.width_px * scale[0]):
        if superficial.depth_at(x) >= deep.depth_at(x):
            raise NotMeasurable("The lines through the two aponeuroses cross in the image.")
    return Layers(
        superficial=superficial,
        deep=deep,
        superficial_parts=tuple(upper),
        deep_parts=tuple(lower),
        outlined=len(layers),
    )


def pennation(fragments: Sequence[Sequence[Ring]], layers: Layers, image: ImageInfo) -> Pennation:
    """Return the angle to the deep layer of the fragments that lie between the layers.

    Raises:
        NotMeasurable: there are too few, they point in too many directions, or the angle is
            implausible.
    """
    scale = layers.deep.scale
    widths = in_widths(scale)
    angles, weights, centres = [], [], []
    for rings in fragments:
        try:
            ellipse = ellipse_of(rings, scale)
        except OutlineDegenerate:
            continue
        x, y = ellipse.centre[0] * scale[0], ellipse.centre[1] * scale[1]
        between = layers.superficial.depth_at(x) < y < layers.deep.depth_at(x)
        long = length(ellipse.long.start, ellipse.long.end, widths)
        long_enough = long >= LEAST_LENGTH * max(image.width_px, image.height_px * widths[1])
        if between and long_enough and ellipse.elongation >= LEAST_ELONGATION:
            (x0, y0), (x1, y1) = ellipse.long.start, ellipse.long.end
            own = np.degrees(np.arctan2((y1 - y0) * scale[1], (x1 - x0) * scale[0]))
            angles.append(axial_deg(float(own) - layers.deep.inclination_deg))
            weights.append(ellipse.long.length)
            centres.append(ellipse.centre)
    if len(angles) < LEAST_FRAGMENTS:
        raise NotMeasurable(
            f"{len(angles)} of {len(fragments)} fascicle fragments lie between the aponeuroses "
            f"and are long enough for a direction; {LEAST_FRAGMENTS} are needed."
        )
    low, middle, high = (_weighted_quantile(angles, weights, share) for share in (0.25, 0.5, 0.75))
    if high - low > MOST_SPREAD_DEG:
        raise NotMeasurable(
            f"The {len(angles)} fascicle fragments do not agree: half of their angles spread over "
            f"{high - low:.0f}° (at most {MOST_SPREAD_DEG:.0f}° are accepted)."
        )
    if abs(middle) > MOST_ANGLE_DEG:
        raise NotMeasurable(
            f"A pennation angle of {abs(middle):.0f}° is implausible "
            f"(at most {MOST_ANGLE_DEG:.0f}° expected)."
        )
    if middle < 0:
        low, high = -high, -low
    x, y = np.median(centres, axis=0)
    return Pennation(
        deg=abs(middle),
        low=low,
        high=high,
        fragments=len(angles),
        inclination_deg=axial_deg(layers.deep.inclination_deg + middle),
        centre=(float(x), float(y)),
    )


def _thickness(points: PointsEvidence, image: ImageInfo) -> Number:
    calibration = calibration_for(image, [(point.x, point.y) for point in points.points])
    line: Segment | None = None
    try:
        line = thickness_between(points.points, image)
        reason = reason_of(calibration)
    except NotMeasurable as error:
        reason = str(error)
    return Number(
        name=THICKNESS,
        value=line.length if line else None,
        unit=calibration.unit,
        formula=THICKNESS_FORMULA,
        reason=reason,
        rests_on=(points,),
        drawn=drawn_line(THICKNESS, line) if line else (),
    )


def _inclinations(
    masks: Sequence[MaskEvidence], found: Layers | None, calibration: Calibration, why: str
) -> tuple[Number, Number]:
    def number(name: str, line: Line | None, parts: Sequence[int]) -> Number:
        return Number(
            name=name,
            value=line.inclination_deg if line else None,
            unit=DEGREES,
            formula=_INCLINATION_FORMULA + square_note(calibration),
            reason=angle_reason(calibration, *(found.note if found else ())) if line else why,
            rests_on=tuple(masks[part] for part in parts),
            drawn=((f"{name}, left", line.ends[0]), (f"{name}, right", line.ends[1]))
            if line
            else (),
            least=None,
        )

    every = range(len(masks))
    if found is None:
        return number(SUPERFICIAL_INCLINATION, None, every), number(DEEP_INCLINATION, None, every)
    return (
        number(SUPERFICIAL_INCLINATION, found.superficial, found.superficial_parts),
        number(DEEP_INCLINATION, found.deep, found.deep_parts),
    )


def _fascicles(
    seen: Seen, layers: Sequence[MaskEvidence], found: Layers | None, why: str
) -> tuple[Number, ...]:
    fragments = seen.masks(FASCICLE)
    if not fragments:
        return ()
    corners = [corner for mask in (*layers, *fragments) for corner in mask.polygons[0]]
    calibration = calibration_for(seen.image, corners)
    value: float | None = None
    drawn: tuple[tuple[str, Point], ...] = ()
    try:
        if found is None:
            raise NotMeasurable(
                f"It needs the line of the deep aponeurosis, which is missing: {why}"
            )
        if found.deep.scale != calibration.scale:
            raise NotMeasurable("The fascicles do not lie in the aponeuroses' calibrated region.")
        angle = pennation([mask.polygons for mask in fragments], found, seen.image)
        value = angle.deg
        sides = angle_at(found.deep, angle.centre, angle.inclination_deg)
        drawn = tuple(zip(_SIDES, sides, strict=True))
        reason = angle_reason(
            calibration,
            f"Median of {angle.fragments} fragments, half of them between {angle.low:.1f}° and "
            f"{angle.high:.1f}°.",
            *found.note,
        )
    except NotMeasurable as error:
        reason = str(error)
    deep = [layers[part] for part in found.deep_parts] if found else []
    return (
        Number(
            name=PENNATION_ANGLE,
            value=value,
            unit=DEGREES,
            formula=_ANGLE_FORMULA + square_note(calibration),
            reason=reason,
            rests_on=(*deep, *fragments),
            drawn=drawn,
        ),
    )


_Raster = npt.NDArray[np.bool_]


def _columns(parts: Sequence[int], rasters: dict[int, _Raster]) -> _Raster:
    seen: _Raster = np.any([rasters[part].any(axis=0) for part in parts], axis=0)
    return seen


def _overlap(one: _Raster, other: _Raster) -> bool:
    narrower = min(int(one.sum()), int(other.sum()))
    return int((one & other).sum()) >= SIDE_BY_SIDE * narrower


def _grouped(rasters: dict[int, _Raster]) -> list[list[int]]:
    """Group parts into layers, from the top: near parts, and those side by side, are one layer."""
    depths = {part: float(np.nonzero(raster)[0].mean()) for part, raster in rasters.items()}
    layers: list[list[int]] = []
    for part in sorted(depths, key=lambda part: depths[part]):
        last = layers[-1] if layers else []
        near = last and depths[part] - depths[last[-1]] <= ONE_LAYER * len(rasters[part])
        if last and (near or not _overlap(_columns(last, rasters), _columns([part], rasters))):
            last.append(part)
        else:
            layers.append([part])
    return layers


def _edge(
    parts: Sequence[int], rasters: dict[int, _Raster], *, lowest: bool
) -> npt.NDArray[np.float64]:
    """Return (N, 2) pixel points along the lower or the upper edge of the parts, one per column."""
    union = np.any([rasters[part] for part in parts], axis=0)
    columns = np.nonzero(union.any(axis=0))[0]
    top = union[:, columns].argmax(axis=0)
    bottom = union.shape[0] - union[::-1, columns].argmax(axis=0)
    return np.stack([columns + 0.5, bottom if lowest else top], axis=1).astype(np.float64)


def _weighted_quantile(values: Sequence[float], weights: Sequence[float], share: float) -> float:
    """Return the value below which that share of the weight lies.

    It is linear between the middles of the values' weights.
    """
    order = np.argsort(values)
    sorted_values, mass = np.asarray(values)[order], np.asarray(weights)[order]
    middles = (np.cumsum(mass) - mass / 2) / mass.sum()
    return float(np.interp(share, middles, sorted_values))
