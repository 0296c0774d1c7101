"""What is implausible is flagged, and every number that rests on it is unreliable."""

import math
from dataclasses import replace
from typing import Any

import pytest

from planner.case import Details, Request
from planner.conclusion.report import conclude
from reports.measure.lesion import NO_PIXELS, POSTERIOR
from reports.measure.scan_area import unknown
from reports.model import (
    Check,
    CheckOutcome,
    ExamCode,
    Finding,
    FindingState,
    Measurement,
    MeasurementState,
    Outcome,
    Report,
    Ring,
)
from specialists.manifest import Manifest, Metric
from tests.builders import a_component, an_ellipse
from tests.planner.exam_answers import (
    AOP_POINTS,
    a_box,
    a_head,
    an_even_image,
    fetal_head_answers,
    intrapartum_answers,
    landmarks,
    nerve_answers,
    outlines,
)
from tests.planner.organ_answers import ALL_TOOLS
from tests.planner.stand_ins import (
    BREAST_TOOLS,
    Answer,
    StandInTools,
    a_manifest,
    an_identity,
    breast_answers,
    run_case,
)


def reported(
    exam: ExamCode,
    answers: dict[str, Answer],
    *,
    spacing: float | None = 0.25,
    request: Request | None = None,
    manifest: Manifest | None = None,
    **changes: Any,
) -> Report:
    installed = BREAST_TOOLS if exam is ExamCode.BREAST else ALL_TOOLS[exam]
    tools = StandInTools(answers=answers, manifest=manifest or a_manifest(installed))
    image = an_even_image(None if spacing is None else (spacing, spacing), **changes)
    return conclude(run_case(tools, request, image=image), an_identity())


def number(report: Report, name: str) -> Measurement:
    return next(item for item in report.measurements if item.name == name)


def finding(report: Report, label: str) -> Finding:
    return next(item for item in report.findings if item.label == label)


def check(report: Report, name: str) -> Check:
    return next(item for item in report.checks if item.name == name)


def dented(ring: Ring) -> Ring:
    """The outline with a wedge cut out of its left side, a third of the way in."""
    centre_x = sum(x for x, _ in ring) / len(ring)
    return tuple(
        (x + 0.35 * (centre_x - x) if x < centre_x and abs(y - 240) < 25 else x, y) for x, y in ring
    )


def test_numbers_of_a_dented_outline_are_unreliable_down_to_the_age() -> None:
    bay = a_head(polygons=(dented(an_ellipse((320.0, 240.0), (190.0, 150.0), points=360)),))
    report = reported(
        ExamCode.FETAL_HEAD, fetal_head_answers(fetal_head=outlines("fetal_head", ("head",), bay))
    )
    flagged = check(report, "outline of the head: plausible shape")
    assert flagged.outcome is CheckOutcome.FLAG
    assert "departs from its ellipse" in flagged.detail
    for name in ("head circumference", "biparietal diameter", "cephalic index", "gestational age"):
        item = number(report, name)
        assert item.state is MeasurementState.MEASURED
        assert (item.unreliable or "").startswith("the outline of the head is implausible (")


def test_a_plausible_outline_leaves_its_numbers_alone() -> None:
    report = reported(ExamCode.FETAL_HEAD, fetal_head_answers())
    assert check(report, "outline of the head: plausible shape").outcome is CheckOutcome.AGREE
    assert {item.unreliable for item in report.measurements} == {None}


def test_numbers_of_an_outline_that_the_detector_contradicts_are_unreliable() -> None:
    box = a_box("breast_lesion_det", "lesion", (20.0, 20.0, 80.0, 70.0))
    report = reported(ExamCode.BREAST, breast_answers(breast_lesion_det=box))
    assert "overlap by" in (number(report, "long axis").unreliable or "")


def test_landmarks_off_the_outlines_make_the_numbers_of_both_unreliable() -> None:
    moved = AOP_POINTS | {"tangent point": (430.0, 120.0)}
    report = reported(
        ExamCode.INTRAPARTUM,
        intrapartum_answers(aop_landmarks=landmarks("aop_landmarks", moved)),
    )
    off = "the outline of the fetal head is implausible (1 of 1 landmarks lie off the outline"
    for name in ("angle of progression", "head station", "head–symphysis distance"):
        item = number(report, name)
        assert item.value is None or (item.unreliable or "").startswith(off)
    assert number(report, "angle of progression").unreliable is not None


@pytest.mark.parametrize(("dice", "weak"), [(0.41, True), (0.69, True), (0.7, False), (0.9, False)])
def test_a_specialist_below_its_floor_gives_unreliable_numbers_by_the_manifests_figure(
    dice: float, weak: bool
) -> None:
    manifest = a_manifest(ALL_TOOLS[ExamCode.NERVE])
    entry = manifest.specialists["nerve_vessel_multi"]
    figures = (
        Metric(name="dice nerve", value=dice, n=30, split="val"),
        Metric(name="dice vessel", value=0.9, n=30, split="val"),
    )
    changed = entry.model_copy(update={"metrics": figures})
    judged = manifest.model_copy(update={"specialists": manifest.specialists | {entry.id: changed}})
    report = reported(ExamCode.NERVE, nerve_answers(), manifest=judged)
    said = (
        "on labelled images, outlines of the nerve agreed only in part with an expert's "
        f"(overlap {dice:.2f} of 1)"
    )
    for name in ("nerve cross-sectional area", "nerve–vessel distance"):
        assert number(report, name).unreliable == (said if weak else None)
    assert number(report, "vessel cross-sectional area").unreliable is None


