"""How stored values are read: their bytes, place, depth and sign, by the values themselves.

A header may state these wrongly or not at all; which bits the values use cannot lie. Sections are
of DICOM PS3.3.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DEPTHS = (8, 10, 12, 14, 16)
"""Depths that scanners use: values within a smaller one than is stated are of that depth."""

PLANE_SHARE = 0.05
"""Share of pixels below which a single bit above BitsStored is an old overlay's (C.9.2)."""

LONE_BITS = 4
"""Bits by which one value lies above all others, from which it is graphics and no tissue."""

WINDOW_SHARE = 0.98
"""Share of the values that a window holds at least, if the picture is what it shows."""

WINDOW_MAX = 4
"""How far beyond the largest value a window may end; a wider one would darken the picture."""

SMOOTHER = 0.8
"""Ratio of steps between neighbours below which one reading of the same bits is the right one."""

_SAMPLE = 1 << 20
"""Values that are enough to judge a distribution by."""

Values = npt.NDArray[np.unsignedinteger]


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a header states of its values; None where it states nothing."""

    bits: int
    high_bit: int | None
    signed: bool | None
    window: tuple[float, float] | None
    """WindowCenter and WindowWidth."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How values are read: bytes swapped, then shifted down, then so many bits of them."""

    bits: int
    swapped: bool = False
    shift: int = 0
    signed: bool = False
    top: int
    """What becomes 255, counted from the lowest value that there is."""
    windowed: bool = False
    notes: tuple[str, ...] = ()


def reading_of(values: Values, columns: int, stated: Stated) -> Reading:
    """Return how values are to be read; `values` begins with a frame of so many columns."""
    allocated = 8 * values.dtype.itemsize
    bits = stated.bits if 1 <= stated.bits <= allocated else allocated
    notes = [] if bits == stated.bits else [_said("BitsStored", stated.bits, bits)]
    used = int(np.bitwise_or.reduce(values, axis=None))
    if not used:
        return Reading(bits=bits, top=(1 << bits) - 1, notes=tuple(notes))
    top, extended = used.bit_length(), _extended(values, bits)
    shift = 0 if extended else _shift(used, bits, allocated, stated.high_bit)
    swapped = False
    if shift:
        notes.append(f"HighBit states {stated.high_bit}; the {bits} bits are the values' highest")
    elif top > bits and not extended:
        swapped = allocated == 16 and _swapped(used).bit_length() <= bits
        if swapped:
            notes.append("the two bytes of each value are swapped")
        elif not _is_plane(values, bits):
            bits = _widened(top, bits, allocated, notes)
    elif (stated.high_bit or 0) >= bits and not extended:
        bits = _widened(min(allocated, (stated.high_bit or 0) + 1), bits, allocated, notes)
    plain = _plain(values, swapped, shift, bits)
    signed = extended or _signed(plain, columns, bits, stated.signed)
    if stated.signed is not None and signed != stated.signed:
        notes.append(_said("PixelRepresentation", int(stated.signed), int(signed)))
    if signed:
        return Reading(
            bits=bits, swapped=swapped, shift=shift, signed=True, top=(1 << bits) - 1,
            notes=tuple(notes),
        )  # fmt: skip
    bits, full = _depth(plain, bits, notes)
    if not shift and stated.high_bit not in (None, bits - 1, stated.bits - 1):
        notes.append(f"HighBit states {stated.high_bit}, which is not where the values are")
    last = _window_top(plain, stated.window, notes)
    return Reading(
        bits=bits,
        swapped=swapped,
        shift=shift,
        top=last or full,
        windowed=last is not None,
        notes=tuple(notes),
    )


def eight_bits(
    stored: npt.NDArray[np.generic], reading: Reading, notes: list[str]
) -> npt.NDArray[np.uint8]:
    """Scale stored values linearly to 8 bits, from the lowest that there is to the top."""
    values = unsigned(stored)
    plain = _plain(values, reading.swapped, reading.shift, reading.bits)
    if reading.top == 255 and not reading.signed:
        return np.ascontiguousarray(np.minimum(plain, 255), dtype=np.uint8)
    half = 1 << (reading.bits - 1)
    lowest = -half if reading.signed else 0
    if reading.signed:
        plain = plain ^ plain.dtype.type(half)  # From the lowest value on.
    notes.append(
        f"{reading.bits}-bit grey scaled linearly, {lowest} to {lowest + reading.top} "
        "becoming 0 to 255"
    )
    levels = np.arange(reading.top + 1, dtype=np.float32) * np.float32(255.0 / reading.top)
    table = np.rint(levels).astype(np.uint8)
    return np.ascontiguousarray(table[np.minimum(plain, reading.top)])


def unsigned(stored: npt.NDArray[np.generic]) -> Values:
    """Return stored values by their bits alone, in the machine's own order of bytes."""
    whole = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return whole.view(np.dtype(f"u{whole.dtype.itemsize}"))


