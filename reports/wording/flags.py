"""What the checks flag, in words: contradictions first, each of them once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from reports.model import (
    Check,
    CheckOutcome,
    ExamCode,
    FindingState,
    Report,
    ScoresEvidence,
)
from reports.wording.classes import favoured, named
from reports.wording.facts import BOXED_AND_OUTLINED, Basis, Facts
from reports.wording.phrases import (
    NOVELTY_CHECK,
    QUALITY_CHECK,
    clause,
    listed,
    score_text,
    sentence,
)

PRESENCE, CLASSES, EXAM = "presence", "classes", "exam"
"""How the names of checks begin, before a colon."""

STOP = "stop"
"""The action of a step that runs no specialist."""

PLAUSIBLE = "plausible shape"
"""How the name ends, after a colon, of the check whether an outline can be its structure."""

BESIDE = frozenset({"outline of the vessel"})
"""Outlines that no headline rests on: an implausible one does not stand before it."""

NORMAL = frozenset({"normal"})
"""Classes that say that an image shows no lesion."""

UNLIKE = (
    "The image is unlike those that the networks learnt from: it may be of another scanner or of "
    "another kind, and what was measured of their accuracy may not hold for it."
)
EXAM_IN_DOUBT = "Two recognitions of the image disagree on which exam it shows."


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What a reader must review, as a sentence, and the checks that found it.

    `lead` says it without values that the headline repeats, where it stands before the headline;
    None: it does not stand there. `brief` names it in a list.
    """

    text: str
    lead: str | None
    brief: str
    checks: tuple[Check, ...]


def flags_of(facts: Facts) -> tuple[Flag, ...]:
    """Return what is flagged: contradictions, implausible outlines, other checks, the image.

    Checks that say the same of one contradiction are one flag.
    """
    open_ones = [c for c in facts.report.checks if c.outcome is CheckOutcome.FLAG]
    found = []
    for contradiction in (_against_normal, _classes, _presence):
        flag = contradiction(facts, open_ones)
        if flag is not None:
            found.append(flag)
            open_ones = [check for check in open_ones if check not in flag.checks]
    rest = [_flag(check, facts.report) for check in open_ones]
    return (*found, *sorted(rest, key=lambda flag: flag.lead is None))


def _against_normal(facts: Facts, checks: list[Check]) -> Flag | None:
    """Return the contradiction between a detected structure and a class that shows none."""
    detected = next((basis for basis in facts.bases if _detected(basis) is not None), None)
    said = next(
        (b for b in facts.classifications if NORMAL & set(b.classifications[0].scores)), None
    )
    if detected is None or said is None:
        return None
    name, item = detected.finding.label, said.classifications[0]
    best, normal = favoured(said), favoured(said) in NORMAL
    score = score_text(item.scores[best])
    if detected.found and normal:
        what = f"a {name} was found, but a classifier calls the image {best}, score {score}"
    elif not detected.found and not normal:
        what = (
            f"no {name} was found, but a classifier of normal images favours {best}, score {score}"
        )
    else:
        return None
    same = _checks(checks, (PRESENCE, CLASSES), item.specialist)
    return _contradiction(what, same)


def _detected(basis: Basis) -> bool | None:
    """Return whether a detector found the structure; None: it was no question to a detector."""
    if basis.finding.state is FindingState.NOT_ASSESSED or basis.classifications:
        return None
    if basis.found:
        return True if basis.boxes else None
    return False


def _classes(facts: Facts, checks: list[Check]) -> Flag | None:
    """Return the contradiction between two classifiers that a check flags."""
    same = _checks(checks, (CLASSES,))
    if not same or len(facts.classifications) < 2:
        return None
    sides = [
        f"{named(favoured(basis))} (score "
        f"{score_text(basis.classifications[0].scores[favoured(basis)])})"
        for basis in facts.classifications[:2]
    ]
    return _contradiction(f"two classifiers disagree: {listed(sides)}", same)


