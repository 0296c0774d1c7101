"""The interface of planning policies: given the legal actions, a policy chooses one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from planner.case import EXPECT, ROI, SLOT, STOP, Case
from reports.model import ChosenBy, ExamCode
from reports.provenance import PlannerRef
from specialists.image import Image


@dataclass(frozen=True, kw_only=True)
class Action:
    """A specialist's id and the slot that it fills, or `stop`, with the parameters.

    `roi` is the slot whose box is the specialist's region, `expect` the exam that the planner
    expects before the router answers.
    """

    name: str
    slot: str | None = None
    roi: str | None = None
    expect: ExamCode | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The action's entries in `Step.parameters`."""
        expected = None if self.expect is None else self.expect.value
        pairs = {SLOT: self.slot, ROI: self.roi, EXPECT: expected}
        return {key: value for key, value in pairs.items() if value is not None}

    @property
    def label(self) -> str:
        """A unique name among the legal actions.

        Examples are `breast_lesion@box:lesion`, `exam_cls@breast` and `stop`.
        """
        parameter = self.roi or self.expect
        return self.name if parameter is None else f"{self.name}@{parameter}"


STOP_ACTION = Action(name=STOP)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One action and the reason for it; a model's choice also has `scores` and a `margin`.

    `scores` and `margin` are also kept where the rules overrule a model that is not sure.
    """

    action: Action
    chosen_by: ChosenBy
    scores: Mapping[str, float] = field(default_factory=dict)
    margin: float | None = None
    reason: str


class Policy(Protocol):
    """A planner: chooses one of two or more legal actions, and never anything else.

    Several threads may use it at once.
    """

    @property
    def ref(self) -> PlannerRef:
        """The planner's entry in the report's provenance.

        It holds the planner's name, and the hash of what its choices follow from.
        """

    @property
    def sees(self) -> bool:
        """Whether the policy uses the image, and so may state which exam it expects."""

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Choose one of `legal`, which is in protocol order with `stop` last."""
