"""What becomes of uploaded bytes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from PIL import ImageDraw, PngImagePlugin

from app.errors import ImageRejected, ImageTooLarge, ImageUnreadable, ImageUnsupported
from app.images.ingest import ingest, load_image
from reports.model import Colour, PixelAspect
from specialists.phantom.draw import MARK
from tests.app.conftest import a_png, encoded, some_pixels

LIMIT_PIXELS = 25_000_000


def a_huge_header() -> bytes:
    """A PNG of 40 000 × 40 000 pixels by its header, in a few bytes."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def a_picture(mode: str = "L") -> PIL.Image.Image:
    return PIL.Image.fromarray(some_pixels(60, 80)).convert(mode)


def animated(form: str) -> bytes:
    return encoded(
        a_picture(), form, save_all=True, append_images=[PIL.Image.new("L", (80, 60), 9)]
    )


REJECTED: dict[str, tuple[bytes, type[ImageRejected]]] = {
    "not an image": (b"hello, this is text", ImageUnsupported),
    "zero bytes": (b"", ImageUnreadable),
    "cut short PNG": (a_png()[:5000], ImageUnreadable),
    "cut short JPEG": (encoded(a_picture(), "JPEG")[:700], ImageUnreadable),
    "only a signature": (b"\x89PNG\r\n\x1a\n", ImageUnreadable),
    "damaged inside": (a_png()[:3000] + b"\0" * 50 + a_png()[3050:], ImageUnreadable),
    "1 × 1": (encoded(PIL.Image.new("L", (1, 1))), ImageUnreadable),
    "a huge header": (a_huge_header(), ImageTooLarge),
    "animated PNG": (animated("PNG"), ImageUnsupported),
    "animated GIF": (animated("GIF"), ImageUnsupported),
    "GIF": (encoded(a_picture(), "GIF"), ImageUnsupported),
    "multi-page TIFF": (animated("TIFF"), ImageUnsupported),
    "WebP": (encoded(a_picture(), "WEBP"), ImageUnsupported),
    "CMYK JPEG": (encoded(a_picture("CMYK"), "JPEG"), ImageUnreadable),
}


@pytest.mark.parametrize("name", REJECTED)
def test_bytes_that_cannot_be_analysed_are_rejected_for_what_they_are(name: str) -> None:
    data, error = REJECTED[name]
    with pytest.raises(ImageRejected) as caught:
        ingest(data, LIMIT_PIXELS)
    assert type(caught.value) is error
    assert str(caught.value).endswith(".")


def test_a_grey_png_is_analysed_as_it_is() -> None:
    ingested = ingest(a_png(60, 80), LIMIT_PIXELS)
    assert (ingested.image.pixels == some_pixels(60, 80)).all()
    info = ingested.image.info
    assert (info.width_px, info.height_px) == (80, 60)
    assert info.colour is Colour.GREY
    assert info.conversions == ()
    assert info.spacing_mm is None
    assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE


def test_a_print_density_is_not_a_spacing() -> None:
    ingested = ingest(encoded(a_picture(), "JPEG", dpi=(300, 300)), LIMIT_PIXELS)
    assert ingested.image.info.spacing_mm is None


def test_16_bit_grey_is_scaled_linearly_and_noted() -> None:
    deep = some_pixels(60, 80).astype(np.uint16) * 257
    deep[0, 0] = 65_535
    ingested = ingest(encoded(PIL.Image.fromarray(deep)), LIMIT_PIXELS)
    assert (ingested.image.pixels == np.rint(deep / 257)).all()
    assert "16-bit grey scaled linearly, 0 to 65535" in ingested.image.info.conversions[0]


def test_a_12_bit_scan_in_16_bits_is_not_analysed_as_black() -> None:
    deep = some_pixels(60, 80).astype(np.uint16) * 16
    deep[0, 0] = 4095
    ingested = ingest(encoded(PIL.Image.fromarray(deep)), LIMIT_PIXELS)
    assert ingested.image.pixels.max() == 255


def test_a_grey_palette_becomes_its_grey_values() -> None:
    palette = a_picture().convert("P")
    ingested = ingest(encoded(palette), LIMIT_PIXELS)
    assert (ingested.image.pixels == some_pixels(60, 80)).all()
    assert "palette" in ingested.image.info.conversions[0]


