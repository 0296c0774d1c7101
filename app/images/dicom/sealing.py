"""Encryption of a patient's fields under a key of one file, which opens nothing else.

The reader process, which meets hostile files, encrypts what it reads of the patient, so that it
leaves that process only sealed. It is given no key of the deployment, but one derived from it for
this file. AES-256-GCM; the hash of the uploaded bytes is authenticated with the text, so that what
was sealed for one file does not open for another.
"""

import os
from dataclasses import dataclass, field
from typing import Protocol

NONCE_BYTES = 12
"""What NIST SP 800-38D recommends for GCM; drawn at random for each text."""


@dataclass(frozen=True, kw_only=True)
class FileKey:
    """The key of one file, not in the repr, and what is authenticated with the text."""

    key: bytes = field(repr=False)
    about: bytes

    def seal(self, text: bytes) -> bytes:
        """Encrypt a text; the nonce stands before it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self.key).encrypt(nonce, text, self.about)

    def open(self, sealed: bytes) -> bytes:
        """Decrypt a text.

        Raises:
            InvalidTag: another key sealed it, or it was altered.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, encrypted = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        return AESGCM(self.key).decrypt(nonce, encrypted, self.about)


class KeyMaker(Protocol):
    """What derives the key of a file, in a deployment that keeps links to originals."""

    def file_key(self, image_sha256: str) -> FileKey:
        """Return the key of the uploaded file with that hash."""
