"""PNG of 16 bits per channel and several channels, which Pillow cuts to the upper eight.

Format: Portable Network Graphics, third edition (W3C, 2025), sections 8, 9 and 11.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import PIL.Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PASSES = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)),
    (0, 1, 1, 2),
)
"""First column and row, and steps across and down, of each pass of Adam7 (section 8)."""


def deep_channels(data: bytes) -> npt.NDArray[np.uint16] | None:
    """Return (H, W, C) of a PNG of 16 bits per channel and several channels, else None.

    Pillow keeps the upper byte only, which is black where a scanner used 12 bits. Filters act on
    each byte of a pixel apart (section 9.2), so that each is read as a grey picture of its own. A
    colour that the file declares transparent (tRNS, section 11.3.1) is black.

    Raises:
        ValueError, OSError, SyntaxError, zlib.error: the file is damaged.
    """
    width, height, depth, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    channels = {2: 3, 4: 2, 6: 4}.get(colour_type, 0)
    if depth != 16 or not channels:
        return None
    sides = [(height, width)] if not interlaced else list(_pass_sides(height, width))
    sizes = [rows * (1 + 2 * channels * columns) for rows, columns in sides]
    inflater = zlib.decompressobj()
    pixels = inflater.decompress(b"".join(_chunks(data, b"IDAT")), sum(sizes))
    if len(pixels) < sum(sizes):
        raise ValueError("the pixels end early")
    parts = np.split(np.frombuffer(pixels, np.uint8), np.cumsum(sizes)[:-1])
    passes = [part.reshape(rows, -1) for part, (rows, _) in zip(parts, sides, strict=True)]
    values = np.empty((height, width, channels), np.uint16)
    for lane in range(2 * channels):
        alone = [
            np.concatenate([rows[:, :1], rows[:, 1 + lane :: 2 * channels]], axis=1).tobytes()
            for rows in passes
        ]
        file = _grey_file((height, width), interlaced, b"".join(alone))
        with PIL.Image.open(io.BytesIO(file)) as picture:
            bytes_ = np.asarray(picture, dtype=np.uint16)
        if lane % 2:
            values[..., lane // 2] |= bytes_
        else:
            values[..., lane // 2] = bytes_ << np.uint16(8)
    for clear in _chunks(data, b"tRNS"):
        if channels == 3 and len(clear) == 6:
            values[(values == struct.unpack(">3H", clear)).all(axis=2)] = 0
    return values


def _pass_sides(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield rows and columns of each pass that has any."""
    for x, y, across, down in _PASSES:
        rows, columns = -((y - height) // down), -((x - width) // across)
        if rows > 0 and columns > 0:
            yield rows, columns


def _chunks(data: bytes, wanted: bytes) -> Iterator[bytes]:
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if name == wanted:
            yield data[at + 8 : at + 8 + size]
        at += 12 + size


def _grey_file(side: tuple[int, int], interlaced: int, rows: bytes) -> bytes:
    """Return a grey PNG of (height, width) and of rows that are filtered already."""
    header = struct.pack(">IIBBBBB", side[1], side[0], 8, 0, 0, 0, interlaced)
    pixels = zlib.compress(rows, 1)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"".join((_SIGNATURE, *chunks))


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
