"""Where the pixels of stored pictures are: files beside SQLite, rows of the database that machines share."""

import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cine import Sessions
from app.errors import StoreUnavailable
from app.ingest import Picture
from app.tables import ImageRow, PictureRow


class Pictures(Protocol):
    """The PNG files of a store, by key."""

    def add(self, session: Session, picture: Picture) -> None:
        """Nothing; keeps that picture in the transaction that keeps its row."""

    def png(self, key: str) -> bytes:
        """The picture of that key."""

    def sweep(self, session: Session) -> int:
        """How many pictures without a row were removed: what a crash left behind."""


class FolderPictures:
    """A file `<key>.png` for each picture, for a store that one machine uses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, _: Session, picture: Picture) -> None:
        """Nothing; the file is whole and on the disk, or there is none of its name.

        A row without its file cannot be; a file without its row, left by a crash before the commit, is swept.
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
        """The picture of that key.

        Raises:
            StoreUnavailable: its file is missing or cannot be read.
        """
        try:
            return self._path(key).read_bytes()
        except OSError as error:
            raise StoreUnavailable("The stored picture cannot be read.") from error

    def sweep(self, session: Session) -> int:
        """How many files without a row were removed; none is being written while the session may write."""
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
    """A row for each picture, so that every machine that reaches the database reaches its pictures."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, session: Session, picture: Picture) -> None:
        """Nothing; keeps that picture, unless it is there."""
        if session.get(PictureRow, picture.key) is None:
            session.add(PictureRow(key=picture.key, png=picture.png))
            session.flush()

    def png(self, key: str) -> bytes:
        """The picture of that key.

        Raises:
            StoreUnavailable: its row is missing or cannot be read.
        """
        with self._sessions.read() as session:
            png = session.scalar(select(PictureRow.png).where(PictureRow.key == key))
        if png is None:
            raise StoreUnavailable("The stored picture cannot be read.")
        return png

    def sweep(self, _: Session) -> int:
        """None: a transaction leaves nothing behind."""
        return 0
