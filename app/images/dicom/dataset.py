"""Header and one frame of a DICOM file; runs in the reader process, never in the service."""

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID

from app.errors import ImageTooLarge, ImageUnreadable, ImageUnsupported, RequestRejected
from app.images.dicom.elements import parsed
from app.images.dicom.lengths import check_length
from app.images.dicom.messages import Header, RawRegion
from app.images.dicom.pixels import check_form, decode
from app.images.dicom.reconcile import Settled, reconcile
from app.images.dicom.streams import SYNTAXES
from app.images.dicom.structure import Scanned, read_meta, scan

SIDE_MIN_PX = 16
FRAMES_PIXELS_MAX = 200
"""Rows × Columns × NumberOfFrames may reach this many times the limit of one frame."""

REGIONS_MAX = 64

US_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.6.1": "US Image",
    "1.2.840.10008.5.1.4.1.1.3.1": "US Multi-frame Image",
    "1.2.840.10008.5.1.4.1.1.6": "US Image (retired)",
    "1.2.840.10008.5.1.4.1.1.3": "US Multi-frame Image (retired)",
}
CAPTURE_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture",
}
"""Read when their Modality is US.

Their IODs have PixelSpacing (PS3.3 C.8.6.1), those of ultrasound images do not (A.6, A.7).
"""

NATIVE = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
}
ENCAPSULATED = set(SYNTAXES)
"""RLE; JPEG baseline, extended and lossless; JPEG-LS; JPEG 2000 and its high-throughput form."""

_NEW_SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Introduced with DICOM 2023, and not yet in pydicom's dictionary."""

