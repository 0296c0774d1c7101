"""Structure of a JPEG stream, and a proof that its entropy-coded data holds every line.

Decoders fill in what a cut stream lacks, and say nothing or only warn. Here the codes are counted
without decoding any value. Sections are of ITU-T T.81; JPEG-LS (T.87) has the same markers.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_SOI, _EOI, _SOS, _DHT, _DRI, _APP14 = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xEE
_RESTARTS = range(0xD0, 0xD8)
_ALONE = {0x01, _SOI, *_RESTARTS}
_SEQUENTIAL, _LOSSLESS, _LS = {0xC0, 0xC1}, {0xC3}, 0xF7
_FRAMES = {*range(0xC0, 0xD0), _LS} - {_DHT, 0xC8, 0xCC}

_CHUNK_BYTES = 1 << 17
"""Bytes whose codes are looked up at once, so that a large frame takes little memory."""

_MARGIN_BYTES = 1 << 13
"""Longest group of codes that is counted without looking for the next chunk; see `_BATCH`."""

_BATCH = 256
_LEFT_MAX_BYTES = 4
_BAD = 255


class JpegCut(ValueError):
    """A stream that does not hold all of its lines; the message says how many it does."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """A component of the frame: its identifier and sampling factors (B.2.2)."""

    identifier: int
    across: int
    down: int


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan: which tables each component uses, and its entropy-coded bytes up to a marker."""

    parts: tuple[tuple[int, int, int], ...]
    """Component index, DC table and AC table of each component in it (B.2.3)."""
    codes: tuple[bytes, ...]
    """One for each restart interval, without stuffing."""
    interval: int
    tables: dict[int, bytes]


@dataclass(kw_only=True)
class Stream:
    """What a stream's markers state."""

    process: int = 0
    precision: int = 0
    height: int = 0
    width: int = 0
    components: tuple[Component, ...] = ()
    adobe_transform: int | None = None
    interval: int = 0
    tables: dict[int, bytes] = field(default_factory=dict)
    scans: list[Scan] = field(default_factory=list)
    ended: bool = False

    @property
    def subsampled(self) -> bool:
        """Whether the components differ in resolution, which those of RGB never do."""
        return len({(part.across, part.down) for part in self.components}) > 1


def parse(data: bytes, *, scans: bool = False) -> Stream:
    """Read the markers up to the first scan, or with `scans` to the end of the image.

    Raises:
        JpegCut: it is no JPEG stream, or ends within a marker segment.
    """
    stream, at = Stream(), 2
    if not data.startswith(b"\xff\xd8"):
        raise JpegCut("it does not begin as a JPEG stream does")
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return stream
        if data[at + 1] == 0xFF:  # Fill bytes may stand before a marker (B.1.1.2).
            at += 1
            continue
        marker, at = data[at + 1], at + 2
        if marker == _EOI:
            stream.ended = True
            return stream
        if marker in _ALONE or marker == 0:
            continue
        length = int.from_bytes(data[at : at + 2])
        body, at = data[at + 2 : at + length], at + length
        if length < 2 or at > len(data):
            raise JpegCut("it ends within its header")
        if marker != _SOS:
            _segment(stream, marker, body)
        elif not scans:
            return stream
        else:
            codes, at = _intervals(data, at)
            scan = Scan(
                parts=_parts(stream, body),
                codes=codes,
                interval=stream.interval,
                tables=dict(stream.tables),
            )
            stream.scans.append(scan)


def _segment(stream: Stream, marker: int, body: bytes) -> None:
    if marker in _FRAMES:
        _frame(stream, marker, body)
    elif marker == _DHT:
        stream.tables |= _tables(body)
    elif marker == _DRI:
        stream.interval = int.from_bytes(body[:2])
    elif marker == _APP14 and body.startswith(b"Adobe") and len(body) > 11:
        stream.adobe_transform = body[11]


def check_complete(data: bytes) -> None:
    """Count the codes of a sequential or lossless Huffman stream: all its lines must be there.

    Of other processes only the end marker is looked for.

    Raises:
        JpegCut: the stream ends early, or has a code that none of its tables has.
    """
    stream = parse(data, scans=True)
    if not stream.scans or not stream.height:
        raise JpegCut("it holds no lines")
    if stream.process in _SEQUENTIAL | _LOSSLESS:
        for scan in stream.scans:
            _count(stream, scan)
        seen = {part[0] for scan in stream.scans for part in scan.parts}
        if len(seen) < len(stream.components):
            raise JpegCut("one of its colour components is missing")
    elif not stream.ended:
        raise JpegCut("its end marker is missing")


def _frame(stream: Stream, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise JpegCut("it ends within its header")
    stream.process, stream.precision = marker, body[0]
    stream.height, stream.width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    stream.components = tuple(
        Component(
            identifier=body[at], across=max(1, body[at + 1] >> 4), down=max(1, body[at + 1] & 15)
        )
        for at in range(6, 6 + 3 * body[5], 3)
    )


def _tables(body: bytes) -> dict[int, bytes]:
    """Return each Huffman table of a segment by its class and number: 16 counts, then symbols."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 17 <= len(body):
        size = 17 + sum(body[at + 1 : at + 17])
        found[body[at]] = body[at + 1 : at + size]
        at += size
    return found


def _parts(stream: Stream, body: bytes) -> tuple[tuple[int, int, int], ...]:
    index = {part.identifier: place for place, part in enumerate(stream.components)}
    count = body[0] if body else 0
    if not 1 <= count <= 4 or len(body) < 1 + 2 * count:
        raise JpegCut("it ends within its header")
    pairs = [(body[at], body[at + 1]) for at in range(1, 1 + 2 * count, 2)]
    if any(identifier not in index for identifier, _ in pairs):
        raise JpegCut("a scan names a component that the frame does not have")
    return tuple((index[name], tables >> 4, tables & 15) for name, tables in pairs)


def _intervals(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """Return a scan's entropy-coded bytes by restart interval, and where the next marker is."""
    found: list[bytes] = []
    start = at
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            found.append(data[start:])
            at = len(data)
            break
        follows = data[at + 1]
        if follows in (0, 0xFF):
            at += 2 - (follows == 0xFF)
            continue
        found.append(data[start:at])
        if follows not in _RESTARTS:
            break
        start = at = at + 2
    return tuple(codes.replace(b"\xff\x00", b"\xff") for codes in found), at


def _count(stream: Stream, scan: Scan) -> None:
    """Walk one scan's codes, interval by interval."""
    groups, columns = _groups(stream, scan)
    per = scan.interval or groups
    left, done = groups, 0
    units = _layout(scan, _units(stream, scan), stream.process in _SEQUENTIAL)
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
    side = 1 if stream.process in _LOSSLESS else 8
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
        self.left = self._codes[start + -(-at // 8) :].strip(b"\x00\xff")
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
