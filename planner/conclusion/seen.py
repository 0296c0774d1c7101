"""The evidence of a case's results, and what its measurements are made of."""

from collections.abc import Sequence

from planner.case import Case
from planner.plan import Plan
from reports.measure.numbers import Seen
from reports.model import Evidence
from specialists.evidence import evidence_of_result


def evidence_of(case: Case) -> tuple[Evidence, ...]:
    """Return the evidence of all results, numbered `e1`, `e2`, …, each with the analysed frame.

    It is a box, a mask per component, points or scores; a result that shows nothing has no
    evidence.
    """
    evidence: list[Evidence] = []
    for record in case.records:
        step, first = record.step.index, len(evidence) + 1
        made = evidence_of_result(record.result, step=step, first=first)
        evidence += [item.model_copy(update={"frame": case.image.frame}) for item in made]
    return tuple(evidence)


def of_slot(plan: Plan, slot: str | None, evidence: Sequence[Evidence]) -> list[Evidence]:
    """Return the evidence of the result that answered a slot; empty where there is none."""
    record = None if slot is None else plan.case.state.answer(slot)
    return [] if record is None else [e for e in evidence if e.step == record.step.index]


def seen_of(plan: Plan, evidence: Sequence[Evidence]) -> Seen:
    """Return what the exam's measurements are made of."""
    case = plan.case
    steps = () if plan.protocol is None else plan.protocol.steps
    return Seen(
        image=case.image,
        evidence={step.slot: of_slot(plan, step.slot, evidence) for step in steps},
        scanned=case.scanned,
        grey=case.grey,
        gestational_age=case.request.gestational_age,
    )
