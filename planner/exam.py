"""The exam that the image is taken for, or the reason to refuse it before the protocol starts."""

from dataclasses import dataclass, replace

from planner.case import EXPECT, Case, best_class
from planner.errors import ThresholdMissing
from planner.protocols import Protocols
from planner.question import UNMATCHED, Asked, read_question
from reports.model import ChosenBy, Colour, ExamCode, ExamInfo
from reports.wording import clause, score_text
from specialists.admission.limits import REFUSED, UNNAMED, limit_of
from specialists.manifest import Manifest
from specialists.result import ClassifyResult

ACCEPT = "accept"
CONTRADICTION = "contradiction"
UNRECOGNISED = "Exam not recognised"
COLOUR_REFUSED = (
    "The image holds colour, as in colour Doppler or a colour overlay; "
    "only 2D grey-scale tissue is analysed. It would need the same view without colour."
)

LIKE_TRAINING = "It would need a 2D grey-scale ultrasound image of one of the exams that are known."


@dataclass(frozen=True, kw_only=True)
class ExamDecision:
    """The exam so far; `refusal` says why nothing more is run, `routed` whether the router ran."""

    info: ExamInfo
    refusal: str | None = None
    routed: bool = True
    asked: Asked | None = None


def check_thresholds(manifest: Manifest, router: str) -> None:
    """Check that an installed router states both thresholds.

    Raises:
        ThresholdMissing: a threshold is missing; the message names the entry and the threshold.
    """
    for name in (ACCEPT, CONTRADICTION):
        entry = manifest.specialists.get(router)
        if entry is not None and entry.installed:
            _threshold(manifest, router, name)


def routed_exams(manifest: Manifest, router: str) -> tuple[ExamCode, ...]:
    """Return the exams that the router distinguishes, in the order of its labels.

    The result is empty if the router is not in the manifest.
    """
    entry = manifest.specialists.get(router)
    known = {exam.value: exam for exam in ExamCode}
    return () if entry is None else tuple(known[label] for label in entry.labels if label in known)


def decide_exam(case: Case) -> ExamDecision:
    """Return the exam of the case, as far as its records determine it."""
    requested = case.request.exam
    if requested is not None and (why := unserved(requested, case.protocols, case.manifest)):
        return ExamDecision(info=_exam_info(case, requested, None), refusal=why)
    if case.image.not_analysed is not None:
        info = _exam_info(case, case.request.exam, None)
        return ExamDecision(info=info, refusal=case.image.not_analysed)
    if case.image.colour is Colour.COLOUR:
        return ExamDecision(info=_exam_info(case, case.request.exam, None), refusal=COLOUR_REFUSED)
    decision = _route(case)
    if decision.refusal or not decision.routed or decision.info.code is None:
        return decision
    return _fit_question(case, decision, decision.info.code)


def not_installed(manifest: Manifest, specialists: tuple[str, ...]) -> str:
    """Return those of `specialists` without weights, as part of a sentence with the reasons.

    The reasons are the manifest's.
    """
    return "; ".join(
        ", ".join(names) + (f" ({reason.rstrip('.')})" if reason else "")
        for reason, names in _without_weights(manifest, specialists).items()
    )


def unserved(code: ExamCode, protocols: Protocols, manifest: Manifest) -> str | None:
    """Return why the exam is refused by name, or None if it is served.

    An exam is refused by name if none of the specialists for its required slots is installed.
    """
    protocol = protocols.exams[code]
    required = [step.slot for step in protocol.steps if step.required]
    if installed(manifest, protocol.specialists(required)):
        return None
    every = protocol.specialists(step.slot for step in protocol.steps)
    missing = "; ".join(
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not installed"
        + (f" ({clause(reason)})" if reason else "")
        for reason, names in _without_weights(manifest, every).items()
    )
    return f"{protocol.title} is not served here: {missing}."


def _without_weights(
    manifest: Manifest, specialists: tuple[str, ...]
) -> dict[str | None, list[str]]:
    """Return those of `specialists` without weights, grouped by the manifest's reason."""
    there = installed(manifest, specialists)
    by_reason: dict[str | None, list[str]] = {}
    for name in specialists:
        if name not in there:
            entry = manifest.specialists.get(name)
            by_reason.setdefault(entry.not_installed if entry else None, []).append(name)
    return by_reason


