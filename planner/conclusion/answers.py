"""The answer to every question of the exam: a finding, measurements, or the reason for neither."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from planner.case import Case, Record, best_class
from planner.plan import Plan
from planner.protocols import Answer, Question
from reports.measure.formulas import NUMBERS_OF
from reports.measure.intervals import Calibrated, Interval, NoInterval
from reports.measure.numbers import Measured, Number, Seen, assemble
from reports.model import (
    Evidence,
    Finding,
    FindingState,
    MaskEvidence,
    Measurement,
    MeasurementState,
)
from reports.wording import score_text
from specialists.cards.elsewhere import held_by_interval, held_by_sets
from specialists.evidence import evidence_of_result
from specialists.manifest import MeasuredInterval, SpecialistEntry
from specialists.result import ClassifyResult, DetectResult, RegressResult, SegmentResult

PRESENCE = "presence"
"""The name of the threshold of a detector's score in its manifest entry."""

NO_FORMULA = "this version has no formula for it"


class Resolution(Enum):
    """How a question was resolved; `MOOT`: what it depends on was looked for and is not there."""

    ANSWERED = auto()
    MOOT = auto()
    OPEN = auto()


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """How a question was resolved, and the reason if it was not answered."""

    label: str
    resolution: Resolution
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The results' part of the report; `resolved` lists what the request requires."""

    evidence: tuple[Evidence, ...]
    findings: tuple[Finding, ...]
    measurements: tuple[Measurement, ...]
    resolved: tuple[Resolved, ...]


def answers_of(plan: Plan) -> Answers:
    """Return the evidence of every result, and an answer or a reason for every question."""
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
    """Return the measurements of the exam, and the points that they are drawn through."""
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
    """Return the outlines with that label, or all outlines if it is None."""
    return [i for i in items if isinstance(i, MaskEvidence) and label in {None, i.label}]


def _state(plan: Plan, question: Question, outlines: int) -> tuple[FindingState, str | None]:
    """Return whether the structure is present, as far as its slot and its confirming mask show."""
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
    """Return what a box or "no box" means.

    "No box" proves nothing if a mask contradicts it or if the detector never learnt absence.
    """
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
    """Return in words the score from which a box counts as found; None without a threshold.

    The presence score cannot be interpreted without it.
    """
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
    """Add what the question asks of another exam, as not assessed."""
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


def evidence_of(records: Iterable[Record]) -> tuple[Evidence, ...]:
    """Return the evidence of all results, numbered `e1`, `e2`, ….

    It is a box, a mask per component, points or scores; a result that shows nothing has no
    evidence.
    """
    evidence: list[Evidence] = []
    for record in records:
        step, first = record.step.index, len(evidence) + 1
        evidence += evidence_of_result(record.result, step=step, first=first)
    return tuple(evidence)


def intervals_of(case: Case) -> dict[str, Calibrated]:
    """Return the intervals by measurement name, from the manifest entries that answered."""
    return {
        item.measurement: _calibrated(item, entry, record, case)
        for records in case.state.slots.values()
        for record in records
        if record.result is not None
        for entry in (case.manifest.specialists[record.step.action],)
        for item in entry.intervals
    }


def _calibrated(
    item: MeasuredInterval, entry: SpecialistEntry, record: Record, case: Case
) -> Calibrated:
    """Return the interval, unless it was calibrated with other weights than those that answered."""
    if item.low is None or item.high is None:
        return NoInterval(reason=item.reason or "its calibration gave none")
    if record.result is None or record.result.sha256 != entry.sha256:
        return NoInterval(reason=f"{entry.id} was replaced after it answered")
    for name, sha256 in item.calibrated_with.items():
        other = case.manifest.specialists.get(name)
        if other is None or other.sha256 != sha256:
            return NoInterval(reason=f"it was calibrated together with another {name}")
    return Interval(
        form=item.form,
        low=item.low,
        high=item.high,
        coverage=item.level,
        elsewhere=held_by_interval(entry, item.measurement),
    )