def test_transparency_is_composited_on_black_and_noted() -> None:
    picture = a_picture("LA")
    alpha = PIL.Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, 40, 60))
    picture.putalpha(alpha)
    ingested = ingest(encoded(picture), LIMIT_PIXELS)
    assert (ingested.image.pixels[:, :40] == 0).all()
    assert (ingested.image.pixels[:, 40:] == some_pixels(60, 80)[:, 40:]).all()
    assert "transparency composited on black" in ingested.image.info.conversions


def test_an_exif_rotated_photograph_is_turned_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    ingested = ingest(encoded(a_picture(), "JPEG", exif=exif, quality=100), LIMIT_PIXELS)
    assert ingested.image.pixels.shape == (80, 60)
    turned = np.rot90(some_pixels(60, 80), k=-1).astype(int)
    assert np.abs(ingested.image.pixels - turned).mean() < 3
    assert ingested.image.info.conversions == ("EXIF orientation 6 applied",)


def test_an_orientation_that_does_not_exist_is_not_said_to_be_applied() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 99
    ingested = ingest(encoded(a_picture(), "JPEG", exif=exif), LIMIT_PIXELS)
    assert ingested.image.info.conversions == ()


def test_nothing_but_pixels_is_kept() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("PatientName", "Jane Roe")
    exif = PIL.Image.Exif()
    exif[0x010E] = "Jane Roe"
    for data in (
        encoded(a_picture(), pnginfo=text),
        encoded(a_picture(), "JPEG", exif=exif, comment=b"Jane Roe"),
    ):
        ingested = ingest(data, LIMIT_PIXELS)
        assert b"Jane" not in ingested.png
        assert set(PIL.Image.open(io.BytesIO(ingested.png)).info) == set()


def test_a_phantom_is_known_as_synthetic() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text(MARK, "{}")
    assert ingest(encoded(a_picture(), pnginfo=text), LIMIT_PIXELS).image.info.synthetic


@pytest.mark.parametrize("colour", ["grey", "doppler"])
def test_a_stored_picture_is_the_same_image_again(colour: str) -> None:
    pixels = some_pixels() if colour == "grey" else a_doppler_image()
    ingested = ingest(encoded(PIL.Image.fromarray(pixels)), LIMIT_PIXELS)
    again = load_image(ingested.png, ingested.image.info)
    assert again.key == ingested.image.key
    assert (again.pixels == ingested.image.pixels).all()


def grey_rgb() -> npt.NDArray[np.uint8]:
    return np.repeat(some_pixels()[..., None], 3, axis=2)


