"""Cross-checks of results that should agree; a check flags and never replaces a value."""

import math
from collections.abc import Callable
from functools import reduce

import numpy as np

from planner.case import Case, best_class
from planner.conclusion.geometric_checks import GEOMETRIC, MOST_OUTSIDE, Verdict
from planner.exam import best_exam, exam_seen
from planner.plan import Plan
from planner.protocols import CheckKind, CheckRow
from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.geometry import box_iou, box_of, rasterize
from reports.model import Box, Check, CheckOutcome
from reports.wording.phrases import NOVELTY_CHECK, QUALITY_CHECK, clause, score_text
from specialists.result import ClassifyResult, Component, DetectResult, Result, SegmentResult

ROUTER_CHECK = "exam: router against request"
PLANNER_CHECK = "exam: planner against router"

UNLIKE = (
    " It may be of a scanner or of a kind that no specialist has learnt from, so that accuracies "
    "measured on known scanners may not hold for it."
)

LEAST_BOX_IOU = 0.5
"""The least IoU at which a box and an outline show the same thing.

It is the overlap at which PASCAL VOC (Everingham 2010, section 4.2) counts a detection as correct.
"""


def checks_of(plan: Plan) -> tuple[Check, ...]:
    """Return the checks of image and exam, then the protocol's checks of the slots considered."""
    case = plan.case
    checks = (
        *_quality_check(case),
        *_novelty_check(case),
        *_router_check(case),
        *_planner_check(case),
    )
    if plan.decision.refusal or plan.protocol is None:
        return checks
    rows = [row for row in plan.protocol.checks if plan.considered.issuperset(row.slots)]
    return (*checks, *(_check(plan, row) for row in rows))


def _quality_check(case: Case) -> tuple[Check, ...]:
    """Return a check that flags what is wrong with the image, if anything is."""
    results = [record.result for record in case.records if record.result is not None]
    faults = next((r.quality for r in results if r.quality), None)
    if not faults:
        return ()
    detail = " ".join(faults)
    return (Check(name=QUALITY_CHECK, outcome=CheckOutcome.FLAG, detail=detail),)


def _novelty_check(case: Case) -> tuple[Check, ...]:
    """Return how far the image is from the backbone's training images, once a result states it."""
    results = [record.result for record in case.records if record.result is not None]
    distance = next((r.novelty for r in results if r.novelty is not None), None)
    entry = case.manifest.specialists.get(case.protocols.router.specialist)
    model = None if entry is None else case.manifest.models.get(entry.model)
    if distance is None or model is None or "novelty" not in model.thresholds:
        return ()
    limit = model.thresholds["novelty"].value
    detail = (
        f"Its distance from them is {distance:.2f}; an image is unlike them beyond {limit:.2f}."
    )
    if distance <= limit:
        return (Check(name=NOVELTY_CHECK, outcome=CheckOutcome.AGREE, detail=detail),)
    detail += UNLIKE
    return (Check(name=NOVELTY_CHECK, outcome=CheckOutcome.FLAG, detail=detail),)


def _router_check(case: Case) -> tuple[Check, ...]:
    requested = case.request.exam
    if requested is None:
        return ()
    result = case.state.result(case.protocols.router.slot)
    if not isinstance(result, ClassifyResult):
        detail = "The router gave no answer, so the requested exam stands unchecked."
        return (Check(name=ROUTER_CHECK, outcome=CheckOutcome.SKIPPED, detail=detail),)
    if requested.value not in result.scores:
        detail = (
            f"The router does not know {requested.value}, so the requested exam stands unchecked."
        )
        return (Check(name=ROUTER_CHECK, outcome=CheckOutcome.SKIPPED, detail=detail),)
    code, score = best_exam(result)
    detail = (
        f"The request names {requested.value}; "
        f"the router's best is {code.value} ({score_text(score)})."
    )
    outcome = CheckOutcome.AGREE if code == requested else CheckOutcome.FLAG
    return (Check(name=ROUTER_CHECK, outcome=outcome, detail=detail),)


def _planner_check(case: Case) -> tuple[Check, ...]:
    """Compare the exam that the planner saw before the router ran with the router's best exam."""
    seen = exam_seen(case)
    result = case.state.result(case.protocols.router.slot)
    if seen is None or not isinstance(result, ClassifyResult):
        return ()
    code, score = best_exam(result)
    took = "no exam" if seen.exam is None else seen.exam.value
    detail = f"The planner saw {took}; the router's best is {code.value} ({score_text(score)})."
    outcome = CheckOutcome.AGREE if code == seen.exam else CheckOutcome.FLAG
    return (Check(name=PLANNER_CHECK, outcome=outcome, detail=detail),)


