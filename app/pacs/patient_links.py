"""Encrypted links from analyses to their original DICOM instances, kept only on request.

The deployment asks for them with a key file outside the data folder; they are stored apart from the
analyses. AES-256-GCM; the hash of the uploaded bytes is authenticated with the text, so that a link
moved to another patient's analysis does not open.
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
from app.settings import Settings
from app.storage.analysis import SealedLink
from app.storage.database import Sessions
from app.storage.tables import LinkRow
from reports.forms.dicom.identity import InstanceIdentity
from reports.forms.dicom.source import Source
from reports.model import ImageInfo

log = logging.getLogger(__name__)

NONCE_BYTES = 12
"""What NIST SP 800-38D recommends for GCM; drawn at random for each link."""

_KEY = re.compile(r"[0-9a-fA-F]{64}")
_ABOUT = b"ustri link 1\0"


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

    def seal(self, original: InstanceIdentity, image_sha256: str) -> SealedLink:
        """Encrypt a link for the uploaded file with that hash."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        text = original.model_dump_json().encode()
        sealed = AESGCM(self.keys[0]).encrypt(nonce, text, _ABOUT + image_sha256.encode())
        return SealedLink(key_id=_id_of(self.keys[0]), sealed=nonce + sealed)

    def open(self, link: SealedLink, image_sha256: str) -> InstanceIdentity:
        """Decrypt a link.

        Raises:
            LinkClosed: no key here sealed it, or it was altered or belongs to another file.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = next((key for key in self.keys if _id_of(key) == link.key_id), None)
        if key is None:
            raise LinkClosed(
                "The link to the original is encrypted with another key "
                f"(its id is {link.key_id}): "
                "name the file that holds that key in USTRI_LINK_KEY_FILE."
            )
        nonce, sealed = link.sealed[:NONCE_BYTES], link.sealed[NONCE_BYTES:]
        try:
            text = AESGCM(key).decrypt(nonce, sealed, _ABOUT + image_sha256.encode())
        except InvalidTag as error:
            raise LinkClosed(
                "The link to the original was altered, or is that of another file; it is not used."
            ) from error
        return InstanceIdentity.model_validate_json(text)


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


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"ustri link key\0" + key).hexdigest()[:16]
