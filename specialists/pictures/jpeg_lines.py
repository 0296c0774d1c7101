"""A proof that a JPEG stream holds every line.

Decoders fill in what a cut stream lacks, and say nothing or only warn. Here the codes of sequential
and lossless streams are counted without decoding any value. Sections are of ITU-T T.81.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg

from specialists.pictures.jpeg import (
    LOSSLESS,
    PROGRESSIVE,
    SEQUENTIAL,
    JpegCut,
    Scan,
    Stream,
    parse,
)

_CHUNK_BYTES = 1 << 17
"""Bytes whose codes are looked up at once, so that a large frame takes little memory."""

_MARGIN_BYTES = 1 << 13
"""Longest group of codes that is counted without looking for the next chunk; see `_BATCH`."""

_BATCH = 256
_LEFT_MAX_BYTES = 4
_BAD = 255


def check_complete(data: bytes) -> None:
    """Count the codes of a sequential or lossless Huffman stream: all its lines must be there.

    A progressive one must have all of its scans, decoded without a warning; of other processes only
    the end marker is looked for.

    Raises:
        JpegCut: the stream ends early, or has a code that none of its tables has.
    """
    stream = parse(data, scans=True)
    if not stream.scans or not stream.height:
        raise JpegCut("it holds no lines")
    if stream.process in SEQUENTIAL | LOSSLESS:
        for scan in stream.scans:
            _count(stream, scan)
        seen = {part[0] for scan in stream.scans for part in scan.parts}
        if len(seen) < len(stream.components):
            raise JpegCut("one of its colour components is missing")
    elif not stream.ended:
        raise JpegCut("its end marker is missing")
    if stream.process in PROGRESSIVE:
        _check_progression(data, stream)


def _check_progression(data: bytes, stream: Stream) -> None:
    """Check that a progressive stream holds each coefficient of each component, to its last bit."""
    lowest = np.full((len(stream.components), 64), 255, dtype=np.uint8)
    for scan in stream.scans:
        first, last, bit = scan.band
        for index, _, _ in scan.parts:
            lowest[index, first : last + 1] = bit
    if lowest.any():
        raise JpegCut("it lacks some of its scans, so that the picture is coarse")
    if stream.precision != 8:
        return
    try:
        # libjpeg fills in what is missing and warns; its warnings are errors here.
        simplejpeg.decode_jpeg(data, "GRAY", strict=True)
    except ValueError:
        raise JpegCut("its scans do not hold all of its lines") from None


def _count(stream: Stream, scan: Scan) -> None:
    """Walk one scan's codes, interval by interval."""
    groups, columns = _groups(stream, scan)
    per = scan.interval or groups
    left, done = groups, 0
    units = _layout(scan, _units(stream, scan), stream.process in SEQUENTIAL)
    for codes in scan.codes:
        wanted = min(per, left)
        if not wanted:
            break
        walk = _Walk(codes, units)
        came = walk.run(wanted)
        done += came
        if came < wanted:
            break
        if len(walk.left) > _LEFT_MAX_BYTES:
            raise JpegCut("it goes on after its last line, so that codes within it are damaged")
        left -= wanted
    if done < groups:
        lines = done // columns * stream.height // max(1, groups // columns)
        raise JpegCut(f"only {lines} of its {stream.height} lines are there")


