"""The fragments of compressed PixelData (PS3.5 A.4), and the frames that they make up."""

import struct
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame

ITEM = b"\xfe\xff\x00\xe0"
_HEAD = struct.Struct("<4sI")
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""How a frame's stream begins in JPEG, JPEG-LS and JPEG 2000; RLE has one fragment a frame."""


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What the fragments say of the frames."""

    count: int
    table: tuple[int, ...]
    """Where each frame begins, after the basic offset table; () where it cannot be told."""
    stated: bool
    """Whether the file's own offset table says the same."""


def frames_of(dataset: Dataset, rle: bool) -> Frames:
    """Return the frames that the fragments hold; a table that points nowhere is left aside."""
    data = dataset.PixelData
    offsets, fragments = _walked(data)
    if not fragments:
        return Frames(count=0, table=(), stated=True)
    places = {place for place, _ in fragments}
    extended = len(dataset.get("ExtendedOffsetTable") or b"") // 8
    if extended and "ExtendedOffsetTableLengths" in dataset:
        return Frames(count=extended, table=(), stated=True)
    if offsets and set(offsets) <= places and offsets[0] == 0:
        return Frames(count=len(offsets), table=offsets, stated=True)
    starts = tuple(place for place, begin in fragments if rle or begin.startswith(_STARTS))
    if not starts or starts[0] != 0:
        return Frames(count=0, table=(), stated=not offsets)
    return Frames(count=len(starts), table=starts, stated=False)


def with_table(data: bytes, table: tuple[int, ...]) -> bytes:
    """Return PixelData with that basic offset table."""
    old = 8 + int.from_bytes(data[4:8], "little")
    return _HEAD.pack(ITEM, 4 * len(table)) + struct.pack(f"<{len(table)}I", *table) + data[old:]


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


def _walked(data: bytes) -> tuple[tuple[int, ...], list[tuple[int, bytes]]]:
    """Return the stated offsets, and each fragment's place and first bytes."""
    offsets: tuple[int, ...] = ()
    fragments: list[tuple[int, bytes]] = []
    at, first = 0, 0
    while data[at : at + 4] == ITEM and at + 8 <= len(data):
        length = _HEAD.unpack_from(data, at)[1]
        start = at + 8
        if not at:
            offsets = struct.unpack_from(f"<{min(length, len(data) - 8) // 4}I", data, 8)
            first = start + length
        else:
            fragments.append((at - first, data[start : start + 12]))
        at = start + length
    return offsets, fragments
