"""Opening the store at start-up, with a wait for a database server that is not there yet.

The wait matters where all services of a deployment start at once.
"""

import logging
import random
import time

from app.errors import StoreAway
from app.settings import Settings
from app.storage.store import Store

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
"""Longest pause between two attempts.

The pause doubles up to this length; jitter keeps many waiting processes from retrying at once.
"""


def open_store(settings: Settings) -> Store:
    """Open the store of these settings once its server is there.

    Errors that waiting cannot fix (a wrong password, an unreadable file) are raised at once.

    Raises:
        StoreAway: the server was not there within `settings.start_wait_s`.
        StoreUnavailable: a folder or the database cannot be created, read or migrated.
    """
    until = time.monotonic() + settings.start_wait_s
    pause_s, said = FIRST_PAUSE_S, False
    while True:
        try:
            store = Store.open(settings)
        except StoreAway as error:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise
            if not said:
                log.warning("%s The start waits for it, up to %g s.", error, settings.start_wait_s)
            said = True
            time.sleep(min(pause_s * random.uniform(0.5, 1.0), left_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            if said:
                log.warning("The database server is there.")
            return store
