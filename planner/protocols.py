"""The protocol table: each exam's questions, the specialists that may answer them, and keywords."""

import hashlib
import json
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from planner.errors import ProtocolInvalid
from reports.model import ExamCode
from specialists.manifest import Kind

PACKAGE_PROTOCOLS = Path(__file__).parent / "protocols.toml"

SLOT_KINDS = {
    "box": Kind.DETECT,
    "mask": Kind.SEGMENT,
    "scores": Kind.CLASSIFY,
    "points": Kind.REGRESS,
}
"""The kind of result that fills a slot, by the part of the slot's name before the colon."""


LEGALITY = 2
"""The edition of the rules by which actions are legal (`planner.plan`).

1: a request in words narrowed the protocol. 2: what the protocol requires always runs.
"""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Slot = Annotated[str, Field(pattern=r"^(box|mask|scores|points):[a-z_]+$")]


class Condition(StrEnum):
    """What must be known of another slot before a step may run."""

    FOUND = "found"
    """The slot holds a result that shows something."""
    TRIED = "tried"
    """The slot is answered, declined or not installed: trying again would add no knowledge."""


class Need(_Table):
    """One condition on another slot, written "SLOT CONDITION" in the table."""

    slot: Slot
    condition: Condition


def _split_need(value: object) -> object:
    if isinstance(value, str):
        slot, _, condition = value.partition(" ")
        return {"slot": slot, "condition": condition}
    return value


class ProtocolStep(_Table):
    """One slot to fill; `unmet` states what it means when a needed slot shows nothing."""

    slot: Slot
    specialists: Annotated[tuple[str, ...], Field(min_length=1)]
    required: bool = True
    needs: tuple[Annotated[Need, BeforeValidator(_split_need)], ...] = ()
    unmet: str | None = None
    roi: Slot | None = None
    cross_checks: tuple[Slot, ...] = ()


class Answer(StrEnum):
    """The part of the report in which a question is answered."""

    FINDING = "finding"
    MEASUREMENT = "measurement"


class Question(_Table):
    """One question of the exam; `absent` is the reason to report when its result shows nothing."""

    id: str
    label: str
    kind: Answer
    slot: Slot
    structure: str | None = None
    """What the report groups the answer by, such as "lesion"."""
    topic: str | None = None
    """What a clinician calls it and the questions that share it, such as "size"; else `label`."""
    component: str | None = None
    """The component label in a mask with several structures; None for all of them."""
    quality: str | None = None
    """What it asks of an outline, by its name in `reports.measure.lesion`, such as "shape"."""
    stated: Literal["gestational_age"] | None = None
    """What the request must state, or the question be asked, for it to be in the report."""
    confirmed_by: Slot | None = None
    """The mask that must not contradict a detector's "none"; its outlines are evidence too."""
    outlined_as: str | None = None
    """The component label in that mask; None for all of its components."""
    score_of: str | None = None
    """The class whose score the finding carries; None for the best class."""
    absent: str | None = None
    keywords: tuple[str, ...]

    @property
    def subject(self) -> bool:
        """Whether it asks for a structure itself, not for its size, class or what it is like."""
        seen = self.slot.startswith(("box:", "mask:")) and self.quality is None
        return self.kind is Answer.FINDING and seen


class GeneralTopic(_Table):
    """What may be asked of any exam, and the sentence that says what this service does not answer.

    `everything` says that the whole report answers it, as far as it is answered.
    """

    name: str
    keywords: Annotated[tuple[str, ...], Field(min_length=1)]
    cannot: str | None = None
    everything: bool = False

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if self.cannot is None and not self.everything:
            raise ValueError(f"the topic {self.name!r} is answered by nothing and says not why")
        return self


class CheckKind(StrEnum):
    """How two results are compared; see `planner.conclusion.checks`."""

    PRESENCE = "presence"
    OVERLAP = "overlap"
    CONTAINMENT = "containment"
    CLASSES = "classes"
    CLASS_PRESENCE = "class_presence"
    BOX_INSIDE = "box_inside"
    PROGRESSION = "progression"
    HEAD_AXES = "head_axes"
    THICKNESS = "thickness"
    BOX_SIZE = "box_size"
    CAVUM_AGE = "cavum_age"


class CheckRow(_Table):
    """Two slots whose results should agree."""

    name: str
    kind: CheckKind
    slots: tuple[Slot, Slot]
    structure: str | None = None
    absent_class: str | None = None
    counterparts: dict[str, str] = {}
    """For two classifiers: what the second calls a class of the first, if its name differs."""


