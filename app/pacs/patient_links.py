"""Encrypted links from analyses to their original DICOM instances, kept only on request.

The deployment asks for them with a key file outside the data folder; they are stored apart from the
analyses. The process that reads the file seals each under a key of its own (`app.images.dicom.
sealing`), which is derived from the deployment's (HKDF, RFC 5869) with a random salt and the hash
of the uploaded bytes, so that a link moved to another patient's analysis does not open. Links of
earlier versions are sealed under the deployment's key itself; the id of the key tells which.
"""

import hashlib
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sqlalchemy import delete

from app.errors import LinkClosed, SettingsError
from app.images.dicom.sealing import FileKey
from app.settings import Settings
from app.storage.analysis import SealedLink
from app.storage.database import Sessions
from app.storage.tables import LinkRow
from reports.forms.dicom.identity import InstanceIdentity
from reports.forms.dicom.source import Source
from reports.model import ImageInfo

log = logging.getLogger(__name__)

SALT_BYTES = 16
"""Drawn at random for each link."""

_KEY = re.compile(r"[0-9a-fA-F]{64}")
_ABOUT, _ABOUT_FIRST = b"ustri link 2\0", b"ustri link 1\0"
_ID, _ID_FIRST = b"ustri link key 2\0", b"ustri link key\0"


@dataclass(frozen=True)
class LinkKeys:
    """The keys of a deployment: the first seals, each of them opens; none is in the repr."""

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def read(cls, path: Path, data_dir: Path) -> Self:
        """Read the keys from a file, one of 64 hexadecimal digits on each line.

        Raises:
            SettingsError: the file cannot be read, holds no key, lies in the data folder, or
                cryptography is not installed.
        """
        name = "USTRI_LINK_KEY_FILE"
        try:
            import cryptography  # noqa: F401
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"{name} is set, and cryptography is not installed: pip install 'ustri[dicom]'."
            ) from error
        if path.resolve().is_relative_to(data_dir.resolve()):
            raise SettingsError(
                f"{name} lies in the data folder, beside what it encrypts; keep it elsewhere."
            )
        try:
            lines = path.read_text(encoding="ascii").split()
            shared = path.stat().st_mode & 0o004
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{name}: the file cannot be read as text.") from error
        if not lines or not all(_KEY.fullmatch(line) for line in lines):
            raise SettingsError(
                f"{name}: each line takes 64 hexadecimal digits, "
                "as `openssl rand -hex 32` prints them."
            )
        if shared:
            log.warning("Every user of this machine can read the file of %s.", name)
        return cls(tuple(bytes.fromhex(line) for line in lines))

    def new_link(self) -> "NewLink":
        """Return what seals the link of one file, under the first key."""
        return NewLink(deployment_key=self.keys[0], salt=os.urandom(SALT_BYTES))

    def open(self, link: SealedLink, image_sha256: str) -> InstanceIdentity:
        """Decrypt a link.

        Raises:
            LinkClosed: no key here sealed it, or it was altered or belongs to another file.
        """
        from cryptography.exceptions import InvalidTag

        opening = next(filter(None, (_opening(key, link, image_sha256) for key in self.keys)), None)
        if opening is None:
            raise LinkClosed(
                "The link to the original is encrypted with another key "
                f"(its id is {link.key_id}): "
                "name the file that holds that key in USTRI_LINK_KEY_FILE."
            )
        file_key, sealed = opening
        try:
            text = file_key.open(sealed)
        except InvalidTag as error:
            raise LinkClosed(
                "The link to the original was altered, or is that of another file; it is not used."
            ) from error
        return InstanceIdentity.model_validate_json(text)


@dataclass(frozen=True, kw_only=True)
class NewLink:
    """What seals the link of one file; the key of the deployment stays here."""

    deployment_key: bytes = field(repr=False)
    salt: bytes

    def file_key(self, image_sha256: str) -> FileKey:
        """Return the key of the uploaded file with that hash."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        about = _ABOUT + image_sha256.encode()
        derive = HKDF(algorithm=SHA256(), length=32, salt=self.salt, info=about)
        return FileKey(key=derive.derive(self.deployment_key), about=about)

    def link(self, sealed: bytes) -> SealedLink:
        """Return the link as it is stored."""
        return SealedLink(key_id=_id_of(self.deployment_key, _ID), sealed=self.salt + sealed)


def _opening(key: bytes, link: SealedLink, image_sha256: str) -> tuple[FileKey, bytes] | None:
    """Return the key of the file and what to open with it; None where that key did not seal it."""
    if link.key_id == _id_of(key, _ID):
        salt, sealed = link.sealed[:SALT_BYTES], link.sealed[SALT_BYTES:]
        return NewLink(deployment_key=key, salt=salt).file_key(image_sha256), sealed
    if link.key_id == _id_of(key, _ID_FIRST):
        return FileKey(key=key, about=_ABOUT_FIRST + image_sha256.encode()), link.sealed
    return None


def link_keys_of(settings: Settings) -> LinkKeys | None:
    """Read the keys that the settings name; return None where no link is to be kept.

    Raises:
        SettingsError: as for `LinkKeys.read`.
    """
    path = settings.link_key_file
    return None if path is None else LinkKeys.read(path, settings.data_dir)


class Links:
    """The links in a store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def sealed(self, analysis_id: str) -> SealedLink | None:
        """Return the encrypted link of an analysis; None where there is none."""
        with self._sessions.read() as session:
            row = session.get(LinkRow, analysis_id)
            return None if row is None else SealedLink(key_id=row.key_id, sealed=row.sealed)

    def forget(self, analysis_id: str) -> bool:
        """Erase the link of an analysis; return whether there was one."""
        with self._sessions.write() as session:
            gone = session.execute(
                delete(LinkRow)
                .where(LinkRow.analysis_id == analysis_id)
                .returning(LinkRow.analysis_id)
            )
            return gone.first() is not None


def source_of(original: InstanceIdentity, image: ImageInfo) -> Source | None:
    """Return the original instance as reports refer to it, with its patient.

    None: the image does not come from a DICOM file.
    """
    dicom = image.dicom
    if dicom is None:
        return None
    return Source(
        sop_class_uid=dicom.sop_class_uid,
        original=True,
        frame=None if image.frame is None or dicom.frames == 1 else image.frame + 1,
        **original.model_dump(),
    )


def _id_of(key: bytes, form: bytes) -> str:
    """Return the id of a key that sealed links of that form; it does not reveal the key."""
    return hashlib.sha256(form + key).hexdigest()[:16]
