"""Geometric comparisons of two results that give the same number or must contain each other."""

from collections.abc import Callable

from planner.case import Case
from planner.protocols import CheckKind
from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.head import head_ellipse, landmark_diameters
from reports.measure.muscle import layers_of, thickness_between
from reports.measure.numbers import calibration_for
from reports.measure.outlines.plausibility import (
    INNER_SHARES,
    cavum_age_reason,
    inner_box_reason,
)
from reports.measure.progression import (
    HEAD,
    SYMPHYSIS,
    progression_of_outlines,
    progression_of_points,
)
from reports.model import NamedPoint, Point, Ring
from specialists.result import DetectResult, RegressResult, Result, SegmentResult

Verdict = tuple[bool, str]
"""Whether two results agree, and the sentence that says how far."""

MOST_OUTSIDE = 0.25
"""The largest share of an outline or a box that may lie outside its enclosing box.

A box that is a tenth too small on each side cuts 21 % off an ellipse, so that more than a quarter
is not explained by an inaccurate box.
"""

MOST_ANGLE_APART_DEG = 10.0
"""The largest difference between two estimates of the angle of progression that still agree.

Two estimates that each aim for a mean error of 5° differ by more than twice that only if one is
off. The annotators' masks and landmarks differ by 1.3° on average.
"""

MOST_DIAMETER_APART = 0.06
"""The largest relative difference between two head diameters that still agree.

Each estimate aims for an error of 3 mm in a diameter of about 100 mm, so that twice that means that
one is off.
"""

MOST_THICKNESS_APART = 0.15
"""The largest relative difference between two thicknesses that still agree.

A straight line through a curved aponeurosis leaves it by this much at the side where the landmarks
are.
"""


def _box_inside(one: Result | None, other: Result | None, case: Case) -> Verdict | None:
    """Compare the first box with the second, which should contain it."""
    if not isinstance(one, DetectResult) or not isinstance(other, DetectResult):
        return None
    if one.box is None or other.box is None:
        return None
    inner, outer = one.box, other.box
    width = max(0.0, min(inner[2], outer[2]) - max(inner[0], outer[0]))
    height = max(0.0, min(inner[3], outer[3]) - max(inner[1], outer[1]))
    outside = 1 - width * height / ((inner[2] - inner[0]) * (inner[3] - inner[1]))
    detail = (
        f"{100 * outside:.0f} % of the box of {one.label} lies outside; "
        f"flagged above {100 * MOST_OUTSIDE:.0f} %."
    )
    return outside <= MOST_OUTSIDE, detail


def _box_size(one: Result | None, other: Result | None, case: Case) -> Verdict | None:
    """Compare the length of the first box with that of the second, which should contain it."""
    if not isinstance(one, DetectResult) or not isinstance(other, DetectResult):
        return None
    if one.box is None or other.box is None:
        return None
    reason = inner_box_reason(one.label, one.box, other.box, INNER_SHARES[one.label])
    if reason is None:
        return True, f"The size of the {one.label} fits that of the {other.label}."
    return False, f"{reason.clause[:1].upper()}{reason.clause[1:]}."


def _cavum_age(one: Result | None, other: Result | None, case: Case) -> Verdict | None:
    """Compare a cavum's box with the size of the head that it lies in."""
    head = _outline(other, None)
    if not isinstance(one, DetectResult) or one.box is None or head is None:
        return None
    if calibration_for(case.image, head[0]).unit == "px":
        raise NotMeasurable("The size of the head is not known in millimetres.")
    why = cavum_too_early(other, case)
    if why is None:
        return True, "The head is large enough to show a cavum septi pellucidi."
    return False, f"A cavum was boxed, but {why}."


def cavum_too_early(head: Result | None, case: Case) -> str | None:
    """Return, as a clause, that the outlined head is too small to show a cavum septi pellucidi.

    None where it is not, or where its size is not known in millimetres.
    """
    outline = _outline(head, None)
    if outline is None or calibration_for(case.image, outline[0]).unit == "px":
        return None
    try:
        ellipse = head_ellipse(outline, case.image)
    except (NotMeasurable, OutlineDegenerate):
        return None
    reason = cavum_age_reason(hc_mm=ellipse.circumference, bpd_mm=ellipse.short.length)
    return None if reason is None else reason.clause