_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration"),
    *("PixelSpacing", "PixelAspectRatio", "SequenceOfUltrasoundRegions", "BurnedInAnnotation"),
    *(
        f"{colour}PaletteColorLookupTable{what}"
        for colour in ("Red", "Green", "Blue")
        for what in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
    *(
        "WindowCenter",
        "WindowWidth",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "PixelData",
    ),
)
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A file whose structure and stated sizes were checked; frames are read one by one."""

    dataset: Dataset
    frames: int
    settled: Settled
    """What its header states wrongly, and how its values are read."""


@dataclass(frozen=True, kw_only=True)
class ScannedFile(Scanned):
    """A file whose structure was checked, and the transfer syntax that it states."""

    stated_syntax: str


def scan_file(data: bytes) -> ScannedFile:
    """Check the structure of a file.

    Raises:
        ImageUnsupported: it is in a transfer syntax that is not decoded.
        ImageTooLarge: it holds more than is read.
        ImageUnreadable: it is damaged.
    """
    meta = read_meta(data)
    _check_syntax(meta.transfer_syntax)
    return ScannedFile(**vars(scan(data, meta)), stated_syntax=meta.transfer_syntax)


def open_file(scanned: ScannedFile, limit_pixels: int) -> Opened:
    """Parse a file and check it, without decoding any of its frames.

    Raises:
        ImageUnsupported: it is no ultrasound image.
        ImageTooLarge: its header states more pixels than are read.
        ImageUnreadable: it is damaged, or states a wrong size.
    """
    dataset = parsed(scanned, _KEYWORDS)
    _check_class(dataset)
    stated = UID(scanned.stated_syntax)
    settled = reconcile(dataset, stated)
    frames = _check_size(dataset, limit_pixels)
    _check_pixel_data(dataset, frames)
    return Opened(dataset=dataset, frames=frames, settled=settled)


def read_frame(opened: Opened, frame: int) -> tuple[Header, npt.NDArray[np.uint8]]:
    """Return the file's header and one frame of it: (H, W) or (H, W, 3), uint8.

    Raises:
        ImageUnsupported: its pixels are of a kind that is not read.
        ImageUnreadable: it is damaged, or its regions are.
        RequestRejected: it has no frame of that number.
    """
    if frame >= opened.frames:
        count = "one frame" if opened.frames == 1 else f"{opened.frames} frames"
        raise RequestRejected(f"The image has {count}; frame is counted from 0.")
    pixels, converted = decode(opened.dataset, frame, opened.settled)
    notes = [*opened.settled.notes, *converted]
    return _header(opened.dataset, pixels, (frame, opened.frames), notes), pixels


def _check_class(dataset: Dataset) -> None:
    sop_class = str(dataset.get("SOPClassUID", ""))
    if not sop_class:
        raise ImageUnsupported(
            "The DICOM file does not state what it is (SOPClassUID); send a whole ultrasound image."
        )
    capture = sop_class in CAPTURE_CLASSES and dataset.get("Modality") == "US"
    if sop_class not in US_CLASSES and not capture:
        name = UID(sop_class).name if _UID.fullmatch(sop_class) else sop_class
        kind = "" if name == sop_class else f" ({name})"  # An unknown UID may identify somebody.
        raise ImageUnsupported(
            f"This is a DICOM object of another kind{kind}; ultrasound images are read: "
            "US Image, US Multi-frame Image, and Secondary Capture of modality US."
        )


def _check_syntax(syntax: str) -> None:
    if syntax not in NATIVE | ENCAPSULATED:
        name = _NEW_SYNTAXES.get(syntax) or UID(syntax).name
        raise ImageUnsupported(
            f"The DICOM file's transfer syntax is {name}"
            f"{'' if name == syntax else f' ({syntax})'}, which is not decoded here; "
            "send it as Explicit VR Little Endian, RLE, JPEG, JPEG-LS or JPEG 2000."
        )


def _check_size(dataset: Dataset, limit_pixels: int) -> int:
    """Return the number of frames, after checking that the stated size is one that is read."""
    rows, columns = (_whole(dataset, keyword) for keyword in ("Rows", "Columns"))
    frames = _whole(dataset, "NumberOfFrames", 1)
    if min(rows, columns) < SIDE_MIN_PX:
        raise ImageUnreadable(
            f"The image is {columns} × {rows} pixels; each side needs at least {SIDE_MIN_PX}."
        )
    if rows * columns > limit_pixels:
        raise ImageTooLarge(f"The image has more than {limit_pixels} pixels; send a smaller one.")
    if rows * columns * frames > FRAMES_PIXELS_MAX * limit_pixels:
        raise ImageTooLarge(
            f"The file states {frames} frames of {columns} × {rows} pixels, more than are read; "
            "send fewer frames."
        )
    return frames


def _check_pixel_data(dataset: Dataset, frames: int) -> None:
    if "PixelData" not in dataset or not dataset["PixelData"].value:
        raise ImageUnreadable("The DICOM file has no PixelData; send one that holds its image.")
    check_form(dataset)
    if dataset.file_meta.TransferSyntaxUID not in SYNTAXES:
        check_length(dataset, frames)


def _header(
    dataset: Dataset, pixels: npt.NDArray[np.uint8], place: tuple[int, int], notes: list[str]
) -> Header:
    sop_class = str(dataset.SOPClassUID)
    spacing = _pair(dataset, "PixelSpacing")
    if spacing is not None and sop_class not in CAPTURE_CLASSES:
        notes.append("PixelSpacing is not used: the IOD of ultrasound images does not have it")
        spacing = None
    burned_in = str(dataset.get("BurnedInAnnotation") or "").upper()
    stated: Literal["YES", "NO"] | None = None
    if burned_in == "YES":
        stated = "YES"
    elif burned_in == "NO":
        stated = "NO"
    return Header(
        height_px=pixels.shape[0],
        width_px=pixels.shape[1],
        channels=3 if pixels.ndim == 3 else 1,
        frame=place[0],
        frames=place[1],
        sop_class_uid=sop_class,
        study_uid=_uid(dataset, "StudyInstanceUID"),
        series_uid=_uid(dataset, "SeriesInstanceUID"),
        instance_uid=_uid(dataset, "SOPInstanceUID"),
        regions=_regions(dataset),
        pixel_spacing=spacing,
        pixel_aspect=_pair(dataset, "PixelAspectRatio"),
        burned_in=stated,
        notes=tuple(notes),
    )


def _regions(dataset: Dataset) -> tuple[RawRegion, ...]:
    items = dataset.get("SequenceOfUltrasoundRegions") or ()
    if len(items) > REGIONS_MAX:
        raise ImageUnreadable(f"The file states {len(items)} regions; {REGIONS_MAX} are read.")
    return tuple(
        RawRegion(
            x0=_whole(item, "RegionLocationMinX0", least=0),
            y0=_whole(item, "RegionLocationMinY0", least=0),
            x1=_whole(item, "RegionLocationMaxX1", least=0),
            y1=_whole(item, "RegionLocationMaxY1", least=0),
            spatial_format=_code(item, "RegionSpatialFormat"),
            data_type=_code(item, "RegionDataType"),
            flags=_code(item, "RegionFlags"),
            unit_x=_code(item, "PhysicalUnitsXDirection"),
            unit_y=_code(item, "PhysicalUnitsYDirection"),
            delta_x=_real(item.get("PhysicalDeltaX")),
            delta_y=_real(item.get("PhysicalDeltaY")),
        )
        for item in items
    )


def _whole(dataset: Dataset, keyword: str, default: int | None = None, least: int = 1) -> int:
    """Return an element as a whole number.

    Raises:
        ImageUnreadable: it is missing, or not a whole number of at least `least`.
    """
    value = dataset.get(keyword)
    if (value is None or value == "") and default is not None:
        return default
    number = _real(value)
    if number is None or number != int(number) or not least <= number < 2**32:
        raise ImageUnreadable(f"The DICOM file states no valid {keyword}.")
    return int(number)


def _code(dataset: Dataset, keyword: str) -> int | None:
    number = _real(dataset.get(keyword))
    return None if number is None or number != int(number) else int(number)


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return an element's two numbers; None if it is absent or anything else."""
    value = dataset.get(keyword)
    if value is None or isinstance(value, str | int | float) or len(value) != 2:
        return None
    first, second = (_real(part) for part in value)
    return None if first is None or second is None else (first, second)


def _real(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _uid(dataset: Dataset, keyword: str) -> str | None:
    text = str(dataset.get(keyword) or "")
    return text if len(text) <= 64 and _UID.fullmatch(text) else None
