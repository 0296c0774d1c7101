"""Exams whose specialists somebody installs: run in order, and honest about formulas that are not there yet."""

from planner.answers import NO_FORMULA
from reports.model import CheckOutcome, ExamCode, FindingState, NamedPoint, Outcome
from tests.builders import (
    a_component,
    a_detect_result,
    a_regress_result,
    a_segment_result,
    a_sha256,
    an_ellipse,
)
from tests.planner.stand_ins import Answer, StandInTools, a_manifest, report_of, routed_to, run_case

INTRAPARTUM = ("exam_cls", "intrapartum_head_det", "head_symphysis_multi", "aop_landmarks")
HEAD_BOX = (200.0, 100.0, 440.0, 380.0)


def intrapartum_answers() -> dict[str, Answer]:
    head = a_component(label="fetal head", polygons=(an_ellipse((320.0, 240.0), (120.0, 140.0)),))
    symphysis = a_component(
        label="pubic symphysis", polygons=(an_ellipse((100.0, 90.0), (40.0, 15.0)),)
    )
    return {
        "exam_cls": routed_to(ExamCode.INTRAPARTUM),
        "intrapartum_head_det": a_detect_result(
            specialist="intrapartum_head_det", label="head", box=HEAD_BOX
        ),
        "head_symphysis_multi": a_segment_result(
            specialist="head_symphysis_multi",
            labels=("pubic symphysis", "fetal head"),
            components=(head, symphysis),
        ),
        "aop_landmarks": a_regress_result(
            specialist="aop_landmarks",
            sha256=a_sha256("aop_landmarks"),
            points=(NamedPoint(name="tangent point", x=300.0, y=300.0, score=0.4),),
        ),
    }


def test_a_step_waits_until_nothing_more_can_be_learnt_for_what_it_follows() -> None:
    tools = StandInTools(answers=intrapartum_answers(), manifest=a_manifest(INTRAPARTUM))
    case = run_case(tools)
    assert tools.called == list(INTRAPARTUM)
    assert [record.step.legal for record in case.records[1:4]] == [
        ("intrapartum_head_det",),
        ("head_symphysis_multi",),
        ("aop_landmarks",),
    ]


def test_a_number_without_a_formula_is_not_assessed_and_what_was_seen_is_reported() -> None:
    report = report_of(intrapartum_answers(), installed=INTRAPARTUM)
    assert report.outcome is Outcome.PARTIAL
    assert [(item.label, item.state) for item in report.findings] == [
        ("fetal head", FindingState.FOUND),
        ("pubic symphysis", FindingState.FOUND),
    ]
    assert {item.reason for item in report.measurements} == {NO_FORMULA}
    symphysis = next(e.id for e in report.evidence if getattr(e, "label", "") == "pubic symphysis")
    assert report.findings[1].evidence == (symphysis,)


def test_a_check_of_one_structure_leaves_the_others_out() -> None:
    report = report_of(intrapartum_answers(), installed=INTRAPARTUM)
    assert [check.outcome for check in report.checks] == [CheckOutcome.AGREE]


def test_a_later_step_runs_when_an_earlier_one_is_not_installed() -> None:
    installed = ("exam_cls", "aop_landmarks")
    tools = StandInTools(answers=intrapartum_answers(), manifest=a_manifest(installed))
    run_case(tools)
    assert tools.called == ["exam_cls", "aop_landmarks"]
    report = report_of(intrapartum_answers(), installed=installed)
    assert report.findings[0].state is FindingState.NOT_ASSESSED
    assert "intrapartum_head_det" in (report.findings[0].reason or "")
