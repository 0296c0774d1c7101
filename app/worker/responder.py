"""The responder: it answers inference requests from processes without specialists."""

import logging
import threading
import time

from app.errors import ImageUnreadable, LeaseLost, StoreUnavailable
from app.jobs.inference_requests import InferenceRequest, InferenceRequests, Reply
from app.jobs.pubsub import Publisher
from app.observability.instrumentation import InstrumentedTools
from app.observability.logs import about
from app.worker.shared import Gate
from planner.run import Tools
from specialists.deadline import Deadline
from specialists.errors import Declined, Rejected, Unavailable

log = logging.getLogger(__name__)

POLL_S = 0.05
"""Time between polls for requests that were not announced; a person waits for each of them."""

AWAY_S = 1.0
"""Time between polls of a store that is unavailable."""


class Responder(threading.Thread):
    """A thread that answers inference requests from processes without specialists.

    Every `sweep_s` it erases what expired, and takes over from processes that are dead.
    """

    def __init__(
        self,
        requests: InferenceRequests,
        tools: Tools,
        gate: Gate,
        publisher: Publisher,
        sweep_s: float,
    ) -> None:
        super().__init__(name="responder", daemon=True)
        self._requests = requests
        self._tools = tools
        self._gate = gate
        self._publisher = publisher
        self._sweep_s = sweep_s
        self._signal = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """Make the responder poll for requests now."""
        self._signal.set()

    def ask_to_stop(self) -> None:
        """Ask the thread to end after the running request, without waiting for it."""
        self._stopping.set()
        self._signal.set()

    def run(self) -> None:
        """Answer requests until the thread is asked to stop."""
        swept_at = float("-inf")
        while not self._stopping.is_set():
            self._signal.clear()
            try:
                if time.monotonic() - swept_at > self._sweep_s:
                    self._requests.sweep()
                    swept_at = time.monotonic()
                if not self._answer_next():
                    self._signal.wait(POLL_S)
            except StoreUnavailable as error:
                log.warning("%s", error)
                self._stopping.wait(AWAY_S)

    def _answer_next(self) -> bool:
        """Claim and answer one request; return whether there was one."""
        with self._gate.shared():
            request = self._requests.claim()
            if request is None:
                return False
            with about(request_id=request.request_id):
                try:
                    self._requests.answer(request, self._reply(request))
                except LeaseLost as error:
                    log.info("%s", error)
                else:
                    self._publisher.publish(str(request.row_id), ended=True)
        return True

    def _reply(self, request: InferenceRequest) -> Reply:
        try:
            deadline = Deadline(request.deadline_at - time.time())
            tools = InstrumentedTools(self._tools.with_deadline(deadline))
            result = tools.run(request.specialist, request.image(), request.roi)
        except Declined as error:
            return Reply(error="declined", sentence=str(error))
        except (Rejected, ImageUnreadable) as error:
            return Reply(error="rejected", sentence=str(error))
        except Unavailable as error:
            return Reply(error="unavailable", sentence=str(error))
        except Exception:
            # The boundary of one request: whatever is wrong with it must not end the worker.
            log.exception("An inference request to %s failed.", request.specialist)
            sentence = "The specialist failed on this image; the worker's log says why."
            return Reply(error="unavailable", sentence=sentence)
        return Reply(result=result)
