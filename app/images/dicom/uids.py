"""Pseudonyms for the UIDs of a DICOM study, by a keyed hash whose key lies in the data folder.

UIDs that belong together stay together, but cannot be traced back to the originals.
"""

import hashlib
import hmac
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.errors import StoreUnavailable

KEY_BYTES = 32


@dataclass(frozen=True)
class UidMap:
    """A keyed hash of UIDs; the key never leaves the data folder, and is not in the repr."""

    key: bytes

    def __repr__(self) -> str:
        return "UidMap(…)"

    @classmethod
    def of(cls, data_dir: Path) -> Self:
        """Load the map of an installation.

        Its key is created at first use and readable by its owner alone.

        Raises:
            StoreUnavailable: the key cannot be read or created, or is damaged.
        """
        path = data_dir / "uid.key"
        try:
            data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                _make(path)
            key = path.read_bytes()
        except OSError as error:
            raise StoreUnavailable(f"The key {path} cannot be used: {error.strerror}.") from error
        if len(key) != KEY_BYTES:
            raise StoreUnavailable(f"The key {path} is damaged; restore it from your backup.")
        return cls(key)

    @classmethod
    def forgotten(cls) -> Self:
        """Create a map under a random key that is not stored.

        Its UIDs belong together only among themselves.
        """
        return cls(os.urandom(KEY_BYTES))

    def remap(self, uid: str) -> str:
        """Return the pseudonym of a UID: a UUID under 2.25 (PS3.5 B.2), fixed for this key."""
        digest = bytearray(hmac.digest(self.key, uid.encode(), hashlib.sha256)[:16])
        digest[6] = digest[6] & 0x0F | 0x80  # Version 8 and variant 1 of RFC 9562: a custom UUID.
        digest[8] = digest[8] & 0x3F | 0x80
        return f"2.25.{uuid.UUID(bytes=bytes(digest)).int}"


def _make(path: Path) -> None:
    """Write a new key completely or not at all; of two concurrent writers, the first wins."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return
    finally:
        part.unlink(missing_ok=True)
