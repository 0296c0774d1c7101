"""The exam that the image is taken for, or the reason to refuse it before the protocol starts."""

from dataclasses import dataclass, replace

from planner.case import EXPECT, Case, best_class
from planner.errors import ThresholdMissing
from planner.protocols import Protocols
from planner.question import Reading, read_question
from reports.model import ChosenBy, Colour, ExamCode, ExamInfo
from reports.wording.phrases import clause, score_text
from specialists.admission.limits import REFUSED, UNNAMED, limit_of
from specialists.manifest import Manifest
from specialists.result import ClassifyResult

ACCEPT = "accept"
CONTRADICTION = "contradiction"
UNRECOGNISED = "Exam not recognised"
COLOUR_REFUSED = (
    "The image holds colour, as in colour Doppler or a colour overlay, and only 2D grey-scale "
    "tissue is analysed. Send the same view without colour."
)

SEND_KNOWN = "Send a 2D grey-scale ultrasound image of one of the exams that are known."
NAME_IT = "If the exam is known, name it in the request."


@dataclass(frozen=True, kw_only=True)
class ExamDecision:
    """The exam so far; `routed` says whether the router ran.

    `refusal` says in one sentence why nothing more is run, and in another what to do; `because` are
    the scores, limits and specialists behind it, as a clause for how the report was made. `asked`
    is what the question asks of the exam; None while no exam is known.
    """

    info: ExamInfo
    refusal: str | None = None
    because: str | None = None
    routed: bool = True
    asked: Reading | None = None


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
        because = _missing(requested, case.protocols, case.manifest)
        info = _exam_info(case, requested, None)
        return ExamDecision(info=info, refusal=why, because=because)
    if case.image.not_analysed is not None:
        info = _exam_info(case, case.request.exam, None)
        return ExamDecision(info=info, refusal=case.image.not_analysed)
    if case.image.colour is Colour.COLOUR:
        return ExamDecision(info=_exam_info(case, case.request.exam, None), refusal=COLOUR_REFUSED)
    decision = _route(case)
    if decision.refusal or not decision.routed or decision.info.code is None:
        return decision
    return _fit_question(case, decision, decision.info.code)


def served_exams(manifest: Manifest, protocols: Protocols) -> tuple[ExamCode, ...]:
    """Return the exams that the router distinguishes, without those that are refused by name."""
    routed = routed_exams(manifest, protocols.router.specialist)
    return tuple(exam for exam in routed if unserved(exam, protocols, manifest) is None)


def not_installed(manifest: Manifest, specialists: tuple[str, ...]) -> str:
    """Return that `specialists` have no weights, as a clause with the manifest's reasons."""
    reasons = [clause(reason) for reason in _without_weights(manifest, specialists) if reason]
    return "what answers it is not installed here" + (f" ({'; '.join(reasons)})" if reasons else "")


def unserved(code: ExamCode, protocols: Protocols, manifest: Manifest) -> str | None:
    """Return why the exam is refused by name, or None if it is served.

    An exam is refused by name if none of the specialists for its required slots is installed.
    """
    protocol = protocols.exams[code]
    required = [step.slot for step in protocol.steps if step.required]
    if installed(manifest, protocol.specialists(required)):
        return None
    every = protocol.specialists(step.slot for step in protocol.steps)
    reasons = [clause(reason) for reason in _without_weights(manifest, every) if reason]
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{protocol.title} is not served here: its specialists are not installed{why}. "
        "Send an image of an exam that is served, or have them installed."
    )


def _missing(code: ExamCode, protocols: Protocols, manifest: Manifest) -> str:
    """Return which specialists the exam lacks, as a clause."""
    protocol = protocols.exams[code]
    every = protocol.specialists(step.slot for step in protocol.steps)
    there = installed(manifest, every)
    return f"not installed: {', '.join(name for name in every if name not in there)}"


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
    info = _exam_info(case, requested, None)
    if record is None:
        if installed(case.manifest, (router.specialist,)):
            return ExamDecision(info=info, routed=False)
        if requested is not None:
            return ExamDecision(info=info)
        refusal = (
            "No exam was recognised: what recognises exams is not installed here. "
            "Name the exam in the request."
        )
        return ExamDecision(
            info=info, refusal=refusal, because=f"not installed: {router.specialist}"
        )
    if isinstance(record.result, ClassifyResult):
        return _judge(case, record.result)
    what = "No exam was recognised"
    if requested is not None:
        what = f"The image was not taken as {_named(case, requested)}, which the request names"
    why = (record.declined or "").rstrip(".")
    return ExamDecision(info=info, refusal=f"{what}, since {why}. {SEND_KNOWN}")


