"""The key under which UIDs are mapped: in the data folder, or in the database that several machines share."""

import os

from app.database import Alone, alone
from app.dicom_privacy import KEY_BYTES, UidMap
from app.settings import Settings
from app.store import Store
from app.tables import KeyRow

NAME = "uid"


def uid_map(settings: Settings, store: Store) -> UidMap:
    """The map of this installation, the same on every machine of it; its key is made at its first use.

    Raises:
        StoreUnavailable: the key cannot be read or made, or is not what was made.
    """
    if not store.shared:
        return UidMap.of(settings.data_dir)
    with store.read() as session:
        row = session.get(KeyRow, NAME)
        if row is not None:
            return UidMap(row.value)
    with store.write() as session:
        alone(session, Alone.KEYS)
        row = session.get(KeyRow, NAME)
        if row is None:
            row = KeyRow(name=NAME, value=os.urandom(KEY_BYTES))
            session.add(row)
        return UidMap(row.value)
