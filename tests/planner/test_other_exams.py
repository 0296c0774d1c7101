"""The eight exams besides breast from request to report: found, missing, declined, conflicting."""

import pytest

from planner.protocols import Answer as Kind
from planner.protocols import read_protocols
from reports.measure.lesion import POSTERIOR
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
)
from specialists.errors import Declined
from specialists.image import Image, image_of
from tests.builders import a_component, an_ellipse
from tests.planner.exam_answers import (
    AOP_POINTS,
    BIRTH_HEAD_RING,
    FRAGMENTS,
    HEAD_AXES,
    SYMPHYSIS_RING,
    THICKNESS_POINTS,
    UPPER_BAND,
    a_box,
    a_fragment,
    a_head,
    an_even_image,
    birth_outlines,
    fetal_head_answers,
    intrapartum_answers,
    landmarks,
    muscle_answers,
    muscle_outlines,
    nerve_answers,
    outlines,
)
from tests.planner.organ_answers import ALL_ANSWERS, ALL_TOOLS
from tests.planner.stand_ins import (
    Answer,
    StandInTools,
    a_manifest,
    report_of,
    run_case,
    statements,
)

EXAMS = tuple(ALL_ANSWERS)
ONE_ANSWERS_ALL = {"nerve_vessel_multi", "lung_disease_3cls"}
"""Specialists without which nothing of their exam is answered."""


def reported(
    exam: ExamCode,
    answers: dict[str, Answer] | None = None,
    *,
    image: Image | None = None,
    question: str | None = None,
) -> Report:
    return report_of(
        answers or ALL_ANSWERS[exam](),
        image=image or an_even_image((0.25, 0.25)),
        installed=ALL_TOOLS[exam],
        question=question,
    )


def finding(report: Report, label: str) -> Finding:
    return next(item for item in report.findings if item.label == label)


def measurement(report: Report, name: str) -> Measurement:
    return next(item for item in report.measurements if item.name == name)


def check(report: Report, starts: str) -> Check:
    return next(item for item in report.checks if item.name.startswith(starts))


@pytest.mark.parametrize("exam", EXAMS)
def test_an_exam_runs_its_protocol_in_order_and_answers_every_question(exam: ExamCode) -> None:
    tools = StandInTools(answers=ALL_ANSWERS[exam](), manifest=a_manifest(ALL_TOOLS[exam]))
    run_case(tools, image=an_even_image())
    assert tools.called == list(ALL_TOOLS[exam])
    report = reported(exam)
    assert (report.outcome, report.exam.code) == (Outcome.REPORTED, exam)
    assert {item.state for item in report.findings} == {FindingState.FOUND}
    assert {item.state for item in report.measurements} <= {MeasurementState.MEASURED}
    assert {item.outcome for item in report.checks} <= {CheckOutcome.AGREE}
    questions = read_protocols().exams[exam].questions
    found = [q.label for q in questions if q.kind is Kind.FINDING]
    assert [item.label for item in report.findings] == found
    assert {item.name for item in report.measurements} == {
        q.label for q in questions if q.kind is Kind.MEASUREMENT and q.stated is None
    }


@pytest.mark.parametrize("exam", EXAMS)
def test_every_statement_of_an_exam_opens_onto_evidence_that_is_there(exam: ExamCode) -> None:
    report = reported(exam)
    ids = {item.id for item in report.evidence}
    assert [item.id for item in report.evidence] == [f"e{n + 1}" for n in range(len(ids))]
    for statement in statements(report):
        assert statement.evidence
        assert ids.issuperset(statement.evidence)
        assert statement.statement
    for item in report.measurements:
        assert (item.interval, item.coverage) == (None, None)
        assert "No interval is given: it is not calibrated yet." in (item.reason or "")


