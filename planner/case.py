"""The case: an image, a request, and append-only records folded deterministically into a state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, model_validator

from planner.protocols import Protocols
from reports.measure.scan_area import unknown
from reports.model import Box, ExamCode, ImageInfo, Laterality, Ring, Scope, Step
from reports.provenance import PlannerRef
from reports.upgrade import present_step
from specialists.manifest import Manifest
from specialists.result import ClassifyResult, DetectResult, RegressResult, Result, SegmentResult

STOP = "stop"
SLOT = "slot"
ROI = "roi"
EXPECT = "expect"
"""Keys of `Step.parameters`.

`SLOT` holds the slot that the action fills, `ROI` the slot whose box is the action's region, and
`EXPECT` the exam that the planner expects before the router answers.
"""


@dataclass(frozen=True, kw_only=True)
class Details:
    """What the sender says of the image beside the exam; it is shown and kept, and never logged.

    `study` is what the sender calls the study that the image belongs to; `gestational_age` is that
    of the day of the image, such as `19w6d`.
    """

    label: str | None = None
    study: str | None = None
    laterality: Laterality | None = None
    site: str | None = None
    indication: str | None = None
    gestational_age: str | None = None
    operator: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """The user's request; `question` is read by the planner and stored in no report."""

    exam: ExamCode | None = None
    question: str | None = None
    scope: Scope = Scope.PROTOCOL
    frame: int | None = None
    details: Details = Details()

    @property
    def gestational_age(self) -> str | None:
        """The gestational age on the day of the image, as the sender states it."""
        return self.details.gestational_age


class Record(BaseModel):
    """One journal row: a step with its result, or the reason why the specialist declined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Step
    result: Result | None = None
    declined: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_present_words(cls, given: object) -> object:
        """Read the steps of an analysis that an older version began."""
        if isinstance(given, dict) and "step" in given:
            return {**given, "step": present_step(given["step"])}
        return given


@dataclass(frozen=True, kw_only=True)
class State:
    """Records per slot, in order; `steps` counts all of them."""

    slots: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)
    steps: int = 0
    stopped: bool = False

    def tried(self, slot: str) -> tuple[str, ...]:
        """Return the specialists that ran for `slot`, whether they answered or declined."""
        return tuple(record.step.action for record in self.slots.get(slot, ()))

    def answer(self, slot: str) -> Record | None:
        """Return the record that answered `slot`, or None."""
        return next((r for r in self.slots.get(slot, ()) if r.result is not None), None)

    def result(self, slot: str) -> Result | None:
        """Return the result in `slot`, or None."""
        record = self.answer(slot)
        return None if record is None else record.result

    def found(self, slot: str) -> bool:
        """Return whether `slot` holds a result that shows something."""
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
        """Return the detector's box in `slot`, or None."""
        match self.result(slot):
            case DetectResult(box=box):
                return box
            case _:
                return None


def best_class(result: ClassifyResult) -> str:
    """Return the class with the highest score; ties go to the alphabetically first class."""
    return min(result.scores, key=lambda label: (-result.scores[label], label))


def update(state: State, record: Record) -> State:
    """Return the state after one more record."""
    if record.step.action == STOP:
        return replace(state, steps=state.steps + 1, stopped=True)
    slot = record.step.parameters[SLOT]
    slots = {**state.slots, slot: (*state.slots.get(slot, ()), record)}
    return replace(state, slots=slots, steps=state.steps + 1)


def fold(records: Iterable[Record]) -> State:
    """Return the state after all records; the same records give the same state in any process."""
    return reduce(update, records, State())


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything that determines the next step and the report; `planner` identifies the policy.

    `sees` says whether the policy uses the image, and so may state the exam it expects before the
    router answers. `scanned` returns the outline of the scanned area (see
    `reports.measure.scan_area`), `grey` the grey values of the analysed frame, (H, W) uint8, None
    where there are none at hand; both are called only when a formula needs them.
    """

    image: ImageInfo
    request: Request
    manifest: Manifest
    protocols: Protocols
    planner: PlannerRef
    records: tuple[Record, ...] = ()
    scanned: Callable[[], Ring | None] = unknown
    grey: Callable[[], npt.NDArray[np.uint8] | None] = unknown
    sees: bool = False

    @cached_property
    def state(self) -> State:
        """The state folded from the records."""
        return fold(self.records)

    def then(self, record: Record) -> "Case":
        """Return the case with one more record."""
        return replace(self, records=(*self.records, record))
