"""Check that DICOM bytes are safe to parse: structure, nesting, lengths and inflated size.

pydicom recurses into sequences, trusts lengths and inflates without a limit; a file that passes
these checks cannot harm it.
"""

import re
import struct
import zlib
from dataclasses import dataclass, replace

from app.errors import ImageTooLarge, ImageUnreadable, ImageUnsupported
from app.images.dicom.messages import META_START

PREFIX = 132
"""128 bytes of preamble and the four of `DICM`."""

INFLATED_MAX_BYTES = 128 * 2**20
"""A cine of 100 frames of 1024 × 768 fits; a decompression bomb does not."""

NESTING_MAX = 16
"""Levels of sequences; the deepest IODs that are read here use four."""

ELEMENTS_MAX = 200_000
"""Elements, items and fragments together; a long cine has some thousands."""

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_PLAIN = {
    IMPLICIT_LITTLE: (True, True),
    EXPLICIT_LITTLE: (False, True),
    EXPLICIT_BIG: (False, False),
}
"""Whether the syntaxes of uncompressed data sets are implicit, and little-endian."""

_FIRST_GROUP_MAX, _FIRST_LENGTH_MAX = 0x28, 1024
_DICOMDIR = "1.2.840.10008.1.3.10"

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_PIXEL_DATA = (0x7FE0, 0x0010)
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_SHORT = {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"),
    *(b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
}
_PROGRAMS = (
    *(b"MZ", b"\x7fELF", b"#!", b"PK\x03\x04", b"%PDF", b"<", b"\xca\xfe\xba\xbe"),
    *(b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"),
)
_UID = re.compile(r"[0-9.]{1,64}")
_CUT = "The DICOM file is cut short or states lengths beyond its end; send the whole file."


@dataclass(frozen=True, kw_only=True)
class Meta:
    """The file meta information: `offset` is where the data set begins."""

    transfer_syntax: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """A data set that may be parsed, from `start` of `data` on; inflated if it was deflated."""

    data: bytes
    start: int
    length: int
    """Bytes of the data set, without what follows its last element."""
    transfer_syntax: str
    """The one that it is written in; its first element tells whether the stated one is right."""
    implicit: bool
    little: bool


@dataclass(slots=True)
class _Level:
    """An open data set, sequence, item or series of pixel fragments; it ends at `end` if stated."""

    kind: str
    end: int | None
    implicit: bool


def scan(data: bytes, meta: Meta) -> Scanned:
    """Check that a data set is bounded and complete, and return it.

    Raises:
        ImageTooLarge: it inflates to more, or holds more elements, than are read.
        ImageUnreadable: it is cut short, nested too deep, or not structured as DICOM requires.
    """
    start, syntax = meta.offset, meta.transfer_syntax
    if syntax == DEFLATED:
        if _written(data[start : start + 8]) is None:
            data, start = _inflated(memoryview(data)[start:]), 0
        else:
            syntax = EXPLICIT_LITTLE
    implicit, little = syntax == IMPLICIT_LITTLE, syntax != EXPLICIT_BIG
    written = _written(data[start : start + 8])
    if written is not None and written != (implicit, little):
        implicit, little = written
        if syntax in _PLAIN:
            syntax = next(name for name, form in _PLAIN.items() if form == written)
    scanned = Scanned(
        data=data,
        start=start,
        length=len(data) - start,
        transfer_syntax=syntax,
        implicit=implicit,
        little=little,
    )
    return replace(scanned, length=_Walk(scanned).check())


def _written(head: bytes) -> tuple[bool, bool] | None:
    """Return how the first element is written: implicit, little-endian; None if that is not sure.

    Its group is a small number, and its length too where no value representation stands before.
    """
    if len(head) < 8:
        return None
    group = int.from_bytes(head[:2], "little")
    little = group < int.from_bytes(head[:2], "big")
    if not 8 <= min(group, int.from_bytes(head[:2], "big")) <= _FIRST_GROUP_MAX:
        return None
    if head[4:6] in _LONG | _SHORT:
        return False, little
    short = little and int.from_bytes(head[4:8], "little") <= _FIRST_LENGTH_MAX
    return (True, True) if short else None


def read_meta(data: bytes) -> Meta:
    """Read the file meta information after the preamble.

    It is explicit VR little-endian in every file.

    Raises:
        ImageUnsupported: it is a DICOMDIR, or also a program or another document.
        ImageUnreadable: it is cut short, or names no transfer syntax.
    """
    at = 0 if data.startswith(META_START) else PREFIX
    if data.startswith(_PROGRAMS):
        raise ImageUnsupported(
            "The DICOM file's preamble is the start of a program or of another document; "
            "files of two kinds at once are not read."
        )
    found: dict[int, str] = {}
    while data[at : at + 2] == b"\x02\x00":
        if len(found) > 64:
            raise ImageUnreadable("The DICOM file's meta information does not end.")
        element = data[at + 2 : at + 4]
        length, start = _explicit_length(data, at, "<")
        at = start + length
        if length == _UNDEFINED or at > len(data):
            raise ImageUnreadable(_CUT)
        text = data[start:at][:64].rstrip(b"\0 ").decode("ascii", "replace")
        found[int.from_bytes(element, "little")] = text
    if found.get(0x0002) == _DICOMDIR:
        raise ImageUnsupported(
            "This is a DICOMDIR, an index of files; send one of the images that it lists."
        )
    syntax = found.get(0x0010, "")
    if not _UID.fullmatch(syntax):
        raise ImageUnreadable("The DICOM file does not say in which transfer syntax it is written.")
    return Meta(transfer_syntax=syntax, offset=at)


def _explicit_length(data: bytes | memoryview, at: int, order: str) -> tuple[int, int]:
    """Return the length of the element at an offset, and where its value starts."""
    vr = bytes(data[at + 4 : at + 6])
    try:
        if vr in _LONG:
            return int(struct.unpack_from(order + "I", data, at + 8)[0]), at + 12
        if vr in _SHORT:
            return int(struct.unpack_from(order + "H", data, at + 6)[0]), at + 8
    except struct.error:
        raise ImageUnreadable(_CUT) from None
    if len(vr) < 2:
        raise ImageUnreadable(_CUT)
    raise ImageUnreadable(
        "The DICOM file holds an element of a value representation that does not exist; "
        "it is damaged, or not in the transfer syntax that it states."
    )


def _inflated(body: memoryview) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(body, INFLATED_MAX_BYTES)
    except zlib.error:
        raise ImageUnreadable("The deflated DICOM file is damaged; send it again.") from None
    if not inflater.eof:
        if len(inflated) < INFLATED_MAX_BYTES:
            raise ImageUnreadable(_CUT)
        raise ImageTooLarge(
            f"The DICOM file inflates to more than {INFLATED_MAX_BYTES // 2**20} MiB; "
            "send it without deflation, or fewer frames."
        )
    return inflated


class _Walk:
    """One pass over a data set that keeps its own stack, so that nesting causes no recursion."""

    def __init__(self, scanned: Scanned) -> None:
        self._data = memoryview(scanned.data)[scanned.start :]
        self._order = "<" if scanned.little else ">"
        self._tag = struct.Struct(self._order + "HH")
        self._levels = [_Level("data set", len(self._data), scanned.implicit)]
        self._at = 0
        self._seen: set[tuple[int, int]] = set()
        self._whole: int | None = None
        """Where the last complete element at or after PixelData ends."""

    def check(self) -> int:
        """Walk the whole data set; return its length if its structure is bounded and complete.

        After PixelData, the last element that is used (PS3.5 7.1), whatever is no further element
        is padding or rubbish, and no part of the data set.

        Raises:
            ImageTooLarge: it holds more than `ELEMENTS_MAX` elements.
            ImageUnreadable: it is cut short, nested too deep, or damaged.
        """
        try:
            self._walk()
        except ImageUnreadable:
            if self._whole is None:
                raise
            return self._whole
        return self._at if self._whole is None else self._whole

    def _walk(self) -> None:
        for _ in range(ELEMENTS_MAX):
            self._close_finished()
            if len(self._levels) <= 1 and _PIXEL_DATA in self._seen:
                self._whole = self._at
            if not self._levels:
                return
            level = self._levels[-1]
            tag = self._read_tag()
            if level.kind not in ("data set", "item"):
                self._item(tag, level)
                continue
            if len(self._levels) == 1:
                # Group 0000 stands in no data set, and no element twice (PS3.5 7.1).
                if self._whole is not None and (tag[0] == 0 or tag in self._seen):
                    return
                self._seen.add(tag)
            self._element(tag, level)
        raise ImageTooLarge(f"The DICOM file holds more than {ELEMENTS_MAX} elements.")

    def _close_finished(self) -> None:
        while self._levels and self._levels[-1].end is not None:
            end = self._levels[-1].end
            if self._at < end:
                return
            if self._at > end:
                raise ImageUnreadable(_CUT)
            self._levels.pop()

    def _read_tag(self) -> tuple[int, int]:
        try:
            group, element = self._tag.unpack_from(self._data, self._at)
        except struct.error:
            raise ImageUnreadable(_CUT) from None
        return group, element

    def _element(self, tag: tuple[int, int], level: _Level) -> None:
        if tag == _ITEM_END and level.kind == "item" and level.end is None:
            self._at += 8
            self._levels.pop()
            return
        if tag[0] == 0xFFFE:
            # Left by a de-identifier that removed only a sequence's header; pydicom skips it too.
            self._at += 8 + self._length()
            return
        vr = b"" if level.implicit else bytes(self._data[self._at + 4 : self._at + 6])
        if level.implicit:
            length, start = self._length(), self._at + 8
        else:
            length, start = _explicit_length(self._data, self._at, self._order)
        self._at = start
        if length == _UNDEFINED and tag == _PIXEL_DATA:
            self._push("fragments", None, level.implicit)
        elif vr == b"SQ" or length == _UNDEFINED:
            # An element of unknown VR and undefined length holds implicit VR (PS3.5 6.2.2).
            end = None if length == _UNDEFINED else start + length
            self._push("sequence", end, level.implicit or vr == b"UN")
        else:
            self._at = start + length

    def _item(self, tag: tuple[int, int], level: _Level) -> None:
        length = self._length()
        self._at += 8
        if tag == _SEQUENCE_END and level.end is None:
            self._levels.pop()
        elif tag != _ITEM:
            raise ImageUnreadable(
                "The DICOM file has a sequence that holds no items; it is damaged."
            )
        elif level.kind == "fragments":
            if length == _UNDEFINED:
                raise ImageUnreadable(_CUT)
            self._at += length
        else:
            end = None if length == _UNDEFINED else self._at + length
            self._push("item", end, level.implicit)

    def _length(self) -> int:
        try:
            return int(struct.unpack_from(self._order + "I", self._data, self._at + 4)[0])
        except struct.error:
            raise ImageUnreadable(_CUT) from None

    def _push(self, kind: str, end: int | None, implicit: bool) -> None:
        if end is not None and end > len(self._data):
            raise ImageUnreadable(_CUT)
        if kind == "sequence" and len(self._levels) > 2 * NESTING_MAX:
            raise ImageUnreadable(
                f"The DICOM file nests sequences more than {NESTING_MAX} levels deep."
            )
        self._levels.append(_Level(kind, end, implicit))
