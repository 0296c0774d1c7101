"""The case: an image, a request, and append-only records, folded into a state in one deterministic way."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

from pydantic import BaseModel, ConfigDict

from planner.protocols import Protocols
from reports.model import Box, ExamCode, ImageInfo, PlannerRef, Ring, Step
from reports.scanned import unknown
from specialists.manifest import Manifest
from specialists.result import ClassifyResult, DetectResult, RegressResult, Result, SegmentResult

STOP = "stop"
SLOT = "slot"
ROI = "roi"
EXPECT = "expect"
"""Keys of `Step.parameters`: the slot that the action fills, the slot whose box is its region, and the exam that the
planner sees before the router answers."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked; `question` is read by the planner and kept in no report."""

    exam: ExamCode | None = None
    question: str | None = None
    frame: int | None = None


class Record(BaseModel):
    """What a journal row holds: one step and its result, or the reason why the specialist declined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Step
    result: Result | None = None
    declined: str | None = None


@dataclass(frozen=True, kw_only=True)
class State:
    """Records per slot, in order; `steps` counts all of them."""

    slots: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)
    steps: int = 0
    stopped: bool = False

    def tried(self, slot: str) -> tuple[str, ...]:
        """The specialists that ran for `slot`, whether they answered or declined."""
        return tuple(record.step.action for record in self.slots.get(slot, ()))

    def answer(self, slot: str) -> Record | None:
        """The record that answered `slot`, or None."""
        return next((r for r in self.slots.get(slot, ()) if r.result is not None), None)

    def result(self, slot: str) -> Result | None:
        """The result in `slot`, or None."""
        record = self.answer(slot)
        return None if record is None else record.result

    def found(self, slot: str) -> bool:
        """Whether `slot` holds a result that shows something."""
        match self.result(slot):
            case None:
                return False
            case DetectResult(box=box):
                return box is not None
            case SegmentResult(components=components):
                return bool(components)
            case RegressResult(points=points):
                return bool(points)
            case _:
                return True

    def box(self, slot: str) -> Box | None:
        """The detector's box in `slot`, or None."""
        match self.result(slot):
            case DetectResult(box=box):
                return box
            case _:
                return None


def best_class(result: ClassifyResult) -> str:
    """The class with the best score; of equal ones the alphabetically first, whatever order they came in."""
    return min(result.scores, key=lambda label: (-result.scores[label], label))


def update(state: State, record: Record) -> State:
    """The state after one more record."""
    if record.step.action == STOP:
        return replace(state, steps=state.steps + 1, stopped=True)
    slot = record.step.parameters[SLOT]
    slots = {**state.slots, slot: (*state.slots.get(slot, ()), record)}
    return replace(state, slots=slots, steps=state.steps + 1)


def fold(records: Iterable[Record]) -> State:
    """The state after all records, the same for the same records in any process."""
    return reduce(update, records, State())


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything that the next step and the report follow from; `planner` names the chooser.

    `sees` says whether it looks at the image, and so may expect an exam before the router answers. `scanned` outlines the scanned area (`reports.scanned`), once a formula asks for it.
    """

    image: ImageInfo
    request: Request
    manifest: Manifest
    protocols: Protocols
    planner: PlannerRef
    records: tuple[Record, ...] = ()
    scanned: Callable[[], Ring | None] = unknown
    sees: bool = False

    @cached_property
    def state(self) -> State:
        """The folded records."""
        return fold(self.records)

    def then(self, record: Record) -> "Case":
        """The case with one more record."""
        return replace(self, records=(*self.records, record))
