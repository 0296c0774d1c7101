"""The report that follows from a case: assembled, worded and hashed, the same in any process."""

from collections.abc import Iterable
from dataclasses import dataclass

from planner.case import STOP, Case, Request
from planner.conclusion.answers import Answers, Resolution, Resolved, answers_of
from planner.conclusion.asked import asked_of, findings_in_order, measurements_in_order
from planner.conclusion.checks import checks_of
from planner.errors import HashMissing
from planner.plan import Plan, plan_for
from reports.canonical import content_sha256
from reports.model import Outcome, Report, RequestInfo, StudyRef
from reports.provenance import ModelRef, Provenance
from reports.wording.phrases import clause
from reports.wording.report import word
from specialists.cards.licence import research_only
from specialists.manifest import ModelEntry, SpecialistEntry


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What identifies a report and how it was made, besides its content."""

    report_id: str
    analysis_id: str
    version: int
    supersedes: str | None
    external_id: str | None
    created_at: str
    code_version: str
    runtime: str
    study_id: str | None = None


def conclude(case: Case, identity: Identity) -> Report:
    """Return the worded report of the case.

    Raises:
        HashMissing: the manifest states no SHA-256 for a model that was used.
    """
    plan = plan_for(case)
    answers = answers_of(plan)
    outcome, reason = _outcome(plan, answers)
    provenance = Provenance(
        code_version=identity.code_version,
        runtime=identity.runtime,
        models=_models(case),
        planner=case.planner,
        content_sha256="",
        research_only=_research_only(case),
    )
    asked = asked_of(plan, answers)
    report = word(
        Report(
            report_id=identity.report_id,
            analysis_id=identity.analysis_id,
            version=identity.version,
            supersedes=identity.supersedes,
            created_at=identity.created_at,
            study=None if identity.study_id is None else StudyRef(id=identity.study_id),
            external_id=identity.external_id,
            outcome=outcome,
            reason=reason,
            request=_request(case.request),
            exam=plan.decision.info,
            image=case.image,
            findings=findings_in_order(answers.findings, asked),
            measurements=measurements_in_order(answers.measurements, asked),
            evidence=answers.evidence,
            steps=tuple(record.step for record in case.records),
            checks=(*checks_of(plan), *answers.checks),
            provenance=provenance,
        ),
        asked=asked,
    )
    hashed = provenance.model_copy(update={"content_sha256": content_sha256(report)})
    return report.model_copy(update={"provenance": hashed})


def _research_only(case: Case) -> str | None:
    """Return which of the weights used are for research only, and why; None if none are."""
    used: dict[str, ModelEntry | SpecialistEntry] = {}
    for entry in _ran(case):
        if (backbone := case.manifest.models.get(entry.model)) is not None:
            used[backbone.id] = backbone
        used[entry.id] = entry
    reasons = [research_only(used.values(), case.manifest)]
    if case.planner.research_only:
        planner = f"the weights of the planner {case.planner.id}"
        reasons.append(f"{planner} may be used for research only, by their own licence")
    return "; ".join(reason for reason in reasons if reason is not None) or None


def _request(request: Request) -> RequestInfo:
    details = request.details
    return RequestInfo(
        exam=request.exam,
        question_given=bool((request.question or "").strip()),
        scope=request.scope,
        frame=request.frame,
        label=details.label,
        study=details.study,
        laterality=details.laterality,
        site=details.site,
        indication=details.indication,
        gestational_age=details.gestational_age,
        operator=details.operator,
    )


def _outcome(plan: Plan, answers: Answers) -> tuple[Outcome, str | None]:
    """Return whether all, some or none was answered that this image could have; and why not all."""
    if plan.decision.refusal:
        return Outcome.REFUSED, plan.decision.refusal
    due = [item for item in answers.resolved if plan.is_due(item.question)]
    open_ones = [item for item in due if item.resolution is Resolution.OPEN]
    if not open_ones:
        return Outcome.REPORTED, None
    answered = any(item.resolution is Resolution.ANSWERED for item in due)
    outcome = Outcome.PARTIAL if answered else Outcome.REFUSED
    return outcome, f"Not answered: {_by_reason(open_ones)}."


def _by_reason(open_ones: Iterable[Resolved]) -> str:
    labels: dict[str, list[str]] = {}
    for item in open_ones:
        labels.setdefault((item.reason or "").rstrip("."), []).append(item.question.label)
    return "; ".join(
        f"{', '.join(names)}, because {clause(reason)}" for reason, names in labels.items()
    )


def _models(case: Case) -> tuple[ModelRef, ...]:
    """Return every backbone and specialist that ran, with its hash, in the order of the steps."""
    models: dict[str, str | None] = {}
    for record in case.records:
        if record.step.action == STOP:
            continue
        entry = case.manifest.specialist(record.step.action)
        backbone = case.manifest.models.get(entry.model)
        models[entry.model] = entry.backbone_sha256 or (backbone.sha256 if backbone else None)
        models[entry.id] = record.result.sha256 if record.result else entry.sha256
    return tuple(_ref(name, sha256) for name, sha256 in models.items())


def _ran(case: Case) -> list[SpecialistEntry]:
    actions = dict.fromkeys(record.step.action for record in case.records)
    return [case.manifest.specialist(action) for action in actions if action != STOP]


def _ref(name: str, sha256: str | None) -> ModelRef:
    if sha256 is None:
        raise HashMissing(f"The manifest names no SHA-256 for {name!r}, which took part.")
    return ModelRef(id=name, sha256=sha256)
