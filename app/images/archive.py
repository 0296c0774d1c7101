"""The files of an uploaded ZIP archive, read one by one in memory and never written to a folder.

Nothing that the archive states of itself is trusted: sizes are counted while they are read, and an
entry whose name or kind could mean harm elsewhere is refused although its name is only shown.
`zipfile` reads the format; what bounds it is here.
"""

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from app.errors import ArchiveRejected, ImageRejected, ImageTooLarge

RATIO_MAX = 200
"""Most bytes that a compressed byte may stand for.

Ultrasound compresses to a tenth, a black picture to a hundredth, and deflate at best to a
thousandth, which is what bombs are made of.
"""

_FREE_BYTES = 2**20
"""Bytes of an entry below which the ratio does not matter."""

_CHUNK_BYTES = 2**18
_ENTRY = b"PK\x01\x02"
"""What each entry of the central directory begins with (APPNOTE.TXT of PKWARE, 4.3.12)."""

_HEADER_BYTES = 30
"""Bytes before the name of an entry's own header (4.3.7)."""

_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_INNER = (*_STARTS, b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_TAR = slice(257, 262)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNIX = 3
_FILE_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini", "dicomdir"})
_SHOWN = (60, 50)
"""Characters of a long name that are shown of its beginning and end."""

_DRIVE = re.compile(r"[A-Za-z]:")
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,  # A name that is not the UTF-8 it claims, or a place before the file's beginning.
)
"""What `zipfile` raises for an archive that is damaged or beyond it."""


@dataclass(kw_only=True)
class Budget:
    """What may still be read of the archives of one request; it is used up while reading."""

    entries: int
    """Most entries of one archive."""
    entry_bytes: int
    """Most bytes of one entry, unpacked."""
    total_bytes: int
    """Bytes that all of them together may still have, unpacked."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of an archive: its bytes, or why it is refused or skipped."""

    name: str
    """As it may be shown."""
    data: bytes = b""
    refused: ImageRejected | None = None
    skipped: str | None = None


