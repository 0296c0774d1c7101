"""Bytes after the last element of a data set: they are no part of it, whatever they are."""

import zlib

import numpy as np
import pytest

from app.errors import ImageUnreadable
from app.images.ingest import ingest
from tests.app.dicom_files import (
    EXPLICIT_BIG,
    LIMIT_PIXELS,
    a_dataset,
    a_region,
    in_jpeg,
    speckle,
    written,
)

DEFLATED = "1.2.840.10008.1.2.1.99"
TRAILS = {
    "one zero": b"\0",
    "seven zeros": bytes(7),
    "512 zeros": bytes(512),
    "two million zeros": bytes(2_000_001),
    "blanks": b" " * 33,
    "ones": b"\xff" * 40,
    "a line end": b"\r\n",
    "rubbish": bytes(np.random.default_rng(3).integers(0, 256, 777, dtype=np.uint8)),
    "a cut element": b"\xfc\xff\xfc\xff" + b"OB\0\0" + b"\0\x10\0\0" + b"\0" * 9,
    "a second file": written(a_dataset(np.zeros((40, 50), np.uint8))),
    "a second data set": written(a_dataset(np.zeros((40, 50), np.uint8)))[400:],
}


def a_file(syntax: str) -> bytes:
    return written(a_dataset(SequenceOfUltrasoundRegions=[a_region()]), syntax)


def deflated(trail: bytes) -> bytes:
    """A deflated file whose data set is followed by the trail before it is compressed."""
    data = a_file(DEFLATED)
    start = 144 + int.from_bytes(data[140:144], "little")
    body = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return data[:start] + packer.compress(body + trail) + packer.flush()


@pytest.mark.parametrize("trail", TRAILS.values(), ids=TRAILS)
@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", EXPLICIT_BIG], ids=str
)
def test_what_follows_the_data_set_is_left_alone(syntax: str, trail: bytes) -> None:
    pixels = a_dataset().PixelData
    read = ingest(a_file(syntax) + trail, LIMIT_PIXELS)
    assert read.image.pixels.tobytes() == pixels
    assert read.image.info.spacing_mm is not None


@pytest.mark.parametrize("trail", TRAILS.values(), ids=TRAILS)
def test_nor_does_it_matter_inside_or_after_deflate(trail: bytes) -> None:
    assert (ingest(deflated(trail), LIMIT_PIXELS).image.pixels == speckle()).all()
    assert (ingest(deflated(b"") + trail, LIMIT_PIXELS).image.pixels == speckle()).all()


@pytest.mark.parametrize("trail", TRAILS.values(), ids=TRAILS)
def test_nor_after_compressed_frames(trail: bytes) -> None:
    data = in_jpeg([speckle()])
    assert ingest(data + trail, LIMIT_PIXELS).key == ingest(data, LIMIT_PIXELS).key


def test_pixels_that_are_cut_are_still_refused() -> None:
    for lost in (1, 2, 5000):
        with pytest.raises(ImageUnreadable, match="cut short"):
            ingest(a_file("1.2.840.10008.1.2.1")[:-lost], LIMIT_PIXELS)