def installed(manifest: Manifest, specialists: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `specialists` that have weights."""
    entries = manifest.specialists
    return tuple(s for s in specialists if s in entries and entries[s].installed)


def _threshold(manifest: Manifest, specialist: str, name: str) -> float:
    try:
        return manifest.specialists[specialist].thresholds[name].value
    except KeyError:
        raise ThresholdMissing(
            f"The manifest entry {specialist!r} states no threshold {name!r}; it has no default."
        ) from None


def _exam_info(
    case: Case, code: ExamCode | None, score: float | None, *, requested: bool | None = None
) -> ExamInfo:
    named = case.request.exam is not None and code == case.request.exam
    by_request = named if requested is None else requested
    return ExamInfo(
        code=code,
        title=UNRECOGNISED if code is None else case.protocols.exams[code].title,
        chosen_by="request" if by_request else "image",
        score=score,
    )


def _route(case: Case) -> ExamDecision:
    router, requested = case.protocols.router, case.request.exam
    record = next(iter(case.state.slots.get(router.slot, ())), None)
    if record is None:
        if installed(case.manifest, (router.specialist,)):
            return ExamDecision(info=_exam_info(case, requested, None), routed=False)
        why = f"the router is not installed: {not_installed(case.manifest, (router.specialist,))}"
    elif isinstance(record.result, ClassifyResult):
        return _judge(case, record.result)
    else:
        why = (record.declined or "").rstrip(".")
    info = _exam_info(case, requested, None)
    if record is not None:
        what = (
            "No exam was recognised"
            if requested is None
            else f"The image was not taken as {requested.value}, which the request names"
        )
        return ExamDecision(info=info, refusal=f"{what}, since {why}. {LIKE_TRAINING}")
    if requested is None:
        return ExamDecision(
            info=info, refusal=f"No exam was recognised, since {why}. Name the exam in the request."
        )
    return ExamDecision(info=info)


def best_exam(result: ClassifyResult) -> tuple[ExamCode, float]:
    """Return the router's best exam and its score."""
    label = best_class(result)
    return ExamCode(label), result.scores[label]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The exam that a planner with image input expected before the router answered.

    `exam` is None if the planner expected no known exam.
    """

    exam: ExamCode | None


def exam_seen(case: Case) -> Seen | None:
    """Return the exam that the planner expected, or None if it stated no expectation.

    None is returned before the router has run, and where the vision-language planner was not the
    one that chose to run it.
    """
    record = next(iter(case.state.slots.get(case.protocols.router.slot, ())), None)
    if record is None or record.step.chosen_by is not ChosenBy.LLAVA:
        return None
    expected = record.step.parameters.get(EXPECT)
    return Seen(exam=None if expected is None else ExamCode(expected))


def _disagreement(case: Case, code: ExamCode, score: float) -> str | None:
    """Return why the image is refused although the router is sure, or None.

    If the request names no exam, the image is refused where planner and router see different ones.
    """
    seen = exam_seen(case)
    if seen is None or seen.exam == code:
        return None
    took = "no known exam" if seen.exam is None else seen.exam.value
    return (
        f"The router recognised {code.value} with a score of {score_text(score)}, "
        f"but the planner saw {took} in the image. If the exam is known, name it in the request."
    )


def _judge(case: Case, result: ClassifyResult) -> ExamDecision:
    router, requested = case.protocols.router.specialist, case.request.exam
    code, score = best_exam(result)
    reason = _far(case, result, code if requested is None else requested)
    if reason is not None and requested is None:
        return ExamDecision(info=_exam_info(case, None, score), refusal=reason)
    if requested is None:
        accept = _threshold(case.manifest, router, ACCEPT)
        if score < accept:
            return ExamDecision(
                info=_exam_info(case, None, score),
                refusal=(
                    f"No exam was recognised: the best router score is {score_text(score)} for "
                    f"{code.value}, below the {accept:.2f} that is asked for. "
                    "If the exam is known, name it in the request."
                ),
            )
        info = _exam_info(case, code, score)
        return ExamDecision(info=info, refusal=_disagreement(case, code, score))
    if requested.value not in result.scores:  # The router has no such class.
        return ExamDecision(info=_exam_info(case, requested, None))
    contradiction = _threshold(case.manifest, router, CONTRADICTION)
    if code != requested and score >= contradiction:
        served = unserved(code, case.protocols, case.manifest) is None
        other = f", or a request for {code.value}" if served else ""
        return ExamDecision(
            info=_exam_info(case, code, score),
            refusal=(
                f"The request names {requested.value}, but the image was recognised as "
                f"{code.value} with a router score of {score_text(score)} "
                f"(contradiction from {contradiction:.2f}). "
                f"It would need an image of the requested exam{other}."
            ),
        )
    info = _exam_info(case, requested, result.scores.get(requested.value))
    return ExamDecision(info=info, refusal=reason)


def _far(case: Case, result: ClassifyResult, code: ExamCode) -> str | None:
    """Return why the image cannot show that exam, however sure the router is; None if it may."""
    entry = case.manifest.specialists[case.protocols.router.specialist]
    model = case.manifest.models.get(entry.model)
    named = case.request.exam is not None
    distance = (result.exam_distances or {}).get(code.value)
    if model is None or distance is None:
        return None
    limit = limit_of(model, REFUSED if named else UNNAMED, code.value)
    if distance <= limit:
        return None
    apart = f"(distance {distance:.2f}, limit {limit:.2f})"
    title = case.protocols.exams[code].title
    if named:
        return (
            f"The request names {code.value}, but the image does not look like {title}, whatever "
            f"the scanner {apart}. It would need an image of the requested exam."
        )
    return (
        "No exam was recognised: the image seems to show none of those that are known. The nearest "
        f"is {title}, but the image is too far from its images {apart}. If the exam is known, name "
        "it in the request."
    )


def _fit_question(case: Case, decision: ExamDecision, code: ExamCode) -> ExamDecision:
    asked = read_question(case.request.question, code, case.protocols)
    protocol = case.protocols.exams[code]
    if why := unserved(code, case.protocols, case.manifest):
        return replace(decision, asked=asked, refusal=why)
    if not asked.own and not _left_to_planner(case):
        refusal = _foreign_refusal(case, asked, decision.info.title)
        return replace(decision, asked=asked, refusal=refusal)
    if not asked.own and case.state.stopped:
        asked = Asked(own=protocol.questions, note=UNMATCHED)
    decision = replace(decision, asked=asked)
    asks = asked.own or protocol.questions
    slots = {question.slot for question in asks if protocol.step(question.slot).required}
    specialists = protocol.specialists(protocol.closure(slots))
    if not installed(case.manifest, specialists):
        return replace(
            decision,
            refusal=(
                f"What is asked of {protocol.title} is not served here. "
                "It would need specialists that are not installed: "
                f"{not_installed(case.manifest, specialists)}."
            ),
        )
    return decision


def _left_to_planner(case: Case) -> bool:
    """Return whether the question is left to a planner that reads it.

    That is the case if the policy uses the image and either has run a specialist or has not stopped
    yet: it may find more in the question than keywords of other exams.
    """
    ran = any(slot != case.protocols.router.slot for slot in case.state.slots)
    return case.sees and (ran or not case.state.stopped)


def foreign_label(case: Case, code: ExamCode, question_label: str | None) -> str:
    """Return in words what a question asks for from another exam."""
    title = case.protocols.exams[code].title
    return title if question_label is None else f"{question_label} ({title})"


def _foreign_refusal(case: Case, asked: Asked, title: str) -> str:
    labels = "; ".join(
        foreign_label(case, code, question.label if question else None)
        for code, question in asked.foreign
    )
    wanted: list[str] = []
    for code, question in asked.foreign:
        protocol = case.protocols.exams[code]
        asks = protocol.questions if question is None else (question,)
        wanted += protocol.specialists(protocol.closure(q.slot for q in asks))
    gap = not_installed(case.manifest, tuple(dict.fromkeys(wanted)))
    needs = f" and specialists that are not installed: {gap}" if gap else ""
    return (
        f"The question asks for {labels}, but the image was taken as {title}. "
        f"It would need an image of that exam{needs}."
    )
