"""The responder: it answers inference requests from processes without specialists."""

import logging
import threading
import time

from app.errors import ImageUnreadable, StoreUnavailable
from app.jobs.inference_requests import InferenceRequests, Question, Reply
from app.observability.instrumentation import InstrumentedTools
from app.observability.logs import about
from app.worker.shared import Gate
from planner.run import Tools
from specialists.deadline import Deadline
from specialists.errors import Declined, Rejected, Unavailable

log = logging.getLogger(__name__)

ASK_POLL_S = 0.05
"""Time between polls for requests that no doorbell announced; a person waits for each of them."""


class Responder(threading.Thread):
    """A thread that answers inference requests from processes without specialists."""

    def __init__(self, asks: InferenceRequests, tools: Tools, gate: Gate) -> None:
        super().__init__(name="asker", daemon=True)
        self._asks = asks
        self._tools = tools
        self._gate = gate
        self._bell = threading.Event()
        self._stopping = threading.Event()

    def wake(self) -> None:
        """Make the responder poll for requests now."""
        self._bell.set()

    def ask_to_stop(self) -> None:
        """Ask the thread to end after the running request, without waiting for it."""
        self._stopping.set()
        self._bell.set()

    def run(self) -> None:
        """Answer requests until the thread is asked to stop."""
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
            deadline = Deadline(question.deadline_at - time.time())
            tools = InstrumentedTools(self._tools.with_deadline(deadline))
            result = tools.run(question.specialist, question.image(), question.roi)
        except Declined as error:
            return Reply(error="declined", sentence=str(error))
        except (Rejected, ImageUnreadable) as error:
            return Reply(error="rejected", sentence=str(error))
        except Unavailable as error:
            return Reply(error="unavailable", sentence=str(error))
        except Exception:
            # The boundary of one request: whatever is wrong with it must not end the worker.
            log.exception("A question to %s failed.", question.specialist)
            sentence = "The specialist failed on this image; the worker's log says why."
            return Reply(error="unavailable", sentence=sentence)
        return Reply(result=result)