def _said(keyword: str, stated: int, right: int) -> str:
    return f"{keyword} states {stated}; read as {right}, by the values' own bits"


def _widened(top: int, bits: int, allocated: int, notes: list[str]) -> int:
    """Return the depth that so many bits need; a note says that more are used than stated."""
    wider = min(allocated, next(depth for depth in DEPTHS if top <= depth))
    if wider != bits:
        notes.append(_said("BitsStored", bits, wider))
    return wider


def _plain(values: Values, swapped: bool, shift: int, bits: int) -> Values:
    """Return the values at their place, without what stands above them."""
    if swapped:
        values = values.byteswap()
    if shift:
        values = values >> values.dtype.type(shift)
    if bits < 8 * values.dtype.itemsize:
        values = values & values.dtype.type((1 << bits) - 1)
    return values


def _swapped(used: int) -> int:
    return (used & 255) << 8 | used >> 8


def _extended(values: Values, bits: int) -> bool:
    """Return whether some values are negative ones of so many bits, their sign filled up."""
    if bits >= 8 * values.dtype.itemsize:
        return False
    whole = values.view(np.dtype(f"i{values.dtype.itemsize}"))
    return bool(-(1 << bits - 1) <= whole.min() < 0 and whole.max() < 1 << bits - 1)


def _shift(used: int, bits: int, allocated: int, high_bit: int | None) -> int:
    """Return by how many bits the values stand too high (PS3.5 8.1.1, before 2014)."""
    zeros = (used & -used).bit_length() - 1
    for shift in ((high_bit or 0) + 1 - bits, allocated - bits):
        if 0 < shift <= zeros and used.bit_length() > bits:
            return shift
    return 0


def _is_plane(values: Values, bits: int) -> bool:
    """Return whether the bits above BitsStored are one overlay's, and no part of the values."""
    above = (values >> values.dtype.type(bits)).reshape(-1)
    return (
        len(np.unique(above[:: max(1, len(above) // 10_000)])) <= 2
        and float((above != 0).mean()) < PLANE_SHARE
    )


def _signed(plain: Values, columns: int, bits: int, stated: bool | None) -> bool:
    """Return whether the highest bit is a sign: without it neighbours would differ by all bits.

    Unsigned is what ultrasound images are (C.8.5.6.1.14), and where nothing is stated.
    """
    half = 1 << (bits - 1)
    if stated is False or not (plain & plain.dtype.type(half)).any():
        return False
    whole = plain.astype(np.int32)
    as_unsigned = roughness(whole, columns)
    as_signed = roughness((whole ^ half) - half, columns)
    if stated:
        return as_unsigned >= SMOOTHER * as_signed
    return as_signed < SMOOTHER * as_unsigned


def roughness(values: npt.NDArray[np.generic], columns: int) -> float:
    """Return the mean step between pixels above one another, in rows of so many columns."""
    flat = values.reshape(-1)[: _SAMPLE // columns * columns]
    rows = flat[: len(flat) // columns * columns].reshape(-1, columns).astype(np.int32)
    return float(np.abs(np.diff(rows, axis=0)).mean()) if len(rows) > 1 else 0.0


def _depth(plain: Values, bits: int, notes: list[str]) -> tuple[int, int]:
    """Return the depth that unsigned values use and its largest value, graphics left aside."""
    largest = int(plain.max())
    if largest >= 1 << DEPTHS[0]:
        rest = int(plain[plain < largest].max(initial=0))
        if rest and rest.bit_length() + LONE_BITS <= largest.bit_length():
            notes.append(f"the value {largest}, far above all others, is shown as white")
            largest = rest
    depth = min(bits, next(depth for depth in DEPTHS if largest < 1 << depth))
    if depth < bits:
        notes.append(_said("BitsStored", bits, depth))
    return depth, (1 << depth) - 1


def _window_top(plain: Values, window: tuple[float, float] | None, notes: list[str]) -> int | None:
    """Return the last value of a window (C.11.2.1.2) that shows the picture as it is.

    It begins at zero, holds nearly all values, and is not much wider than they are. None otherwise:
    a window is a proposal for display, and cuts off or darkens what lies outside.
    """
    if window is None or plain.dtype.itemsize == 1:
        return None
    centre, width = window
    if not (math.isfinite(centre) and 2 <= width < 1 << 17):
        return None
    low, high = centre - width / 2, centre + width / 2 - 1
    flat = plain.reshape(-1)
    some = flat[:: max(1, len(flat) // _SAMPLE)]
    largest = max(1, int(some.max()))
    held = float((some <= high).mean())
    if abs(low) > 0.02 * width or held < WINDOW_SHARE or not 1 <= high <= WINDOW_MAX * largest:
        return None
    notes.append(f"the window that the file states is applied, 0 to {round(high)}")
    return round(high)