def is_archive(file: IO[bytes]) -> bool:
    """Return whether the file is a ZIP archive, by its first bytes."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return start in _STARTS


def members(file: IO[bytes], budget: Budget) -> Iterator[Member]:
    """Yield the files of a ZIP archive in its order; folders are left out.

    Raises:
        ArchiveRejected: the archive is damaged or empty, or its entries overlap.
        ImageTooLarge: it has more entries than are read.
    """
    _check_count(file, budget.entries)
    try:
        archive = zipfile.ZipFile(file)
    except _BROKEN as error:
        raise ArchiveRejected("The ZIP archive is damaged or cut short; pack it again.") from error
    with archive:
        infos = archive.infolist()
        _check_overlap(infos)
        if not infos:
            raise ArchiveRejected("The ZIP archive holds no file.")
        seen: set[str] = set()
        for info in infos:
            if info.orig_filename.endswith("/") and not info.file_size:
                continue
            yield _member(archive, info, seen, budget)


def skip_reason(name: str) -> str | None:
    """Return why a file of that name is left out of a folder or archive; None for any other."""
    path = PurePosixPath(name)
    if "__MACOSX" in path.parts or path.name.startswith("._"):
        return "written by macOS beside each file; not an image"
    if path.name.lower() == "dicomdir":
        return "a list of DICOM files; the files themselves are read"
    if path.name.lower() in _FILE_NAMES:
        return "a file of the system; not an image"
    return None


def shown_name(name: str) -> str:
    """Return a name as it may be shown: without characters that hide or turn text, and short."""
    plain = "".join("\N{REPLACEMENT CHARACTER}" if _hides(char) else char for char in name)
    start, end = _SHOWN
    return plain if len(plain) <= start + end else f"{plain[:start]}…{plain[-end:]}"


def _hides(char: str) -> bool:
    """Return whether a character is a control, a format mark, a line break or none at all."""
    kind = unicodedata.category(char)
    return kind.startswith("C") or kind in ("Zl", "Zp")


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, seen: set[str], budget: Budget
) -> Member:
    name, readable = _name_of(info)
    shown = shown_name(name)
    try:
        if not readable:
            raise ArchiveRejected("Its name is not in UTF-8; rename it and pack again.")
        _check_name(name)
        _check_kind(info)
        if name in seen:
            raise ArchiveRejected("The archive lists this name twice; only the first is read.")
        seen.add(name)
        reason = skip_reason(name)
        if reason is not None:
            return Member(name=shown, skipped=reason)
        return Member(name=shown, data=_read(archive, info, budget))
    except ImageRejected as error:
        return Member(name=shown, refused=error)


def _name_of(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """Return the name of an entry, and whether it is in UTF-8, as most programs write it."""
    if info.flag_bits & _UTF8:
        return info.orig_filename, True
    raw = info.orig_filename.encode("cp437")  # As `zipfile` has read it.
    try:
        return raw.decode("utf-8"), True
    except UnicodeDecodeError:
        return raw.decode("utf-8", errors="replace"), False


def _check_name(name: str) -> None:
    """Check that a name would stay within a folder, wherever it were unpacked.

    Raises:
        ArchiveRejected: it would not.
    """
    if name.startswith("/") or _DRIVE.match(name):
        raise ArchiveRejected("Its name is an absolute path; pack it with a relative one.")
    if "\\" in name:
        raise ArchiveRejected("Its name holds a backslash; pack it with / between folders.")
    if ".." in name.split("/"):
        raise ArchiveRejected("Its name leads out of the archive (..); pack it without.")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise ArchiveRejected("Its name holds a control character; rename it and pack again.")


def _check_kind(info: zipfile.ZipInfo) -> None:
    """Check that an entry is a file that is packed in a way that is read.

    Raises:
        ArchiveRejected: it is a link or a device, encrypted, or packed in another way.
    """
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == _UNIX else 0
    if stat.S_ISLNK(kind):
        raise ArchiveRejected("It is a link; pack the file itself.")
    if kind not in (0, stat.S_IFREG):
        raise ArchiveRejected("It is no file but a device or folder; pack files only.")
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveRejected("It is encrypted; pack it without a password.")
    if info.compress_type not in _METHODS:
        raise ArchiveRejected("It is packed in a way that is not read; use deflate, or none.")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> bytes:
    """Return the bytes of an entry, whatever size the archive states for it.

    Raises:
        ArchiveRejected: it is damaged, unpacks to suspiciously much, has another size than stated,
            or is an archive itself.
        ImageTooLarge: it, or all that was read so far, is larger than may be read.
    """
    # `zipfile` would stop at the stated size, as if nothing came after it.
    stated, info.file_size = info.file_size, budget.entry_bytes + 2 * _CHUNK_BYTES
    data = bytearray()
    try:
        with archive.open(info) as entry:
            while chunk := entry.read(_CHUNK_BYTES):
                data += chunk
                _spend(len(chunk), len(data), info.compress_size, budget)
    except _BROKEN as error:
        raise ArchiveRejected("It is damaged in the archive; pack it again.") from error
    if len(data) != stated:
        raise ArchiveRejected("It has another size than the archive states; pack it again.")
    if data.startswith(_INNER) or data[_TAR] == b"ustar":
        raise ArchiveRejected("An archive within an archive is not opened; unpack it first.")
    return bytes(data)


def _spend(read_bytes: int, entry_bytes: int, packed_bytes: int, budget: Budget) -> None:
    """Take bytes that were read off the budget.

    Raises:
        ArchiveRejected: the entry unpacks to suspiciously much.
        ImageTooLarge: the entry, or all that was read so far, is larger than may be read.
    """
    budget.total_bytes -= read_bytes
    if budget.total_bytes < 0:
        raise ImageTooLarge("What was packed is larger than is read at once; send less at once.")
    if entry_bytes > max(_FREE_BYTES, RATIO_MAX * packed_bytes):
        raise ArchiveRejected(
            f"It unpacks to more than {RATIO_MAX} times its size, as no image does."
        )
    if entry_bytes > budget.entry_bytes:
        raise ImageTooLarge(f"It has more than {budget.entry_bytes} bytes.")


def _check_count(file: IO[bytes], limit: int) -> None:
    """Check the number of entries before `zipfile` makes an object of each.

    Raises:
        ImageTooLarge: there are more than `limit`.
    """
    file.seek(0)
    count, rest = 0, b""
    while chunk := file.read(2**20):
        count += (rest + chunk).count(_ENTRY)
        rest = chunk[1 - len(_ENTRY) :]
    file.seek(0)
    if count > limit:
        raise ImageTooLarge(f"The ZIP archive has more than {limit} entries; send fewer at once.")


def _check_overlap(infos: list[zipfile.ZipInfo]) -> None:
    """Check that no bytes of the archive belong to two entries, as in Fifield's bombs.

    D. Fifield, "A better zip bomb", USENIX WOOT 2019.

    Raises:
        ArchiveRejected: some do.
    """
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ArchiveRejected("Entries of the ZIP archive overlap, as no program packs them.")
        end = info.header_offset + _HEADER_BYTES + info.compress_size
