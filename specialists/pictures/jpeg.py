"""Structure of a JPEG stream: what its markers state, and its scans.

Sections are of ITU-T T.81; JPEG-LS (T.87) has the same markers.
"""

from dataclasses import dataclass, field

_SOI, _EOI, _SOS, _DHT, _DRI, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xE0, 0xEE
_RESTARTS = range(0xD0, 0xD8)
_ALONE = {0x01, _SOI, *_RESTARTS}
SEQUENTIAL, PROGRESSIVE, LOSSLESS = {0xC0, 0xC1}, {0xC2}, {0xC3}
_LS = 0xF7
_RGB = (ord("R"), ord("G"), ord("B"))
_FRAMES = {*range(0xC0, 0xD0), _LS} - {_DHT, 0xC8, 0xCC}


_IN_HEADER = "it ends within its header"


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
    band: tuple[int, int, int]
    """First and last coefficient, and the lowest bit of them that it holds (G.1.1.1)."""


@dataclass(kw_only=True)
class Stream:
    """What a stream's markers state."""

    process: int = 0
    precision: int = 0
    height: int = 0
    width: int = 0
    components: tuple[Component, ...] = ()
    adobe_transform: int | None = None
    jfif: bool = False
    interval: int = 0
    tables: dict[int, bytes] = field(default_factory=dict)
    scans: list[Scan] = field(default_factory=list)
    ended: bool = False

    @property
    def subsampled(self) -> bool:
        """Whether the components differ in resolution, which those of RGB never do."""
        return len({(part.across, part.down) for part in self.components}) > 1

    @property
    def ycbcr(self) -> bool:
        """Whether its markers say that its three components are Y, Cb and Cr.

        JFIF knows no other colours. Without it and Adobe's marker, libjpeg and those who follow it
        number components from 1 and write the letters R, G and B for these colours.
        """
        names = tuple(part.identifier for part in self.components)
        if len(names) != 3 or self.process in LOSSLESS | {_LS}:
            return False
        if self.subsampled or self.adobe_transform is not None:
            return self.subsampled or self.adobe_transform == 1
        return self.jfif or names == (1, 2, 3)

    @property
    def rgb(self) -> bool:
        """Whether its markers say that its three components are R, G and B."""
        names = tuple(part.identifier for part in self.components)
        return len(names) == 3 and (self.adobe_transform == 0 or names == _RGB)


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
            inside = "after some of its lines comes what is no code" if stream.scans else _IN_HEADER
            raise JpegCut(inside)
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
                band=_band(body),
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
    elif marker == _APP0 and body.startswith(b"JFIF\0"):
        stream.jfif = True


def _band(body: bytes) -> tuple[int, int, int]:
    first, last, bits = body[-3:] if len(body) >= 6 else (0, 63, 0)
    return first, last, bits & 15


def _frame(stream: Stream, marker: int, body: bytes) -> None:
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise JpegCut(_IN_HEADER)
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
        raise JpegCut(_IN_HEADER)
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
