"""Results as evidence, in the order of the steps."""

from collections.abc import Iterable

from planner.case import Record
from reports.model import (
    BoxEvidence,
    Evidence,
    MaskEvidence,
    PointsEvidence,
    ScoresEvidence,
)
from specialists.result import ClassifyResult, DetectResult, RegressResult, SegmentResult


def evidence_of(records: Iterable[Record]) -> tuple[Evidence, ...]:
    """`e1`, `e2` … : a box, a mask per component, points or scores; a result that shows nothing has none."""
    evidence: list[Evidence] = []
    for record in records:
        evidence += _of_record(record, len(evidence) + 1)
    return tuple(evidence)


def _of_record(record: Record, first: int) -> list[Evidence]:
    step, name = record.step.index, f"e{first}"
    match record.result:
        case DetectResult(box=box, score=score, specialist=specialist) if box is not None:
            return [BoxEvidence(id=name, specialist=specialist, step=step, score=score, box=box)]
        case SegmentResult(components=components, specialist=specialist):
            return [
                MaskEvidence(
                    id=f"e{first + index}",
                    specialist=specialist,
                    step=step,
                    score=component.score,
                    label=component.label,
                    polygons=component.polygons,
                )
                for index, component in enumerate(components)
            ]
        case ClassifyResult(scores=scores, specialist=specialist):
            return [ScoresEvidence(id=name, specialist=specialist, step=step, scores=scores)]
        case RegressResult(points=points, specialist=specialist) if points:
            return [PointsEvidence(id=name, specialist=specialist, step=step, points=points)]
        case _:
            return []