class Protocol(_Table):
    """The protocol of one exam."""

    title: str
    keywords: tuple[str, ...]
    steps: Annotated[tuple[ProtocolStep, ...], Field(min_length=1)]
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    checks: tuple[CheckRow, ...] = ()

    @model_validator(mode="after")
    def _refer_only_to_own_slots(self) -> Self:
        slots = [step.slot for step in self.steps]
        if len(set(slots)) < len(slots):
            raise ValueError(f"a slot has two steps: {slots}")
        for place, step in enumerate(self.steps):
            earlier = {need.slot for need in step.needs} | ({step.roi} if step.roi else set())
            if not earlier <= set(slots[:place]):
                raise ValueError(f"{step.slot} needs a slot that no earlier step fills")
        used = {slot for step in self.steps for slot in step.cross_checks}
        used |= {question.slot for question in self.questions}
        used |= {q.confirmed_by for q in self.questions if q.confirmed_by}
        used |= {slot for check in self.checks for slot in check.slots}
        if not used <= set(slots):
            raise ValueError(f"no step fills {sorted(used - set(slots))}")
        return self

    def closure(self, slots: Iterable[str]) -> frozenset[str]:
        """Return `slots` and all slots that they need."""
        closed = set(slots)
        for step in reversed(self.steps):  # A step needs only earlier steps.
            if step.slot in closed:
                closed |= {need.slot for need in step.needs}
                closed |= {step.roi} if step.roi else set()
        return frozenset(closed)

    def answering(self, questions: Iterable[Question]) -> frozenset[str]:
        """Return the slots that answer and confirm `questions`, and all slots that these need."""
        asked = tuple(questions)
        confirming = {question.confirmed_by for question in asked if question.confirmed_by}
        return self.closure(confirming | {question.slot for question in asked})

    def specialists(self, slots: Iterable[str]) -> tuple[str, ...]:
        """Return all specialists that may fill one of `slots`, in protocol order."""
        wanted = set(slots)
        return tuple(s for step in self.steps if step.slot in wanted for s in step.specialists)

    def label(self, slot: str) -> str:
        """Return the label of the first question answered from `slot`, or else the slot's name."""
        return next((q.label for q in self.questions if q.slot == slot), slot)

    def step(self, slot: str) -> ProtocolStep:
        """Return the step that fills `slot`, which must be one of this protocol's."""
        return next(step for step in self.steps if step.slot == slot)


def folded(text: str) -> str:
    """Return the text in the form in which words are compared: in lower case, on one line."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().replace("’", "'").split())


class Router(_Table):
    """The specialist that recognises the exam."""

    slot: Slot
    specialist: str


class Protocols(_Table):
    """All exams, the router, the words of questions, and the SHA-256 of the table's bytes."""

    negations: tuple[str, ...]
    histories: tuple[str, ...]
    presence: tuple[str, ...]
    everyday: tuple[str, ...]
    topics: tuple[GeneralTopic, ...]
    router: Router
    exams: dict[ExamCode, Protocol]
    sha256: str

    @cached_property
    def owners(self) -> Counter[str]:
        """How many exams each keyword, as `folded`, belongs to."""
        return Counter(
            word
            for exam in self.exams.values()
            for word in {
                folded(keyword)
                for words in (exam.keywords, *(q.keywords for q in exam.questions))
                for keyword in words
            }
        )

    @cached_property
    def steps_sha256(self) -> str:
        """The SHA-256 of what the legal actions follow from: the rules' edition, router and steps.

        A planner that was trained with another one has learnt other choices.
        """
        steps = {
            exam.value: [step.model_dump(mode="json") for step in self.exams[exam].steps]
            for exam in ExamCode
        }
        told = [LEGALITY, self.router.model_dump(mode="json"), steps]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @model_validator(mode="after")
    def _cover_every_exam_with_unique_questions(self) -> Self:
        if missing := [code.value for code in ExamCode if code not in self.exams]:
            raise ValueError(f"no protocol for {missing}")
        ids = [question.id for exam in self.exams.values() for question in exam.questions]
        if len(set(ids)) < len(ids):
            raise ValueError("two questions have the same id")
        return self


@cache
def read_protocols(path: Path = PACKAGE_PROTOCOLS) -> Protocols:
    """Read the protocol table from `path`.

    Raises:
        ProtocolInvalid: the file is unreadable or contradicts itself; the message names the place.
    """
    try:
        content = path.read_bytes()
        table = tomllib.loads(content.decode("utf-8"))
        return Protocols(**table, sha256=hashlib.sha256(content).hexdigest())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ProtocolInvalid(f"The protocols {path} cannot be used: {error}") from error
