"""The chunks of a PNG that its pixels need, so that no bulk beside them keeps it from being read.

Pillow refuses a whole file for one large text or colour profile (a guard against small chunks that
inflate without end). Format: Portable Network Graphics, third edition (W3C, 2025), section 11.
"""

import struct
import zlib
from collections.abc import Iterator

_SIGNATURE_BYTES = 8
_AROUND_BYTES = 12
"""Length, name and checksum of a chunk."""

_NEEDED = (b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT")
"""Ancillary chunks that say what the pixels are: transparency, orientation, several frames."""

_TEXT = (b"tEXt", b"zTXt", b"iTXt")
"""Chunks of text: an orientation may stand there too, and the mark of our own drawings."""

TEXT_MAX_BYTES = 2**19
"""Most bytes of text, inflated, that are kept of one file; far more than a file says of itself."""


def without_bulk(data: bytes) -> bytes:
    """Return the PNG with its critical chunks, the ancillary ones needed, and short texts.

    What follows a chunk that is cut short stays as it is.
    """
    kept = [data[:_SIGNATURE_BYTES]]
    room_bytes = TEXT_MAX_BYTES
    for name, chunk in _chunks(data):
        if name in _TEXT:
            size_bytes = _inflated_bytes(name, chunk[8:-4], room_bytes)
            if size_bytes > room_bytes:
                continue
            room_bytes -= size_bytes
        elif _ancillary(name) and name not in _NEEDED:
            continue
        kept.append(chunk)
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and bytes of each chunk; the last is all that remains where one is cut short."""
    start = _SIGNATURE_BYTES
    while start < len(data):
        if len(data) - start < _AROUND_BYTES:
            yield b"", data[start:]
            return
        length, name = struct.unpack_from(">I4s", data, start)
        stop = start + length + _AROUND_BYTES
        if stop > len(data):
            yield b"", data[start:]
            return
        yield name, data[start:stop]
        if name == b"IEND":
            return
        start = stop


def _ancillary(name: bytes) -> bool:
    """Return whether a reader may skip a chunk of that name (section 5.4: bit 5 of its first)."""
    return bool(name) and bool(name[0] & 0x20)


def _inflated_bytes(name: bytes, content: bytes, limit_bytes: int) -> int:
    """Return how many bytes a text chunk holds once inflated; more than the limit if it cannot."""
    _, _, rest = content.partition(b"\0")
    if name == b"zTXt":
        rest = rest[1:]
    elif name == b"iTXt":
        compressed, rest = rest[:1] == b"\1", rest[2:]
        if not compressed:
            return len(content)
        rest = rest.split(b"\0", 2)[-1]
    else:
        return len(content)
    try:
        return len(content) + len(zlib.decompressobj().decompress(rest, limit_bytes + 1))
    except zlib.error:
        return limit_bytes + 1
