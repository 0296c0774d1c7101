"""PNG and JPEG bytes to 8-bit pixels: what the service analyses is what a training reads."""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from specialists.errors import PictureTooLarge, PictureUnreadable, PictureUnsupported
from specialists.phantom.draw import MARK
from specialists.pictures.deep_png import deep_channels
from specialists.pictures.jpeg import JpegCut
from specialists.pictures.jpeg_lines import check_complete
from specialists.pictures.png_chunks import without_bulk

SIDE_MIN_PX = 16
"""Shortest side accepted.

Below it, nothing that an exam looks for can be seen, and the coarsest feature map has no cell.
"""

_READ = "PNG, JPEG and DICOM are read"
_WHOLE = "send the whole DICOM file, which says in which transfer syntax it is written"
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_NAMED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", f"This is a GIF; {_READ}."),
    (0, b"II*\x00", f"This is a TIFF; {_READ}."),
    (0, b"MM\x00*", f"This is a TIFF; {_READ}."),
    (0, b"II+\x00", f"This is a TIFF; {_READ}."),
    (0, b"MM\x00+", f"This is a TIFF; {_READ}."),
    (8, b"WEBP", f"This is a WebP image; {_READ}."),
    (0, b"BM", f"This is a bitmap; {_READ}."),
    (0, b"%PDF", f"This is a PDF; {_READ}."),
    (0, b"\x1f\x8b", f"This is a gzip file; unpack it first. {_READ}."),
    (0, b"PK\x03\x04", f"This is a zip file; unpack it first. {_READ}."),
    *(
        (0, start, f"This looks like a DICOM data set without its file header; {_WHOLE}.")
        for start in (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00")
    ),
    (
        0,
        b"\x08\x00\x00\x00",
        f"This looks like a DICOM data set without its file header; {_WHOLE}.",
    ),
)
_EXIF_ORIENTATION = 0x0112
_TURNED = range(2, 9)
"""EXIF orientations that rotate or mirror; values other than 1 to 8 have no meaning."""

_DEPTHS = (8, 10, 12, 14, 16)
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The pixels of a file, upright, 8 bits, without transparency."""

    pixels: npt.NDArray[np.uint8]
    """(H, W) grey or (H, W, 3) RGB."""
    notes: tuple[str, ...]
    """What was converted."""
    mode: str
    """The file's own mode, as Pillow names it."""
    lossy: bool
    """Whether it is a JPEG."""
    turned: bool
    """Whether its EXIF orientation was applied."""
    drawn: bool
    """Whether the phantom generator marked it as its own."""


def decode(data: bytes, limit_pixels: int) -> Decoded:
    """Decode a PNG or JPEG file.

    Raises:
        PictureUnsupported: the bytes are not one PNG or JPEG image.
        PictureTooLarge: the header states more than `limit_pixels` pixels.
        PictureUnreadable: the file is empty, damaged, too small, or in CMYK.
    """
    _check_kind(data)
    picture = _open(data, limit_pixels)
    notes = ["the first picture of a multi-picture JPEG"] if "mp" in picture.info else []
    drawn = MARK in picture.info
    mode = picture.mode
    try:
        if data.startswith(_JPEG):
            check_complete(data)
        turned = picture.getexif().get(_EXIF_ORIENTATION, 1) in _TURNED
        deep = data.startswith(_PNG) and data[24] == 16 and not picture.mode.startswith("I")
        upright = _upright(_reduced(picture, data, notes) if deep else picture, notes)
        pixels = _eight_bits(upright, notes)
    except JpegCut as error:
        raise PictureUnreadable(
            f"The JPEG is damaged or cut short: {error}. Send the whole file."
        ) from error
    except DECODING_ERRORS as error:
        raise PictureUnreadable(
            "The image is damaged or cut short; send the whole file."
        ) from error
    return Decoded(
        pixels=pixels,
        notes=tuple(notes),
        mode=mode,
        lossy=data.startswith(_JPEG),
        turned=turned,
        drawn=drawn,
    )


def _check_kind(data: bytes) -> None:
    if not data:
        raise PictureUnreadable("The image is empty (zero bytes).")
    for offset, signature, sentence in _NAMED:
        if data[offset : offset + len(signature)] == signature:
            raise PictureUnsupported(sentence)
    if not data.startswith((_PNG, _JPEG)):
        raise PictureUnsupported(f"The upload is not an image that is read here; {_READ}.")


