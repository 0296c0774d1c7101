"""The key of the UID map: in the data folder, or in a database that several machines share."""

import os

from app.images.dicom.uids import KEY_BYTES, UidMap
from app.settings import Settings
from app.storage.database import Alone, alone
from app.storage.store import Store
from app.storage.tables import KeyRow

NAME = "uid"


def uid_map(settings: Settings, store: Store) -> UidMap:
    """Return the UID map of this installation, which is the same on each of its machines.

    Its key is created at the first use.

    Raises:
        StoreUnavailable: the key cannot be read or created, or is damaged.
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
