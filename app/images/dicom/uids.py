"""Pseudonyms for the UIDs of a DICOM study, by a keyed hash whose key lies in the data folder.

UIDs that belong together stay together, but cannot be traced back to the originals.
"""

import hashlib
import hmac
import os
import unicodedata
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app.errors import StoreUnavailable

KEY_BYTES = 32

_ROOT = "2.25."
"""The root of UIDs that are UUIDs (PS3.5 B.2)."""


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
        return f"{_ROOT}{self._uuid(uid).int}"

    def study_id(self, label: str | None, study_uid: str | None) -> str | None:
        """Return the id of the study that an image belongs to, 32 hexadecimal digits.

        It is None where neither names a study. A label that the sender gives goes before what the
        file says; case and spaces in it do not matter.

        Args:
            label: of the study, in the sender's words.
            study_uid: the file's StudyInstanceUID as `remap` returned it.
        """
        if label is not None:
            words = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
            return self._uuid(f"study label\0{words}").hex  # no UID holds a zero byte
        return None if study_uid is None else study_id_of(study_uid)

    def patient_key(self, digest: str) -> str:
        """Return the pseudonym of a patient, 64 hexadecimal digits.

        `digest` is what the reader process returns of the patient's id, so that the id itself never
        leaves that process.
        """
        return hmac.digest(self.key, f"patient\0{digest}".encode(), hashlib.sha256).hex()

    def _uuid(self, text: str) -> uuid.UUID:
        digest = bytearray(hmac.digest(self.key, text.encode(), hashlib.sha256)[:16])
        digest[6] = digest[6] & 0x0F | 0x80  # Version 8 and variant 1 of RFC 9562: a custom UUID.
        digest[8] = digest[8] & 0x3F | 0x80
        return uuid.UUID(bytes=bytes(digest))


def study_id_of(study_uid: str) -> str:
    """Return the id of the study with that remapped UID: the same number, in hexadecimal digits."""
    return uuid.UUID(int=int(study_uid.removeprefix(_ROOT))).hex


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
