"""One report of each exam, planned, concluded and worded by USTri, byte for byte.

After a wanted change, write them anew and read the diff:
    USTRI_WRITE_GOLDEN=1 .venv/bin/pytest tests/reports/test_golden_exams.py
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from planner.case import Record, Request
from planner.conclusion.report import conclude
from reports.canonical import to_json
from reports.forms.html import to_html
from reports.forms.text import to_text
from reports.model import ExamCode, Outcome, Report
from reports.provenance import PlannerRef
from tests.builders import a_sha256
from tests.planner.exam_answers import (
    AOP_POINTS,
    a_box,
    an_even_image,
    fetal_head_answers,
    intrapartum_answers,
    landmarks,
)
from tests.planner.organ_answers import ALL_ANSWERS, ALL_TOOLS
from tests.planner.stand_ins import (
    Answer,
    StandInTools,
    a_manifest,
    all_intervals,
    an_identity,
    run_case,
)

GOLDEN = Path(__file__).parent / "golden"

IMAGES = {
    ExamCode.FETAL_HEAD: an_even_image((0.25, 0.25)),
    ExamCode.INTRAPARTUM: an_even_image(),
    ExamCode.NERVE: an_even_image((0.05, 0.06)),
    ExamCode.MUSCLE: an_even_image(),
    ExamCode.THYROID: an_even_image((0.1, 0.1)),
    ExamCode.HEART: an_even_image((0.45, 0.45)),
    ExamCode.OVARY: an_even_image(),
    ExamCode.LUNG: an_even_image(),
}

CHANGES: dict[ExamCode, dict[str, Answer]] = {
    ExamCode.FETAL_HEAD: fetal_head_answers(
        fetal_csp_det=a_box("fetal_csp_det", "cavum septi pellucidi", None)
    ),
    ExamCode.INTRAPARTUM: intrapartum_answers(
        aop_landmarks=landmarks("aop_landmarks", AOP_POINTS | {"tangent point": (441.0, 326.0)})
    ),
}
"""A cavum that the detector did not box, and landmarks that contradict the outlines."""


@cache
def the_report(exam: ExamCode) -> Report:
    """Return the exam's report, with fixed values for what changes by run or by protocol bytes."""
    tools = StandInTools(
        answers=CHANGES[exam] if exam in CHANGES else ALL_ANSWERS[exam](),
        manifest=a_manifest(ALL_TOOLS[exam], intervals=all_intervals()),
    )
    case = run_case(tools, Request(), IMAGES[exam])
    still = replace(
        case,
        records=tuple(in_no_time(record) for record in case.records),
        planner=PlannerRef(id="rules", sha256=a_sha256("rules")),
    )
    return conclude(still, an_identity())


def in_no_time(record: Record) -> Record:
    return record.model_copy(update={"step": record.step.model_copy(update={"duration_ms": 0.0})})


def form(exam: ExamCode, suffix: str) -> bytes:
    report = the_report(exam)
    match suffix:
        case "json":
            return to_json(report)
        case "txt":
            return to_text(report).encode()
        case _:
            return to_html(report, "image.png").encode()


@pytest.mark.parametrize("suffix", ["json", "txt", "html"])
@pytest.mark.parametrize("exam", ALL_ANSWERS)
def test_the_exams_report_is_the_golden_one_byte_for_byte(exam: ExamCode, suffix: str) -> None:
    golden, made = GOLDEN / f"{exam.value}.{suffix}", form(exam, suffix)
    if os.environ.get("USTRI_WRITE_GOLDEN"):
        golden.write_bytes(made)
    assert made == golden.read_bytes()


@pytest.mark.parametrize("exam", ALL_ANSWERS)
def test_the_golden_json_is_a_valid_report_of_its_exam(exam: ExamCode) -> None:
    golden = (GOLDEN / f"{exam.value}.json").read_bytes()
    report = Report.model_validate_json(golden)
    assert to_json(report) == golden
    assert report.exam.code is exam
    assert report.outcome is not Outcome.REFUSED
