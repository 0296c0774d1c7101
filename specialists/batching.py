"""Whoever waits for the same network shares its next pass; a lone request waits for nothing, and no thread is kept.

The first to come does the work in its own thread. Those who come meanwhile wait, and one of them then takes all
that wait in one pass. So there is no timer and no hand-over between threads where there is nothing to share.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from specialists.errors import Cancelled, Overdue, Overloaded

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

TOGETHER = 16
"""Questions that one pass takes: what bounds its memory."""

WAITING_MAX = 256
"""Questions that may wait for one network; beyond it they are refused, not kept."""


class Patience:
    """How long an answer is wanted; without seconds, until someone calls `cancel`."""

    def __init__(self, seconds: float | None = None) -> None:
        self._until = None if seconds is None else time.monotonic() + max(seconds, 0.0)
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Nothing; what waits is not done any more, and its asker learns of it when the running pass ends."""
        self._cancelled.set()

    @property
    def remaining_s(self) -> float | None:
        """Time that is left, at least 0; None without an end."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def check(self) -> None:
        """Nothing, while the answer is wanted.

        Raises:
            Cancelled: nobody wants it any more.
            Overdue: its time is over.
        """
        if self._cancelled.is_set():
            raise Cancelled("The question was withdrawn before it was answered.")
        if self.remaining_s == 0.0:
            raise Overdue("The answer did not come in the time that was given for it.")


@dataclass(kw_only=True, eq=False)
class _Place(Generic[Ask, Answer]):
    """One question and what came of it."""

    ask: Ask
    patience: Patience
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
        """Whether it is still to be worked on; if not, its error says why."""
        try:
            self.patience.check()
        except (Cancelled, Overdue) as error:
            self.error = error
        return self.error is None


class Batcher(Generic[Ask, Answer]):
    """Asks `work` about all that wait, at most `together` at a time and one pass at a time; safe between threads."""

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
        """How many passes took how many questions."""
        with self._turn:
            return dict(self._sizes)

    @property
    def waiting(self) -> int:
        """Questions that no pass has taken yet."""
        return len(self._waiting)

    def ask(self, ask: Ask, patience: Patience | None = None) -> Answer:
        """The answer, of a pass that this question may share with others.

        Raises:
            Overloaded: too many wait already.
            Overdue: `patience` ended first; nothing is done for it unless it had begun.
            Cancelled: the question was withdrawn.
        """
        place = _Place[Ask, Answer](ask=ask, patience=patience or Patience())
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
        """What this thread has to work on now; None once its own question is settled."""
        with self._turn:
            while not place.done and self._busy:
                self._turn.wait(place.patience.remaining_s)
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
        """Settles every question of the batch, then lets the next one of those that wait take its turn."""
        try:
            self._settle(batch)
        except BaseException:  # Ctrl-C in this thread is not the end of the others' questions
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever asked.
            if len(batch) == 1:
                batch[0].error = error
            else:  # one bad question must not cost the others their answers
                for place in batch:
                    self._settle([place])
            return
        for place, answer in zip(batch, answers, strict=True):
            place.answers.append(answer)
