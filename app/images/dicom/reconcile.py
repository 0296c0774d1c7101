"""Settle what a header states about its pixels by what cannot lie, before anything is decoded.

That is the length of PixelData, the compressed stream and the range of the values. Each correction
names its attribute in a note. Sections are of DICOM PS3.3.
"""

import re
from dataclasses import dataclass

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.multival import MultiValue
from pydicom.uid import UID, ExplicitVRLittleEndian

from app.errors import ImageUnreadable
from app.images.dicom.fragments import ITEM, frames_of, stream_of, with_table
from app.images.dicom.grey import Reading, Stated, Values, reading_of, unsigned
from app.images.dicom.lengths import (
    GREY,
    ONE_SAMPLE,
    PALETTE,
    first_channel,
    form_by_length,
    frame_bytes,
    planes_exchanged,
    samples_of,
    sides_exchanged,
)
from app.images.dicom.streams import SYNTAXES, Form, Kind, SizeDiffers, check_whole, form_of
from app.images.dicom.structure import EXPLICIT_BIG
from specialists.pictures.jpeg import JpegCut

READ = {
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"),
}
NOT_READ = {"HSV", "ARGB", "CMYK", "XYB", "YBR_PARTIAL_422", "YBR_PARTIAL_420"}

FRAMES_TRIED = 9
"""Frames of which one tells what the stream states of itself, where those before it are cut."""

_WHOLE = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PlanarConfiguration"),
)
_PALETTES = tuple(
    f"{before}{colour}PaletteColorLookupTable{after}"
    for colour in ("Red", "Green", "Blue")
    for before, after in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
_LENGTH, _STREAM, _VALUES = "the length of PixelData", "the compressed stream", "its values"
_USUAL = "what is usual"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What a header should have stated."""

    stated: Stated
    """What it states of its values, by which each compressed frame is read."""
    reading: Reading | None
    """How the values of all uncompressed frames are read."""
    notes: tuple[str, ...]


def reconcile(dataset: Dataset, syntax: UID) -> Settled:
    """Correct the attributes that contradict the pixels, in place; a note tells of each.

    Args:
        dataset: with the transfer syntax that its elements are written in.
        syntax: the one that the file states.

    Raises:
        ImageUnreadable: an attribute that nothing settles has a value that does not exist.
    """
    notes: list[str] = []
    _whole_numbers(dataset, notes)
    _palette_bytes(dataset)
    _photometric(dataset)
    if dataset.get("PixelData"):
        _syntax(dataset)
    right = UID(dataset.file_meta.TransferSyntaxUID)
    if right != syntax:
        notes.append(f"TransferSyntaxUID states {syntax.name}; it is written in {right.name}")
    native = dataset.file_meta.TransferSyntaxUID not in SYNTAXES
    sizes = bool(dataset.get("Rows") and dataset.get("Columns"))
    if not dataset.get("PixelData") or (native and not sizes):
        return Settled(stated=_stated(dataset), reading=None, notes=tuple(notes))
    if not native:
        _by_stream(dataset, notes)
    elif dataset.PhotometricInterpretation not in NOT_READ:
        _by_length(dataset, notes)
    stated = _stated(dataset)
    _complete(dataset, notes)
    reading = None
    if native and dataset.BitsAllocated in (8, 16):
        _by_places(dataset, notes)
        photometric = dataset.PhotometricInterpretation
        if photometric in GREY or (dataset.BitsAllocated == 16 and photometric != PALETTE):
            reading = reading_of(_values(dataset), int(dataset.Columns), stated)
            notes += reading.notes
    return Settled(stated=stated, reading=reading, notes=tuple(notes))


def _set(dataset: Dataset, notes: list[str], keyword: str, value: int | str, why: str) -> None:
    stated = dataset.get(keyword)
    if stated == value:
        return
    named = f"states {stated}" if isinstance(stated, int) else "states another value"
    notes.append(
        f"{keyword} {'is missing' if stated in (None, '') else named}; read as {value}, by {why}"
    )
    if keyword in dataset:
        del dataset[keyword]
    setattr(dataset, keyword, value)


def _whole_numbers(dataset: Dataset, notes: list[str]) -> None:
    """Turn whole numbers of another value representation into numbers; drop what is none."""
    for keyword in _WHOLE:
        if keyword not in dataset:
            continue
        try:
            value = dataset[keyword].value
            if isinstance(value, bytes) and len(value) in (2, 4):
                big = dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG
                value = int.from_bytes(value, "big" if big else "little")
            number = None if value is None or value == "" else int(value)
        except (TypeError, ValueError, OverflowError):
            number = None
            notes.append(f"{keyword} states no number")
        del dataset[keyword]
        if number is not None:
            setattr(dataset, keyword, number)
    if (dataset.get("NumberOfFrames") or 0) < 0:
        dataset.NumberOfFrames = 0


def _photometric(dataset: Dataset) -> None:
    """Write PhotometricInterpretation as the standard does; one that does not exist is empty."""
    text = str(dataset.get("PhotometricInterpretation") or "").strip(" \0").upper()
    squeezed = re.sub(r"[ _-]", "", text)
    known = {re.sub("[ _]", "", name): name for name in READ | NOT_READ}
    dataset.PhotometricInterpretation = known.get(squeezed, "")


def _syntax(dataset: Dataset) -> None:
    """Settle by PixelData itself whether it is compressed, and as what."""
    data, syntax = dataset.PixelData, str(dataset.file_meta.TransferSyntaxUID)
    stated, items = SYNTAXES.get(syntax), data[:4] == ITEM
    fits = not items and form_by_length(dataset, str(dataset.PhotometricInterpretation)) is not None
    if fits:
        if stated:
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return
    form = _form(dataset) if items else _form_of(data)
    if form is None or not (items or _is_whole(dataset, data, form.kind)):
        return
    if not items:
        dataset.PixelData = encapsulate([data])
    if form.kind != stated:
        dataset.file_meta.TransferSyntaxUID = UID(form.syntax)


def _is_whole(dataset: Dataset, stream: bytes, kind: Kind) -> bool:
    """Return whether bytes outside fragments are a frame's stream; RLE has no mark of its own."""
    if kind is not Kind.RLE:
        return True
    try:
        check_whole(stream, kind, int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)))
    except (JpegCut, SizeDiffers):
        return False
    return True