def _open(data: bytes, limit_pixels: int) -> PIL.Image.Image:
    try:
        picture = _opened(data)
        several = getattr(picture, "n_frames", 1) > 1
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise PictureTooLarge(_too_many_pixels(limit_pixels)) from error
    except DECODING_ERRORS as error:
        raise PictureUnreadable("The image's header is damaged; send the whole file.") from error
    width, height = picture.size
    if width * height > limit_pixels:
        raise PictureTooLarge(_too_many_pixels(limit_pixels))
    if min(width, height) < SIDE_MIN_PX:
        raise PictureUnreadable(
            f"The image is {width} × {height} pixels; each side needs at least {SIDE_MIN_PX}."
        )
    if several:
        raise PictureUnsupported("The file holds several pictures; send one still picture.")
    if picture.mode == "CMYK":
        raise PictureUnreadable(
            "The JPEG is in the colours of print (CMYK), from which grey values cannot be told; "
            "send it in grey or RGB."
        )
    return picture


def _opened(data: bytes) -> PIL.Image.Image:
    """Return the picture with its pixels still to be decoded.

    Of a multi-picture JPEG it is the first, as every baseline reader sees it (CIPA DC-007).
    """
    if data.startswith(_JPEG):
        return JpegImageFile(io.BytesIO(data))
    return PIL.Image.open(io.BytesIO(without_bulk(data)), formats=("PNG",))


def _too_many_pixels(limit_pixels: int) -> str:
    return f"The image has more than {limit_pixels} pixels; send a smaller one."


def _upright(picture: PIL.Image.Image, notes: list[str]) -> PIL.Image.Image:
    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    upright = ImageOps.exif_transpose(picture)
    if orientation in _TURNED:
        notes.append(f"EXIF orientation {orientation} applied")
    return upright


def _eight_bits(picture: PIL.Image.Image, notes: list[str]) -> npt.NDArray[np.uint8]:
    """Return the pixels, (H, W) or (H, W, 3), and add each conversion to `notes`."""
    if picture.mode.startswith("I"):
        values = np.asarray(picture, dtype=np.int64)
        if isinstance(clear := picture.info.get("transparency"), int):
            values = np.where(values == clear, 0, values)
            notes.append("the value that is declared transparent is black")
        return _scaled(values, notes)
    if picture.mode == "P":
        notes.append("palette converted to its colours")
    if picture.mode == "1":
        notes.append("1-bit pixels converted to 0 and 255")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            notes.append("transparency composited on black")
        else:
            notes.append("opaque alpha channel removed")
        black = PIL.Image.new("RGBA", layer.size, (0, 0, 0, 255))
        picture = PIL.Image.alpha_composite(black, layer)
    grey = picture.mode in ("L", "1", "LA")
    pixels = np.asarray(picture.convert("L" if grey else "RGB"), dtype=np.uint8)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])  # Three equal channels are grey.
    return pixels


def _reduced(picture: PIL.Image.Image, data: bytes, notes: list[str]) -> PIL.Image.Image:
    """Return a PNG of 16 bits per channel in 8, over the depth that its channels use."""
    values = deep_channels(data)
    if values is None:
        notes.append("16 bits per channel reduced to 8")
        return picture
    opaque = values.shape[2] % 2  # The last of two or four channels is opacity.
    colours = values if opaque else values[..., :-1]
    largest = int(colours.max())
    top = next(2**depth - 1 for depth in _DEPTHS if largest < 2**depth)
    notes.append(f"16 bits per channel scaled linearly, 0 to {top} becoming 0 to 255")
    levels = np.rint(np.arange(top + 1) * (255.0 / top)).astype(np.uint8)
    scaled = levels[colours]
    if not opaque:
        alpha = np.right_shift(values[..., -1:], np.uint16(8)).astype(np.uint8)
        scaled = np.concatenate([scaled, alpha], axis=2)
    reduced = PIL.Image.fromarray(scaled)
    reduced.info = dict(picture.info)  # It may say which side is up.
    if reduced.info.pop("transparency", None) is not None:
        notes.append("the colour that is declared transparent is black")
    return reduced


def _scaled(values: npt.NDArray[np.int64], notes: list[str]) -> npt.NDArray[np.uint8]:
    """Scale 16-bit grey linearly to 8 bits.

    The top of the range is that of the depth that the scanner used, often 10 or 12 bits.
    """
    largest = int(values.max())
    top = next(2**depth - 1 for depth in _DEPTHS if largest < 2**depth)
    notes.append(f"16-bit grey scaled linearly, 0 to {top} becoming 0 to 255")
    scaled: npt.NDArray[np.uint8] = np.rint(values * (255.0 / top)).astype(np.uint8)
    return scaled


def luma(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the (H, W) ITU-R BT.601 luma of RGB, as Pillow computes it; grey as it is."""
    if pixels.ndim == 2:
        return pixels
    return np.asarray(PIL.Image.fromarray(pixels).convert("L"), dtype=np.uint8)