def a_doppler_image(size_px: int = 80) -> npt.NDArray[np.uint8]:
    pixels = grey_rgb()
    pixels[200 : 200 + size_px, 200 : 200 + size_px // 2] = (210, 40, 20)
    pixels[200 : 200 + size_px, 200 + size_px // 2 : 200 + size_px] = (20, 60, 220)
    return pixels


def colour_found(pixels: npt.NDArray[np.uint8], form: str = "PNG") -> Colour:
    data = encoded(PIL.Image.fromarray(pixels), form)
    return ingest(data, LIMIT_PIXELS).image.info.colour


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_doppler_is_colour(form: str) -> None:
    assert colour_found(a_doppler_image(), form) is Colour.COLOUR


def test_power_doppler_of_one_hue_on_grey_is_colour() -> None:
    pixels = grey_rgb()
    pixels[200:260, 200:300] = (230, 120, 10)
    assert colour_found(pixels) is Colour.COLOUR


@pytest.mark.parametrize("tint", [(1.0, 0.85, 0.6), (0.7, 0.85, 1.0), (1.0, 0.6, 0.2)])
def test_one_tint_over_the_whole_image_is_a_tint(tint: tuple[float, float, float]) -> None:
    pixels = (grey_rgb() * np.array(tint)).astype(np.uint8)
    assert colour_found(pixels) is Colour.TINTED


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_coloured_calipers_text_and_an_icon_leave_an_image_grey(form: str) -> None:
    picture = PIL.Image.fromarray(grey_rgb())
    pen = ImageDraw.Draw(picture)
    for x, y in ((200, 150), (420, 260), (310, 90), (320, 330)):
        pen.line((x - 8, y, x + 8, y), fill=(255, 255, 0), width=2)
        pen.line((x, y - 8, x, y + 8), fill=(255, 255, 0), width=2)
    for x in range(200, 420, 6):
        pen.point((x, 150 + (x - 200) // 2), fill=(0, 255, 0))
    pen.text((10, 440), "1 L 22.4 mm  2 L 13.1 mm  LEFT BREAST 3 O'CLOCK", fill=(0, 255, 255))
    pen.rectangle((600, 10, 620, 30), fill=(0, 90, 255))
    assert colour_found(np.asarray(picture), form) is Colour.GREY


def test_a_grey_image_saved_as_colour_jpeg_is_grey() -> None:
    assert colour_found(grey_rgb(), "JPEG") is Colour.GREY


def a_multi_picture_jpeg(**options: Any) -> bytes:
    small = a_picture().resize((40, 30))
    return encoded(a_picture(), "MPO", save_all=True, append_images=[small], **options)


def test_of_a_multi_picture_jpeg_the_first_is_read() -> None:
    data = a_multi_picture_jpeg(quality=95)
    ingested = ingest(data, LIMIT_PIXELS)
    with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        assert (ingested.image.pixels == np.asarray(picture)).all()
    assert ingested.image.info.conversions == ("the first picture of a multi-picture JPEG",)


def test_a_multi_picture_jpeg_is_turned_by_its_first_pictures_orientation() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert ingest(a_multi_picture_jpeg(exif=exif), LIMIT_PIXELS).image.pixels.shape == (80, 60)


@pytest.mark.parametrize("share", [0.99, 0.9])
def test_a_second_picture_that_is_cut_short_is_left_alone(share: float) -> None:
    data = a_multi_picture_jpeg(quality=95)
    second = data.rindex(b"\xff\xd8\xff")
    cut = data[: second + int((len(data) - second) * share)]
    assert (ingest(cut, LIMIT_PIXELS).image.pixels == ingest(data, LIMIT_PIXELS).image.pixels).all()


def test_a_first_picture_that_is_cut_short_is_refused() -> None:
    data = a_multi_picture_jpeg(quality=95)
    with pytest.raises(ImageUnreadable, match="cut short"):
        ingest(data[: data.rindex(b"\xff\xd8\xff") // 2], LIMIT_PIXELS)


BULK = b"x" * 3 * 2**20
CHUNKS = {
    "text": (b"tEXt", b"Comment\0" + BULK),
    "compressed text": (b"zTXt", b"Comment\0\0" + zlib.compress(BULK)),
    "international text": (b"iTXt", b"Comment\0\0\0\0\0" + BULK),
    "compressed international text": (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(BULK)),
    "text that does not inflate": (b"zTXt", b"Comment\0\0" + BULK),
    "a colour profile": (b"iCCP", b"profile\0\0" + zlib.compress(BULK)),
    "a chunk of a maker's own": (b"maKr", BULK),
    "a suggested palette": (b"sPLT", BULK),
    "a density of no length": (b"pHYs", b""),
}


def with_chunk(png: bytes, name: bytes, content: bytes, place: int = 33) -> bytes:
    chunk = struct.pack(">I", len(content)) + name + content
    return png[:place] + chunk + struct.pack(">I", zlib.crc32(name + content)) + png[place:]


@pytest.mark.parametrize("place", [33, -12], ids=["before the pixels", "after the pixels"])
@pytest.mark.parametrize("name", CHUNKS)
def test_what_lies_beside_the_pixels_of_a_png_does_not_keep_it_from_being_read(
    name: str, place: int
) -> None:
    png = a_png(60, 80)
    data = with_chunk(png, *CHUNKS[name], place=place if place > 0 else len(png) + place)
    assert (ingest(data, LIMIT_PIXELS).image.pixels == some_pixels(60, 80)).all()


def test_many_texts_of_a_png_are_read_without_them() -> None:
    data = a_png(60, 80)
    for _ in range(100):
        data = with_chunk(data, *CHUNKS["compressed text"])
    assert (ingest(data, LIMIT_PIXELS).image.pixels == some_pixels(60, 80)).all()


def test_a_png_is_turned_by_the_orientation_in_its_exif_beside_bulk() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    data = with_chunk(encoded(a_picture(), exif=exif), *CHUNKS["text"])
    assert ingest(data, LIMIT_PIXELS).image.pixels.shape == (80, 60)


def test_a_png_whose_bulk_is_cut_short_is_refused() -> None:
    data = with_chunk(a_png(60, 80), *CHUNKS["text"])[: 2**20]
    with pytest.raises(ImageUnreadable):
        ingest(data, LIMIT_PIXELS)
