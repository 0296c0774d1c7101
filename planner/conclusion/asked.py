"""What the request's question asks, for the wording, and the order that answers it first."""

from collections.abc import Sequence

from planner.conclusion.answers import Answers
from planner.plan import Plan
from planner.protocols import Answer
from planner.question import Heard
from reports.asked import Asked, Topic
from reports.model import Finding, Measurement


def asked_of(plan: Plan, answers: Answers) -> Asked | None:
    """Return what the question asks, with the ids that answer it, in the question's order.

    None without a question in words, and where the analysis was refused: the refusal is the answer.
    """
    reading = plan.decision.asked
    if plan.decision.refusal or reading is None or not reading.given:
        return None
    topics = tuple(_topic(heard, plan, answers) for heard in reading.topics)
    return Asked(topics=topics, narrowed=plan.narrowed)


def _topic(heard: Heard, plan: Plan, answers: Answers) -> Topic:
    ids = {item.question: item.ids for item in answers.resolved}
    first = list(heard.questions)
    if heard.everything:
        due = [question for question in ids if plan.is_due(question) and question not in first]
        structures = [question for question in due if question.subject]
        first += structures if heard.cannot and structures else due
    return Topic(
        name=heard.name,
        findings=tuple(i for q in first if q.kind is Answer.FINDING for i in ids[q]),
        measurements=tuple(i for q in first if q.kind is Answer.MEASUREMENT for i in ids[q]),
        cannot=heard.cannot,
    )


def findings_in_order(findings: Sequence[Finding], asked: Asked | None) -> tuple[Finding, ...]:
    """Return the findings, those first that answer the question; the others keep their order."""
    first = [] if asked is None else [i for topic in asked.topics for i in topic.findings]
    return tuple(sorted(findings, key=lambda item: _place(item.id, first)))


def measurements_in_order(
    measurements: Sequence[Measurement], asked: Asked | None
) -> tuple[Measurement, ...]:
    """Return the measurements, those first that answer the question; the others keep theirs."""
    first = [] if asked is None else [i for topic in asked.topics for i in topic.measurements]
    return tuple(sorted(measurements, key=lambda item: _place(item.id, first)))


def _place(item_id: str, first: Sequence[str]) -> int:
    return first.index(item_id) if item_id in first else len(first)
