"""Decoding of a PixelData frame to 8-bit grey or RGB; runs in the reader process."""

import struct

import numpy as np
import numpy.typing as npt
import PIL.Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from app.errors import FrameUnreadable, ImageUnreadable, ImageUnsupported
from app.images.dicom.structure import EXPLICIT_BIG
from app.images.jpeg import JpegCut, check_complete

Pixels = npt.NDArray[np.uint8]

_BAND_ROWS = 256
"""Colours are converted in bands, so that no whole frame is ever held in floating point."""

_READ = {
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT"),
}
_NOT_READ = {"HSV", "ARGB", "CMYK", "XYB", "YBR_PARTIAL_422", "YBR_PARTIAL_420"}
_JPEG = "JPEG"
_STREAMS = {
    "1.2.840.10008.1.2.5": "RLE",
    **{f"1.2.840.10008.1.2.4.{n}": _JPEG for n in (50, 51, 57, 70)},
    **{f"1.2.840.10008.1.2.4.{n}": "JPEG-LS" for n in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{n}": "JPEG 2000" for n in (90, 91, 201, 202, 203)},
}
JPEG_SYNTAXES = {syntax for syntax, kind in _STREAMS.items() if kind == _JPEG}
LS_SYNTAXES = {syntax for syntax, kind in _STREAMS.items() if kind == "JPEG-LS"}
GREY = ("MONOCHROME1", "MONOCHROME2")

_DECODING_ERRORS = (RuntimeError, ValueError, LookupError, EOFError, OSError, struct.error)
_STRICT = {"JPEG-LS": "pyjpegls"}
"""CharLS refuses a scan whose lines do not all come out; libjpeg fills them in."""

DEPTHS = (8, 10, 12, 14, 16)
"""Depths that scanners use: values within a smaller one than is stated are of that depth."""

_GREY_WITHIN, _MOST = 16, 0.6
"""How far grey strays in a lossy stream, and the share of a frame that settles its colour space."""

_CHANNELS = ("Red", "Green", "Blue")


def decode(dataset: Dataset, frame: int, notes: list[str]) -> Pixels:
    """Return one frame, (H, W) or (H, W, 3), and add each conversion to `notes`.

    Raises:
        ImageUnsupported: its photometric interpretation or depth is not one that is read.
        ImageUnreadable: the decoded size differs from the header.
    """
    _check_form(dataset)
    stored, meta = _decoded(dataset, frame)
    photometric = str(meta["photometric_interpretation"])
    size = (int(dataset.Rows), int(dataset.Columns))
    if stored.shape != (size if dataset.SamplesPerPixel == 1 else (*size, 3)):
        raise ImageUnreadable(
            "The compressed image has another size than its header states in Rows and Columns."
        )
    if stored.ndim == 3:
        return _colours(stored, dataset, photometric, notes)
    if photometric == "PALETTE COLOR":
        notes.append("palette converted to its colours")
        return _looked_up(stored, dataset)
    grey = _eight_bits(stored, dataset, notes)
    if photometric == "MONOCHROME1":
        notes.append("MONOCHROME1 inverted, so that bright is echogenic")
        grey = 255 - grey
    if dataset.get("WindowCenter") is not None:
        notes.append("the window that the file proposes for display is not applied")
    return grey


def _decoded(dataset: Dataset, frame: int) -> tuple[npt.NDArray[np.generic], dict[str, str | int]]:
    """Return a frame as it is stored, by a decoder that makes nothing up.

    Raises:
        FrameUnreadable: the frame's stream does not hold all of it.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    kind = _STREAMS.get(syntax)
    if kind is None:
        return get_decoder(syntax).as_array(dataset, index=frame, raw=True)
    number = int(dataset.get("NumberOfFrames") or 1)
    named = f"Frame {frame} of the DICOM file" if number > 1 else "The DICOM file's frame"
    try:
        if kind == _JPEG:
            check_complete(stream_of(dataset, frame))
        # One decoder for each kind: another one might fill in what is missing.
        return get_decoder(syntax).as_array(
            dataset, index=frame, raw=True, decoding_plugin=_STRICT.get(kind, "pylibjpeg")
        )
    except JpegCut as error:
        raise FrameUnreadable(
            f"{named} is cut short or damaged, and is not analysed: "
            f"in its {kind} stream, {error}. Send the whole file."
        ) from error
    except _DECODING_ERRORS as error:
        raise FrameUnreadable(
            f"{named} is cut short or damaged, and is not analysed: "
            f"its {kind} stream does not hold all of its lines. Send the whole file."
        ) from error


def stream_of(dataset: Dataset, frame: int) -> bytes:
    """Return the compressed stream of a frame.

    Raises:
        ValueError: the file holds no such frame.
    """
    offsets = None
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    return get_frame(
        dataset.PixelData,
        frame,
        number_of_frames=int(dataset.get("NumberOfFrames") or 1),
        extended_offsets=offsets,
    )


def native_bytes(dataset: Dataset) -> int:
    """Return the number of bytes of one uncompressed frame.

    Raises:
        ImageUnsupported: its photometric interpretation or depth is not one that is read.
    """
    _check_form(dataset)
    samples = int(dataset.SamplesPerPixel)
    pixels = int(dataset.Rows) * int(dataset.Columns)
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        samples = 2
    return pixels * samples * int(dataset.BitsAllocated) // 8


def _check_form(dataset: Dataset) -> None:
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if photometric not in _READ:
        known = f" {photometric}" if photometric in _NOT_READ else ""
        raise ImageUnsupported(
            f"The photometric interpretation{known} is not read; send MONOCHROME, PALETTE COLOR, "
            "RGB or YBR_FULL."
        )
    samples = 3 if photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") else 1
    if dataset.get("SamplesPerPixel") != samples:
        raise ImageUnreadable("SamplesPerPixel does not fit the photometric interpretation.")
    if dataset.get("BitsAllocated") not in (8, 16):
        raise ImageUnsupported("The pixels are not of 8 or 16 bits; send them so.")
    if samples == 3 and dataset.get("BitsAllocated") != 8:
        raise ImageUnsupported("Colours of more than 8 bits per channel are not read; send 8.")
    if not 1 <= (dataset.get("BitsStored") or 0) <= dataset.BitsAllocated:
        raise ImageUnreadable("BitsStored does not fit BitsAllocated.")


def _colours(
    stored: npt.NDArray[np.generic], dataset: Dataset, kind: str, notes: list[str]
) -> Pixels:
    pixels = np.ascontiguousarray(stored, dtype=np.uint8)
    seen = _kind_by_values(pixels, kind)
    if seen != kind:
        notes.append(f"PhotometricInterpretation is not {kind}; by its values it is {seen}")
        kind = seen
    elif str(dataset.PhotometricInterpretation) != "RGB":
        notes.append(f"{dataset.PhotometricInterpretation} converted to RGB")
    if not kind.startswith("YBR_FULL"):
        return pixels  # A JPEG 2000 decoder converts YBR_RCT and YBR_ICT itself.
    for row in range(0, len(pixels), _BAND_ROWS):
        band = np.ascontiguousarray(pixels[row : row + _BAND_ROWS])
        # JPEG's full-range YCbCr is DICOM's YBR_FULL (PS3.3 C.7.6.3.1.2).
        picture = PIL.Image.frombytes("YCbCr", (band.shape[1], band.shape[0]), band.tobytes())
        pixels[row : row + _BAND_ROWS] = np.asarray(picture.convert("RGB"))
    return pixels


def _kind_by_values(pixels: Pixels, kind: str) -> str:
    """Return RGB or YBR_FULL where the values leave no doubt, else the kind that is stated.

    Most of an ultrasound screen is grey: equal channels in RGB, chroma of 128 in YBR_FULL.
    """
    step = max(1, min(pixels.shape[:2]) // 256)
    some = pixels[::step, ::step].astype(np.int16)
    as_rgb = float((some.max(axis=2) - some.min(axis=2) <= _GREY_WITHIN).mean())
    as_ybr = float((np.abs(some[..., 1:] - 128).max(axis=2) <= _GREY_WITHIN).mean())
    if kind == "RGB" and as_ybr > _MOST and as_rgb < 1 - _MOST:
        return "YBR_FULL"
    if kind.startswith("YBR_FULL") and as_rgb > _MOST and as_ybr < 1 - _MOST:
        return "RGB"
    return kind


def _eight_bits(stored: npt.NDArray[np.generic], dataset: Dataset, notes: list[str]) -> Pixels:
    """Scale stored grey values linearly over the range that BitsStored gives them."""
    bits = int(dataset.BitsStored)
    signed = dataset.get("PixelRepresentation") == 1
    if bits > 8 and not signed:
        # A compressed frame of fewer bits than its stream has room for.
        bits = next(depth for depth in DEPTHS if int(stored.max()) < 1 << depth)
        bits = min(bits, int(dataset.BitsStored)) if stored.any() else int(dataset.BitsStored)
    if bits == 8 and not signed:
        return np.ascontiguousarray(stored, dtype=np.uint8)
    lowest = -(1 << (bits - 1)) if signed else 0
    top = (1 << bits) - 1
    levels = np.arange(top + 1, dtype=np.float32) * np.float32(255.0 / top)
    notes.append(f"{bits}-bit grey scaled linearly, {lowest} to {lowest + top} becoming 0 to 255")
    table = np.rint(levels).astype(np.uint8)
    index = np.clip(stored.astype(np.int32) - lowest, 0, top)
    return np.ascontiguousarray(table[index])


def _looked_up(stored: npt.NDArray[np.generic], dataset: Dataset) -> Pixels:
    """Apply the palette (PS3.3 C.7.6.3.1.5 and .6); return grey if its three tables are equal."""
    entries, first, _ = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
    entries = entries or 2**16
    table = _table(dataset, entries, first)
    index = np.clip(stored.astype(np.int32) - first, 0, entries - 1)
    if (table == table[:, :1]).all():
        return np.ascontiguousarray(table[:, 0][index])
    return np.ascontiguousarray(table[index])


def _table(dataset: Dataset, entries: int, first: int) -> Pixels:
    """Return the (entries, 3) palette in 8 bits.

    Raises:
        ImageUnreadable: a table is missing, or not as long as it states.
    """
    words: list[npt.NDArray[np.uint16]] = []
    big = dataset.file_meta.TransferSyntaxUID == EXPLICIT_BIG
    if "RedPaletteColorLookupTableData" not in dataset:
        expanded = apply_color_lut(np.arange(first, first + entries, dtype=np.int64), dataset)
        words = [expanded[:, channel].astype(np.uint16) for channel in range(3)]
    else:
        for colour in _CHANNELS:
            data = dataset.get(f"{colour}PaletteColorLookupTableData") or b""
            if len(data) >= 2 * entries:
                kind = ">u2" if big else "<u2"
                words.append(np.frombuffer(data, dtype=kind, count=entries).astype(np.uint16))
            elif len(data) >= entries:
                packed = np.frombuffer(data, dtype=np.uint8)
                if big:  # Two entries share a word, whose bytes this syntax swaps.
                    packed = packed[: len(packed) // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
                words.append(packed[:entries].astype(np.uint16))
            else:
                raise ImageUnreadable("The palette is missing or shorter than it states.")
    table = np.stack(words, axis=1)
    if len(table) != entries:
        raise ImageUnreadable("The palette is missing or shorter than it states.")
    # Some devices write 8-bit values into 16-bit entries, whatever the descriptor says.
    if table.max() > 255:
        table = np.right_shift(table, np.uint16(8))
    return table.astype(np.uint8)