def _named(case: Case, code: ExamCode) -> str:
    """Return the exam's title to stand in a sentence."""
    return clause(case.protocols.exams[code].title)


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
    if record is None or record.step.chosen_by is not ChosenBy.MODEL:
        return None
    expected = record.step.parameters.get(EXPECT)
    return Seen(exam=None if expected is None else ExamCode(expected))


def _disagreement(case: Case, code: ExamCode, score: float) -> ExamDecision | None:
    """Return the refusal of an image although the router is sure, or None.

    If the request names no exam, the image is refused where planner and router see different ones.
    """
    seen = exam_seen(case)
    if seen is None or seen.exam == code:
        return None
    took = "no exam that is known" if seen.exam is None else _named(case, seen.exam)
    return ExamDecision(
        info=_exam_info(case, code, score),
        refusal=(
            f"The exam is uncertain: the image was recognised as {_named(case, code)}, and another "
            f"reading of it saw {took}. {NAME_IT}"
        ),
        because=(
            f"the router's score for {code.value} is {score_text(score)}; the planner saw {took}"
        ),
    )


def _judge(case: Case, result: ClassifyResult) -> ExamDecision:
    router, requested = case.protocols.router.specialist, case.request.exam
    code, score = best_exam(result)
    far = _far(case, result, code if requested is None else requested)
    if requested is None:
        if far is not None:
            return replace(far, info=_exam_info(case, None, score))
        accept = _threshold(case.manifest, router, ACCEPT)
        if score < accept:
            return ExamDecision(
                info=_exam_info(case, None, score),
                refusal=(
                    f"No exam was recognised: the image may be {_named(case, code)}, which is not "
                    f"sure enough. {NAME_IT}"
                ),
                because=(
                    f"the router's best score is {score_text(score)} for {code.value}, below the "
                    f"{accept:.2f} that is asked for"
                ),
            )
        differs = _disagreement(case, code, score)
        return differs or ExamDecision(info=_exam_info(case, code, score))
    if requested.value not in result.scores:  # The router has no such class.
        return ExamDecision(info=_exam_info(case, requested, None))
    contradiction = _threshold(case.manifest, router, CONTRADICTION)
    if code != requested and score >= contradiction:
        served = unserved(code, case.protocols, case.manifest) is None
        other = f", or a request for {_named(case, code)}" if served else ""
        return ExamDecision(
            info=_exam_info(case, code, score),
            refusal=(
                f"The request names {_named(case, requested)}, but the image was recognised as "
                f"{_named(case, code)}. Send an image of the requested exam{other}."
            ),
            because=(
                f"the router's score for {code.value} is {score_text(score)}; it contradicts a "
                f"request from {contradiction:.2f}"
            ),
        )
    info = _exam_info(case, requested, result.scores.get(requested.value))
    return ExamDecision(info=info) if far is None else replace(far, info=info)


def _far(case: Case, result: ClassifyResult, code: ExamCode) -> ExamDecision | None:
    """Return the refusal of an image that cannot show that exam, however sure the router is."""
    entry = case.manifest.specialists[case.protocols.router.specialist]
    model = case.manifest.models.get(entry.model)
    named = case.request.exam is not None
    distance = (result.exam_distances or {}).get(code.value)
    if model is None or distance is None:
        return None
    limit = limit_of(model, REFUSED if named else UNNAMED, code.value)
    if distance <= limit:
        return None
    if named:
        refusal = (
            f"The request names {_named(case, code)}, but the image does not look like it, "
            "whatever the scanner. Send an image of the requested exam."
        )
    else:
        refusal = (
            "No exam was recognised: the image seems to show none of those that are known, and the "
            f"nearest is {_named(case, code)}. {NAME_IT}"
        )
    return ExamDecision(
        info=_exam_info(case, code, None),
        refusal=refusal,
        because=(
            f"its distance from images of {code.value} is {distance:.2f}, the limit {limit:.2f}"
        ),
    )


def _fit_question(case: Case, decision: ExamDecision, code: ExamCode) -> ExamDecision:
    """Return the decision with what the question asks of the exam, which refuses nothing."""
    asked = read_question(case.request.question, code, case.protocols)
    refusal = unserved(code, case.protocols, case.manifest)
    because = None if refusal is None else _missing(code, case.protocols, case.manifest)
    return replace(decision, asked=asked, refusal=refusal, because=because)
