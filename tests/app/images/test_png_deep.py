"""PNG of 16 bits per channel and several channels: read over the depth that it uses."""

import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest

from app.errors import ImageUnreadable
from app.images.ingest import ingest
from tests.app.dicom_files import LIMIT_PIXELS, speckle


def a_chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def filtered(rows: npt.NDArray[np.uint8], kinds: tuple[int, ...], apart: int) -> bytes:
    """Rows of bytes under those filter types in turn (PNG, section 9)."""
    out = bytearray()
    above = [0] * rows.shape[1]
    for number, row in enumerate(rows.tolist()):
        kind = kinds[number % len(kinds)]
        left = [0] * apart + row[:-apart]
        corner = [0] * apart + above[:-apart]
        guesses = [
            (
                0,
                a,
                b,
                (a + b) // 2,
                min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2],
            )[kind]
            for a, b, c in zip(left, above, corner, strict=True)
        ]
        out += bytes([kind, *((x - guess) % 256 for x, guess in zip(row, guesses, strict=True))])
        above = row
    return bytes(out)


def a_png(values: npt.NDArray[np.uint16], colour_type: int, kinds: tuple[int, ...] = (0,)) -> bytes:
    height, width, channels = values.shape
    rows = np.frombuffer(values.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + a_chunk(b"IHDR", header)
        + a_chunk(b"IDAT", zlib.compress(filtered(rows, kinds, 2 * channels)))
        + a_chunk(b"IEND", b"")
    )


def grey(channels: int, scale: int, alpha: int | None = None) -> npt.NDArray[np.uint16]:
    values = np.repeat(speckle().astype(np.uint16)[..., None] * scale, channels, axis=2)
    if alpha is not None:
        values[..., -1] = alpha
    return values


@pytest.mark.parametrize("scale", [1, 16, 257], ids=["8 bits", "12 bits", "16 bits"])
@pytest.mark.parametrize(("channels", "colour_type"), [(3, 2), (2, 4), (4, 6)])
@pytest.mark.parametrize("kinds", [(0,), (1,), (2,), (3,), (4,), (4, 3, 2, 1, 0)], ids=str)
def test_the_depth_that_the_channels_use_is_shown(
    scale: int, channels: int, colour_type: int, kinds: tuple[int, ...]
) -> None:
    values = grey(channels, scale, None if channels == 3 else 65535)
    read = ingest(a_png(values, colour_type, kinds), LIMIT_PIXELS)
    assert np.abs(read.image.pixels.astype(int) - speckle()).max() <= 1
    assert "16 bits per channel scaled" in read.image.info.conversions[0]


def test_a_deep_png_that_is_cut_is_refused() -> None:
    data = a_png(grey(3, 16), 2)
    with pytest.raises(ImageUnreadable):
        ingest(data[: len(data) // 2], LIMIT_PIXELS)


def interlaced(values: npt.NDArray[np.uint16], more: bytes = b"") -> bytes:
    """An RGB PNG in the seven passes of Adam7 (section 8), with more chunks before its pixels."""
    height, width, _ = values.shape
    stored = values.astype(">u2")
    rows = b""
    for x, y, across, down in (
        *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)),
        (0, 1, 1, 2),
    ):
        part = stored[y::down, x::across]
        rows += b"".join(b"\0" + row.tobytes() for row in part if part.size)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    head, *rest = (a_chunk(*chunk) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + more + b"".join(rest)


@pytest.mark.parametrize("size", [(120, 160), (37, 29), (16, 17)])
def test_interlaced_colour_of_12_bits_is_read_over_its_depth(size: tuple[int, int]) -> None:
    values = grey(3, 16)[: size[0], : size[1]]
    values[0, 0] = 4095
    read = ingest(interlaced(values), LIMIT_PIXELS).image.pixels
    drawn = speckle()[1 : size[0], : size[1]]
    assert np.abs(read[1:].astype(int) - drawn).max() <= 1


def test_a_colour_that_is_declared_transparent_is_black_and_the_rest_is_read() -> None:
    values = grey(3, 16)
    clear = values[5, 5]
    data = interlaced(values, a_chunk(b"tRNS", struct.pack(">3H", *clear.tolist())))
    read = ingest(data, LIMIT_PIXELS).image.pixels
    gone = (values == clear).all(axis=2)
    assert not read[gone].any()
    assert np.abs(read[~gone].astype(int) - speckle()[~gone]).max() <= 1