def test_a_nerve_in_three_parts_has_one_number_of_each_kind_without_a_value() -> None:
    parts = [
        a_component(label="nerve", polygons=(an_ellipse((x, 200.0), (30.0, 20.0)),))
        for x in (120.0, 300.0, 480.0)
    ]
    report = reported(ExamCode.NERVE, nerve_answers(*parts))
    areas = [m for m in report.measurements if m.name == "nerve cross-sectional area"]
    assert [item.value for item in areas] == [None]
    assert "3 separate parts" in (areas[0].reason or "")
    flagged = check(report, "outline of the nerve: plausible shape")
    assert flagged.outcome is CheckOutcome.FLAG


def test_a_cavum_at_eleven_weeks_size_is_not_assessed_and_the_check_says_why() -> None:
    answers = fetal_head_answers()
    report = reported(ExamCode.FETAL_HEAD, answers, spacing=0.07)
    cavum = finding(report, "cavum septi pellucidi")
    assert cavum.state is FindingState.NOT_ASSESSED
    assert "before 15 weeks" in (cavum.reason or "")
    flagged = check(report, "age: cavum septi pellucidi against the head's size")
    assert flagged.outcome is CheckOutcome.FLAG
    grown = reported(ExamCode.FETAL_HEAD, answers)
    assert finding(grown, "cavum septi pellucidi").state is FindingState.FOUND


def test_a_head_without_a_brain_box_is_one_flag() -> None:
    report = reported(
        ExamCode.FETAL_HEAD,
        fetal_head_answers(fetal_brain_det=a_box("fetal_brain_det", "brain", None)),
    )
    flags = [item.name for item in report.checks if item.outcome is CheckOutcome.FLAG]
    assert flags == ["presence: brain detector against the head's outline"]


def test_a_cavum_too_large_for_the_brain_is_flagged() -> None:
    large = a_box("fetal_csp_det", "cavum septi pellucidi", (200.0, 150.0, 420.0, 330.0))
    report = reported(ExamCode.FETAL_HEAD, fetal_head_answers(fetal_csp_det=large))
    flagged = check(report, "size: cavum septi pellucidi against the brain")
    assert flagged.outcome is CheckOutcome.FLAG
    assert "61 % of the brain's length" in flagged.detail


def stating(age: str | None, question: str | None = None) -> Request:
    return Request(question=question, details=Details(gestational_age=age))


def test_a_percentile_is_reported_where_the_age_is_stated_or_the_question_asks_for_it() -> None:
    name = "head circumference percentile"
    answers = fetal_head_answers()
    plain = reported(ExamCode.FETAL_HEAD, answers)
    assert name not in {item.name for item in plain.measurements}
    told = reported(ExamCode.FETAL_HEAD, answers, request=stating("29w1d"))
    assert 0 < (number(told, name).value or 0) < 100
    assert told.outcome is Outcome.REPORTED
    asked = reported(ExamCode.FETAL_HEAD, answers, request=stating(None, "HC percentile?"))
    assert number(asked, name).value is None
    assert "states no gestational age" in (number(asked, name).reason or "")
    assert asked.outcome is Outcome.REPORTED


def test_a_lesions_qualities_and_echoes_are_reported_and_a_replay_says_what_it_lacks() -> None:
    tools = StandInTools()
    case = run_case(tools, image=an_even_image((0.25, 0.25)))
    report = conclude(case, an_identity())
    assert finding(report, "shape").value in {"oval", "round"}
    assert finding(report, "orientation").value == "undetermined"
    assert number(report, POSTERIOR).value == pytest.approx(1.0)
    blind = conclude(replace(case, grey=unknown, scanned=unknown), an_identity())
    assert number(blind, POSTERIOR).value is None
    assert NO_PIXELS in (number(blind, POSTERIOR).reason or "")
    assert math.isclose(number(blind, "area").value or 0, number(report, "area").value or 1)


def test_every_piece_of_evidence_names_the_analysed_frame() -> None:
    report = reported(ExamCode.BREAST, breast_answers(), frame=7)
    assert {item.frame for item in report.evidence} == {7}


@pytest.mark.parametrize("exam", [ExamCode.BREAST, ExamCode.FETAL_HEAD])
def test_every_statement_is_grouped_by_its_questions_structure(exam: ExamCode) -> None:
    answers = breast_answers() if exam is ExamCode.BREAST else fetal_head_answers()
    report = reported(exam, answers)
    assert all(item.structure for item in report.findings)
    assert all(item.structure for item in report.measurements)
