"""The policy with image input: a LLaVA model scores the lettered legal actions.

Since only legal actions are scored, it cannot choose any other. Several threads may use one policy:
what it keeps of an image and a request is never changed, and only the table of these has a lock.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp

from torch import Tensor

from planner.case import Case
from planner.policy import Action, Choice, Policy
from planner.vlm.deadline import Budget, Meter, Steps, ends_in_time
from planner.vlm.network import Looked, Network
from planner.vlm.prompt import LABELS, Turn, render_prefix, render_state, rotations, turn_of
from reports.model import ChosenBy
from reports.provenance import PlannerRef
from reports.wording.phrases import LATE_PLANNER
from specialists.image import Image

log = logging.getLogger(__name__)

ImageInputs = Callable[[Image], Tensor]
"""Returns the vision tower's input for an image, (1, C, H, W)."""

KEPT_CASES = 2
"""The number of cases, each an image and a request, whose keys and values are kept.

This default applies where nothing states how many cases are planned at once.
"""

BUSY = f"{LATE_PLANNER}: it was still busy with a step that took too long"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Probability by action label, in the order of the turn, and the gap between the two best."""

    by_label: dict[str, float]
    margin: float

    @property
    def best(self) -> str:
        """The label with the best score; ties go to the first in the turn's order."""
        return max(self.by_label, key=lambda label: self.by_label[label])


class LlavaPolicy:
    """Chooses by the scores of the letters, averaged over rotations of their order.

    Of the rotations there are `orders` at most, None for all. Where there is no reliable score, the
    rules decide.
    """

    sees = True

    def __init__(
        self,
        network: Network,
        ref: PlannerRef,
        least_margin: float,
        image_inputs: ImageInputs,
        rules: Policy,
        at_once: int = 1,
    ) -> None:
        self.ref = ref
        self.least_margin = least_margin
        self.orders: int | None = None
        self.budget = Budget()
        self.kept_cases = KEPT_CASES
        self.network = network
        self._image_inputs = image_inputs
        self._rules = rules
        self._looked: OrderedDict[tuple[str, str], Looked] = OrderedDict()
        self._table = threading.Lock()
        self._steps = Steps[Scores](at_once)

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Choose the action with the best score, or the rules' choice if no score is reliable.

        In the latter case the reason says why the rules decided.
        """
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
            chosen_by=ChosenBy.MODEL,
            scores=rounded,
            margin=round(scores.margin, 4),
            reason=(
                f"The planner scored it {scores.by_label[scores.best]:.2f}, "
                f"the best by {scores.margin:.2f}."
            ),
        )

    def scores(self, image: Image, turn: Turn) -> Scores:
        """Return the probability of every legal action of `turn`.

        Raises:
            PlannerFailed: a score is not finite.
            Declined: the image has no features.
        """
        orders = rotations(len(turn.legal), self.orders)
        looked = self.look(image, render_prefix(turn))
        rows = self.network.score(
            looked, [render_state(turn, order) for order in orders], len(turn.legal)
        )
        mean = [0.0] * len(turn.legal)
        for row, order in zip(rows.tolist(), orders, strict=True):
            for value, index in zip(row, order, strict=True):
                mean[index] += value / len(orders)
        return _scores(turn.legal, mean)

    def look(self, image: Image, prefix: str) -> Looked:
        """Return what is kept of an image and a request, which are read once.

        Raises:
            Declined: the image has no features.
        """
        key = (image.key, prefix)
        with self._table:
            looked = self._looked.get(key)
        if looked is None:  # Of two threads with one case, both look, and see the same.
            looked = self.network.look(self._image_inputs(image), prefix)
        with self._table:
            self._looked[key] = looked
            self._looked.move_to_end(key)
            while len(self._looked) > self.kept_cases:
                self._looked.popitem(last=False)
        return looked

    def _in_time(self, image: Image, turn: Turn) -> Scores | str:
        """Return the scores, or the reason why there are none within the time limit."""
        meter, limit_s = Meter(self.network.threads), self.budget.step_s

        def scored() -> Scores:
            meter.begin()
            return self.scores(image, turn)

        step = self._steps.begun(scored)
        if step is None:
            return BUSY
        if not ends_in_time(step, meter, limit_s):
            self._steps.give_up(step)
            return f"{LATE_PLANNER}: a step used more than {limit_s:g} s of processor time"
        if (failed := step.exception()) is not None:
            # The error's text may hold the request, so that only its type is reported.
            log.warning("The planner failed: %s.", type(failed).__name__)
            return f"The planner failed ({type(failed).__name__})"
        return step.result()

    def _by_rules(self, image: Image, case: Case, legal: tuple[Action, ...], why: str) -> Choice:
        choice = self._rules.choose(image, case, legal)
        return replace(choice, reason=f"{why}, so the rules decided. {choice.reason}")


def _scores(labels: tuple[str, ...], log_scores: list[float]) -> Scores:
    """Return the probabilities that follow from mean log-scores."""
    best = max(log_scores)
    weights = [exp(value - best) for value in log_scores]
    shares = [weight / sum(weights) for weight in weights]
    first, second = sorted(shares, reverse=True)[:2]
    return Scores(by_label=dict(zip(labels, shares, strict=True)), margin=first - second)