@pytest.mark.parametrize(
    ("exam", "name"), [(exam, name) for exam in EXAMS for name in ALL_TOOLS[exam][1:]]
)
def test_a_specialist_that_declines_leaves_its_reason_and_no_silent_gap(
    exam: ExamCode, name: str
) -> None:
    report = reported(exam, ALL_ANSWERS[exam]() | {name: Declined("The image is too dark.")})
    gaps = [item for item in statements(report) if item.state == "not_assessed"]
    assert any("too dark" in (item.reason or "") for item in gaps)
    assert all(item.reason for item in gaps)
    if name == "lung_2cls":  # A cross-check is not asked for.
        assert report.outcome is Outcome.REPORTED
    else:
        assert report.outcome is (Outcome.REFUSED if name in ONE_ANSWERS_ALL else Outcome.PARTIAL)
    assert all(item.outcome is not CheckOutcome.FLAG for item in report.checks)


@pytest.mark.parametrize("exam", EXAMS)
def test_without_a_spacing_every_length_is_in_px_and_says_why(exam: ExamCode) -> None:
    report = reported(exam, image=an_even_image())
    assert not {"mm", "mm²", "cm²"} & {item.unit for item in report.measurements}
    for item in report.measurements:
        if item.name != POSTERIOR:  # a ratio of grey values
            assert "states no pixel spacing" in (item.reason or "")
        if item.unit in {"deg", "%"} and "angle of progression" not in item.name:
            assert "assuming square pixels" in item.statement
    stated = any("pixels are assumed to be square" in line for line in report.limitations)
    assert stated == bool(report.measurements)


def test_a_later_step_runs_when_an_earlier_one_is_not_installed() -> None:
    installed = ("exam_cls", "aop_landmarks")
    report = report_of(intrapartum_answers(), installed=installed, image=an_even_image())
    assert [step.action for step in report.steps] == [*installed, "stop"]
    assert "not installed here" in (finding(report, "fetal head").reason or "")
    assert measurement(report, "angle of progression").state is MeasurementState.MEASURED
    assert "not installed here" in (measurement(report, "head–symphysis distance").reason or "")


# --------------------------------------------------------------------------------------- fetal head


def test_a_structure_of_the_head_without_a_box_is_not_assessed_rather_than_absent() -> None:
    answers = fetal_head_answers(
        fetal_csp_det=a_box("fetal_csp_det", "cavum septi pellucidi", None)
    )
    report = reported(ExamCode.FETAL_HEAD, answers)
    assert finding(report, "cavum septi pellucidi").state is FindingState.NOT_ASSESSED
    assert "cannot tell absence" in (finding(report, "cavum septi pellucidi").reason or "")
    assert any("it was not checked that the plane" in line for line in report.limitations)


def test_gestational_age_needs_millimetres_and_a_head_within_its_weeks() -> None:
    age = measurement(reported(ExamCode.FETAL_HEAD, image=an_even_image()), "gestational age")
    assert age.state is MeasurementState.NOT_ASSESSED
    assert "millimetres" in (age.reason or "")
    small = reported(ExamCode.FETAL_HEAD, image=an_even_image((0.06, 0.06)))
    assert measurement(small, "head circumference").state is MeasurementState.MEASURED
    assert "14 to 40 weeks" in (measurement(small, "gestational age").reason or "")


def test_diameters_that_the_landmarks_contradict_are_flagged_and_keep_their_values() -> None:
    far = HEAD_AXES | {"long axis right end": (450.0, 241.0)}
    report = reported(
        ExamCode.FETAL_HEAD,
        fetal_head_answers(fetal_head_axes=landmarks("fetal_head_axes", far)),
    )
    assert check(report, "diameters").outcome is CheckOutcome.FLAG
    assert measurement(report, "occipitofrontal diameter").value == pytest.approx(95.0, rel=1e-3)
    assert any("diameters" in line for line in report.impression)


def test_a_landmark_that_was_not_located_is_named_and_skips_the_check() -> None:
    places = {name: place for name, place in HEAD_AXES.items() if name != "long axis left end"}
    report = reported(
        ExamCode.FETAL_HEAD,
        fetal_head_answers(
            fetal_head_axes=landmarks("fetal_head_axes", places, "long axis left end")
        ),
    )
    found = finding(report, "head axis end points")
    assert found.state is FindingState.NOT_ASSESSED
    assert "long axis left end" in (found.reason or "")
    assert check(report, "diameters").outcome is CheckOutcome.SKIPPED
    assert measurement(report, "biparietal diameter").state is MeasurementState.MEASURED


