"""Uploaded bytes → the image that everything else works on; the bytes decide what they are."""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageOps

from app.colour import colour_of
from app.errors import ImageTooLarge, ImageUnreadable, ImageUnsupported
from reports.model import Colour, ImageInfo, PixelAspect
from specialists.image import Image
from specialists.phantom import MARK

SIDE_MIN_PX = 16
"""Below this, nothing that an exam looks for can be seen, and the coarsest feature map has no cell."""

_READ = "PNG and JPEG are read"
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_NAMED: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", f"DICOM is not read in this version; {_READ}."),
    (0, b"GIF8", f"This is a GIF; {_READ}."),
    (0, b"II*\x00", f"This is a TIFF; {_READ}."),
    (0, b"MM\x00*", f"This is a TIFF; {_READ}."),
    (0, b"II+\x00", f"This is a TIFF; {_READ}."),
    (0, b"MM\x00+", f"This is a TIFF; {_READ}."),
    (8, b"WEBP", f"This is a WebP image; {_READ}."),
    (0, b"BM", f"This is a bitmap; {_READ}."),
    (0, b"%PDF", f"This is a PDF; {_READ}."),
)
_EXIF_ORIENTATION = 0x0112
_TURNED = range(2, 9)
"""The orientations that turn or mirror; others do not exist and change nothing."""

_DEPTHS = (8, 10, 12, 14, 16)
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """A picture as it is analysed and as it is kept: `png` has no metadata, `key` names its pixels."""

    image: Image
    png: bytes
    key: str


def ingest(data: bytes, limit_pixels: int) -> Ingested:
    """The image in those bytes: turned upright, 8 bits, without metadata, grey unless colour matters.

    Raises:
        ImageUnsupported: the bytes are not one PNG or JPEG picture.
        ImageTooLarge: the header states more than `limit_pixels` pixels.
        ImageUnreadable: the file is empty, damaged, too small, or in the colours of print.
    """
    _check_kind(data)
    picture = _open(data, limit_pixels)
    synthetic = MARK in picture.info
    notes: list[str] = []
    try:
        upright = _upright(picture, notes)
        pixels = _eight_bits(upright, data, notes)
    except _DECODING_ERRORS as error:
        raise ImageUnreadable("The image is damaged or cut short; send the whole file.") from error
    colour = Colour.GREY if pixels.ndim == 2 else colour_of(pixels)
    if pixels.ndim == 3 and colour is Colour.GREY:
        pixels = _grey(pixels)
        notes.append("RGB converted to grey by luma; no colour that carries meaning was found")
    elif colour is Colour.TINTED:
        notes.append("a uniform tint was found; analysed in grey by luma")
    elif colour is Colour.COLOUR:
        notes.append("colour was found; the analysed pixels are grey by luma")
    info = ImageInfo(
        sha256=hashlib.sha256(data).hexdigest(),
        width_px=pixels.shape[1],
        height_px=pixels.shape[0],
        frame=None,
        spacing_mm=None,  # PNG and JPEG densities say how to print, not how large the tissue is.
        spacing_source=None,
        pixel_aspect=PixelAspect.ASSUMED_SQUARE,
        colour=colour,
        conversions=tuple(notes),
        synthetic=synthetic,
    )
    return Ingested(image=_image(pixels, info), png=_encode(pixels), key=_content_key(pixels))


def load_image(png: bytes, info: ImageInfo) -> Image:
    """The image of a stored picture, the same as at its arrival.

    Raises:
        ImageUnreadable: the stored file is damaged.
    """
    try:
        with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
            return _image(np.asarray(picture, dtype=np.uint8), info)
    except _DECODING_ERRORS as error:
        raise ImageUnreadable("The stored picture is damaged.") from error


def _check_kind(data: bytes) -> None:
    if not data:
        raise ImageUnreadable("The image is empty (zero bytes).")
    for offset, signature, sentence in _NAMED:
        if data[offset : offset + len(signature)] == signature:
            raise ImageUnsupported(sentence)
    if not data.startswith((_PNG, _JPEG)):
        raise ImageUnsupported(f"The upload is not an image that is read here; {_READ}.")


def _open(data: bytes, limit_pixels: int) -> PIL.Image.Image:
    try:
        picture = PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        several = getattr(picture, "n_frames", 1) > 1
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(_too_many_pixels(limit_pixels)) from error
    except _DECODING_ERRORS as error:
        raise ImageUnreadable("The image's header is damaged; send the whole file.") from error
    width, height = picture.size
    if width * height > limit_pixels:
        raise ImageTooLarge(_too_many_pixels(limit_pixels))
    if min(width, height) < SIDE_MIN_PX:
        raise ImageUnreadable(
            f"The image is {width} × {height} pixels; each side needs at least {SIDE_MIN_PX}."
        )
    if several:
        raise ImageUnsupported("The file holds several pictures; send one still picture.")
    if picture.mode == "CMYK":
        raise ImageUnreadable(
            "The JPEG is in the colours of print (CMYK), from which grey values cannot be told; "
            "send it in grey or RGB."
        )
    return picture


def _too_many_pixels(limit_pixels: int) -> str:
    return f"The image has more than {limit_pixels} pixels; send a smaller one."


def _upright(picture: PIL.Image.Image, notes: list[str]) -> PIL.Image.Image:
    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    upright = ImageOps.exif_transpose(picture)
    if orientation in _TURNED:
        notes.append(f"EXIF orientation {orientation} applied")
    return upright


def _eight_bits(picture: PIL.Image.Image, data: bytes, notes: list[str]) -> npt.NDArray[np.uint8]:
    """The pixels, (H, W) or (H, W, 3); what was converted is added to `notes`."""
    if picture.mode.startswith("I"):
        return _scaled(np.asarray(picture, dtype=np.int64), notes)
    if data.startswith(_PNG) and data[24] == 16:
        notes.append("16 bits per channel reduced to 8")
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
        return np.ascontiguousarray(pixels[..., 0])  # Three equal channels are grey already.
    return pixels


def _scaled(values: npt.NDArray[np.int64], notes: list[str]) -> npt.NDArray[np.uint8]:
    """16-bit grey, linearly to 8 bits; the top is that of the depth the scanner used, often 10 or 12."""
    largest = int(values.max())
    top = next(2**depth - 1 for depth in _DEPTHS if largest < 2**depth)
    notes.append(f"16-bit grey scaled linearly, 0 to {top} becoming 0 to 255")
    scaled: npt.NDArray[np.uint8] = np.rint(values * (255.0 / top)).astype(np.uint8)
    return scaled


def _grey(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """ITU-R BT.601 luma, as Pillow computes it."""
    if pixels.ndim == 2:
        return pixels
    return np.asarray(PIL.Image.fromarray(pixels).convert("L"), dtype=np.uint8)


def _image(pixels: npt.NDArray[np.uint8], info: ImageInfo) -> Image:
    grey = np.ascontiguousarray(_grey(pixels))
    return Image(pixels=grey, key=_content_key(grey), info=info)


def _content_key(pixels: npt.NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
