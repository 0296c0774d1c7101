"""Compressed frames: what a stream is and states of itself, and whether it holds all of its lines.

JPEG 2000 is ITU-T T.800, RLE is annex G of DICOM PS3.5.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from specialists.pictures.jpeg import LOSSLESS, SEQUENTIAL, JpegCut, Stream, parse
from specialists.pictures.jpeg_lines import check_complete


class Kind(StrEnum):
    """A kind of stream, as a sentence names it."""

    RLE = "RLE"
    JPEG = "JPEG"
    LS = "JPEG-LS"
    J2K = "JPEG 2000"


SYNTAXES = {
    "1.2.840.10008.1.2.5": Kind.RLE,
    **{f"1.2.840.10008.1.2.4.{n}": Kind.JPEG for n in (50, 51, 57, 70)},
    **{f"1.2.840.10008.1.2.4.{n}": Kind.LS for n in (80, 81)},
    **{f"1.2.840.10008.1.2.4.{n}": Kind.J2K for n in (90, 91, 201, 202, 203)},
}
_LS_PROCESS = 0xF7
_SIZ, _COD, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF90, 0xFF93, 0xFFD9
_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_ZEROS_MIN = 16
"""Zeros in a row that code does not hold, beside empty packets of one byte each."""

_RLE_HEADER = struct.Struct("<16I")
_RLE_SEGMENTS = {1: (1, 8), 2: (1, 16), 3: (3, 8), 6: (3, 16)}
"""Samples and bits of a pixel by the number of segments: one for each byte of a pixel."""


class SizeDiffers(ValueError):
    """A stream holds other pixels than Rows and Columns state; the message says how many."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a stream states of itself; None where its kind states nothing of that."""

    kind: Kind
    syntax: str
    """A transfer syntax that it is written in."""
    samples: int
    allocated: int
    precision: int | None = None
    size: tuple[int, int] | None = None
    """(height, width)."""
    signed: bool | None = None
    transformed: bool = False
    """Whether JPEG 2000's colour transform was applied, which its decoder reverses (annex G)."""
    jpeg: Stream | None = None


def form_of(stream: bytes) -> Form | None:
    """Return what a stream states of itself; None where it is none of these kinds.

    Raises:
        JpegCut: it is JPEG's, and ends within its header.
    """
    if stream.startswith(b"\xff\xd8"):
        return _jpeg_form(parse(stream))
    if stream.startswith((_J2K_START, _JP2_START)):
        return _j2k_form(stream)
    return _rle_form(stream)


def check_whole(stream: bytes, kind: Kind, pixels: int) -> None:
    """Check that a stream holds all of its lines; `pixels` is Rows × Columns.

    Raises:
        JpegCut: it ends early, or is damaged.
        SizeDiffers: it holds more pixels than are stated.
    """
    match kind:
        case Kind.JPEG:
            check_complete(stream)
        case Kind.LS:
            # No two such bytes stand within its coded lines (ITU-T T.87, annex A.1).
            if b"\xff\xd9" not in stream:
                raise JpegCut("its end marker is missing")
        case Kind.J2K:
            _check_j2k(stream)
        case Kind.RLE:
            _check_rle(stream, pixels)


def _jpeg_form(jpeg: Stream) -> Form:
    if not jpeg.components:
        raise JpegCut("it ends within its header")
    number = 51
    if jpeg.process == _LS_PROCESS:
        number = 80
    elif jpeg.process in LOSSLESS:
        number = 57
    elif jpeg.precision == 8 and jpeg.process in SEQUENTIAL:
        number = 50
    return Form(
        kind=Kind.LS if jpeg.process == _LS_PROCESS else Kind.JPEG,
        syntax=f"1.2.840.10008.1.2.4.{number}",
        samples=len(jpeg.components),
        allocated=8 if jpeg.precision <= 8 else 16,
        precision=jpeg.precision,
        size=(jpeg.height, jpeg.width) if jpeg.height else None,
        signed=False if jpeg.process not in LOSSLESS | {_LS_PROCESS} else None,
        jpeg=jpeg,
    )


def _j2k_form(stream: bytes) -> Form | None:
    siz = stream.find(_J2K_START) + 4  # A.5.1
    if siz < 4 or len(stream) < siz + 39:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, siz + 4)
    precision = (stream[siz + 38] & 127) + 1
    return Form(
        kind=Kind.J2K,
        syntax="1.2.840.10008.1.2.4.91",
        samples=int.from_bytes(stream[siz + 36 : siz + 38]),
        allocated=8 if precision <= 8 else 16,
        precision=precision,
        size=(bottom - top, right - left),
        signed=bool(stream[siz + 38] & 128),
        transformed=any(
            marker == _COD and body[4:5] == b"\1" for marker, _, body in _main_header(stream)
        ),
    )


