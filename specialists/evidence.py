"""Conversion of a specialist's result into the evidence that a report rests on.

The report's formulas read this evidence, both in service and during calibration.
"""

from reports.model import BoxEvidence, Evidence, MaskEvidence, PointsEvidence, ScoresEvidence
from specialists.result import ClassifyResult, DetectResult, RegressResult, Result, SegmentResult


def evidence_of_result(result: Result | None, *, step: int, first: int) -> list[Evidence]:
    """Return a box, one mask per component, points or scores, numbered from `e{first}` on.

    The list is empty where the specialist found nothing.
    """
    name = f"e{first}"
    match result:
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
