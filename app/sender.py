"""The sender: takes instances out of the outbox, sends them, and keeps what became of each."""

import logging
import threading
import time

from app.destination import Destination
from app.errors import (
    DestinationAway,
    DestinationError,
    ServiceError,
    StoreUnavailable,
)
from app.filing import Filing
from app.outbox import Item, Outbox, Verdict, Wish
from app.tables import PushState

log = logging.getLogger(__name__)

POLL_S = 2.0
"""Time between looks for what nobody announced: another process's wish, or a wait that is over."""

STOP_S = 5.0
"""How long a request on its way may take when the service stops; what it leaves open is sent later."""


class Sender:
    """Sends what waits in an outbox."""

    def __init__(self, outbox: Outbox, filing: Filing) -> None:
        self._outbox = outbox
        self._filing = filing

    def drain(self, destination: Destination, *, early: bool = False) -> int:
        """How many attempts were made at what is due there; `early` takes what is not due yet, once."""
        tried: list[int] = []
        while items := self._outbox.claim(destination.url, early=early, but=tried if early else ()):
            self._attempt(destination, items)
            tried += [item.id for item in items]
        return len(tried)

    def push(self, destination: Destination, analysis_id: str, wait_s: float) -> tuple[Item, ...]:
        """Every instance of that analysis there, once none is open or `wait_s` is over; the first attempt is made."""
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
        """Sends those together; what cannot be made does not hold up the others."""
        made: dict[str, bytes] = {}
        for item in items:
            try:
                made[item.sop_instance_uid] = self._filing.made(item)
            except StoreUnavailable as error:
                self._settle(item, Verdict(stored=False, again=True, problem=str(error)))
            except ServiceError as error:
                self._settle(item, Verdict(stored=False, problem=str(error)))
            except Exception as error:  # noqa: BLE001 - one report; its message may quote the patient.
                name = type(error).__name__
                self._settle(item, Verdict(stored=False, problem=f"It cannot be made: {name}."))
        ready = [item for item in items if item.sop_instance_uid in made]
        if not ready:
            return
        verdicts = self._sent(destination, made)
        for item in ready:
            self._settle(item, verdicts[item.sop_instance_uid])

    def _sent(self, destination: Destination, made: dict[str, bytes]) -> dict[str, Verdict]:
        from app.stow import send  # Here, for it needs the extra `dicom`.

        try:
            return dict(send(destination, list(made.values())))
        except DestinationError as error:
            again = isinstance(error, DestinationAway)
            whole = Verdict(stored=False, again=again, problem=str(error))
            return dict.fromkeys(made, whole)
        except Exception as error:  # noqa: BLE001 - another's client; its message may quote the patient.
            name = type(error).__name__
            return dict.fromkeys(made, Verdict(stored=False, problem=f"Sending failed: {name}."))

    def _settle(self, item: Item, verdict: Verdict) -> None:
        self._outbox.settle(item, verdict)
        what = "stored" if verdict.stored else verdict.problem
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

    def push(self, wish: Wish) -> tuple[Item, ...]:
        """The instances that are sent for that wish, or were before; the thread looks into the outbox now.

        Raises:
            NotFound, PushRefused, LinkClosed: as `Filing.instances` says.
        """
        items = self._outbox.add(self._filing.instances(wish), self.url)
        self._bell.set()
        return items

    def items(self, analysis_id: str) -> tuple[Item, ...]:
        """The instances of that analysis, and how far they have come."""
        return self._outbox.items(analysis_id, self.url)

    def stop(self) -> None:
        """Nothing; the thread ends after the request on its way, or is left to end with the process."""
        self._stopping.set()
        self._bell.set()
        if self.ident is not None:
            self.join(STOP_S)

    def run(self) -> None:
        """Nothing; sends until `stop`."""
        while not self._stopping.is_set():
            self._bell.clear()
            try:
                self._outbox.free_dead()
                self._sender.drain(self._destination)
            except StoreUnavailable as error:
                log.warning("%s", error)
            self._bell.wait(POLL_S)
