"""Decoding of a PixelData frame to 8-bit grey or RGB; runs in the reader process."""

import struct

import numpy as np
import numpy.typing as npt
import PIL.Image
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut

from app.errors import FrameUnreadable, ImageUnreadable, ImageUnsupported
from app.images.dicom.fragments import stream_of
from app.images.dicom.grey import eight_bits, reading_of, unsigned
from app.images.dicom.lengths import PALETTE, samples_of, sides_exchanged
from app.images.dicom.reconcile import READ, Settled
from app.images.dicom.streams import SYNTAXES, Form, Kind, SizeDiffers, check_whole, form_of
from app.images.dicom.structure import EXPLICIT_BIG
from specialists.pictures.jpeg import JpegCut

Pixels = npt.NDArray[np.uint8]

_BAND_ROWS = 256
"""Colours are converted in bands, so that no whole frame is ever held in floating point."""

_DECODING_ERRORS = (RuntimeError, ValueError, LookupError, EOFError, OSError, struct.error)
_STRICT = {Kind.LS: "pyjpegls"}
"""CharLS refuses a scan whose lines do not all come out; libjpeg fills them in."""

_GREY_WITHIN, _MOST = 16, 0.6
"""How far grey strays in a lossy stream, and the share of a frame that settles its colour space."""

_CHANNELS = ("Red", "Green", "Blue")


def decode(dataset: Dataset, frame: int, settled: Settled) -> tuple[Pixels, list[str]]:
    """Return one frame, (H, W) or (H, W, 3), and what was converted.

    Raises:
        ImageUnsupported: its photometric interpretation or depth is not one that is read.
        ImageUnreadable: the decoded size differs from the header.
    """
    check_form(dataset)
    notes: list[str] = []
    stored, meta = _decoded(dataset, frame)
    photometric = str(meta["photometric_interpretation"])
    size = (int(dataset.Rows), int(dataset.Columns))
    if stored.shape != (size if dataset.SamplesPerPixel == 1 else (*size, 3)):
        raise ImageUnreadable(
            "The compressed image has another size than its header states in Rows and Columns."
        )
    if SYNTAXES.get(str(dataset.file_meta.TransferSyntaxUID)) is Kind.RLE:
        channel = stored if stored.ndim == 2 else stored[..., 0]
        if sides_exchanged(channel, *size):
            stored, size = stored.reshape(*size[::-1], *stored.shape[2:]), size[::-1]
            notes.append(f"Rows and Columns are exchanged; read as {size[0]} × {size[1]}")
    if photometric == PALETTE:
        notes.append("palette converted to its colours")
        return _looked_up(stored, dataset), notes
    if stored.ndim == 3 and stored.dtype.itemsize == 1:
        return _colours(stored, dataset, photometric, notes), notes
    reading = settled.reading
    if reading is None:
        reading = reading_of(unsigned(stored), size[1], settled.stated)
        notes += reading.notes
    scaled = eight_bits(stored, reading, notes)
    if scaled.ndim == 3:
        return _colours(scaled, dataset, photometric, notes), notes
    if photometric == "MONOCHROME1":
        notes.append("MONOCHROME1 inverted, so that bright is echogenic")
        scaled = 255 - scaled
    if dataset.get("WindowCenter") is not None and not reading.windowed:
        notes.append("the window that the file proposes for display is not applied")
    return scaled, notes


def _decoded(dataset: Dataset, frame: int) -> tuple[npt.NDArray[np.generic], dict[str, str | int]]:
    """Return a frame as it is stored, by a decoder that makes nothing up.

    Raises:
        FrameUnreadable: the frame's stream does not hold all of it, or other pixels than stated.
        ImageUnreadable: the frame's stream states another size than the header.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    kind = SYNTAXES.get(syntax)
    if kind is None:
        return get_decoder(syntax).as_array(dataset, index=frame, raw=True)
    number = int(dataset.get("NumberOfFrames") or 1)
    named = f"Frame {frame} of the DICOM file" if number > 1 else "The DICOM file's frame"
    try:
        stream = stream_of(dataset, frame)
        _check_size(dataset, form_of(stream), named)
        check_whole(stream, kind, int(dataset.Rows) * int(dataset.Columns))
        # One decoder for each kind: another one might fill in what is missing.
        return get_decoder(syntax).as_array(
            dataset, index=frame, raw=True, decoding_plugin=_STRICT.get(kind, "pylibjpeg")
        )
    except SizeDiffers as error:
        raise FrameUnreadable(
            f"{named} is not that of its header, or damaged, and is not analysed: "
            f"in its {kind} stream, {error}."
        ) from error
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


def _check_size(dataset: Dataset, form: Form | None, named: str) -> None:
    stated = (int(dataset.Rows), int(dataset.Columns))
    if form is not None and form.size is not None and form.size != stated:
        raise FrameUnreadable(
            f"{named} has {form.size[0]} lines of {form.size[1]} pixels, and the header states "
            f"Rows {stated[0]} and Columns {stated[1]}; which is right cannot be told."
        )


def check_form(dataset: Dataset) -> None:
    """Check that the pixels are of a kind that is read, once the header is settled.

    Raises:
        ImageUnsupported: the photometric interpretation or depth is not one that is read.
        ImageUnreadable: the numbers of samples or bits do not fit.
    """
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if photometric not in READ:
        stated = f"is {photometric}" if photometric else "is missing or does not exist"
        raise ImageUnsupported(
            f"PhotometricInterpretation {stated}; MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB "
            "and YBR_FULL are read."
        )
    samples = samples_of(photometric)
    if dataset.get("SamplesPerPixel") != samples:
        raise ImageUnreadable(
            f"SamplesPerPixel does not fit PhotometricInterpretation {photometric}, "
            f"which has {samples}."
        )
    if dataset.get("BitsAllocated") not in (8, 16):
        raise ImageUnsupported(
            f"BitsAllocated is {dataset.get('BitsAllocated')}; pixels of 8 and 16 bits are read."
        )
    if not 1 <= (dataset.get("BitsStored") or 0) <= dataset.BitsAllocated:
        raise ImageUnreadable("BitsStored does not fit BitsAllocated.")


def _colours(
    stored: npt.NDArray[np.generic], dataset: Dataset, kind: str, notes: list[str]
) -> Pixels:
    pixels = np.ascontiguousarray(stored, dtype=np.uint8)
    if kind in ("YBR_RCT", "YBR_ICT"):
        kind = "RGB"  # A JPEG 2000 decoder converts these itself.
    seen = _kind_by_values(pixels, kind)
    if seen != kind:
        notes.append(f"PhotometricInterpretation is not {kind}; by its values it is {seen}")
        kind = seen
    elif str(dataset.PhotometricInterpretation) != "RGB":
        notes.append(f"{dataset.PhotometricInterpretation} converted to RGB")
    if not kind.startswith("YBR_FULL"):
        return pixels
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


def _looked_up(stored: npt.NDArray[np.generic], dataset: Dataset) -> Pixels:
    """Apply the palette (PS3.3 C.7.6.3.1.5 and .6); return grey if its three tables are equal."""
    keyword = "RedPaletteColorLookupTableDescriptor"
    try:
        entries, first, _ = (int(value) for value in dataset.get(keyword) or ())
    except (TypeError, ValueError):
        raise ImageUnreadable(f"The palette's {keyword} is missing or no three numbers.") from None
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
