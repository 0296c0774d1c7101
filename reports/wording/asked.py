"""The answer to a request's question, in two or three short sentences before everything else."""

from collections.abc import Sequence

from reports.asked import Asked, Topic
from reports.measure.numbers import AREA, LONG_AXIS, RATIO, SHORT_AXIS
from reports.model import FindingState, Measurement, Scope
from reports.wording.facts import CROSS_CHECK, Basis, Facts
from reports.wording.numbers import Figure, figure
from reports.wording.phrases import capital, listed
from reports.wording.templates import text

MOST_NUMBERS = 3
"""Numbers that one answer names; the report has the others."""

MOST_ANSWERS = 2
"""Answers that stand before the report; what the service cannot answer is always said."""

_STATES = {
    FindingState.FOUND: "found",
    FindingState.NOT_FOUND: "not found",
    FindingState.NOT_ASSESSED: "not assessed",
}

OF_A_SIZE = frozenset({LONG_AXIS, SHORT_AXIS, AREA, RATIO})


def asked_sentence(asked: Asked, facts: Facts) -> str:
    """Return the topics of the question, and in their order what it is answered and what not."""
    said: list[str] = []
    left = MOST_ANSWERS
    for topic in asked.topics:
        answer = _answer(topic, facts)
        said += [topic.cannot] if topic.cannot is not None else []
        said += [answer] if answer is not None and left > 0 else []
        left -= answer is not None
    return text(
        "asked.j2",
        topics=[topic.name for topic in asked.topics],
        narrowed=asked.narrowed,
        wide=facts.report.request.scope is Scope.QUESTION and not asked.narrowed,
        said=list(dict.fromkeys(said)),
        more=left < 0,
    )


def _answer(topic: Topic, facts: Facts) -> str | None:
    """Return what of the report answers a topic, as one sentence; None where nothing does.

    What the whole report answers is not said twice: the impression follows.
    """
    findings = [basis for basis in facts.bases if basis.finding.id in topic.findings]
    measurements = [item for item in facts.report.measurements if item.id in topic.measurements]
    if _whole(topic, facts):
        return None
    if any(item.name == LONG_AXIS and item.value is not None for item in measurements):
        return _size(measurements, facts)
    if measurements:
        return _numbers(measurements)
    if len(findings) > 1 or any(basis.finding.value is not None for basis in findings):
        return _states(findings)
    return _finding(findings[0], facts) if findings else None


def _whole(topic: Topic, facts: Facts) -> bool:
    """Return whether a topic is about all that the report answers, its cross-checks apart."""
    report = facts.report
    asked = {*topic.findings, *topic.measurements}
    every = {item.id for item in report.findings if CROSS_CHECK not in item.label}
    every |= {item.id for item in report.measurements}
    return len(every) > 1 and every <= asked


def _size(measurements: Sequence[Measurement], facts: Facts) -> str:
    """Return the size of the structure whose axes are asked for, as the impression says it."""
    used = {evidence for item in measurements for evidence in item.evidence}
    for basis in facts.bases:
        size = facts.size(basis)
        if size is not None and basis.largest is not None and basis.largest.id in used:
            parts = len(basis.masks)
            of = f", the largest of {parts} parts" if parts > 1 else ""
            return f"{capital(basis.finding.label)} {size.short}{of}."
    return _numbers([item for item in measurements if item.name in OF_A_SIZE])


def _states(findings: Sequence[Basis]) -> str:
    """Return what outlines are like, and which of several structures were found and which not."""
    found = [basis.finding for basis in findings]
    parts = [f"{item.label} {item.value}" for item in found if item.value is not None]
    for state, words in _STATES.items():
        names = [item.label for item in found if item.state is state and item.value is None]
        parts += [f"{words}: {listed(names)}"] if names else []
    return f"{capital('; '.join(parts))}."


def _numbers(measurements: Sequence[Measurement]) -> str:
    """Return the first number of each name; where none was measured, why the first was not."""
    first = {item.name: item for item in reversed(measurements)}
    figures = [figure(first[name]) for name in dict.fromkeys(item.name for item in measurements)]
    measured = [item for item in figures if item.measured]
    if not measured:
        return f"{capital(figures[0].name)}: {figures[0].gap}."
    return f"{capital('; '.join(map(_brief, measured[:MOST_NUMBERS])))}."


def _brief(item: Figure) -> str:
    return f"{item.name} {item.full}"


def _finding(basis: Basis, facts: Facts) -> str:
    return text(
        "answer.j2",
        basis=basis,
        size=facts.size(basis),
        exam=facts.report.exam.code,
    )
