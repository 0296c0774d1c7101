"""Results as evidence, in the order of the steps."""

from collections.abc import Iterable

from planner.case import Record
from reports.model import Evidence
from specialists.evidence import evidence_of_result


def evidence_of(records: Iterable[Record]) -> tuple[Evidence, ...]:
    """`e1`, `e2` … : a box, a mask per component, points or scores; a result that shows nothing has none."""
    evidence: list[Evidence] = []
    for record in records:
        step, first = record.step.index, len(evidence) + 1
        evidence += evidence_of_result(record.result, step=step, first=first)
    return tuple(evidence)
