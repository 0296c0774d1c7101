"""Settle what a header states about its pixels by what cannot lie, before anything is decoded.

That is the length of PixelData, the compressed stream and the range of the values. Each correction
names its attribute in a note. Sections are of DICOM PS3.3.
"""

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.multival import MultiValue

from app.errors import ImageUnreadable
from app.images.dicom.pixels import DEPTHS, GREY, JPEG_SYNTAXES, LS_SYNTAXES, stream_of
from app.images.dicom.structure import EXPLICIT_BIG
from app.images.jpeg import JpegCut, Stream, parse

PLANE_SHARE = 0.05
"""Share of pixels below which a single bit above BitsStored is an old overlay's (C.9.2)."""

_WHOLE = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PlanarConfiguration"),
)
_PALETTES = tuple(
    f"{before}{colour}PaletteColorLookupTable{after}"
    for colour in ("Red", "Green", "Blue")
    for before, after in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
_RLE = "1.2.840.10008.1.2.5"
_STARTS = (b"\xff\xd8", b"\xff\x4f")


def reconcile(dataset: Dataset, native: bool) -> tuple[str, ...]:
    """Correct the attributes that contradict the pixels, in place; return a note for each.

    Raises:
        ImageUnreadable: an attribute that nothing settles has a value that does not exist.
    """
    notes: list[str] = []
    _whole_numbers(dataset)
    _palette_bytes(dataset)
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip(" \0").upper()
    dataset.PhotometricInterpretation = photometric
    if not dataset.get("PixelData") or not (dataset.get("Rows") and dataset.get("Columns")):
        return ()
    (_by_length if native else _by_stream)(dataset, notes)
    _complete(dataset, notes)
    if native and dataset.PhotometricInterpretation in GREY:
        _by_values(dataset, notes)
    elif dataset.get("HighBit") != dataset.BitsStored - 1:
        _set(dataset, notes, "HighBit", dataset.BitsStored - 1, "the pixels' own depth")
    return tuple(notes)


def _set(dataset: Dataset, notes: list[str], keyword: str, value: int | str, why: str) -> None:
    stated = dataset.get(keyword)
    if stated == value:
        return
    named = f"states {stated}" if isinstance(stated, int) else "states another value"
    notes.append(
        f"{keyword} {'is missing' if stated is None else named}; read as {value}, by {why}"
    )
    if keyword in dataset:
        del dataset[keyword]
    setattr(dataset, keyword, value)


def _whole_numbers(dataset: Dataset) -> None:
    """Turn whole numbers of another value representation into numbers; drop empty ones."""
    for keyword in _WHOLE:
        if keyword not in dataset:
            continue
        value = dataset[keyword].value
        if isinstance(value, bytes) and len(value) in (2, 4):
            big = dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG
            value = int.from_bytes(value, "big" if big else "little")
        try:
            number = None if value is None or value == "" else int(value)
        except (TypeError, ValueError):
            continue  # Whoever needs it refuses it by name.
        del dataset[keyword]
        if number is not None:
            setattr(dataset, keyword, number)


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


def _samples(photometric: str) -> int:
    return 1 if photometric in (*GREY, "PALETTE COLOR") else 3


def _frame_bytes(dataset: Dataset, photometric: str, samples: int, allocated: int) -> int:
    bytes_each = 2 if photometric == "YBR_FULL_422" else samples
    return int(dataset.Rows) * int(dataset.Columns) * bytes_each * allocated // 8


def _by_length(dataset: Dataset, notes: list[str]) -> None:
    """Choose the reading of an uncompressed header under which PixelData has its length."""
    photometric, length = str(dataset.PhotometricInterpretation), len(dataset.PixelData)
    right = _samples(photometric)
    samples = dataset.get("SamplesPerPixel", right)
    allocated = dataset.get("BitsAllocated") or (16 if (dataset.get("BitsStored") or 0) > 8 else 8)
    deep = max(dataset.get("BitsStored") or 0, (dataset.get("HighBit") or 0) + 1) > 8
    other = {"YBR_FULL_422": "YBR_FULL", "YBR_FULL": "YBR_FULL_422"}.get(photometric, photometric)
    forms = [
        (photometric, samples, allocated),
        (photometric, right, allocated),
        (other, right, allocated),
        *([(photometric, right, 8)] if allocated == 16 else []),
        *([(photometric, right, 16)] if allocated == 8 and deep else []),
    ]
    stated = dataset.get("NumberOfFrames", 1)
    for form in forms:
        each = _frame_bytes(dataset, *form)
        if each < 1 or (form[1] != right):
            continue
        frames = stated or max(1, length // each)
        if length in (frames * each, frames * each + frames * each % 2):
            break
    else:
        form = (photometric, samples, allocated)
        frames = stated or 1
    why = "the length of PixelData"
    if dataset.get("NumberOfFrames") is not None:
        _set(dataset, notes, "NumberOfFrames", frames, why)
    _set(dataset, notes, "PhotometricInterpretation", form[0], why)
    _set(dataset, notes, "SamplesPerPixel", form[1], why)
    _set(dataset, notes, "BitsAllocated", form[2], why)


def _by_stream(dataset: Dataset, notes: list[str]) -> None:
    """Take depth and components from the first frame's stream, which controls (PS3.5 8.2.1)."""
    syntax, why = str(dataset.file_meta.TransferSyntaxUID), "the compressed stream"
    if dataset.get("NumberOfFrames") == 0:
        _set(dataset, notes, "NumberOfFrames", _frames(dataset.PixelData), why)
    if dataset.PhotometricInterpretation == "YBR_FULL_422" and syntax not in JPEG_SYNTAXES:
        _set(dataset, notes, "PhotometricInterpretation", "YBR_FULL", why)
    photometric = str(dataset.PhotometricInterpretation)
    try:
        form = _form(stream_of(dataset, 0), syntax)
    except (JpegCut, ValueError, LookupError):
        return  # Decoding refuses this frame by what is wrong with it.
    if form is None:
        # RLE states no depth: where HighBit is higher, its bits count, and the values settle it.
        top = (dataset.get("HighBit") or 0) + 1
        if (dataset.get("BitsStored") or 16) < top <= (dataset.get("BitsAllocated") or 0):
            _set(dataset, notes, "BitsStored", top, "HighBit")
        return
    components, precision, jpeg = form
    if components in (1, 3):
        _set(dataset, notes, "SamplesPerPixel", components, why)
        _set(dataset, notes, "PhotometricInterpretation", _colours_of(photometric, form), why)
    if 2 <= precision <= 16:
        signed = dataset.get("PixelRepresentation") == 1
        if not signed or precision < (dataset.get("BitsStored") or 0):
            _set(dataset, notes, "BitsStored", precision, why)
        _set(dataset, notes, "BitsAllocated", 8 if precision <= 8 else 16, why)


def _colours_of(photometric: str, form: tuple[int, int, Stream | None]) -> str:
    """Return the photometric interpretation that a stream of such components has."""
    components, _, jpeg = form
    if _samples(photometric) != components:
        return "MONOCHROME2" if components == 1 else "YBR_FULL"
    if photometric == "RGB" and jpeg is not None and (jpeg.subsampled or jpeg.adobe_transform == 1):
        return "YBR_FULL"
    return photometric


def _form(stream: bytes, syntax: str) -> tuple[int, int, Stream | None] | None:
    """Return a stream's number of components, its depth, and its markers if it is JPEG's."""
    if syntax in JPEG_SYNTAXES | LS_SYNTAXES:
        jpeg = parse(stream)
        return len(jpeg.components), jpeg.precision, jpeg
    size = stream.find(b"\xff\x51")  # SIZ of JPEG 2000 (T.800 A.5.1).
    if syntax == _RLE or size < 0:
        return None
    return int.from_bytes(stream[size + 38 : size + 40]), (stream[size + 40] & 127) + 1, None


def _frames(pixel_data: bytes) -> int:
    """Return the number of frames of compressed PixelData: by its offsets, else its streams."""
    offsets = parse_basic_offsets(pixel_data)
    starts = sum(
        part[:2] in _STARTS for part in generate_fragments(pixel_data[8 + 4 * len(offsets) :])
    )
    return len(offsets) or starts or 1


def _complete(dataset: Dataset, notes: list[str]) -> None:
    """Give missing attributes the only value that makes sense."""
    if dataset.get("SamplesPerPixel") == 3 and "PlanarConfiguration" not in dataset:
        _set(dataset, notes, "PlanarConfiguration", 0, "what is usual")
    if "PixelRepresentation" not in dataset:
        _set(dataset, notes, "PixelRepresentation", 0, "what is usual")
    for keyword in ("PlanarConfiguration", "PixelRepresentation"):
        if dataset.get(keyword, 0) not in (0, 1):
            raise ImageUnreadable(f"The DICOM file states no valid {keyword}, which is 0 or 1.")
    if "BitsAllocated" not in dataset:
        _set(dataset, notes, "BitsAllocated", 8, "what is usual")
    if "BitsStored" not in dataset:
        _set(dataset, notes, "BitsStored", dataset.BitsAllocated, "BitsAllocated")


def _by_values(dataset: Dataset, notes: list[str]) -> None:
    """Take the depth and place of uncompressed grey values from the bits that they use."""
    allocated, bits = dataset.BitsAllocated, dataset.BitsStored
    if allocated not in (8, 16) or not 1 <= bits <= allocated:
        return
    big = dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG
    kind = "u1" if allocated == 8 else ">u2" if big else "<u2"
    data = dataset.PixelData
    values = np.frombuffer(data, dtype=kind, count=len(data) * 8 // allocated)
    used = int(np.bitwise_or.reduce(values))
    if not used:
        return
    top, zeros, why = used.bit_length(), (used & -used).bit_length() - 1, "the values' own bits"
    shift = _shift(dataset, top, zeros)
    signed = dataset.PixelRepresentation == 1
    if signed and allocated == 16 and _extended(values, bits):
        return  # Its sign fills the bits above, as it should.
    if shift:
        notes.append(
            f"HighBit states {dataset.get('HighBit')}; the {bits} bits are the values' highest"
        )
        whole = values.astype(values.dtype.newbyteorder("="))
        shifted = (whole.view(np.int16) >> shift).view(np.uint16) if signed else whole >> shift
        dataset.PixelData = shifted.astype(kind).tobytes()
        top -= shift
    elif top > bits and not signed and not _is_plane(values, bits, top):
        _set(dataset, notes, "BitsStored", top, why)
    if signed and top < dataset.BitsStored:
        _set(dataset, notes, "PixelRepresentation", 0, "its values, of which none is negative")
        signed = False
    depth = next(depth for depth in DEPTHS if top <= depth)
    if depth < dataset.BitsStored and not signed:
        _set(dataset, notes, "BitsStored", depth, why)
    if not shift and dataset.get("HighBit") not in (None, bits - 1):
        notes.append(f"HighBit states {dataset.HighBit}, which is not where the values are")
    dataset.HighBit = dataset.BitsStored - 1


def _extended(values: npt.NDArray[np.generic], bits: int) -> bool:
    """Return whether 16-bit values, some of them negative, are signed ones of so many bits."""
    whole = values.astype(values.dtype.newbyteorder("=")).view(np.int16)
    return bool(-(1 << bits - 1) <= whole.min() < 0 and whole.max() < 1 << bits - 1)


def _shift(dataset: Dataset, top: int, zeros: int) -> int:
    """Return by how many bits the values stand too high (PS3.5 8.1.1, before 2014)."""
    bits = dataset.BitsStored
    stated = (dataset.get("HighBit") or 0) + 1 - bits
    for shift in (stated, dataset.BitsAllocated - bits):
        if 0 < shift <= zeros and top > bits:
            return int(shift)
    return 0


def _is_plane(values: npt.NDArray[np.generic], bits: int, top: int) -> bool:
    """Return whether the bits above BitsStored are one overlay's, and no part of the values."""
    above = np.asarray(values) >> bits
    return (
        top <= 16
        and len(np.unique(above[:: max(1, len(above) // 10_000)])) <= 2
        and (float((above != 0).mean()) < PLANE_SHARE)
    )