def test_a_head_that_was_not_outlined_or_is_cut_off_has_no_numbers() -> None:
    none = reported(
        ExamCode.FETAL_HEAD, fetal_head_answers(fetal_head=outlines("fetal_head", ("head",)))
    )
    assert {item.reason for item in none.measurements} == {"the segmentation outlined no head"}
    ring = tuple(
        (max(x, 0.0), y) for x, y in an_ellipse((100.0, 240.0), (190.0, 150.0), points=180)
    )
    cut = reported(
        ExamCode.FETAL_HEAD,
        fetal_head_answers(fetal_head=outlines("fetal_head", ("head",), a_head(polygons=(ring,)))),
    )
    assert {item.state for item in cut.measurements} == {MeasurementState.NOT_ASSESSED}
    assert all("cuts the head off" in (item.reason or "") for item in cut.measurements)
    assert check(cut, "diameters").outcome is CheckOutcome.SKIPPED


def test_a_cavum_outside_of_the_brain_is_flagged() -> None:
    away = a_box("fetal_csp_det", "cavum septi pellucidi", (520.0, 20.0, 560.0, 60.0))
    report = reported(ExamCode.FETAL_HEAD, fetal_head_answers(fetal_csp_det=away))
    assert check(report, "containment: cavum").outcome is CheckOutcome.FLAG


# -------------------------------------------------------------------------------------- intrapartum


def test_the_angle_of_progression_states_its_context_and_orientation_and_no_verdict() -> None:
    report = reported(ExamCode.INTRAPARTUM)
    angle = measurement(report, "angle of progression")
    assert angle.value == pytest.approx(145, abs=1)
    assert "For context: an angle of 116°" in angle.statement
    assert "further right" in (angle.formula or "")
    assert any("probe not mirrored" in line for line in report.limitations)


def test_an_angle_that_the_outlines_contradict_is_flagged_and_keeps_its_value() -> None:
    lower = AOP_POINTS | {"tangent point": (441.0, 326.0)}
    report = reported(
        ExamCode.INTRAPARTUM, intrapartum_answers(aop_landmarks=landmarks("aop_landmarks", lower))
    )
    assert check(report, "angle of progression").outcome is CheckOutcome.FLAG
    assert measurement(report, "angle of progression").value == pytest.approx(132.1, abs=0.1)


def test_a_missing_landmark_leaves_the_angle_out_and_the_distance_in() -> None:
    places = {name: place for name, place in AOP_POINTS.items() if name != "tangent point"}
    report = reported(
        ExamCode.INTRAPARTUM,
        intrapartum_answers(aop_landmarks=landmarks("aop_landmarks", places, "tangent point")),
    )
    assert "tangent point" in (measurement(report, "angle of progression").reason or "")
    assert measurement(report, "head–symphysis distance").state is MeasurementState.MEASURED
    assert check(report, "angle of progression").outcome is CheckOutcome.SKIPPED
    assert report.outcome is Outcome.PARTIAL


def test_no_landmark_at_all_is_said_in_one_sentence() -> None:
    none = landmarks("aop_landmarks", {}, *AOP_POINTS)
    report = reported(ExamCode.INTRAPARTUM, intrapartum_answers(aop_landmarks=none))
    assert "none of its three landmarks" in (
        measurement(report, "angle of progression").reason or ""
    )


def test_a_tangent_point_on_the_edge_of_the_scanned_area_is_not_assessed() -> None:
    pixels = an_even_image().pixels.copy()
    pixels[:, 390:] = 0
    image = image_of(pixels)
    report = reported(ExamCode.INTRAPARTUM, image=image)
    assert "edge of the scanned area" in (measurement(report, "angle of progression").reason or "")


def test_a_head_that_one_sees_and_the_other_does_not_is_flagged() -> None:
    no_head = birth_outlines(SYMPHYSIS_RING, None)
    report = reported(ExamCode.INTRAPARTUM, intrapartum_answers(head_symphysis_multi=no_head))
    assert check(report, "presence").outcome is CheckOutcome.FLAG
    assert "no fetal head" in (measurement(report, "head–symphysis distance").reason or "")
    no_box = a_box("intrapartum_head_det", "head", None)
    report = reported(ExamCode.INTRAPARTUM, intrapartum_answers(intrapartum_head_det=no_box))
    assert finding(report, "fetal head").state is FindingState.NOT_ASSESSED
    assert "disagree" in (finding(report, "fetal head").reason or "")


