"""Batching of concurrent inference requests to one network.

The first caller runs the pass in its own thread. Callers that arrive meanwhile wait, and one of
them then takes all waiting requests in one pass. There is therefore no timer, no thread of its own,
and no hand-over between threads where there is nothing to share: a lone request waits for nothing.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from specialists.deadline import Deadline
from specialists.errors import Cancelled, Overdue, Overloaded

Item = TypeVar("Item")
Answer = TypeVar("Answer")

TOGETHER = 16
"""Largest number of requests in one pass, which limits its memory."""

WAITING_MAX = 256
"""Requests that may wait for one network; further ones are refused, not kept."""


@dataclass(kw_only=True, eq=False)
class _Request(Generic[Item, Answer]):
    """One item in the queue, and its answer or error."""

    item: Item
    deadline: Deadline
    answers: list[Answer] = field(default_factory=list)
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or bool(self.answers)

    def outcome(self) -> Answer:
        if self.error is not None:
            raise self.error
        return self.answers[0]

    def check_deadline(self) -> None:
        """End the request with the error that says why its answer is no longer wanted, if so."""
        try:
            self.deadline.check()
        except (Cancelled, Overdue) as error:
            self.error = error


class Batcher(Generic[Item, Answer]):
    """Runs `work` on waiting requests, at most `together` per pass and one pass at a time.

    It is safe between threads.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Answer]],
        together: int = TOGETHER,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._work = work
        self._together = together
        self._waiting_max = waiting_max
        self._turn = threading.Condition()
        self._waiting: deque[_Request[Item, Answer]] = deque()
        self._busy = False
        self._sizes: Counter[int] = Counter()

    @property
    def sizes(self) -> dict[int, int]:
        """How many passes took how many requests."""
        with self._turn:
            return dict(self._sizes)

    @property
    def waiting(self) -> int:
        """Number of requests that no pass has taken yet."""
        return len(self._waiting)

    def ask(self, item: Item, deadline: Deadline | None = None) -> Answer:
        """Return the answer for an item, from a pass that it may share with others.

        Raises:
            Overloaded: too many requests wait already.
            Overdue: `deadline` passed first; no work is done for the request unless it had begun.
            Cancelled: the request was withdrawn.
        """
        request = _Request[Item, Answer](item=item, deadline=deadline or Deadline())
        with self._turn:
            if len(self._waiting) >= self._waiting_max:
                raise Overloaded("Too many requests wait for this network; try again later.")
            self._waiting.append(request)
        while True:
            batch = self._lead_or_wait(request)
            if batch is None:
                return request.outcome()
            self._serve(request, batch)

    def _lead_or_wait(self, request: _Request[Item, Answer]) -> list[_Request[Item, Answer]] | None:
        """Return the batch for this thread to run now; None once its own request is settled."""
        with self._turn:
            while not request.done and self._busy:
                self._turn.wait(request.deadline.remaining_s)
                if not request.done:
                    request.check_deadline()
                    if request.done and request in self._waiting:
                        self._waiting.remove(request)
            if request.done:
                return None
            self._busy = True
            batch: list[_Request[Item, Answer]] = []
            while self._waiting and len(batch) < self._together:
                first = self._waiting.popleft()
                first.check_deadline()
                if not first.done:
                    batch.append(first)
            return batch

    def _serve(self, own: _Request[Item, Answer], batch: list[_Request[Item, Answer]]) -> None:
        """Settle every request of the batch, then let a waiting thread take its turn."""
        try:
            self._settle(batch)
        except BaseException:  # Ctrl-C in this thread must not drop the others' requests
            with self._turn:
                left = [request for request in batch if request is not own and not request.done]
                self._waiting.extendleft(reversed(left))
            raise
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def _settle(self, batch: list[_Request[Item, Answer]]) -> None:
        if not batch:
            return
        self._sizes[len(batch)] += 1
        try:
            answers = self._work([request.item for request in batch])
        except Exception as error:  # noqa: BLE001 - any error goes to the caller of that request.
            if len(batch) == 1:
                batch[0].error = error
            else:  # one bad request must not cost the others their answers
                for request in batch:
                    self._settle([request])
            return
        for request, answer in zip(batch, answers, strict=True):
            request.answers.append(answer)