def _presence(facts: Facts, checks: list[Check]) -> Flag | None:
    """Return the contradiction between a detector and a segmentation that a check flags."""
    same = _checks(checks, (PRESENCE,))
    for basis in facts.bases if same else ():
        name = basis.finding.label
        if name not in BOXED_AND_OUTLINED:
            continue
        if basis.boxes and not basis.masks:
            return _contradiction(f"the detector found a {name}, but none was outlined", same)
        if basis.masks and not basis.boxes:
            return _contradiction(f"a {name} was outlined, but the detector found none", same)
    return None


def _contradiction(what: str, checks: tuple[Check, ...]) -> Flag:
    text = f"Contradiction: {what}."
    return Flag(text=text, lead=text, brief=what, checks=checks)


def _flag(check: Check, report: Report) -> Flag:
    kind, _, pair = (plain(part, report) for part in check.name.partition(": "))
    detail = plain(check.detail, report)
    if check.name == QUALITY_CHECK:
        return Flag(text=f"Poor image: {detail}", lead=None, brief="", checks=(check,))
    if check.name == NOVELTY_CHECK:
        brief = "the image is unlike those of the training"
        return Flag(text=UNLIKE, lead=None, brief=brief, checks=(check,))
    if kind == EXAM:
        text = _exam(report)
        return Flag(text=text, lead=text, brief="which exam the image shows", checks=(check,))
    if pair == PLAUSIBLE:
        text = f"The {kind} is implausible: {clause(detail)}."
        lead = None if kind in BESIDE else text
        return Flag(text=text, lead=lead, brief=f"implausible {kind}", checks=(check,))
    brief = f"{kind} ({pair})" if pair else kind
    text = sentence(f"{brief}: {detail}")
    return Flag(text=text, lead=f"Results disagree: {brief}.", brief=brief, checks=(check,))


def _exam(report: Report) -> str:
    """Return that the image looks like another exam than the one that the request names."""
    exams = {code.value for code in ExamCode}
    routed = next(
        (
            item
            for item in report.evidence
            if isinstance(item, ScoresEvidence) and exams.issuperset(item.scores)
        ),
        None,
    )
    if routed is None or report.request.exam is None:
        return EXAM_IN_DOUBT
    best = max(routed.scores, key=lambda code: routed.scores[code])
    if best == report.request.exam.value:
        return EXAM_IN_DOUBT
    return (
        f"The request names {_exam_name(report.request.exam.value)}, but the image looks more like "
        f"{_exam_name(best)}, score {score_text(routed.scores[best])}."
    )


def _exam_name(code: str) -> str:
    return code.replace("_", " ")


def plain(text: str, report: Report) -> str:
    """Return a check's words without thresholds, and with specialists named by what they do."""
    text = re.sub(r"; flagged (above|below)[^.;]*(\.\d[^.;]*)?", "", text)
    text = re.sub(r"(?<=\d)%", " %", text)
    for specialist, name in _names(report).items():
        text = re.sub(rf"\b{re.escape(specialist)}\b", name, text)
    return text


def _names(report: Report) -> dict[str, str]:
    """Return what each specialist that took part is called for a reader, the longest id first."""
    names = {step.action: "a network" for step in report.steps if step.action != STOP}
    names |= {model.id: "a network" for model in report.provenance.models}
    names |= {
        item.specialist: f"{_COUNTS.get(len(item.scores), 'many')}-class classifier"
        if isinstance(item, ScoresEvidence)
        else _DOES[item.kind]
        for item in report.evidence
    }
    return dict(sorted(names.items(), key=lambda pair: -len(pair[0])))


_COUNTS = {2: "two", 3: "three"}
_DOES = {"box": "the detector", "mask": "the segmentation", "points": "the landmarks"}


def _checks(
    checks: Iterable[Check], kinds: tuple[str, ...], specialist: str = ""
) -> tuple[Check, ...]:
    return tuple(
        check
        for check in checks
        if check.name.partition(":")[0] in kinds
        and (specialist in check.name or specialist in check.detail)
    )


def briefs(flags: Iterable[Flag]) -> str:
    """Return the names of flags as a list in words; empty where none has one."""
    return listed([flag.brief for flag in flags if flag.brief])