def _progression(one: Result | None, other: Result | None, case: Case) -> Verdict | None:
    """Compare the angle from the landmarks with the angle from the outlines, both in one scale."""
    points, symphysis, head = _points(one), _outline(other, SYMPHYSIS), _outline(other, HEAD)
    if points is None or symphysis is None or head is None:
        return None
    landmarks = progression_of_points(points, case.image, case.scanned()).deg
    corners = [*_places(points), *symphysis[0], *head[0]]
    if (
        calibration_for(case.image, corners).scale
        != calibration_for(case.image, _places(points)).scale
    ):
        raise NotMeasurable("Landmarks and outlines do not lie in one calibrated region.")
    scale = calibration_for(case.image, corners).scale
    outlines = progression_of_outlines(symphysis, head, scale).deg
    detail = (
        f"{landmarks:.1f}° from the landmarks, {outlines:.1f}° from the outlines; flagged above "
        f"{MOST_ANGLE_APART_DEG:.0f}° apart."
    )
    return abs(landmarks - outlines) <= MOST_ANGLE_APART_DEG, detail


def _head_axes(one: Result | None, other: Result | None, case: Case) -> Verdict | None:
    """Compare the diameters of the outline's ellipse with the distances between landmarks.

    The landmarks are those at the ends of the two diameters.
    """
    points, head = _points(other), _outline(one, None)
    if points is None or head is None:
        return None
    calibration = calibration_for(case.image, head[0])
    ellipse = head_ellipse(head, case.image)
    long, short = landmark_diameters(points, calibration.scale)
    apart = max(
        abs(long - ellipse.long.length) / ellipse.long.length,
        abs(short - ellipse.short.length) / ellipse.short.length,
    )
    unit = calibration.unit
    detail = (
        f"Outline {ellipse.long.length:.1f} × {ellipse.short.length:.1f} {unit}, "
        f"landmarks {long:.1f} × {short:.1f} {unit}: "
        f"at most {100 * apart:.0f} % apart; flagged above {100 * MOST_DIAMETER_APART:.0f} %."
    )
    return apart <= MOST_DIAMETER_APART, detail


def _thickness(one: Result | None, other: Result | None, case: Case) -> Verdict | None:
    """Compare the landmarks' distance with that of the aponeuroses' lines in the same column."""
    points = _points(one)
    if points is None or not isinstance(other, SegmentResult) or not other.components:
        return None
    line = thickness_between(points, case.image)
    calibration = calibration_for(case.image, _places(points))
    layers = layers_of([c.polygons for c in other.components], case.image, calibration.scale)
    x = line.start[0] * calibration.scale[0]
    between = layers.deep.depth_at(x) - layers.superficial.depth_at(x)
    apart = abs(line.length - between) / between
    detail = (
        f"{line.length:.1f} {calibration.unit} from the landmarks, "
        f"{between:.1f} {calibration.unit} between the lines in their column: "
        f"{100 * apart:.0f} % apart; flagged above {100 * MOST_THICKNESS_APART:.0f} %."
    )
    return apart <= MOST_THICKNESS_APART, detail


def _points(result: Result | None) -> tuple[NamedPoint, ...] | None:
    return result.points if isinstance(result, RegressResult) and result.points else None


def _places(points: tuple[NamedPoint, ...]) -> list[Point]:
    return [(point.x, point.y) for point in points]


def _outline(result: Result | None, label: str | None) -> tuple[Ring, ...] | None:
    """Return the largest component with that label, or with any label if it is None.

    The result is None if there is no such component.
    """
    if not isinstance(result, SegmentResult):
        return None
    return next((c.polygons for c in result.components if label in {None, c.label}), None)


GEOMETRIC: dict[CheckKind, Callable[[Result | None, Result | None, Case], Verdict | None]] = {
    CheckKind.BOX_INSIDE: _box_inside,
    CheckKind.PROGRESSION: _progression,
    CheckKind.HEAD_AXES: _head_axes,
    CheckKind.THICKNESS: _thickness,
    CheckKind.BOX_SIZE: _box_size,
    CheckKind.CAVUM_AGE: _cavum_age,
}
"""How each kind of check compares two results in the case's image.

A comparison returns None where one of the results shows nothing, and raises `NotMeasurable` or
`OutlineDegenerate` where no number can be derived from what they show.
"""
