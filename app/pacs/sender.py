"""Sender: claims instances from the outbox, sends them, and records the result of each."""

import logging
import threading
import time

from app.errors import (
    CredentialsRefused,
    CredentialsUnreadable,
    DestinationAway,
    DestinationError,
    LeaseLost,
    ServiceError,
    StoreUnavailable,
)
from app.pacs.instances import Filing
from app.pacs.outbox import Item, Outbox, PushRequest, StoreResult
from app.pacs.server import Destination
from app.storage.tables import PushState
from reports.errors import ReportError

log = logging.getLogger(__name__)

POLL_S = 2.0
"""Polling interval for another process's push requests and for retries that become due."""

STOP_S = 5.0
"""How long a request in progress may take when the service stops; the rest is sent later."""


class _Unusable(StoreResult):
    """Result of an attempt with credentials that would fail for every other instance too."""


class Sender:
    """Sends what waits in an outbox."""

    def __init__(self, outbox: Outbox, filing: Filing) -> None:
        self._outbox = outbox
        self._filing = filing

    def drain(
        self, destination: Destination, analysis_id: str | None = None, *, early: bool = False
    ) -> int:
        """Send what is due at a destination and return the number of attempts.

        `early` also sends what is not due yet, once; `analysis_id` sends no other analysis's.
        """
        tried: list[int] = []
        while items := self._outbox.claim(
            destination.url, analysis_id, early=early, but=tried if early else ()
        ):
            self._attempt(destination, items)
            tried += [item.id for item in items]
        return len(tried)

    def push(self, destination: Destination, analysis_id: str, wait_s: float) -> tuple[Item, ...]:
        """Send the instances of an analysis and return all of them, with their progress.

        Returns once none is open or `wait_s` is over; the first attempt is made in any case.
        """
        until = time.monotonic() + wait_s
        while True:
            while items := self._outbox.claim(destination.url, analysis_id):
                self._attempt(destination, items)
            now = self._outbox.items(analysis_id, destination.url)
            open_ones = [i for i in now if i.state in (PushState.PENDING, PushState.SENDING)]
            left_s = until - time.monotonic()
            if not open_ones or left_s <= 0:
                return now
            time.sleep(min(left_s, 0.2))

    def _attempt(self, destination: Destination, items: tuple[Item, ...]) -> None:
        """Send each instance in a request of its own, so that no verdict is about another one.

        Only where the credentials cannot be used are the rest not tried with them.
        """
        unusable: StoreResult | None = None
        for item in items:
            result = unusable or self._made_and_sent(destination, item)
            if isinstance(result, _Unusable):
                unusable = result
            self._settle(item, result)

    def _made_and_sent(self, destination: Destination, item: Item) -> StoreResult:
        try:
            made = self._filing.made(item)
        except StoreUnavailable as error:
            return StoreResult(stored=False, again=True, problem=str(error))
        except (ServiceError, ReportError) as error:
            return StoreResult(stored=False, problem=str(error))
        except Exception as error:  # noqa: BLE001 - its message may quote the patient.
            name = type(error).__name__
            return StoreResult(stored=False, problem=f"It cannot be made: {name}.")
        return self._sent(destination, item, made)

    def _sent(self, destination: Destination, item: Item, made: bytes) -> StoreResult:
        from app.pacs.stow import send

        try:
            return send(destination, [made])[item.sop_instance_uid]
        except (CredentialsRefused, CredentialsUnreadable) as error:
            again = isinstance(error, DestinationAway)
            return _Unusable(stored=False, again=again, problem=str(error))
        except DestinationError as error:
            again = isinstance(error, DestinationAway)
            return StoreResult(stored=False, again=again, problem=str(error))
        except Exception as error:  # noqa: BLE001 - its message may quote the patient.
            name = type(error).__name__
            return StoreResult(stored=False, problem=f"Sending failed: {name}.")

    def _settle(self, item: Item, result: StoreResult) -> None:
        try:
            self._outbox.settle(item, result)
        except LeaseLost as error:
            log.warning("%s", error)
            return
        what = "stored" if result.stored else result.problem
        log.info("The %s of analysis %s: %s", item.form, item.analysis_id, what)


class SenderThread(threading.Thread):
    """A thread of the service that sends to the destination of its settings."""

    def __init__(self, outbox: Outbox, filing: Filing, destination: Destination) -> None:
        super().__init__(name="sender", daemon=True)
        self._sender = Sender(outbox, filing)
        self._outbox = outbox
        self._filing = filing
        self._destination = destination
        self._bell = threading.Event()
        self._stopping = threading.Event()

    @property
    def url(self) -> str:
        """The DICOMweb server of the settings."""
        return self._destination.url

    def push(self, push_request: PushRequest) -> tuple[Item, ...]:
        """Add the instances of a push request to the outbox, wake the thread, and return them.

        Those that were added before are returned too.

        Raises:
            NotFound, PushRefused, LinkClosed: as for `Filing.instances`.
        """
        items = self._outbox.add(self._filing.instances(push_request), self.url)
        self._bell.set()
        return items

    def items(self, analysis_id: str) -> tuple[Item, ...]:
        """Return the instances of an analysis, with their progress."""
        return self._outbox.items(analysis_id, self.url)

    def stop(self) -> None:
        """End the thread after the request in progress.

        One that takes longer than `STOP_S` is left to end with the process.
        """
        self._stopping.set()
        self._bell.set()
        if self.ident is not None:
            self.join(STOP_S)

    def run(self) -> None:
        """Send until `stop` is called."""
        while not self._stopping.is_set():
            self._bell.clear()
            try:
                self._outbox.end_dead()
                self._sender.drain(self._destination)
            except StoreUnavailable as error:
                log.warning("%s", error)
            self._bell.wait(POLL_S)
