"""The answer to every question of the exam: a finding, measurements, or the reason for neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from planner.case import Case, Record, best_class
from planner.conclusion.geometric_checks import cavum_too_early
from planner.conclusion.reliability import Structure, doubts_of, structures_of
from planner.conclusion.seen import evidence_of, of_slot, seen_of
from planner.plan import Plan
from planner.protocols import Answer, Question
from reports.measure.formulas import NUMBERS_OF
from reports.measure.head import MASK as HEAD_MASK
from reports.measure.intervals import Calibrated, Interval, NoInterval
from reports.measure.lesion import Quality, qualities
from reports.measure.marked_scale import scale_error
from reports.measure.numbers import NOT_AVAILABLE, Measured, Seen, assemble
from reports.model import (
    Check,
    Evidence,
    Finding,
    FindingState,
    MaskEvidence,
    Measurement,
    MeasurementState,
)
from reports.wording.phrases import score_text
from specialists.cards.elsewhere import held_by_interval, held_by_sets
from specialists.manifest import MeasuredInterval, SpecialistEntry
from specialists.result import ClassifyResult, DetectResult, RegressResult, SegmentResult

PRESENCE = "presence"
"""The name of the threshold of a detector's score in its manifest entry."""

CAVUM = "box:csp"
"""The slot of the structure that no head shows before a certain size."""

NO_FORMULA = "this version has no formula for it"


