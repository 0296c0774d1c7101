"""Analysed part of a DICOM frame and its pixel size, from the regions that the file states.

Public viewers take the first region's spacing for the whole frame, or one axis for both; this
module does neither. Sections are of DICOM PS3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.images.dicom.messages import Header, RawRegion
from reports.model import Box, PixelAspect, Region, Spacing
from specialists.image import ASPECT_MAX, ASPECT_MIN

REGIONS_SOURCE = "SequenceOfUltrasoundRegions"
SPACING_SOURCE = "PixelSpacing"

CM = 3
"""PhysicalUnitsXDirection and PhysicalUnitsYDirection: the only code of a length (C.8.5.5.1.15)."""

NO_UNIT = 0
NO_FORMAT, NO_DATA = 0, 0
TWO_D = 1
"""RegionSpatialFormat of a 2D image (C.8.5.5.1.1)."""

TISSUE, COLOUR_FLOW = 1, 2
"""RegionDataType (C.8.5.5.1.2)."""

LOW_PRIORITY = 1
"""The bit of RegionFlags that lets regions of high priority overwrite this one (C.8.5.5.1.3)."""

REGION_MIN_PX = 16
"""Sides below which a region shows no structure: what states it does not mean this picture."""

PIXEL_MIN_MM, PIXEL_MAX_MM = 0.002, 2.0
"""Plausible pixel sizes; others are taken for mistakes.

The lower bound lies below a third of the finest wavelength in use (50 MHz); a pixel above the upper
bound would hide a pea.
"""

OVERRUN_MAX_PX = 1
"""How far a region may reach beyond the frame.

Devices count a region's last column from 0 or from 1; a larger overrun means that other pixels were
calibrated.
"""

_FORMATS = {2: "M-mode", 3: "spectral", 4: "a waveform", 5: "graphics"}
_DATA = {COLOUR_FLOW: "colour flow", 3: "PW spectral Doppler", 4: "CW spectral Doppler"}


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """The analysed part of a frame.

    `spacing_reason` states why it has no spacing in mm, `refusal` why it is not analysed.
    """

    regions: tuple[Region, ...]
    spacing_mm: Spacing | None
    spacing_source: str | None
    spacing_reason: str | None
    pixel_aspect: PixelAspect
    aspect_ratio: float | None
    """A pixel's height over its width, if PixelAspectRatio states it and nothing contradicts it."""
    kept: npt.NDArray[np.bool_] | None
    """(H, W): the pixels that are kept; None when the file states no region, and all are kept."""
    colour: bool
    """Whether a colour flow region lies over analysed tissue."""
    refusal: str | None
    notes: tuple[str, ...] = ()
    """What else was done with its regions."""


def calibrate(header: Header) -> Calibrated:
    """Determine which part of a frame is analysed, and its spacing in mm where it is proven."""
    if not header.regions:
        return _whole_frame(header)
    tissue = [region for region in header.regions if _is_tissue(region)]
    boxes = [(region, _box(region, header)) for region in tissue]
    shown = [(region, box) for region, box in boxes if box is not None and _large_enough(box)]
    left_out = [
        f"a region of 2D tissue was left out, since it holds {_size(region, header)}"
        for region, box in boxes
        if box is None or not _large_enough(box)
    ]
    if not shown:
        return _nothing_to_analyse(header, _why_no_tissue(header, tissue))
    overrun = next((text for text in (_overrun(r, header) for r in header.regions) if text), None)
    regions: list[Region] = []
    reasons: list[str] = []
    for raw, box in shown:
        spacing, reason = (None, overrun) if overrun else _spacing(raw)
        regions.append(Region(box=box, spacing_mm=spacing))
        if reason and reason not in reasons:
            reasons.append(reason)
    kept = _kept(header, shown)
    if not kept.any():
        return _nothing_to_analyse(header, _why_hidden(header))
    spacings = {region.spacing_mm for region in regions}
    one = spacings.pop() if len(spacings) == 1 else None
    known = any(region.spacing_mm is not None for region in regions)
    all_known = all(region.spacing_mm is not None for region in regions)
    ratio = None if overrun else _ratio(header)
    return Calibrated(
        regions=tuple(regions),
        spacing_mm=one,
        spacing_source=REGIONS_SOURCE if known else None,
        spacing_reason="; ".join(reasons) or None,
        pixel_aspect=_aspect(all_known or ratio is not None),
        aspect_ratio=ratio,
        kept=kept,
        colour=_colour_over(header, shown, kept),
        refusal=None,
        notes=tuple(left_out),
    )


