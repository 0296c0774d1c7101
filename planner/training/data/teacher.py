"""The teacher: the right plan for an image and a request.

It runs what the protocol requires, or what a request that narrows it names, and what the request
means besides, with the exam and the meaning of the request given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from planner.case import STOP, Case
from planner.plan import Plan, plan_for
from planner.policy import Action, Choice
from planner.protocols import Protocol, Protocols
from planner.training.requests.grammar import Want, Wish
from reports.model import ChosenBy, ExamCode
from reports.provenance import PlannerRef
from specialists.image import Image


@dataclass(frozen=True, kw_only=True)
class Due:
    """The slots that a request asks for of an exam, and the cross-checks that may run besides."""

    needed: frozenset[str]
    allowed: frozenset[str]


NOTHING = Due(needed=frozenset(), allowed=frozenset())


def due(wish: Wish, shown: ExamCode | None, protocols: Protocols) -> Due:
    """Return what `wish` asks for of an image that shows that exam.

    It is nothing where the wish asks for what is not there.
    """
    if shown is None or wish.exam not in {None, shown}:
        return NOTHING
    protocol = protocols.exams[shown]
    own = [question for question in protocol.questions if question.id in wish.items]
    match wish.want:
        case Want.UNSERVED:
            return NOTHING
        case Want.ITEMS:
            return Due(needed=protocol.answering(own), allowed=frozenset()) if own else NOTHING
        case Want.EXCEPT:
            if not own:
                return NOTHING
            required = _required(protocol)
            others = [q for q in protocol.questions if q not in own and q.slot in required]
            return _with_checks(protocol, protocol.answering(others))
        case _:
            return _with_checks(protocol, _required(protocol))


def owing(plan: Plan, wish: Wish, shown: ExamCode | None) -> Due:
    """Return what the plan has to run for `wish` on an image that shows that exam.

    That is what the plan requires, and what the wish asks for besides.
    """
    fits = plan.decision.info.code == shown
    asked = due(wish, shown, plan.case.protocols) if fits else NOTHING
    needed = plan.required | asked.needed
    return Due(needed=needed, allowed=(plan.wanted | asked.allowed) - needed)


def _required(protocol: Protocol) -> frozenset[str]:
    return frozenset(step.slot for step in protocol.steps if step.required)


def _with_checks(protocol: Protocol, needed: frozenset[str]) -> Due:
    checks = {step.slot for step in protocol.steps if needed.intersection(step.cross_checks)}
    return Due(needed=needed, allowed=frozenset(checks) - needed)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The teacher's choice among the legal actions, and what the data dependencies make as good.

    Both hold indices; `target` is None where no legal action would be right.
    """

    target: int | None
    acceptable: tuple[int, ...]


def teach(case: Case, legal: Sequence[Action], wish: Wish, shown: ExamCode | None) -> Lesson:
    """Return the lesson at this point of a case.

    The case's image shows the exam `shown`, or no known exam if it is None.
    """
    if legal[0].slot == case.protocols.router.slot:
        target = next(i for i, action in enumerate(legal) if action.expect == shown)
        return Lesson(target=target, acceptable=(target,))
    owed = owing(plan_for(case), wish, shown)
    stop = next((i for i, action in enumerate(legal) if action.name == STOP), None)
    first: dict[str, int] = {}
    for index, action in enumerate(legal):
        if action.slot is not None:
            first.setdefault(action.slot, index)  # on the detector's box, where there is one
    needed = [index for slot, index in first.items() if slot in owed.needed]
    allowed = [index for slot, index in first.items() if slot in owed.allowed]
    ends = [] if stop is None else [stop]
    if needed:
        return Lesson(target=needed[0], acceptable=(*needed, *allowed))
    options = allowed + ends
    return Lesson(target=options[0] if options else None, acceptable=tuple(options))


class Teacher:
    """A policy that knows what the image shows and what the request means: the upper bound."""

    ref = PlannerRef(id="teacher", sha256="0" * 64)
    sees = True

    def __init__(self, wish: Wish, shown: ExamCode | None) -> None:
        self.wish, self.shown = wish, shown

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Choose the lesson's target; the first legal action where none is right."""
        lesson = teach(case, legal, self.wish, self.shown)
        action = legal[lesson.target or 0]
        return Choice(action=action, chosen_by=ChosenBy.MODEL, margin=1.0, reason="Taught.")