class Resolution(Enum):
    """How a question was resolved.

    `MOOT`: what it depends on was looked for and is not there. `UNAVAILABLE`: no image like this
    one can answer it, as no age follows from a length in pixels.
    """

    ANSWERED = auto()
    MOOT = auto()
    UNAVAILABLE = auto()
    OPEN = auto()


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """How a question was resolved, the reason if it was not answered, and the ids that answer."""

    question: Question
    resolution: Resolution
    reason: str | None
    ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The results' part of the report; `resolved` lists every question that it answers.

    `checks` say of each outlined structure whether it is plausible.
    """

    evidence: tuple[Evidence, ...]
    findings: tuple[Finding, ...]
    measurements: tuple[Measurement, ...]
    resolved: tuple[Resolved, ...]
    checks: tuple[Check, ...]


def answers_of(plan: Plan) -> Answers:
    """Return the evidence of every result, and an answer or a reason for every question."""
    evidence = evidence_of(plan.case)
    seen = seen_of(plan, evidence)
    structures = structures_of(plan, seen)
    numbers = _measured(plan, seen, evidence, structures)
    measured = numbers.measurements
    findings: list[Finding] = []
    measurements = list(measured)
    resolved: list[Resolved] = []
    ids: tuple[str, ...]
    for question in _reported(plan):
        if question.kind is Answer.FINDING:
            name = f"f{len(findings) + 1}"
            if question.quality is None:
                finding = _finding(plan, question, name, evidence)
            else:
                described = qualities(seen, question.slot, measured)
                finding = _quality_finding(plan, question, name, described)
            findings.append(finding)
            answered = finding.state is not FindingState.NOT_ASSESSED
            reason, ids = finding.reason, (finding.id,)
        else:
            alike = [item for item in measured if item.name == question.label]
            if not alike:
                unmeasured = _why_unmeasured(plan, question)
                alike = [_gap(question, len(measurements) + 1, unmeasured)]
                measurements += alike
            answered = any(item.state is MeasurementState.MEASURED for item in alike)
            reason, ids = alike[0].reason, tuple(item.id for item in alike)
        resolution = _resolution(plan, question, answered=answered, reason=reason)
        why = None if answered else reason
        resolved.append(Resolved(question=question, resolution=resolution, reason=why, ids=ids))
    return Answers(
        evidence=(*evidence, *numbers.evidence),
        findings=tuple(findings),
        measurements=tuple(measurements),
        resolved=tuple(resolved),
        checks=tuple(structure.check for structure in structures),
    )


def _reported(plan: Plan) -> list[Question]:
    """Return the exam's questions that the report answers.

    What only a stated fact can answer is left out where the request neither states it nor asks.
    """
    asked = plan.decision.asked
    named = () if asked is None else asked.own
    return [
        question
        for question in (() if plan.protocol is None else plan.protocol.questions)
        if question.stated is None
        or plan.case.request.gestational_age is not None
        or question in named
    ]


def _measured(
    plan: Plan, seen: Seen, evidence: Sequence[Evidence], structures: Sequence[Structure]
) -> Measured:
    """Return the measurements of the exam, and the points that they are drawn through."""
    code = plan.decision.info.code
    found = assemble(
        () if code is None else NUMBERS_OF[code](seen),
        first_measurement=1,
        first_evidence=len(evidence) + 1,
        intervals=intervals_of(plan.case),
        doubts=doubts_of(structures, evidence, plan.case),
    )
    questions = () if plan.protocol is None else plan.protocol.questions
    structure = {question.label: question.structure for question in questions}
    return Measured(
        measurements=tuple(
            item.model_copy(update={"structure": structure.get(item.name)})
            for item in found.measurements
        ),
        evidence=found.evidence,
    )


def _quality_finding(
    plan: Plan, question: Question, finding_id: str, described: Sequence[Quality]
) -> Finding:
    """Return what an outline is like, or the reason why that is not known."""
    found = next((item for item in described if item.name == question.quality), None)
    value = None if found is None else found.value
    return Finding(
        id=finding_id,
        label=question.label,
        structure=question.structure,
        state=FindingState.NOT_ASSESSED if value is None else FindingState.FOUND,
        value=value,
        reason=_why_unmeasured(plan, question) if found is None else found.reason,
        evidence=() if found is None else tuple(item.id for item in found.rests_on),
    )


def _finding(
    plan: Plan, question: Question, finding_id: str, evidence: Sequence[Evidence]
) -> Finding:
    items = of_slot(plan, question.slot, evidence)
    outlines = _labelled(of_slot(plan, question.confirmed_by, evidence), question.outlined_as)
    state, reason = _state(plan, question, len(outlines))
    score, label_set, held = None, None, None
    match plan.case.state.result(question.slot):
        case DetectResult() as result:
            score = result.score
            items = [*items, *outlines]
        case SegmentResult():
            items = _labelled(items, question.component)
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
        structure=question.structure,
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
            if result.box is not None and (early := _too_early(plan, question)) is not None:
                return FindingState.NOT_ASSESSED, f"a box was drawn, but {early}"
            return _presence(plan, result, regions if outlines else None)
        case SegmentResult(components=components):
            if any(question.component in {None, part.label} for part in components):
                return FindingState.FOUND, None
            return FindingState.NOT_ASSESSED, question.absent or "the segmentation outlined none"
        case RegressResult(missing=missing) if missing:
            return FindingState.NOT_ASSESSED, f"not located: {', '.join(missing)}"
        case _:
            return FindingState.FOUND, None


def _too_early(plan: Plan, question: Question) -> str | None:
    """Return why the head is too small to show the structure of the question; None: it is not."""
    if question.slot != CAVUM:
        return None
    return cavum_too_early(plan.case.state.result(HEAD_MASK), plan.case)


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


def _gap(question: Question, number: int, reason: str) -> Measurement:
    return Measurement(
        id=f"m{number}",
        name=question.label,
        structure=question.structure,
        state=MeasurementState.NOT_ASSESSED,
        reason=reason,
    )


def _why_unmeasured(plan: Plan, question: Question) -> str:
    if plan.case.state.answer(question.slot) is None:
        return plan.why_open(question.slot)
    if question.stated is not None and plan.case.request.gestational_age is None:
        return f"{NOT_AVAILABLE}: the request states no gestational age."
    if not plan.case.state.found(question.slot) and question.absent:
        return question.absent
    return NO_FORMULA


def _resolution(
    plan: Plan, question: Question, *, answered: bool, reason: str | None
) -> Resolution:
    if answered:
        return Resolution.ANSWERED
    if (reason or "").startswith(NOT_AVAILABLE):
        return Resolution.UNAVAILABLE
    return Resolution.MOOT if plan.moot(question.slot) else Resolution.OPEN


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
        scale_error=scale_error(case.image),
    )