def _whole_frame(header: Header) -> Calibrated:
    spacing: Spacing | None = None
    reason: str | None = "the DICOM file states no calibrated region"
    if header.pixel_spacing is not None:
        between_rows, between_columns = header.pixel_spacing  # In this order (10.7.1.3).
        spacing, reason = _checked(between_columns, between_rows, SPACING_SOURCE)
    ratio = _ratio(header)
    return Calibrated(
        regions=(),
        spacing_mm=spacing,
        spacing_source=SPACING_SOURCE if spacing is not None else None,
        spacing_reason=reason,
        pixel_aspect=_aspect(spacing is not None or ratio is not None),
        aspect_ratio=ratio,
        kept=None,
        colour=False,
        refusal=None,
    )


def _ratio(header: Header) -> float | None:
    """Return PixelAspectRatio as height over width; None if it is absent or implausible.

    The attribute states the vertical size first (C.7.6.3.1.7).
    """
    if header.pixel_aspect is None or min(header.pixel_aspect) <= 0:
        return None
    ratio = header.pixel_aspect[0] / header.pixel_aspect[1]
    return ratio if ASPECT_MIN <= ratio <= ASPECT_MAX else None


def _aspect(known: bool) -> PixelAspect:
    return PixelAspect.KNOWN if known else PixelAspect.ASSUMED_SQUARE


def _nothing_to_analyse(header: Header, refusal: str) -> Calibrated:
    return Calibrated(
        regions=(),
        spacing_mm=None,
        spacing_source=None,
        spacing_reason="no part of the frame is analysed",
        pixel_aspect=PixelAspect.ASSUMED_SQUARE,
        aspect_ratio=None,
        kept=_inside(header, [_box(region, header) for region in header.regions]),
        colour=False,
        refusal=refusal,
    )


def _why_no_tissue(header: Header, tissue: list[RawRegion]) -> str:
    """Return why no region is analysed: they show something else, or the tissue's are too small."""
    if tissue:
        sizes = list(dict.fromkeys(_size(region, header) for region in tissue))
        return (
            f"The region of 2D tissue that the file states holds {', another '.join(sizes)}; "
            f"at least {REGION_MIN_PX} × {REGION_MIN_PX} are analysed. "
            "Send the file with the region (SequenceOfUltrasoundRegions) that its scanner wrote."
        )
    return (
        "No region of the image shows 2D tissue with spatial units; "
        f"what it shows is {_kinds(header.regions)}. "
        "Only 2D grey-scale tissue is analysed."
    )


def _why_hidden(header: Header) -> str:
    others = [region for region in header.regions if not _is_tissue(region)]
    return (
        "The region of 2D tissue that the file states lies wholly under regions that show "
        f"{_kinds(others)}, and none of it is left to analyse."
    )


def _kinds(regions: Sequence[RawRegion]) -> str:
    return ", ".join(sorted({_kind(region) for region in regions}))


def _large_enough(box: Box) -> bool:
    x_min, y_min, x_max, y_max = box
    return min(x_max - x_min, y_max - y_min) >= REGION_MIN_PX


def _size(region: RawRegion, header: Header) -> str:
    """Return in words how much of the frame the region holds."""
    box = _box(region, header)
    if box is None:
        backwards = region.x1 < region.x0 or region.y1 < region.y0
        return "no pixel (it ends before it begins)" if backwards else "no pixel of the frame"
    width, height = round(box[2] - box[0]), round(box[3] - box[1])
    return "one pixel" if width == height == 1 else f"{width} × {height} pixels"


def _is_tissue(region: RawRegion) -> bool:
    """Return whether the region shows 2D tissue with a length on both axes.

    A unit that is not stated does not exclude the region; one other than cm does.
    """
    units = {region.unit_x, region.unit_y} - {None, NO_UNIT, CM}
    return region.spatial_format == TWO_D and region.data_type == TISSUE and not units


def _kind(region: RawRegion) -> str:
    named = _FORMATS.get(region.spatial_format or 0) or _DATA.get(region.data_type or 0)
    if named is None and region.spatial_format == TWO_D and region.data_type == TISSUE:
        return "tissue without lengths as units"
    if named is None and _says_nothing(region):
        return "not stated (RegionSpatialFormat 0)"
    return named or "of another kind"