def _rle_form(stream: bytes) -> Form | None:
    segments = _segments(stream)
    if segments is None or len(segments) not in _RLE_SEGMENTS:
        return None
    samples, allocated = _RLE_SEGMENTS[len(segments)]
    return Form(kind=Kind.RLE, syntax="1.2.840.10008.1.2.5", samples=samples, allocated=allocated)


def _segments(stream: bytes) -> list[tuple[int, int]] | None:
    """Return where each segment of an RLE stream begins and ends; None if it is no such stream."""
    if len(stream) < _RLE_HEADER.size:
        return None
    count, *offsets = _RLE_HEADER.unpack_from(stream)
    if not 1 <= count <= 15 or offsets[0] != _RLE_HEADER.size:
        return None
    starts = offsets[:count]
    if starts != sorted(set(starts)):
        return None
    return list(zip(starts, [*starts[1:], len(stream)], strict=True))


def _check_rle(stream: bytes, pixels: int) -> None:
    for start, end in _segments(stream) or ():
        at = held = 0
        codes = stream[start:end]
        while held < pixels and at < len(codes):
            code = codes[at]
            if code < 128:
                held += min(code + 1, len(codes) - at - 1)
                at += code + 2
            else:
                held += 0 if code == 128 else 257 - code
                at += 1 if code == 128 else 2
        if held < pixels or at > len(codes):
            raise JpegCut(f"only {held} of the {pixels} pixels of Rows × Columns are there")
        if held > pixels or codes[at:].strip(b"\x00"):
            raise SizeDiffers(f"there are more pixels than the {pixels} of Rows × Columns")


def _check_j2k(stream: bytes) -> None:
    """Check that every tile-part ends where it states, and holds code to its end.

    Where padding replaced the rest of the code, its decoder reads empty packets and says nothing:
    one byte for each (B.10.3), so that more zeros than packets are no code. Two bytes above FF8F
    stand for a marker, and none of these stands within code (B.10.1).
    """
    header = {marker: (at, body) for marker, at, body in _main_header(stream)}
    if not {_SIZ, _COD, _SOT} <= header.keys() or len(header[_COD][1]) < 6:
        raise JpegCut("it ends within its header")
    (_, siz), (_, cod), (at, _) = header[_SIZ], header[_COD], header[_SOT]
    packets = _packets(siz, cod)
    while stream[at : at + 2] == b"\xff\x90":
        end = at + int.from_bytes(stream[at + 6 : at + 10])
        end = len(stream.rstrip(b"\0")) - 2 if end == at else end  # The last may state 0 (A.4.2).
        if end > len(stream):
            raise JpegCut("it ends within a tile")
        code = next((start for name, start, _ in _markers(stream, at) if name == _SOD), end)
        _check_code(stream[code + 2 : end], packets)
        at = end
    if stream[at : at + 2] != b"\xff\xd9":
        raise JpegCut("its end marker is missing")


def _main_header(stream: bytes) -> Iterator[tuple[int, int, bytes]]:
    for found in _markers(stream, stream.find(_J2K_START) + 2):
        yield found
        if found[0] == _SOT:
            return


def _packets(siz: bytes, cod: bytes) -> int:
    """Return the most packets that a tile has: of each layer, component, level and precinct."""
    right, bottom, _, _, width, height = struct.unpack_from(">6I", siz, 2)  # A.5.1
    width, height = min(width, right), min(height, bottom)  # of a tile
    components, layers, levels = int.from_bytes(siz[34:36]), int.from_bytes(cod[2:4]), cod[5]
    sides = cod[10 : 11 + levels] if cod[0] & 1 else bytes([0xFF]) * (levels + 1)  # A.6.1
    precincts = 0
    for level, side in enumerate(sides):
        across, down = (
            (length >> levels - level) // (1 << power) + 1
            for length, power in ((width, side & 15), (height, side >> 4))
        )
        precincts += across * down
    return components * layers * precincts


def _check_code(code: bytes, packets: int) -> None:
    values = np.frombuffer(code, dtype=np.uint8)
    after = values[1:][values[:-1] == 255]
    if ((after > 0x8F) & (after != 0x91) & (after != 0x92)).any():  # SOP and EPH (A.8)
        raise JpegCut("there is no code where its code should go on")
    if bytes(packets + _ZEROS_MIN) in code:
        raise JpegCut("it goes on with zeros where its code should go on")


def _markers(stream: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield each marker of a header with its place and its segment after the length."""
    while at + 4 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, at)
        yield marker, at, stream[at + 4 : at + 2 + length]
        if marker == _SOD or marker < 0xFF00:
            return
        at += 2 + length
