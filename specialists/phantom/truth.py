"""What is known of a drawn image, and the mark that carries it in a PNG file."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL.Image
from pydantic import BaseModel, ConfigDict, ValidationError

from reports.measure.geometry import SQUARE_PX, Scale, area, long_and_short_axis
from reports.model import Box, Point, Ring, Spacing
from specialists.errors import Rejected
from specialists.phantom.field import Field, FieldShape
from specialists.phantom.tissue import Ellipse, Lesion, Outline

MARK = "ustri-phantom"
"""Keyword of the PNG text chunk that holds the truth as JSON."""

PhantomKind = Literal["breast", "intrapartum"]


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Extent(_Known):
    """Sizes of one structure in one unit.

    `long` is the largest distance between two points of the outline, `short` the longest chord of
    its convex hull across that direction, as a report measures them; `area` is in the square of the
    unit.
    """

    unit: Literal["px", "mm"]
    long: float
    short: float
    area: float


class Structure(_Known):
    """One drawn structure, in image pixels; lengths in px take pixels as square."""

    label: str
    polygon: Ring
    box: Box
    size_px: Extent
    size_mm: Extent


class Angle(_Known):
    """The angle of progression and the three points that define it, in image pixels.

    `deg` is the angle in millimetre geometry, `square_pixel_deg` the angle that is measured if
    pixels are taken as square.
    """

    superior: Point
    inferior: Point
    tangent: Point
    deg: float
    square_pixel_deg: float


class Truth(_Known):
    """Everything that is known of a drawn image."""

    kind: PhantomKind
    seed: int
    width_px: int
    height_px: int
    field: FieldShape
    spacing_mm: Spacing
    lesion: Lesion
    structures: tuple[Structure, ...]
    aop: Angle | None = None


def read_truth(source: Path | bytes) -> Truth | None:
    """Return the truth that a PNG file or its bytes carry; None where there is no mark.

    Raises:
        Rejected: the source is not a PNG, or its mark does not hold a truth.
    """
    try:
        stream = io.BytesIO(source) if isinstance(source, bytes) else source
        with PIL.Image.open(stream, formats=("PNG",)) as image:
            text = image.info.get(MARK)
    except (OSError, PIL.Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise Rejected(f"This is not a readable PNG: {error}") from error
    if text is None:
        return None
    try:
        return Truth.model_validate_json(text)
    except ValidationError as error:
        raise Rejected(f"The PNG is marked {MARK!r} but does not hold a truth.") from error


def truth_of(
    what: tuple[PhantomKind, int, Lesion],
    field: Field,
    outlines: dict[str, Outline],
    angle: Angle | None,
) -> Truth:
    """Return the truth of outlines drawn in that field.

    Args:
        what: kind, seed and lesion.
        field: the field that they are drawn in.
        outlines: by label.
        angle: the angle of progression of a transperineal view.
    """
    kind, seed, lesion = what
    sx, sy = field.spacing_mm
    return Truth(
        kind=kind,
        seed=seed,
        width_px=field.width_px,
        height_px=field.height_px,
        field=field.shape,
        spacing_mm=Spacing(x=sx, y=sy),
        lesion=lesion,
        structures=tuple(_structure(name, outline, field) for name, outline in outlines.items()),
        aop=angle,
    )


def _structure(label: str, outline: Outline, field: Field) -> Structure:
    scale = np.array(field.spacing_mm)
    points = np.round(outline.points_mm() / scale, 3)
    polygon = tuple((float(x), float(y)) for x, y in points)
    low, high = points.min(axis=0), points.max(axis=0)
    return Structure(
        label=label,
        polygon=polygon,
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        size_px=_extent("px", polygon, SQUARE_PX),
        size_mm=_extent("mm", polygon, field.spacing_mm),
    )


def _extent(unit: Literal["px", "mm"], ring: Ring, scale: Scale) -> Extent:
    axes = long_and_short_axis((ring,), scale)
    return Extent(
        unit=unit,
        long=axes.long.length,
        short=axes.short.length,
        area=area((ring,), scale),
    )


def tangent_of(symphysis: Ellipse, head: Ellipse) -> tuple[npt.NDArray[np.float64], float]:
    """Return the tangent point and the angle of progression, in degrees.

    Of the two tangents from the symphysis' inferior end to the head, it is the one that opens the
    larger angle.
    """
    superior, inferior = symphysis.ends_mm()
    touching = head.tangents_mm(inferior)
    angles = [_turn_deg(superior - inferior, point - inferior) for point in touching]
    widest = int(np.argmax(angles))
    return touching[widest], angles[widest]


def _turn_deg(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Return the angle from one direction to another in degrees, 0 to 360.

    It increases from left over down to right on the screen.
    """
    turned = np.arctan2(first[1], first[0]) - np.arctan2(second[1], second[0])
    return float(np.degrees(turned) % 360)


def progression(field: Field, symphysis: Ellipse, head: Ellipse) -> Angle:
    """Return the angle of progression of a drawn symphysis and head."""
    superior, inferior = symphysis.ends_mm()
    tangent, degrees = tangent_of(symphysis, head)
    scale = np.array(field.spacing_mm)
    first, second = (superior - inferior) / scale, (tangent - inferior) / scale
    return Angle(
        superior=_point(superior / scale),
        inferior=_point(inferior / scale),
        tangent=_point(tangent / scale),
        deg=degrees,
        square_pixel_deg=_turn_deg(first, second),
    )


def _point(xy: npt.NDArray[np.float64]) -> Point:
    return round(float(xy[0]), 3), round(float(xy[1]), 3)
