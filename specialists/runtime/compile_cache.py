"""Compiled networks on disk.

A network is found by everything that it depends on, and is stored completely or not at all. A file
holds the SHA-256 of its content and the content. That detects damage, not an attack: the folder is
trusted as much as the database beside it.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

KEPT_MAX = 128
"""Number of files kept; beyond it, those written or read longest ago are deleted."""

_DIGEST_BYTES = 32


class CompiledCache:
    """Compiled networks in a folder that any number of processes may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: Mapping[str, str]) -> Path:
        """Return where the network of that key is stored, if it is."""
        return self._folder / f"{_digest(key)}.blob"

    def read(self, key: Mapping[str, str]) -> bytes | None:
        """Return the network of that key; None where there is no undamaged one."""
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("The compiled network %s cannot be read: %s.", path, error.strerror)
            return None
        stated, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != stated:
            log.warning("The compiled network %s is damaged; it is made again.", path)
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def write(self, key: Mapping[str, str], content: bytes) -> None:
        """Store a network atomically.

        Nothing is stored where the folder cannot be written or the disk is full.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._folder, suffix=".partial")
            partial = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                partial.replace(self.path(key))
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            log.warning(
                "A compiled network is not kept in %s: %s.", self._folder, error.strerror or error
            )
            return
        self._prune()

    def _prune(self) -> None:
        with suppress(OSError):
            newest_first = sorted(
                self._folder.glob("*.blob"), key=lambda path: -path.stat().st_mtime
            )
            for path in newest_first[KEPT_MAX:]:
                path.unlink(missing_ok=True)


def _digest(key: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()