def _form_of(stream: bytes) -> Form | None:
    try:
        return form_of(stream)
    except (JpegCut, IndexError):
        return None


def _form(dataset: Dataset) -> Form | None:
    """Return what the first stream that states anything says of itself."""
    for frame in range(min(FRAMES_TRIED, int(dataset.get("NumberOfFrames") or 1))):
        try:
            form = form_of(stream_of(dataset, frame))
        except (JpegCut, ValueError, LookupError):
            continue
        if form is not None:
            return form
    return None


def _by_length(dataset: Dataset, notes: list[str]) -> None:
    """Choose the reading of an uncompressed header under which PixelData has its length."""
    photometric = str(dataset.PhotometricInterpretation)
    if photometric in ("YBR_RCT", "YBR_ICT"):  # Only JPEG 2000 has these.
        photometric = "RGB"
    found = form_by_length(dataset, photometric)
    if found is None:
        return
    form, frames = found
    if dataset.get("NumberOfFrames") is not None or frames > 1:
        _set(dataset, notes, "NumberOfFrames", frames, _LENGTH)
    _set(dataset, notes, "PhotometricInterpretation", form[0], _LENGTH)
    _set(dataset, notes, "SamplesPerPixel", form[1], _LENGTH)
    _set(dataset, notes, "BitsAllocated", form[2], _LENGTH)


def _by_places(dataset: Dataset, notes: list[str]) -> None:
    """Settle how an uncompressed frame's values follow one another, where they leave no doubt."""
    each_apart = dataset.PhotometricInterpretation != "YBR_FULL_422"
    if dataset.get("SamplesPerPixel") == 3 and each_apart and planes_exchanged(dataset):
        other = 1 - dataset.PlanarConfiguration
        _set(dataset, notes, "PlanarConfiguration", other, _VALUES)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if each_apart and sides_exchanged(first_channel(dataset), rows, columns):
        _set(dataset, notes, "Rows", columns, _VALUES)
        _set(dataset, notes, "Columns", rows, _VALUES)


def _by_stream(dataset: Dataset, notes: list[str]) -> None:
    """Take size, depth and components from a frame's stream, which controls (PS3.5 8.2.1)."""
    rle = SYNTAXES[str(dataset.file_meta.TransferSyntaxUID)] is Kind.RLE
    frames = frames_of(dataset, rle)
    if frames.count and (frames.count > 1 or dataset.get("NumberOfFrames") is not None):
        _set(dataset, notes, "NumberOfFrames", frames.count, _STREAM)
    if frames.table and not frames.stated:
        dataset.PixelData = with_table(dataset.PixelData, frames.table)
    if dataset.get("NumberOfFrames") == 0:
        _set(dataset, notes, "NumberOfFrames", 1, _STREAM)
    form = _form(dataset)
    if form is None:
        return  # Decoding refuses each frame by what is wrong with it.
    _size(dataset, notes, form)
    if form.samples in (1, 3):
        _set(dataset, notes, "SamplesPerPixel", form.samples, _STREAM)
        _set(dataset, notes, "PhotometricInterpretation", _colours_of(dataset, form), _STREAM)
    if form.kind is not Kind.RLE and "PlanarConfiguration" in dataset:
        _set(dataset, notes, "PlanarConfiguration", 0, _STREAM)
    if form.signed is not None:
        _set(dataset, notes, "PixelRepresentation", int(form.signed), _STREAM)
    if form.precision is not None and 2 <= form.precision <= 16:
        _set(dataset, notes, "BitsStored", form.precision, _STREAM)
        _set(dataset, notes, "HighBit", form.precision - 1, _STREAM)
    _set(dataset, notes, "BitsAllocated", form.allocated, _STREAM)