def _check(plan: Plan, row: CheckRow) -> Check:
    results = [plan.case.state.result(slot) for slot in row.slots]
    missing = [slot for slot, result in zip(row.slots, results, strict=True) if result is None]
    if missing:
        why = "; ".join(f"{plan.label(slot)} ({plan.why_open(slot)})" for slot in missing)
        detail = f"There is nothing to compare, for want of {why}."
        return Check(name=row.name, outcome=CheckOutcome.SKIPPED, detail=detail)
    try:
        verdict = _verdict(results[0], results[1], row, plan.case)
    except (NotMeasurable, OutlineDegenerate) as error:
        detail = f"There is nothing to compare: {clause(str(error))}."
        return Check(name=row.name, outcome=CheckOutcome.SKIPPED, detail=detail)
    if verdict is None:
        detail = "There is nothing to compare: one of the two shows nothing."
        return Check(name=row.name, outcome=CheckOutcome.SKIPPED, detail=detail)
    agree, detail = verdict
    outcome = CheckOutcome.AGREE if agree else CheckOutcome.FLAG
    return Check(name=row.name, outcome=outcome, detail=detail)


def _verdict(one: Result | None, other: Result | None, row: CheckRow, case: Case) -> Verdict | None:
    geometric = GEOMETRIC.get(row.kind)
    if geometric is not None:
        return geometric(one, other, case)
    return _COMPARE[row.kind](one, other, row)


def _presence(one: Result | None, other: Result | None, row: CheckRow) -> Verdict | None:
    if not isinstance(one, DetectResult) or not isinstance(other, SegmentResult):
        return None
    count = len(_components(other, row))
    said = "a box" if one.box is not None else "no box"
    agree = (one.box is not None) == (count > 0)
    return (
        agree,
        f"The detector gave {said} (score {score_text(one.score)}); regions outlined: {count}.",
    )


def _overlap(one: Result | None, other: Result | None, row: CheckRow) -> Verdict | None:
    pair = _box_and_outlines(one, other, row)
    if pair is None:
        return None
    box, components = pair
    iou = box_iou(box, _extent(components))
    return iou >= LEAST_BOX_IOU, f"IoU {iou:.2f}; flagged below {LEAST_BOX_IOU:.2f}."


def _containment(one: Result | None, other: Result | None, row: CheckRow) -> Verdict | None:
    pair = _box_and_outlines(one, other, row)
    if pair is None:
        return None
    box, components = pair
    width, height = map(math.ceil, _extent(components)[2:])
    filled = (rasterize(component.polygons, width, height) for component in components)
    outlined = reduce(np.logical_or, filled)
    count = int(np.count_nonzero(outlined))
    if not count:
        return None
    x_min, y_min, x_max, y_max = (max(math.ceil(side - 0.5), 0) for side in box)  # pixel centres
    outside = 1.0 - int(np.count_nonzero(outlined[y_min:y_max, x_min:x_max])) / count
    share, most = round(100 * outside), round(100 * MOST_OUTSIDE)
    detail = f"{share} % of the outlined area lies outside; flagged above {most} %."
    return outside <= MOST_OUTSIDE, detail


def _classes(one: Result | None, other: Result | None, row: CheckRow) -> Verdict | None:
    if not isinstance(one, ClassifyResult) or not isinstance(other, ClassifyResult):
        return None
    best, among = best_class(one), best_class(other)
    detail = (
        f"{one.specialist}: {best} ({score_text(one.scores[best])}); "
        f"{other.specialist}: {among} ({score_text(other.scores[among])})."
    )
    return row.counterparts.get(best, best) == among, detail


def _class_presence(one: Result | None, other: Result | None, row: CheckRow) -> Verdict | None:
    if not isinstance(one, DetectResult) or not isinstance(other, ClassifyResult):
        return None
    best = best_class(other)
    said = "a box" if one.box is not None else "no box"
    detail = (
        f"The detector gave {said}; {other.specialist}: {best} ({score_text(other.scores[best])})."
    )
    return (one.box is None) == (best == row.absent_class), detail


def _components(result: SegmentResult, row: CheckRow) -> tuple[Component, ...]:
    return tuple(c for c in result.components if row.structure in {None, c.label})


def _extent(components: tuple[Component, ...]) -> Box:
    """Return the box around all components."""
    boxes = np.array([box_of(component.polygons) for component in components])
    (x_min, y_min), (x_max, y_max) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return (float(x_min), float(y_min), float(x_max), float(y_max))


def _box_and_outlines(
    one: Result | None, other: Result | None, row: CheckRow
) -> tuple[Box, tuple[Component, ...]] | None:
    if not isinstance(one, DetectResult) or not isinstance(other, SegmentResult):
        return None
    components = _components(other, row)
    return None if one.box is None or not components else (one.box, components)


_COMPARE: dict[CheckKind, Callable[[Result | None, Result | None, CheckRow], Verdict | None]] = {
    CheckKind.PRESENCE: _presence,
    CheckKind.OVERLAP: _overlap,
    CheckKind.CONTAINMENT: _containment,
    CheckKind.CLASSES: _classes,
    CheckKind.CLASS_PRESENCE: _class_presence,
}
