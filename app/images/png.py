"""Fast PNG writer for stored images; every upload waits for it.

Pillow tries five filters on each row before it compresses, which takes most of its time, and has no
option to choose one. Speckle needs no trial: the difference from the pixel on the left, compressed
by Intel's ISA-L, makes the file a tenth larger and is seven times as fast. Format: Portable Network
Graphics, third edition (W3C, 2025), sections 5, 9 and 11.
"""

import struct

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEFT = 1
"""The filter type Sub: each byte minus that of the pixel to its left, modulo 256."""

_LEVEL = 1
"""ISA-L's second fastest of four levels.

The fastest makes files half as large again, the next two save only a hundredth.
"""

_COLOUR_TYPES = {1: 0, 3: 2}
"""PNG colour type by number of channels: grey, and RGB."""


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode (H, W) grey or (H, W, 3) RGB pixels.

    The file holds nothing else: no time, text or colour profile.
    """
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    channels = flat.shape[1] // width
    rows = np.empty((height, 1 + flat.shape[1]), np.uint8)
    rows[:, 0] = _LEFT
    rows[:, 1 : 1 + channels] = flat[:, :channels]
    np.subtract(flat[:, channels:], flat[:, :-channels], out=rows[:, 1 + channels :])
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", isal_zlib.compress(rows, _LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = isal_zlib.crc32(content, isal_zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