def _groups(stream: Stream, scan: Scan) -> tuple[int, int]:
    """Return the number of MCUs of a scan, and of those in one row (A.2)."""
    side = 1 if stream.process in LOSSLESS else 8
    most_across = max(part.across for part in stream.components)
    most_down = max(part.down for part in stream.components)
    if len(scan.parts) == 1:
        part = stream.components[scan.parts[0][0]]
        columns = -((-stream.width * part.across // most_across) // side)
        rows = -((-stream.height * part.down // most_down) // side)
    else:
        columns = -(-stream.width // (side * most_across))
        rows = -(-stream.height // (side * most_down))
    return columns * rows, columns


def _units(stream: Stream, scan: Scan) -> list[tuple[int, int]]:
    """Return the DC and AC tables of each data unit of an MCU, in order (A.2.3)."""
    alone = len(scan.parts) == 1
    return [
        (dc, ac)
        for index, dc, ac in scan.parts
        for _ in range(
            1 if alone else stream.components[index].across * stream.components[index].down
        )
    ]


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A Huffman table by the next 16 bits: (65536,) symbols, and what each symbol stands for."""

    symbols: npt.NDArray[np.uint8]
    bits: list[int]
    """Length of code and value together, by symbol."""
    steps: list[int]
    """Coefficients that an AC symbol passes (F.1.2.2), by symbol."""


_END_OF_BLOCK = 128
_Units = list[tuple[_Table, _Table | None]]


def _layout(scan: Scan, units: list[tuple[int, int]], blocks: bool) -> _Units:
    found = {name: _table(table) for name, table in scan.tables.items()}
    try:
        return [(found[dc], found[16 + ac] if blocks else None) for dc, ac in units]
    except KeyError:
        raise JpegCut("it names a Huffman table that it does not have") from None


def _table(table: bytes) -> _Table:
    """Expand 16 counts of codes by length and their symbols (C.2)."""
    symbols = np.full(1 << 16, _BAD, dtype=np.uint8)
    bits = [1] * 256
    first, at = 0, 16
    for size, count in enumerate(table[:16], start=1):
        for symbol in table[at : at + count]:
            width = 1 << (16 - size)
            symbols[first : first + width] = symbol
            # SSSS 16 of a lossless stream has no bits after its code (H.1.2.2).
            bits[symbol] = size + symbol % 16
            first += width
        at += count
    steps = [1 + (symbol >> 4) for symbol in range(256)]
    steps[0], steps[_BAD] = _END_OF_BLOCK, 64
    return _Table(symbols=symbols, bits=bits, steps=steps)


class _Walk:
    """One restart interval's codes, followed from each to the next."""

    def __init__(self, codes: bytes, units: _Units) -> None:
        self._codes, self._units = codes, units
        self.left = b""
        """Codes after the last MCU that was wanted; padding is none."""

    def run(self, wanted: int) -> int:
        """Return how many of the MCUs that are wanted lie wholly within the codes."""
        start, at, done = 0, 0, 0
        while done < wanted:
            chunk = self._codes[start : start + _CHUNK_BYTES + _MARGIN_BYTES]
            end = 8 * len(chunk)
            follow = self._samples if self._units[0][1] is None else self._blocks
            came, at = follow(self._symbols(chunk), at, wanted - done, end)
            done += came
            if at > end or not came:
                break
            start, at = start + at // 8, at % 8
        end = start + -(-at // 8)
        rest = self._codes[end:]
        filled = self._codes[max(0, end - _LEFT_MAX_BYTES) : end + _LEFT_MAX_BYTES]
        # Zeros after the last code are padding; zeros that it is one of are no code.
        self.left = rest if not any(filled) else rest.strip(b"\x00\xff")
        return done

    def _symbols(self, chunk: bytes) -> list[tuple[bytes, bytes]]:
        """Return, for each data unit, the symbol that would begin at each bit."""
        padded = np.frombuffer(chunk + b"\0\0", dtype=np.uint8).astype(np.uint32)
        three = padded[:-2] << np.uint32(16) | padded[1:-1] << np.uint32(8) | padded[2:]
        coming = np.empty((len(chunk), 8), dtype=np.uint16)
        for bit in range(8):
            coming[:, bit] = three >> np.uint32(8 - bit) & np.uint32(0xFFFF)
        flat = coming.reshape(-1)
        found: dict[int, bytes] = {}
        for table in {id(table): table for pair in self._units for table in pair if table}.values():
            found[id(table)] = table.symbols[flat].tobytes()
        return [(found[id(dc)], found[id(ac)] if ac else b"") for dc, ac in self._units]

    def _samples(
        self, symbols: list[tuple[bytes, bytes]], at: int, wanted: int, end: int
    ) -> tuple[int, int]:
        """Follow samples, one code each, up to the chunk's margin; return how many, and where."""
        units = [(dc, table.bits) for (dc, _), (table, _) in zip(symbols, self._units, strict=True)]
        done, stop = 0, 8 * _CHUNK_BYTES
        alone = len(units) == 1
        first, bits = units[0]
        while done < wanted and at < stop:
            batch, before = min(_BATCH, wanted - done), at
            try:
                if alone:
                    for _ in range(batch):
                        at += bits[first[at]]
                else:
                    for _ in range(batch):
                        for codes, lengths in units:
                            at += lengths[codes[at]]
            except IndexError:
                return done, end + 1
            if at > end:
                return done, at
            if at == before:
                break
            done += batch
        return done, at

    def _blocks(
        self, symbols: list[tuple[bytes, bytes]], at: int, wanted: int, end: int
    ) -> tuple[int, int]:
        """Follow MCUs of 8 × 8 blocks up to the chunk's margin; return how many, and where."""
        units = [
            (dc, first.bits, ac, rest.bits, rest.steps)
            for (dc, ac), (first, rest) in zip(symbols, self._units, strict=True)
            if rest is not None
        ]
        done, stop = 0, 8 * _CHUNK_BYTES
        while done < wanted and at < stop:
            try:
                for dc, dc_bits, ac, ac_bits, steps in units:
                    symbol = dc[at]
                    at += dc_bits[symbol]
                    place = 1 if symbol != _BAD else 65
                    while place < 64:
                        symbol = ac[at]
                        at += ac_bits[symbol]
                        place += steps[symbol]
                    if 64 < place <= _END_OF_BLOCK:
                        return done, end + 1
            except IndexError:
                return done, end + 1
            if at > end:
                return done, at
            done += 1
        return done, at
