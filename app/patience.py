"""Patience at the start: a database server that is not there yet is waited for, as where everything starts at once."""

import logging
import random
import signal
import sys
import time
from types import FrameType

from app.errors import StoreAway
from app.settings import Settings
from app.store import Store

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
"""Between two looks; it doubles until it is so long, and many that wait do not look at once."""


def open_store(settings: Settings) -> Store:
    """The store of these settings, once its server is there.

    What waiting cannot mend (a wrong password, a file that cannot be read) is not waited for.

    Raises:
        StoreAway: the server was not there within `settings.start_wait_s`.
        StoreUnavailable: a folder or the database cannot be made, read or migrated.
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


def end_when_told() -> None:
    """Nothing; from now on SIGTERM ends this process, in the middle of its start as well.

    Without it the first process of a container would not hear it: the kernel spares that one what it has not asked for.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
