"""The plan of a case: its legal actions, and why a slot stays open.

Both follow from the manifest, the protocol and the state.
"""

from dataclasses import dataclass
from functools import cached_property

from planner.case import Case
from planner.exam import ExamDecision, decide_exam, installed, not_installed, routed_exams
from planner.policy import STOP_ACTION, Action
from planner.protocols import Condition, Need, Protocol, ProtocolStep, Question
from reports.model import Scope
from specialists.manifest import Roi

NARROWED = "the request asked for other things only"
"""Why a slot stays open that a request with `scope=question` does not ask for."""

OPTIONAL = "it is optional, and was not run"
"""Why a slot stays open that the protocol does not require."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the exam and the request require, and what the state allows the planner to do."""

    case: Case
    decision: ExamDecision

    @cached_property
    def protocol(self) -> Protocol | None:
        """The exam's protocol; None while no exam is known."""
        code = self.decision.info.code
        return None if code is None else self.case.protocols.exams[code]

    @cached_property
    def narrowed(self) -> bool:
        """Whether the request asks for the answer to its question alone, and names a part of it."""
        asked = self.decision.asked
        return self.case.request.scope is Scope.QUESTION and asked is not None and asked.distinct

    @cached_property
    def required(self) -> frozenset[str]:
        """The slots that the exam's protocol requires, whatever a question asks.

        Of a request that narrows the report to its question they are the slots that the question
        asks for, with those that these need.
        """
        asked = self.decision.asked
        if self.protocol is None or asked is None:
            return frozenset()
        if self.narrowed:
            return self.protocol.answering(asked.own)
        return frozenset(step.slot for step in self.protocol.steps if step.required)

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The required slots, those that cross-check them, and those that the question asks for."""
        asked = self.decision.asked
        if self.protocol is None or asked is None or self.narrowed:
            return self.required
        checks = {s.slot for s in self.protocol.steps if self.required.intersection(s.cross_checks)}
        return self.required | checks | self.protocol.answering(asked.own)

    @cached_property
    def considered(self) -> frozenset[str]:
        """The slots that the case is about: wanted, or run because the planner chose them."""
        router = self.case.protocols.router.slot
        return self.wanted | {slot for slot in self.case.state.slots if slot != router}

    def is_due(self, question: Question) -> bool:
        """Return whether the report must answer the question.

        If the request narrows the report, only what it asks for is due; otherwise every question
        of a step that the protocol requires. An optional step is never missed.
        """
        asked = self.decision.asked
        if self.narrowed and asked is not None:
            return question in asked.own
        return question.slot in self.required

    def legal_actions(self) -> tuple[Action, ...]:
        """Return the legal actions in protocol order, `stop` last if it is legal; never empty.

        Before the router has answered, a planner with image input states which exam it expects.
        With a question in words, every step of the exam that can run is legal: it is up to the
        planner to read what the question asks for beside the protocol. `stop` is not legal while a
        required step can still run.
        """
        if self.case.state.stopped or self.decision.refusal:
            return (STOP_ACTION,)
        if not self.decision.routed:
            return self._routing()
        steps = () if self.protocol is None else self.protocol.steps
        actions = tuple(
            action
            for step in steps
            if self.asked_freely or step.slot in self.wanted
            for action in self._actions(step)
        )
        if any(action.slot in self.required for action in actions):
            return actions
        return (*actions, STOP_ACTION)

    @property
    def asked_freely(self) -> bool:
        """Whether the request holds a question in words."""
        return bool((self.case.request.question or "").strip())

    def _routing(self) -> tuple[Action, ...]:
        """Return the router's actions.

        The first states no expected exam. For a planner with image input, one action follows for
        each exam that the router knows.
        """
        router = self.case.protocols.router
        known = routed_exams(self.case.manifest, router.specialist) if self.case.sees else ()
        return tuple(
            Action(name=router.specialist, slot=router.slot, expect=exam) for exam in (None, *known)
        )

    def why_open(self, slot: str) -> str:
        """Return why `slot` of the exam holds no result, as a sentence without its full stop."""
        if self.decision.refusal:
            return "the analysis was refused"
        if slot not in self.considered:
            return NARROWED if self.narrowed else OPTIONAL
        step = self._step(slot)
        records = self.case.state.slots.get(slot, ())
        declined = [record.declined for record in records if record.declined]
        if declined:
            return "; ".join(sentence.rstrip(".") for sentence in declined)
        if not installed(self.case.manifest, step.specialists):
            return not_installed(self.case.manifest, step.specialists)
        need = self._unmet(step)
        if need is None:
            return "the analysis stopped before it" if slot in self.required else OPTIONAL
        if self.case.state.answer(need.slot) is None:
            why = self.why_open(need.slot)
            return f"it follows from {self.label(need.slot)}, which was not assessed: {why}"
        return step.unmet or f"{need.slot} shows nothing"

    def label(self, slot: str) -> str:
        """Return the exam's label for `slot`."""
        return slot if self.protocol is None else self.protocol.label(slot)

    def moot(self, slot: str) -> bool:
        """Return whether `slot` has nothing to answer.

        That is the case if the structure that it depends on was looked for and not found.
        """
        if self.decision.refusal or slot not in self.considered:
            return False
        state, step = self.case.state, self._step(slot)
        need = self._unmet(step)
        asked_of = step.roi if need is None else need.slot
        nothing = asked_of is not None and state.answer(asked_of) is not None
        return nothing and not state.found(slot) and not state.found(asked_of or slot)

    def _step(self, slot: str) -> ProtocolStep:
        steps = () if self.protocol is None else self.protocol.steps
        return next(step for step in steps if step.slot == slot)

    def _actions(self, step: ProtocolStep) -> list[Action]:
        """Return the actions of the step's next specialist.

        There are none if the slot is answered, exhausted or not yet possible.
        """
        state = self.case.state
        if state.answer(step.slot) is not None or self._unmet(step) is not None:
            return []
        return [action for name in self._left(step)[:1] for action in self._on_regions(step, name)]

    def _left(self, step: ProtocolStep) -> list[str]:
        tried = self.case.state.tried(step.slot)
        return [
            name for name in installed(self.case.manifest, step.specialists) if name not in tried
        ]

    def _on_regions(self, step: ProtocolStep, specialist: str) -> list[Action]:
        """Return one action for each region that the specialist may read.

        The detector's box comes first, then the whole image.
        """
        reads = self.case.manifest.specialists[specialist].roi
        boxed = step.roi is not None and self.case.state.box(step.roi) is not None
        regions: list[str | None] = [step.roi] if boxed and reads is not Roi.NONE else []
        if not (boxed and reads is Roi.REQUIRED):
            regions.append(None)
        return [Action(name=specialist, slot=step.slot, roi=region) for region in regions]

    def _needs(self, step: ProtocolStep) -> list[Need]:
        """Return the protocol's needs, then those of the manifest."""
        needs = list(step.needs)
        for name in installed(self.case.manifest, step.specialists):
            entry = self.case.manifest.specialists[name]
            slots = [*entry.requires]
            if entry.roi is Roi.REQUIRED and step.roi is not None:
                slots.append(step.roi)
            needs += [Need(slot=slot, condition=Condition.FOUND) for slot in slots]
        return needs

    def _unmet(self, step: ProtocolStep) -> Need | None:
        return next((need for need in self._needs(step) if not self._met(need)), None)

    def _met(self, need: Need) -> bool:
        match need.condition:
            case Condition.FOUND:
                return self.case.state.found(need.slot)
            case Condition.TRIED:
                return self._closed(need.slot)

    def _closed(self, slot: str) -> bool:
        """Return whether nothing more can be learnt for `slot`."""
        known = self.asked_freely or slot in self.wanted
        if not known or self.case.state.answer(slot) is not None:
            return True
        step = self._step(slot)
        need = self._unmet(step)
        blocked = need is not None and need.condition is Condition.FOUND and self._closed(need.slot)
        return blocked or not self._left(step)


def plan_for(case: Case) -> Plan:
    """Return the plan that follows from the case's records."""
    return Plan(case=case, decision=decide_exam(case))
