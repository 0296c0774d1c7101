"""The planner that sees: a LLaVA model scores the lettered legal actions, and so cannot choose any other."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import exp

from torch import Tensor

from planner.case import Case
from planner.choose import Action, Choice, Chooser
from planner.network import Looked, Network
from planner.prompt import LABELS, Turn, render_prefix, render_state, rotations, turn_of
from reports.model import ChosenBy, PlannerRef
from specialists.image import Image

log = logging.getLogger(__name__)

ImageInputs = Callable[[Image], Tensor]
"""What the vision tower reads of an image, (1, C, H, W)."""

KEPT_CASES = 2
"""Images with their requests whose keys and values are kept, where nobody says how many are planned at once."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long one step of the planner may take, and how many steps of a case it is asked for."""

    step_s: float = 60.0
    steps: int = 32


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Probability by action label, in the order of the turn, and the distance between the two best."""

    by_label: dict[str, float]
    margin: float

    @property
    def best(self) -> str:
        """The label with the best score; of equal ones the first in the turn's order."""
        return max(self.by_label, key=lambda label: self.by_label[label])


class LlavaChooser:
    """Chooses by the scores of the letters, averaged over rotations of their order; else the rules do."""

    sees = True

    def __init__(
        self,
        network: Network,
        ref: PlannerRef,
        least_margin: float,
        image_inputs: ImageInputs,
        rules: Chooser,
    ) -> None:
        self.ref = ref
        self.least_margin = least_margin
        self.budget = Budget()
        self.kept_cases = KEPT_CASES
        self.network = network
        self._image_inputs = image_inputs
        self._rules = rules
        self._looked: OrderedDict[tuple[str, str], Looked] = OrderedDict()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="planner")
        self._running: Future[Scores] | None = None

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """The action with the best score; the rules' choice, with the reason, where there is none to rely on."""
        if len(legal) > len(LABELS):
            return self._by_rules(image, case, legal, "There are more actions than letters")
        asked = sum(record.step.margin is not None for record in case.records)
        if asked >= self.budget.steps:
            return self._by_rules(image, case, legal, "The planner's budget of steps is spent")
        scores = self._in_time(image, turn_of(case, legal))
        if isinstance(scores, str):
            return self._by_rules(image, case, legal, scores)
        rounded = {label: round(value, 4) for label, value in scores.by_label.items()}
        if scores.margin < self.least_margin:
            why = (
                f"The planner's margin of {scores.margin:.2f} is below the {self.least_margin:.2f} "
                "that is asked for"
            )
            choice = self._by_rules(image, case, legal, why)
            return replace(choice, scores=rounded, margin=round(scores.margin, 4))
        return Choice(
            action=next(action for action in legal if action.label == scores.best),
            chosen_by=ChosenBy.LLAVA,
            scores=rounded,
            margin=round(scores.margin, 4),
            reason=f"The planner scored it {scores.by_label[scores.best]:.2f}, the best by {scores.margin:.2f}.",
        )

    def scores(self, image: Image, turn: Turn) -> Scores:
        """The probability of every legal action of `turn`.

        Raises:
            PlannerFailed: a score is not finite.
            Declined: the image has no features.
        """
        orders = rotations(len(turn.legal))
        looked = self._look(image, render_prefix(turn))
        rows = self.network.score(
            looked, [render_state(turn, order) for order in orders], len(turn.legal)
        )
        mean = [0.0] * len(turn.legal)
        for row, order in zip(rows.tolist(), orders, strict=True):
            for value, index in zip(row, order, strict=True):
                mean[index] += value / len(orders)
        return _scores(turn.legal, mean)

    def _look(self, image: Image, prefix: str) -> Looked:
        key = (image.key, prefix)
        if key not in self._looked:
            self._looked[key] = self.network.look(self._image_inputs(image), prefix)
        self._looked.move_to_end(key)
        while len(self._looked) > self.kept_cases:
            self._looked.popitem(last=False)
        return self._looked[key]

    def _in_time(self, image: Image, turn: Turn) -> Scores | str:
        """The scores, or why there are none."""
        if self._running is not None and not self._running.done():
            return "The planner was still busy with a step that took too long"
        self._running = self._pool.submit(self.scores, image, turn)
        try:
            failed = self._running.exception(timeout=self.budget.step_s)
        except TimeoutError:
            return f"The planner took longer than {self.budget.step_s:g} s"
        if failed is not None:
            # Its text may hold the request, so that only its kind is told.
            log.warning("The planner failed: %s.", type(failed).__name__)
            return f"The planner failed ({type(failed).__name__})"
        return self._running.result()

    def _by_rules(self, image: Image, case: Case, legal: tuple[Action, ...], why: str) -> Choice:
        choice = self._rules.choose(image, case, legal)
        return replace(choice, reason=f"{why}, so the rules decided. {choice.reason}")


def _scores(labels: tuple[str, ...], log_scores: list[float]) -> Scores:
    """Probabilities from mean log-scores."""
    best = max(log_scores)
    weights = [exp(value - best) for value in log_scores]
    shares = [weight / sum(weights) for weight in weights]
    first, second = sorted(shares, reverse=True)[:2]
    return Scores(by_label=dict(zip(labels, shares, strict=True)), margin=first - second)
