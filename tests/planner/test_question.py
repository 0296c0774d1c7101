"""Free-text questions: what their keywords ask for, and what the report says of the rest."""

import pytest

from planner.protocols import read_protocols
from planner.question import NEGATED, UNMATCHED, read_question
from reports.model import ExamCode, FindingState, MeasurementState, Outcome
from tests.planner.stand_ins import (
    breast_answers,
    report_of,
    routed_to,
)

AXES_AND_AREA = ["long axis", "short axis", "area"]


def own(text: str, exam: ExamCode = ExamCode.BREAST) -> list[str]:
    return [question.label for question in read_question(text, exam, read_protocols()).own]


@pytest.mark.parametrize(
    ("text", "exam", "labels"),
    [
        ("Is there a lesion?", ExamCode.BREAST, ["lesion"]),
        ("IS  THERE A\nMASS", ExamCode.BREAST, ["lesion"]),
        ("benign or malignant?", ExamCode.BREAST, ["classification"]),
        ("How big is it?", ExamCode.BREAST, AXES_AND_AREA),
        ("Is the lump in this breast cancer?", ExamCode.BREAST, ["lesion", "classification"]),
        ("taller than wide?", ExamCode.BREAST, ["taller-than-wide ratio"]),
        ("only the head circumference", ExamCode.FETAL_HEAD, ["head circumference"]),
        ("Angle of progression please", ExamCode.INTRAPARTUM, ["angle of progression"]),
        ("nerve-vessel distance", ExamCode.NERVE, ["nerve–vessel distance"]),
        ("muscle thickness", ExamCode.MUSCLE, ["muscle thickness"]),
        ("Is this cyst simple?", ExamCode.BREAST, ["lesion"]),
        ("thyroid nodule: TI-RADS?", ExamCode.THYROID, ["nodule", "suspicion of the nodule"]),
        ("heart muscle and left atrium", ExamCode.HEART, ["myocardium", "left atrium"]),
        ("dermoid or endometrioma?", ExamCode.OVARY, ["type of finding"]),
        ("covid?", ExamCode.LUNG, ["lung classification"]),
    ],
)
def test_keywords_narrow_the_protocol_to_what_they_ask(
    text: str, exam: ExamCode, labels: list[str]
) -> None:
    assert own(text, exam) == labels


@pytest.mark.parametrize("text", [None, "", "  \n "])
def test_no_question_asks_for_the_whole_protocol_without_a_word(text: str | None) -> None:
    asked = read_question(text, ExamCode.BREAST, read_protocols())
    assert asked.own == read_protocols().exams[ExamCode.BREAST].questions
    assert (asked.narrowed, asked.note, asked.foreign) == (False, None, ())


def test_a_keyword_inside_another_word_is_not_one() -> None:
    asked = read_question("masseter, researcher, sized", ExamCode.BREAST, read_protocols())
    assert asked.note == UNMATCHED


def test_a_question_about_the_lesion_leaves_the_classification_out_and_says_so() -> None:
    report = report_of(question="Is there a lesion?")
    actions = [step.action for step in report.steps]
    assert "breast_2cls" not in actions
    assert actions[:2] == ["exam_cls", "breast_lesion_det"]
    gap = next(item for item in report.findings if item.label == "classification")
    assert gap.state is FindingState.NOT_ASSESSED
    assert gap.reason == "the question did not ask for it"
    assert report.outcome is Outcome.REPORTED
    assert report.request.question_given


def test_a_question_about_malignancy_brings_in_the_detector_that_it_needs() -> None:
    tools = [step.action for step in report_of(question="benign or malignant?").steps]
    assert tools.index("breast_lesion_det") < tools.index("breast_2cls")


def test_a_question_that_no_keyword_matches_leaves_the_whole_protocol_and_says_so() -> None:
    plain, asked = report_of(), report_of(question="What would you advise my aunt?")
    assert [step.action for step in asked.steps] == [step.action for step in plain.steps]
    assert (asked.outcome, asked.reason) == (Outcome.REPORTED, UNMATCHED)


def test_a_question_that_excludes_something_leaves_the_whole_protocol_and_says_so() -> None:
    report = report_of(question="Everything except the area")
    assert report.reason == NEGATED
    assert [item.state for item in report.measurements] == [MeasurementState.MEASURED] * 4


def test_a_question_for_another_exam_than_the_image_says_what_is_missing() -> None:
    report = report_of(question="only the head circumference")
    assert report.outcome is Outcome.REFUSED
    assert report.exam.code == "breast"
    assert "head circumference (Fetal head ultrasound)" in (report.reason or "")
    assert "not installed: fetal_head (No weights in this test)" in (report.reason or "")
    assert [step.action for step in report.steps] == ["exam_cls", "stop"]
    gap = next(item for item in report.measurements if item.name == "head circumference")
    assert gap.state is MeasurementState.NOT_ASSESSED
    assert "Fetal head ultrasound" in (gap.reason or "")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("how big is the mass?", "lesion (Breast ultrasound)"),
        ("how big is the mass in the ovary?", "ovary or tumour (Ovary ultrasound)"),
        ("how big is the thyroid nodule?", "nodule (Thyroid ultrasound)"),
    ],
)
def test_words_that_several_other_exams_share_are_those_of_the_one_that_is_named(
    text: str, asked: str
) -> None:
    foreign = read_question(text, ExamCode.NERVE, read_protocols()).foreign
    (exam,) = {code for code, _ in foreign}
    title = read_protocols().exams[exam].title
    assert asked in {f"{question.label} ({title})" for _, question in foreign if question}


def test_a_question_for_two_exams_is_answered_as_far_as_the_image_goes() -> None:
    report = report_of(question="Is there a lesion, and what is the head circumference?")
    assert report.outcome is Outcome.PARTIAL
    assert report.findings[0].state is FindingState.FOUND
    assert report.measurements[-1].name == "head circumference"
    assert "head circumference" in (report.reason or "")


def test_the_question_itself_is_nowhere_in_the_report() -> None:
    secret = "Is the lesion of Erika Mustermann malignant?"
    assert "Mustermann" not in report_of(question=secret).model_dump_json()


def test_an_exam_that_is_asked_of_the_wrong_image_names_the_exam_only() -> None:
    report = report_of(breast_answers(exam_cls=routed_to(ExamCode.BREAST)), question="fetal head")
    assert report.outcome is Outcome.REFUSED
    assert "asks for Fetal head ultrasound" in (report.reason or "")


def test_asking_for_one_thing_is_never_more_work_than_asking_for_all() -> None:
    for question in read_protocols().exams[ExamCode.BREAST].questions:
        for keyword in question.keywords[:1]:
            asked = report_of(question=keyword)
            assert len(asked.steps) <= len(report_of().steps), keyword
