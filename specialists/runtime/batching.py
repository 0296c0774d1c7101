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

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

TOGETHER = 16
"""Largest number of requests in one pass, which limits its memory."""

WAITING_MAX = 256
"""Requests that may wait for one network; further ones are refused, not kept."""


@dataclass(kw_only=True, eq=False)
class _Place(Generic[Ask, Answer]):
    """One request in the queue, and its answer or error."""

    ask: Ask
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

    def wanted(self) -> bool:
        """Return whether to work on the request; if not, set the error that says why."""
        try:
            self.deadline.check()
        except (Cancelled, Overdue) as error:
            self.error = error
        return self.error is None


class Batcher(Generic[Ask, Answer]):
    """Runs `work` on waiting requests, at most `together` per pass and one pass at a time.

    It is safe between threads.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Ask]], Sequence[Answer]],
        together: int = TOGETHER,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._work = work
        self._together = together
        self._waiting_max = waiting_max
        self._turn = threading.Condition()
        self._waiting: deque[_Place[Ask, Answer]] = deque()
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

    def ask(self, ask: Ask, deadline: Deadline | None = None) -> Answer:
        """Return the answer to a request, from a pass that it may share with others.

        Raises:
            Overloaded: too many requests wait already.
            Overdue: `deadline` passed first; no work is done for the request unless it had begun.
            Cancelled: the request was withdrawn.
        """
        place = _Place[Ask, Answer](ask=ask, deadline=deadline or Deadline())
        with self._turn:
            if len(self._waiting) >= self._waiting_max:
                raise Overloaded("Too many questions wait for this network; ask again later.")
            self._waiting.append(place)
        while True:
            batch = self._lead_or_wait(place)
            if batch is None:
                return place.outcome()
            self._serve(place, batch)

    def _lead_or_wait(self, place: _Place[Ask, Answer]) -> list[_Place[Ask, Answer]] | None:
        """Return the batch for this thread to run now; None once its own request is settled."""
        with self._turn:
            while not place.done and self._busy:
                self._turn.wait(place.deadline.remaining_s)
                if not place.done and not place.wanted() and place in self._waiting:
                    self._waiting.remove(place)
            if place.done:
                return None
            self._busy = True
            batch: list[_Place[Ask, Answer]] = []
            while self._waiting and len(batch) < self._together:
                first = self._waiting.popleft()
                if first.wanted():
                    batch.append(first)
            return batch

    def _serve(self, own: _Place[Ask, Answer], batch: list[_Place[Ask, Answer]]) -> None:
        """Settle every request of the batch, then let a waiting thread take its turn."""
        try:
            self._settle(batch)
        except BaseException:  # Ctrl-C in this thread must not drop the others' requests
            with self._turn:
                left = [place for place in batch if place is not own and not place.done]
                self._waiting.extendleft(reversed(left))
            raise
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def _settle(self, batch: list[_Place[Ask, Answer]]) -> None:
        if not batch:
            return
        self._sizes[len(batch)] += 1
        try:
            answers = self._work([place.ask for place in batch])
        except Exception as error:  # noqa: BLE001 - any error goes to the caller of that request.
            if len(batch) == 1:
                batch[0].error = error
            else:  # one bad request must not cost the others their answers
                for place in batch:
                    self._settle([place])
            return
        for place, answer in zip(batch, answers, strict=True):
            place.answers.append(answer)
