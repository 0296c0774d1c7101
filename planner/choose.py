"""The seam behind which planners sit: legal actions go in, one of them comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from planner.case import EXPECT, ROI, SLOT, STOP, Case
from reports.model import ChosenBy, ExamCode, PlannerRef
from specialists.image import Image


@dataclass(frozen=True, kw_only=True)
class Action:
    """A specialist's id and the slot it fills, or `stop`, with its parameters.

    `roi` is the slot whose box is its region; `expect` the exam that the planner sees before the router answers.
    """

    name: str
    slot: str | None = None
    roi: str | None = None
    expect: ExamCode | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The action's part of a `Step`."""
        expected = None if self.expect is None else self.expect.value
        pairs = {SLOT: self.slot, ROI: self.roi, EXPECT: expected}
        return {key: value for key, value in pairs.items() if value is not None}

    @property
    def label(self) -> str:
        """What tells it from the other legal actions: `breast_lesion@box:lesion`, `exam_cls@breast`, `stop`."""
        parameter = self.roi or self.expect
        return self.name if parameter is None else f"{self.name}@{parameter}"


STOP_ACTION = Action(name=STOP)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One action and why; `scores` and `margin` where a model scored the actions."""

    action: Action
    chosen_by: ChosenBy
    scores: Mapping[str, float] = field(default_factory=dict)
    margin: float | None = None
    reason: str


class Chooser(Protocol):
    """A planner: chooses one of two or more legal actions, and never anything else."""

    @property
    def ref(self) -> PlannerRef:
        """What the report's provenance says of it: its name, and what its choices follow from, by content."""

    @property
    def sees(self) -> bool:
        """Whether it looks at the image, and so may say which exam it expects of the router."""

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """One of `legal`, which come in protocol order with `stop` last."""
