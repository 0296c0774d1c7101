"""ZIP archives of every kind: as programs pack them, and as nobody but an attacker does."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
ENCRYPTED, UTF8 = 0x1, 0x800
DEFLATED, BZIP2 = zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2


def packed(files: Mapping[str, bytes], method: int = DEFLATED) -> bytes:
    """An ordinary archive of these files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as writer:
        for name, data in files.items():
            writer.writestr(name, data)
    return archive.getvalue()


def by_hand(
    name: bytes,
    data: bytes,
    *,
    flags: int = 0,
    stated: int | None = None,
    mode: int = 0,
    method: int = DEFLATED,
) -> bytes:
    """An archive of one entry, of which any fact may be wrong."""
    body = data
    if method == DEFLATED:
        squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = squeezed.compress(data) + squeezed.flush()
    size = len(data) if stated is None else stated
    crc = zlib.crc32(data)
    sizes = (crc, len(body), size)
    local = _LOCAL.pack(b"PK\x03\x04", 20, flags, method, 0, 0, *sizes, len(name), 0) + name
    listed = _CENTRAL.pack(
        b"PK\x01\x02", 3 << 8 | 20, 20, flags, method, 0, 0, *sizes, len(name), 0, 0, 0, 0,
        mode << 16, 0,
    )  # fmt: skip
    return _closed(local + body, [listed + name])


def link(name: bytes = b"scan.png", target: bytes = b"/etc/passwd") -> bytes:
    """An archive of a symbolic link."""
    return by_hand(name, target, mode=stat.S_IFLNK | 0o777)


def device() -> bytes:
    """An archive of a device."""
    return by_hand(b"scan.png", b"", mode=stat.S_IFCHR | 0o666)


def overlapping(count: int = 50, kernel_bytes: int = 2**22) -> bytes:
    """Entries that all unpack one kernel, each quoting the headers after its own.

    D. Fifield, "A better zip bomb", USENIX WOOT 2019: "quoted overlap".
    """
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = squeezed.compress(bytes(kernel_bytes)) + squeezed.flush()
    plain, body = bytes(kernel_bytes), kernel
    crc, size = zlib.crc32(plain), kernel_bytes
    listed: list[tuple[bytes, tuple[int, int, int], int]] = []
    for index in reversed(range(count)):
        name = f"{index:03}.png".encode()
        sizes = (crc, len(body), size)
        local = _LOCAL.pack(b"PK\x03\x04", 20, 0, DEFLATED, 0, 0, *sizes, len(name), 0) + name
        listed.append((name, sizes, len(body)))
        whole = local + body
        quote = struct.pack("<BHH", 0, len(local), len(local) ^ 0xFFFF)
        # The next entry's first block is a stored one that holds this entry's header.
        crc = zlib.crc32(local + plain)
        plain = local + plain
        size = len(plain)
        body = quote + whole
    start, end = len(body) - len(whole), len(body)
    central = []
    for name, sizes, length in listed:
        offset = end - length - _LOCAL.size - len(name) - start
        central.append(
            _CENTRAL.pack(
                b"PK\x01\x02", 20, 20, 0, DEFLATED, 0, 0, *sizes, len(name), 0, 0, 0, 0, 0, offset
            )
            + name
        )
    return _closed(whole, central)


def of_empty_entries(count: int) -> bytes:
    """An archive of so many empty files, at one place."""
    local = _LOCAL.pack(b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    listed = _CENTRAL.pack(b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    return _closed(local, [listed] * count)


def _closed(contents: bytes, central: list[bytes]) -> bytes:
    directory = b"".join(central)
    count = min(len(central), 0xFFFF)
    end = _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(contents), 0)
    return contents + directory + end