def test_no_symphysis_is_not_assessed() -> None:
    report = reported(
        ExamCode.INTRAPARTUM,
        intrapartum_answers(head_symphysis_multi=birth_outlines(None, BIRTH_HEAD_RING)),
    )
    assert finding(report, "pubic symphysis").state is FindingState.NOT_ASSESSED
    assert "no pubic symphysis" in (measurement(report, "head–symphysis distance").reason or "")


# -------------------------------------------------------------------------------------------- nerve


def test_a_nerve_without_a_vessel_has_an_area_and_no_distance() -> None:
    nerve = a_component(label="nerve", polygons=(an_ellipse((300.0, 200.0), (40.0, 20.0)),))
    report = reported(ExamCode.NERVE, nerve_answers(nerve))
    assert measurement(report, "nerve cross-sectional area").state is MeasurementState.MEASURED
    assert finding(report, "vessel").state is FindingState.NOT_ASSESSED
    for name in ("nerve–vessel distance", "nerve–vessel gap"):
        assert "no vessel" in (measurement(report, name).reason or "")
    assert report.outcome is Outcome.PARTIAL


def test_two_nerves_are_told_apart_in_their_statements() -> None:
    parts = [
        a_component(label=label, polygons=(an_ellipse(centre, (20.0, 12.0)),))
        for label, centre in (
            ("nerve", (200.0, 200.0)),
            ("nerve", (400.0, 200.0)),
            ("vessel", (300.0, 200.0)),
        )
    ]
    report = reported(ExamCode.NERVE, nerve_answers(*parts))
    says = [item.statement for item in report.measurements if item.name.startswith("nerve–vessel")]
    assert [line.split(":")[0] for line in says] == [
        "Nerve 1 of 2, nerve–vessel distance",
        "Nerve 1 of 2, nerve–vessel gap",
        "Nerve 2 of 2, nerve–vessel distance",
        "Nerve 2 of 2, nerve–vessel gap",
    ]


# ------------------------------------------------------------------------------------------- muscle


def test_one_aponeurosis_leaves_angles_out_and_thickness_in() -> None:
    one = muscle_outlines("aponeurosis", UPPER_BAND)
    report = reported(ExamCode.MUSCLE, muscle_answers(muscle_aponeurosis=one))
    assert measurement(report, "muscle thickness").state is MeasurementState.MEASURED
    assert "two are needed" in (measurement(report, "deep aponeurosis inclination").reason or "")
    assert "line of the deep aponeurosis" in (measurement(report, "pennation angle").reason or "")
    assert check(report, "thickness").outcome is CheckOutcome.SKIPPED


@pytest.mark.parametrize(
    ("rings", "why"),
    [
        (FRAGMENTS[:2], "3 are needed"),
        (tuple(a_fragment((100.0 + 120 * n, 200.0), -10.0 * n) for n in range(5)), "do not agree"),
    ],
)
def test_few_or_contradictory_fascicles_have_no_angle(
    rings: tuple[tuple[tuple[float, float], ...], ...], why: str
) -> None:
    report = reported(
        ExamCode.MUSCLE, muscle_answers(muscle_fascicle=muscle_outlines("fascicle", *rings))
    )
    assert finding(report, "fascicles").state is FindingState.FOUND
    assert why in (measurement(report, "pennation angle").reason or "")


def test_a_thickness_that_the_lines_contradict_is_flagged_and_keeps_its_value() -> None:
    shallow = THICKNESS_POINTS | {"deep aponeurosis": (60.0, 220.5)}
    report = reported(
        ExamCode.MUSCLE, muscle_answers(muscle_thickness=landmarks("muscle_thickness", shallow))
    )
    assert check(report, "thickness").outcome is CheckOutcome.FLAG
    assert measurement(report, "muscle thickness").value == pytest.approx(120 * 0.25)
