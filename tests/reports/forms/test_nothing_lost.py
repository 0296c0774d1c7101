"""Every number and finding of every exam has a code and reaches SR and FHIR."""

import io
import json

import pytest
from pydicom import dcmread

from planner.protocols import Answer, Question, read_protocols
from reports.forms import codes
from reports.forms.dicom.sr import to_sr
from reports.forms.fhir.bundle import to_fhir
from reports.measure.formulas import MEASUREMENTS
from reports.measure.outlines.descriptors import Orientation, Shape
from reports.model import ExamCode, MeasurementState, Report
from tests.planner.exam_answers import an_even_image
from tests.planner.organ_answers import ALL_ANSWERS, ALL_TOOLS
from tests.planner.stand_ins import BREAST_TOOLS, breast_answers, report_of
from tests.reports.forms.test_dicom_sr import items

QUESTIONS = [q for exam in read_protocols().exams.values() for q in exam.questions]


def whole(exam: ExamCode) -> Report:
    """A report of the exam in which every question is answered."""
    breast = exam is ExamCode.BREAST
    return report_of(
        breast_answers() if breast else ALL_ANSWERS[exam](),
        installed=BREAST_TOOLS if breast else ALL_TOOLS[exam],
        image=None if breast else an_even_image((0.25, 0.25)),
    )


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_every_question_of_the_protocols_has_a_code_of_its_own(question: Question) -> None:
    table = codes.STRUCTURES if question.kind is Answer.FINDING else codes.MEASUREMENTS
    assert question.label in table


def test_every_measurement_has_a_code_and_no_two_of_an_exam_the_same() -> None:
    named = {name for names in MEASUREMENTS.values() for name in names}
    assert named == set(codes.MEASUREMENTS)
    for exam in read_protocols().exams.values():
        numbers = [q.label for q in exam.questions if q.kind is Answer.MEASUREMENT]
        assert len({codes.measured(name) for name in numbers}) == len(numbers)


def test_every_value_of_a_quality_has_a_code() -> None:
    assert set(codes.QUALITIES) == {*map(str, Shape), *map(str, Orientation)}


@pytest.mark.parametrize("exam", list(ExamCode))
def test_what_a_refused_report_names_are_the_numbers_of_the_exam(exam: ExamCode) -> None:
    numbers = {
        codes.measured(question.label)
        for question in read_protocols().exams[exam].questions
        if question.kind is Answer.MEASUREMENT and question.stated is None
    }
    assert set(codes.EXAM_MEASUREMENTS[exam]) == numbers


@pytest.mark.parametrize("exam", list(ExamCode))
def test_nothing_of_a_report_falls_out_of_sr_or_fhir(exam: ExamCode) -> None:
    report = whole(exam)
    content = list(items(dcmread(io.BytesIO(to_sr(report)))))
    numbers = {
        (
            item.ConceptNameCodeSequence[0].CodeValue,
            float(item.MeasuredValueSequence[0].NumericValue),
        )
        for item in content
        if item.ValueType == "NUM" and item.MeasuredValueSequence
    }
    qualities = {
        item.ConceptCodeSequence[0].CodeValue for item in content if item.ValueType == "CODE"
    }
    tracked = {str(item.TextValue) for item in content if item.ValueType == "TEXT"}
    resources = [entry["resource"] for entry in json.loads(to_fhir(report))["entry"]]
    observed = [item for item in resources if item["resourceType"] == "Observation"]
    assert len(observed) == len(report.findings) + len(report.measurements)
    for number in report.measurements:
        code = codes.measured(number.name).value
        assert number.state is MeasurementState.MEASURED
        assert number.value is not None
        assert any(
            value == pytest.approx(number.value, abs=1e-3)
            for name, value in numbers
            if name == code
        )
        assert any(
            item["code"]["coding"][0]["code"] == code
            and item["valueQuantity"]["value"] == number.value
            for item in observed
        )
    for finding in report.findings:
        assert finding.id in tracked
        assert any(item["code"]["text"] == finding.label for item in observed)
        if finding.value is not None:
            assert codes.quality(finding.value).value in qualities