def _size(dataset: Dataset, notes: list[str], form: Form) -> None:
    """Take the sides from the stream where the header has none, or has them exchanged."""
    if form.size is None:
        return
    stated = (dataset.get("Rows") or 0, dataset.get("Columns") or 0)
    if not all(stated) or stated == form.size[::-1]:
        for keyword, side in zip(("Rows", "Columns"), form.size, strict=True):
            _set(dataset, notes, keyword, side, _STREAM)


def _colours_of(dataset: Dataset, form: Form) -> str:
    """Return the photometric interpretation that a stream of such components has."""
    stated = str(dataset.PhotometricInterpretation)
    if form.samples == 1:
        return stated if stated in ONE_SAMPLE else "MONOCHROME2"
    jpeg = form.jpeg
    if jpeg is not None and jpeg.ycbcr:
        return stated if stated in ("YBR_FULL", "YBR_FULL_422") else "YBR_FULL"
    if form.transformed and stated in ("YBR_RCT", "YBR_ICT"):
        return stated
    if form.transformed or (jpeg is not None and jpeg.rgb) or stated in ("YBR_RCT", "YBR_ICT"):
        return "RGB"
    if stated == "YBR_FULL_422":
        return "YBR_FULL"
    return stated if stated and samples_of(stated) == 3 else "RGB"


def _palette_bytes(dataset: Dataset) -> None:
    """Give palettes the value representations of C.7.6.3, whichever they were written in."""
    order = "big" if dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG else "little"
    kind = ">u2" if order == "big" else "<u2"
    for keyword in _PALETTES:
        value = dataset[keyword].value if keyword in dataset else None
        if keyword.endswith("Descriptor") and isinstance(value, bytes) and len(value) == 6:
            words = [int(word) for word in np.frombuffer(value, dtype=kind)]
            dataset[keyword] = DataElement(dataset[keyword].tag, "US", words)
        elif keyword.endswith("Data") and isinstance(value, MultiValue | list | tuple):
            packed = np.array([int(word) & 0xFFFF for word in value], dtype=kind).tobytes()
            dataset[keyword] = DataElement(dataset[keyword].tag, "OW", packed)


def _complete(dataset: Dataset, notes: list[str]) -> None:
    """Give missing attributes the only value that makes sense."""
    if "BitsAllocated" not in dataset:
        _set(dataset, notes, "BitsAllocated", 8, _USUAL)
    if not dataset.PhotometricInterpretation and dataset.get("SamplesPerPixel") in (1, 3):
        usual = "MONOCHROME2" if dataset.SamplesPerPixel == 1 else "RGB"
        _set(dataset, notes, "PhotometricInterpretation", usual, _USUAL)
    if dataset.get("SamplesPerPixel") == 3 and "PlanarConfiguration" not in dataset:
        _set(dataset, notes, "PlanarConfiguration", 0, _USUAL)
    if "PixelRepresentation" not in dataset:
        _set(dataset, notes, "PixelRepresentation", 0, _USUAL)
    for keyword in ("PlanarConfiguration", "PixelRepresentation"):
        if dataset.get(keyword, 0) not in (0, 1):
            raise ImageUnreadable(f"The DICOM file states no valid {keyword}, which is 0 or 1.")
    if "BitsStored" not in dataset:
        _set(dataset, notes, "BitsStored", dataset.BitsAllocated, "BitsAllocated")
    kind = SYNTAXES.get(str(dataset.file_meta.TransferSyntaxUID))
    if kind in (None, Kind.RLE) and dataset.BitsAllocated in (8, 16):
        # The decoder gets all bits, and `grey` tells what they are.
        dataset.BitsStored, dataset.PixelRepresentation = dataset.BitsAllocated, 0
    elif kind in (Kind.LS, Kind.JPEG):
        dataset.PixelRepresentation = 0
    dataset.HighBit = dataset.BitsStored - 1


def _stated(dataset: Dataset) -> Stated:
    signed, high_bit = dataset.get("PixelRepresentation"), dataset.get("HighBit")
    bits = dataset.get("BitsStored", dataset.get("BitsAllocated", 8))
    return Stated(
        bits=int(bits),
        high_bit=high_bit,
        signed=None if signed is None else signed == 1,
        window=_window(dataset),
    )


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """Return the first window that the file states; None where it states no valid one."""
    numbers = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = dataset.get(keyword)
        if isinstance(value, MultiValue | list | tuple):
            value = value[0] if value else None
        try:
            numbers.append(float(value))
        except (TypeError, ValueError, OverflowError):
            return None
    return numbers[0], numbers[1]


def _values(dataset: Dataset) -> Values:
    """Return the values of all uncompressed frames, in one row."""
    big = dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG
    kind = "u1" if dataset.BitsAllocated == 8 else ">u2" if big else "<u2"
    size = int(dataset.get("NumberOfFrames") or 1) * frame_bytes(dataset)
    data = memoryview(dataset.PixelData)[:size]
    return unsigned(np.frombuffer(data, dtype=kind, count=8 * len(data) // dataset.BitsAllocated))
