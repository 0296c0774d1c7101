"""The workers of one process: threads that share its specialists, each on an analysis, and one for direct questions."""

import logging
import threading
import time

from app.asks import Asks, Question, Reply
from app.errors import ImageUnreadable, NotReady, StoreUnavailable
from app.logs import about
from app.metrics import show_models
from app.news import News
from app.planning import load_planning
from app.settings import Settings
from app.shop import Gate, SharedChooser, Shop
from app.store import Store
from app.watched import WatchedTools, watch_networks
from app.worker import Worker
from planner.run import Tools, within
from reports.model import Box
from specialists.batching import Patience
from specialists.errors import Declined, Rejected, Unavailable
from specialists.image import Image
from specialists.result import Result

log = logging.getLogger(__name__)

ASK_POLL_S = 0.05
"""Time between looks for questions that no doorbell announced; a person waits for each of them."""


class Crew:
    """`settings.worker_threads` workers, at least one."""

    def __init__(self, settings: Settings, store: Store, tools: Tools, news: News) -> None:
        self._tools = tools
        self._gate = Gate()
        chooser = SharedChooser(load_planning(settings, tools).chooser)
        watch_networks(tools)  # After the planner's own trial, which is nobody's image.
        show_models(tools.manifest, tools.runtime, chooser.ref)
        shop = Shop(gate=self._gate, news=news, chooser=chooser)
        self._workers = tuple(
            Worker(settings, store, self._tools, shop)
            for _ in range(max(settings.worker_threads, 1))
        )
        self._asker = Asker(Asks(store, settings.lease_s), self._tools, self._gate)

    def start(self, *, asker: bool) -> None:
        """Nothing; the threads run, with `asker` the one that answers other processes' questions."""
        for worker in self._workers:
            worker.start()
        if asker:
            self._asker.start()

    def wake(self) -> None:
        """Nothing; the threads look into the store now."""
        self._asker.wake()
        for worker in self._workers:
            worker.wake()

    def ask(self, specialist_id: str, image: Image, roi: Box | None, patience: Patience) -> Result:
        """One specialist's answer, beside the running analyses; where they wait too, they share a pass.

        Raises:
            Declined: it cannot answer for this image.
            Rejected: the specialist or the region does not exist or does not fit.
            Unavailable: it is not installed, too many questions wait for its network, or `patience` ended.
        """
        return WatchedTools(within(self._tools, patience)).run(specialist_id, image, roi)

    def check(self) -> None:
        """Nothing; all workers run.

        Raises:
            NotReady: one ended although nobody stopped it; this process is better started again.
        """
        if any(worker.ident is not None and not worker.is_alive() for worker in self._workers):
            raise NotReady("A worker broke; the log says why. Start this process again.")

    def stop(self, wait_s: float) -> None:
        """Nothing; running analyses go back to the queue after their step, and the threads end.

        Raises:
            NotReady: a step did not end within `wait_s`; its lease ends by itself.
        """
        until = time.monotonic() + wait_s
        threads: tuple[Worker | Asker, ...] = (*self._workers, self._asker)
        for thread in threads:
            thread.ask_to_stop()
        late = False
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(until - time.monotonic(), 0.0))
                late = late or thread.is_alive()
        if late:
            raise NotReady("A worker is still in a step; its analysis is finished later.")


class Asker(threading.Thread):
    """A thread that answers direct questions of processes without specialists."""

    def __init__(self, asks: Asks, tools: Tools, gate: Gate) -> None:
        super().__init__(name="asker", daemon=True)
        self._asks = asks
        self._tools = tools
        self._gate = gate
        self._bell = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """Nothing; it looks for questions now."""
        self._bell.set()

    def ask_to_stop(self) -> None:
        """Nothing; it ends after the running question."""
        self._stopping.set()
        self._bell.set()

    def run(self) -> None:
        """Nothing; answers until it is asked to stop."""
        while not self._stopping.is_set():
            self._bell.clear()
            if not self._answered_one():
                self._bell.wait(ASK_POLL_S)

    def _answered_one(self) -> bool:
        try:
            with self._gate.shared():
                question = self._asks.claim()
                if question is None:
                    return False
                with about(request_id=question.request_id):
                    self._asks.answer(question, self._reply(question))
        except StoreUnavailable as error:
            log.warning("%s", error)
            self._stopping.wait(1.0)
            return False
        return True

    def _reply(self, question: Question) -> Reply:
        try:
            patience = Patience(question.deadline_at - time.time())
            tools = WatchedTools(within(self._tools, patience))
            result = tools.run(question.specialist, question.image(), question.roi)
        except Declined as error:
            return Reply(error="declined", sentence=str(error))
        except (Rejected, ImageUnreadable) as error:
            return Reply(error="rejected", sentence=str(error))
        except Unavailable as error:
            return Reply(error="unavailable", sentence=str(error))
        except Exception:
            # The boundary of one question: whatever is wrong with it must not end the worker.
            log.exception("A question to %s failed.", question.specialist)
            sentence = "The specialist failed on this image; the worker's log says why."
            return Reply(error="unavailable", sentence=sentence)
        return Reply(result=result)