def _spacing(region: RawRegion) -> tuple[Spacing | None, str | None]:
    """Return the region's mm per pixel, or the reason why there is none."""
    if region.unit_x != CM or region.unit_y != CM:
        return None, "the region of the image states no unit of length for both axes"
    if region.delta_x is None or region.delta_y is None:
        return None, "the region of the image states no size of a pixel"
    # The sign of a delta is the direction of its axis; only its magnitude is a size.
    return _checked(10.0 * abs(region.delta_x), 10.0 * abs(region.delta_y), REGIONS_SOURCE)


def _checked(x_mm: float, y_mm: float, source: str) -> tuple[Spacing | None, str | None]:
    sides = all(PIXEL_MIN_MM <= side_mm <= PIXEL_MAX_MM for side_mm in (x_mm, y_mm))
    if sides and ASPECT_MIN <= y_mm / x_mm <= ASPECT_MAX:
        return Spacing(x=x_mm, y=y_mm), None
    return None, (
        f"{source} states pixels of {x_mm:.4g} × {y_mm:.4g} mm, which no ultrasound image has"
    )


def _overrun(region: RawRegion, header: Header) -> str | None:
    """Return why no calibration of this frame can be trusted, if the region exceeds the frame."""
    over = max(region.x1 + 1 - header.width_px, region.y1 + 1 - header.height_px)
    if over <= OVERRUN_MAX_PX:
        return None
    return (
        f"a calibrated region overruns the image by {over} pixels, so that the image was resized "
        "or cropped after its calibration, which no longer holds"
    )


def _box(region: RawRegion, header: Header) -> Box | None:
    """Return the region clipped to the frame; both stated corners are inside it (C.8.5.5.1.14)."""
    x_min, y_min = min(region.x0, header.width_px), min(region.y0, header.height_px)
    x_max = min(region.x1 + 1, header.width_px)
    y_max = min(region.y1 + 1, header.height_px)
    return (x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def _kept(header: Header, tissue: list[tuple[RawRegion, Box]]) -> npt.NDArray[np.bool_]:
    """Return the mask of tissue without the other regions shown over it.

    Colour flow regions stay in; `_colour_over` judges them.
    """
    kept = _inside(header, [])
    for region, box in tissue:
        over = [
            _box(other, header)
            for other in header.regions
            if not _is_tissue(other)
            and other.data_type != COLOUR_FLOW
            and not _overwritten(other, region)
            and not _backdrop(other, box, header)
        ]
        kept |= _inside(header, [box]) & ~_inside(header, over)
    return kept


def _overwritten(other: RawRegion, tissue: RawRegion) -> bool:
    """Return whether the tissue is shown where both lie: it has high priority, the other low.

    Without a statement of both the other one is taken to lie over the tissue.
    """
    if other.flags is None or tissue.flags is None:
        return False
    return bool(other.flags & LOW_PRIORITY) and not tissue.flags & LOW_PRIORITY


def _says_nothing(region: RawRegion) -> bool:
    """Return whether the region states neither a format nor data but tissue."""
    return (region.spatial_format or NO_FORMAT) == NO_FORMAT and (
        (region.data_type or NO_DATA) in {NO_DATA, TISSUE}
    )


def _backdrop(other: RawRegion, tissue: Box, header: Header) -> bool:
    """Return whether a region without a format is the screen that the tissue is shown on.

    Some scanners begin with such a region over the whole frame. One that states nothing hides
    nothing; of other data, one that contains the tissue and more lies below it.
    """
    if (other.spatial_format or NO_FORMAT) != NO_FORMAT:
        return False
    box = _box(other, header)
    if box is None or _says_nothing(other):
        return True
    return (
        box != tissue
        and box[0] <= tissue[0]
        and box[1] <= tissue[1]
        and box[2] >= tissue[2]
        and box[3] >= tissue[3]
    )


def _colour_over(
    header: Header, tissue: list[tuple[RawRegion, Box]], kept: npt.NDArray[np.bool_]
) -> bool:
    """Return whether a colour flow region lies over kept tissue that does not overwrite it."""
    for region, box in tissue:
        flow = [
            _box(other, header)
            for other in header.regions
            if other.data_type == COLOUR_FLOW and not _overwritten(other, region)
        ]
        if (_inside(header, flow) & _inside(header, [box]) & kept).any():
            return True
    return False


def _inside(header: Header, boxes: Sequence[Box | None]) -> npt.NDArray[np.bool_]:
    mask = np.zeros((header.height_px, header.width_px), dtype=np.bool_)
    for box in boxes:
        if box is not None:
            x_min, y_min, x_max, y_max = (int(side) for side in box)
            mask[y_min:y_max, x_min:x_max] = True
    return mask
