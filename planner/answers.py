"""Every question of the exam answered: by a finding, by measurements, or by the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from planner.case import best_class
from planner.evidence import evidence_of
from planner.intervals import intervals_of
from planner.legal import Plan
from planner.protocols import Answer, Question
from reports.formulas import NUMBERS_OF
from reports.measure import Measured, Number, Seen, assemble
from reports.model import (
    Evidence,
    Finding,
    FindingState,
    MaskEvidence,
    Measurement,
    MeasurementState,
)
from reports.wording import score_text
from specialists.elsewhere import held_by_sets
from specialists.result import ClassifyResult, DetectResult, RegressResult, SegmentResult

PRESENCE = "presence"
"""The threshold of a detector's score in its manifest entry."""

NO_FORMULA = "this version has no formula for it"


class Resolution(Enum):
    """How a question came out; `MOOT`: what it is asked of was looked for and is not there."""

    ANSWERED = auto()
    MOOT = auto()
    OPEN = auto()


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """How a question came out, and the reason of an open one."""

    label: str
    resolution: Resolution
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the report holds of the results; `resolved` lists what the request requires."""

    evidence: tuple[Evidence, ...]
    findings: tuple[Finding, ...]
    measurements: tuple[Measurement, ...]
    resolved: tuple[Resolved, ...]


def answers_of(plan: Plan) -> Answers:
    """Evidence of every result, and an answer or a reason for every question asked of the exam."""
    evidence = evidence_of(plan.case.records)
    numbers = _measured(plan, evidence)
    measured = numbers.measurements
    findings: list[Finding] = []
    measurements = list(measured)
    resolved: list[Resolved] = []
    for question in () if plan.protocol is None else plan.protocol.questions:
        if question.kind is Answer.FINDING:
            finding = _finding(plan, question, f"f{len(findings) + 1}", evidence)
            findings.append(finding)
            answered = finding.state is not FindingState.NOT_ASSESSED
            reason = finding.reason
        else:
            alike = [item for item in measured if item.name == question.label]
            if not alike:
                alike = [
                    _gap(question.label, len(measurements) + 1, _why_unmeasured(plan, question))
                ]
                measurements += alike
            answered = any(item.state is MeasurementState.MEASURED for item in alike)
            reason = alike[0].reason
        if plan.is_due(question):
            resolved.append(_resolve(plan, question, answered=answered, reason=reason))
    _add_foreign(plan, findings, measurements, resolved)
    return Answers(
        evidence=(*evidence, *numbers.evidence),
        findings=tuple(findings),
        measurements=tuple(measurements),
        resolved=tuple(resolved),
    )


def _measured(plan: Plan, evidence: Sequence[Evidence]) -> Measured:
    """The measurements of the exam, and the points that they are drawn through."""
    code = plan.decision.info.code
    steps = () if plan.protocol is None else plan.protocol.steps
    numbers: Sequence[Number] = ()
    if code is not None:
        seen = Seen(
            image=plan.case.image,
            evidence={step.slot: _of_slot(plan, step.slot, evidence) for step in steps},
            scanned=plan.case.scanned,
        )
        numbers = NUMBERS_OF[code](seen)
    return assemble(
        numbers,
        first_measurement=1,
        first_evidence=len(evidence) + 1,
        intervals=intervals_of(plan.case),
    )


def _of_slot(plan: Plan, slot: str | None, evidence: Sequence[Evidence]) -> list[Evidence]:
    record = None if slot is None else plan.case.state.answer(slot)
    return [] if record is None else [e for e in evidence if e.step == record.step.index]


def _finding(
    plan: Plan, question: Question, finding_id: str, evidence: Sequence[Evidence]
) -> Finding:
    items = _of_slot(plan, question.slot, evidence)
    outlines = _labelled(_of_slot(plan, question.confirmed_by, evidence), question.outlined_as)
    state, reason = _state(plan, question, len(outlines))
    score, label_set, held = None, None, None
    match plan.case.state.result(question.slot):
        case DetectResult() as result:
            score = result.score
            items = [*items, *outlines]
        case SegmentResult():
            items = _labelled(items, question.structure)
        case ClassifyResult() as result:
            score = result.scores[question.score_of or best_class(result)]
            label_set = result.label_set
            if label_set is not None:
                held = held_by_sets(plan.case.manifest.specialist(result.specialist))
        case None:
            items = outlines
        case _:
            pass
    return Finding(
        id=finding_id,
        label=question.label,
        state=state,
        reason=reason,
        score=score,
        label_set=label_set,
        held_elsewhere=held,
        evidence=tuple(item.id for item in items),
    )


def _labelled(items: Sequence[Evidence], label: str | None) -> list[Evidence]:
    """The outlines of that label, all of them where it is None."""
    return [i for i in items if isinstance(i, MaskEvidence) and label in {None, i.label}]


def _state(plan: Plan, question: Question, outlines: int) -> tuple[FindingState, str | None]:
    """Whether the structure is there, as far as its slot and the mask that confirms it tell."""
    regions = f"the segmentation outlined {outlines} region{'s' if outlines > 1 else ''}"
    match plan.case.state.result(question.slot):
        case None:
            why = plan.why_open(question.slot)
            return FindingState.NOT_ASSESSED, f"{why}; {regions}" if outlines else why
        case DetectResult() as result:
            return _presence(plan, result, regions if outlines else None)
        case SegmentResult(components=components):
            if any(question.structure in {None, part.label} for part in components):
                return FindingState.FOUND, None
            return FindingState.NOT_ASSESSED, question.absent or "the segmentation outlined none"
        case RegressResult(missing=missing) if missing:
            return FindingState.NOT_ASSESSED, f"not located: {', '.join(missing)}"
        case _:
            return FindingState.FOUND, None


def _presence(
    plan: Plan, result: DetectResult, regions: str | None
) -> tuple[FindingState, str | None]:
    """What a box or "no box" means: the latter nothing when a mask contradicts it or absence was never learnt."""
    least = _counts_from(plan, result)
    if result.box is not None:
        return FindingState.FOUND, least and f"it {least}"
    if regions is not None:
        asked = f"; one {least}" if least else ""
        return FindingState.NOT_ASSESSED, (
            f"the detector found none (presence score {score_text(result.score)}{asked}), "
            f"but {regions}: the two disagree"
        )
    if not result.absence_known:
        return FindingState.NOT_ASSESSED, (
            "the detector drew no box, but its training had no images without one, "
            "so that it cannot tell absence"
        )
    return FindingState.NOT_FOUND, least and f"it {least}"


def _counts_from(plan: Plan, result: DetectResult) -> str | None:
    """The presence score that makes a finding, without which the score cannot be read."""
    least = plan.case.manifest.specialists[result.specialist].thresholds.get(PRESENCE)
    return None if least is None else f"counts as found from {score_text(least.value)}"


def _gap(label: str, number: int, reason: str) -> Measurement:
    return Measurement(
        id=f"m{number}", name=label, state=MeasurementState.NOT_ASSESSED, reason=reason
    )


def _why_unmeasured(plan: Plan, question: Question) -> str:
    if plan.case.state.answer(question.slot) is None:
        return plan.why_open(question.slot)
    if not plan.case.state.found(question.slot) and question.absent:
        return question.absent
    return NO_FORMULA


def _resolve(plan: Plan, question: Question, *, answered: bool, reason: str | None) -> Resolved:
    if answered:
        return Resolved(label=question.label, resolution=Resolution.ANSWERED, reason=None)
    resolution = Resolution.MOOT if plan.moot(question.slot) else Resolution.OPEN
    return Resolved(label=question.label, resolution=resolution, reason=reason)


def _add_foreign(
    plan: Plan,
    findings: list[Finding],
    measurements: list[Measurement],
    resolved: list[Resolved],
) -> None:
    """Adds what the question asks of another exam, as not assessed."""
    asked = plan.decision.asked
    for code, question in () if asked is None else asked.foreign:
        if question is None:
            continue
        title = plan.case.protocols.exams[code].title
        reason = f"it belongs to {title}, and the image was taken as {plan.decision.info.title}"
        if question.kind is Answer.FINDING:
            findings.append(
                Finding(
                    id=f"f{len(findings) + 1}",
                    label=question.label,
                    state=FindingState.NOT_ASSESSED,
                    reason=reason,
                )
            )
        else:
            measurements.append(_gap(question.label, len(measurements) + 1, reason))
        resolved.append(Resolved(label=question.label, resolution=Resolution.OPEN, reason=reason))
