"""Storage of image pixels: PNG files beside SQLite, rows in a database that machines share."""

import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import StoreUnavailable
from app.images.ingest import Picture
from app.storage.database import Sessions
from app.storage.tables import ImageRow, PictureRow


class Pictures(Protocol):
    """The PNG images of a store, addressed by key."""

    def add(self, session: Session, picture: Picture) -> None:
        """Keep the image in the transaction that adds its row."""

    def png(self, key: str) -> bytes:
        """Return the PNG of that key."""

    def sweep(self, session: Session) -> int:
        """Remove images without a row, left behind by a crash, and return how many there were."""


class FolderPictures:
    """One file `<key>.png` per image, for a store that a single machine uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, _: Session, picture: Picture) -> None:
        """Write the file completely and flush it to the disk, or leave no file of that name.

        A row without its file is therefore impossible. A file without its row, left by a crash
        before the commit, is removed by `sweep`.
        """
        target = self._path(picture.key)
        if target.exists():
            return
        part = target.with_suffix(".part")
        with part.open("wb") as file:
            file.write(picture.png)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)

    def png(self, key: str) -> bytes:
        """Return the PNG of that key.

        Raises:
            StoreUnavailable: the file is missing or cannot be read.
        """
        try:
            return self._path(key).read_bytes()
        except OSError as error:
            raise StoreUnavailable("The stored picture cannot be read.") from error

    def sweep(self, session: Session) -> int:
        """Remove files without a row and return how many there were.

        No file is being written meanwhile, because `session` holds the write lock.
        """
        known = set(session.scalars(select(ImageRow.key)))
        removed = 0
        for path in self._folder.iterdir():
            if path.suffix == ".part" or (path.suffix == ".png" and path.stem not in known):
                path.unlink()
                removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.png"


class TablePictures:
    """One row per image, so that every machine that reaches the database reaches its images."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, session: Session, picture: Picture) -> None:
        """Keep the image in the transaction of `session`, unless it is stored already."""
        if session.get(PictureRow, picture.key) is None:
            session.add(PictureRow(key=picture.key, png=picture.png))
            session.flush()

    def png(self, key: str) -> bytes:
        """Return the PNG of that key.

        Raises:
            StoreUnavailable: the row is missing or cannot be read.
        """
        with self._sessions.read() as session:
            png = session.scalar(select(PictureRow.png).where(PictureRow.key == key))
        if png is None:
            raise StoreUnavailable("The stored picture cannot be read.")
        return png

    def sweep(self, _: Session) -> int:
        """Return 0: a transaction leaves nothing behind."""
        return 0
