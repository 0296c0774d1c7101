"""Reports with a question: the protocol always runs, and the question is answered first."""

import pytest

from planner.case import Case, Request
from planner.conclusion.answers import answers_of
from planner.conclusion.asked import asked_of
from planner.conclusion.report import conclude
from planner.plan import plan_for
from reports.asked import Asked
from reports.model import ExamCode, FindingState, MeasurementState, Outcome, Report, Scope
from specialists.image import Image
from tests.builders import an_image
from tests.planner.exam_answers import an_even_image, fetal_head_answers
from tests.planner.organ_answers import ALL_ANSWERS, ALL_TOOLS
from tests.planner.stand_ins import (
    BREAST_TOOLS,
    StandInTools,
    a_manifest,
    an_identity,
    breast_answers,
    no_lesion_answers,
    report_of,
    routed_to,
    run_case,
    statements,
)

EVERY = {ExamCode.BREAST: breast_answers, **ALL_ANSWERS}
INSTALLED = {ExamCode.BREAST: BREAST_TOOLS, **ALL_TOOLS}

ASKED = [
    (ExamCode.BREAST, "58F, palpable lump L breast 3 o'clock", ["lesion"]),
    (ExamCode.BREAST, "recurrence after lumpectomy?", ["recurrence"]),
    (ExamCode.BREAST, "How big is the mass? What BI-RADS?", ["size", "BI-RADS category"]),
    (ExamCode.BREAST, "carpal tunnel?", ["carpal tunnel syndrome"]),
    (ExamCode.BREAST, "Biopsy? Calcifications?", ["biopsy", "calcifications"]),
    (ExamCode.BREAST, "only the head circumference", ["head circumference"]),
    (ExamCode.FETAL_HEAD, "Is the brain normal?", ["normality"]),
    (ExamCode.FETAL_HEAD, "Breech? Liquor?", ["fetal position or presentation", "amniotic fluid"]),
    (ExamCode.FETAL_HEAD, "IUGR? gestational age", ["fetal growth", "gestational age"]),
    (ExamCode.FETAL_HEAD, "hydrocephalus?", ["fetal anomalies"]),
    (ExamCode.INTRAPARTUM, "Is the head engaged?", ["engagement"]),
    (ExamCode.INTRAPARTUM, "OA? caput?", ["fetal position or presentation", "caput or moulding"]),
    (ExamCode.INTRAPARTUM, "how low, will she deliver?", ["descent", "course of labour"]),
    (ExamCode.NERVE, "carpal tunnel?", ["carpal tunnel syndrome"]),
    (ExamCode.NERVE, "where to place the needle", ["placing a needle"]),
    (ExamCode.MUSCLE, "sarcopenia?", ["muscle wasting"]),
    (ExamCode.MUSCLE, "tear of the gastrocnemius?", ["tears"]),
    (ExamCode.THYROID, "TIRADS? FNA?", ["TI-RADS category", "biopsy"]),
    (ExamCode.THYROID, "Hashimoto?", ["thyroid gland"]),
    (ExamCode.HEART, "EF? LA area?", ["ejection fraction", "left atrial area"]),
    (ExamCode.HEART, "mitral regurgitation?", ["valves or pericardium"]),
    (ExamCode.OVARY, "Is it cancer?", ["whether it is cancer"]),
    (ExamCode.OVARY, "torsion?", ["torsion, follicles or uterus"]),
    (ExamCode.LUNG, "Pneumothorax? Covid?", ["lung signs", "lung classification"]),
    (ExamCode.LUNG, "kidney stones", ["another organ"]),
    (ExamCode.BREAST, "Wie groß ist der Knoten, und ist er bösartig?", []),
    (ExamCode.THYROID, "qwertz asdf", []),
    (ExamCode.OVARY, "?!", []),
    (ExamCode.HEART, "please " * 280 + "area", None),
]


def image_of_exam(exam: ExamCode) -> Image:
    return an_image() if exam is ExamCode.BREAST else an_even_image((0.25, 0.25))


def case_of(exam: ExamCode, question: str | None, scope: Scope = Scope.PROTOCOL) -> Case:
    tools = StandInTools(answers=EVERY[exam](), manifest=a_manifest(INSTALLED[exam]))
    return run_case(tools, Request(question=question, scope=scope), image_of_exam(exam))


def asked(exam: ExamCode, question: str | None, scope: Scope = Scope.PROTOCOL) -> Asked:
    plan = plan_for(case_of(exam, question, scope))
    found = asked_of(plan, answers_of(plan))
    assert found is not None
    return found


def reported(exam: ExamCode, question: str | None = None, scope: Scope = Scope.PROTOCOL) -> Report:
    return conclude(case_of(exam, question, scope), an_identity())


def by_id(report: Report) -> dict[str, object]:
    return {item.id: (type(item).__name__, item.statement) for item in statements(report)}


@pytest.mark.parametrize(("exam", "question", "names"), ASKED)
def test_a_question_changes_nothing_of_a_report_but_its_order_and_its_first_line(
    exam: ExamCode, question: str, names: list[str] | None
) -> None:
    plain, report = reported(exam), reported(exam, question)
    assert [step.action for step in report.steps] == [step.action for step in plain.steps]
    assert by_id(report) == by_id(plain)
    assert (report.outcome, report.reason) == (plain.outcome, plain.reason)
    assert report.checks == plain.checks
    assert (plain.asked, plain.request.question_given) == (None, False)
    assert report.request.question_given
    if names is not None:
        assert [topic.name for topic in asked(exam, question).topics] == names
        assert all(name in str(report.asked) for name in names)
    assert report.asked


@pytest.mark.parametrize(("exam", "question", "names"), ASKED)
def test_every_topic_is_answered_or_says_what_is_not(
    exam: ExamCode, question: str, names: list[str] | None
) -> None:
    report, ids = reported(exam, question), set(by_id(reported(exam)))
    for topic in asked(exam, question).topics:
        assert topic.cannot or topic.findings or topic.measurements
        assert ids.issuperset((*topic.findings, *topic.measurements))
        if topic.cannot:
            assert topic.cannot in str(report.asked)


@pytest.mark.parametrize(("exam", "question", "names"), ASKED)
def test_what_answers_the_question_comes_first_and_the_rest_keeps_its_order(
    exam: ExamCode, question: str, names: list[str] | None
) -> None:
    plain, report, found = reported(exam), reported(exam, question), asked(exam, question)
    for kind in ("findings", "measurements"):
        first = [i for topic in found.topics for i in getattr(topic, kind)]
        first = list(dict.fromkeys(first))
        ids = [item.id for item in getattr(report, kind)]
        assert ids[: len(first)] == first
        rest = [item.id for item in getattr(plain, kind) if item.id not in first]
        assert ids[len(first) :] == rest


def test_the_size_is_answered_by_its_numbers_and_the_category_by_the_classification() -> None:
    size, category = asked(ExamCode.BREAST, "How big is the mass? What BI-RADS?").topics
    report = reported(ExamCode.BREAST)
    measured = {item.id: item.name for item in report.measurements}
    assert [measured[i] for i in size.measurements] == ["long axis", "short axis", "area"]
    labels = {item.id: item.label for item in report.findings}
    assert [labels[i] for i in category.findings] == ["classification"]


def test_engagement_is_answered_by_the_angle_and_not_judged() -> None:
    (topic,) = asked(ExamCode.INTRAPARTUM, "Is the head engaged?").topics
    report = reported(ExamCode.INTRAPARTUM, "Is the head engaged?")
    first = report.measurements[:2]
    assert [item.name for item in first] == ["angle of progression", "head station"]
    assert topic.measurements == tuple(item.id for item in first)
    assert "does not say whether the head is engaged" in str(topic.cannot)


def test_carpal_tunnel_is_answered_by_the_nerves_cross_section_and_no_diagnosis() -> None:
    report = reported(ExamCode.NERVE, "carpal tunnel?")
    assert report.measurements[0].name == "nerve cross-sectional area"
    assert "clinical diagnosis" in str(report.asked)
    assert report.outcome is Outcome.REPORTED


def test_whether_the_brain_is_normal_names_each_structure_and_judges_none() -> None:
    (topic,) = asked(ExamCode.FETAL_HEAD, "Is the brain normal?").topics
    report = reported(ExamCode.FETAL_HEAD, "Is the brain normal?")
    seen = {item.id: item.label for item in report.findings}
    assert [seen[i] for i in topic.findings] == [
        *("fetal brain", "cavum septi pellucidi", "lateral ventricle", "fetal head outline")
    ]
    assert topic.measurements == ()
    assert "does not judge whether an image is normal" in str(report.asked)
    assert "Found: fetal brain, cavum septi pellucidi, lateral ventricle" in str(report.asked)


# ------------------------------------------------------------------------------- narrowed requests


def test_a_narrowed_report_says_so_first_and_leaves_the_rest_out_with_its_reason() -> None:
    report = reported(ExamCode.BREAST, "Is there a lesion?", Scope.QUESTION)
    assert asked(ExamCode.BREAST, "Is there a lesion?", Scope.QUESTION).narrowed
    assert report.request.scope is Scope.QUESTION
    assert "breast_2cls" not in [step.action for step in report.steps]
    gap = next(item for item in report.findings if item.label == "classification")
    assert gap.state is FindingState.NOT_ASSESSED
    assert gap.reason == "the request asked for other things only"
    assert (report.outcome, report.reason) == (Outcome.REPORTED, None)


def test_a_narrowed_request_runs_what_its_answer_needs() -> None:
    report = reported(ExamCode.BREAST, "benign or malignant?", Scope.QUESTION)
    tools = [step.action for step in report.steps]
    assert tools.index("breast_lesion_det") < tools.index("breast_2cls")


@pytest.mark.parametrize(
    "question",
    [None, "?", "normal?", "recurrence?", "head circumference", "Everything except the area"],
)
def test_a_request_that_names_no_part_of_the_exam_narrows_nothing(question: str | None) -> None:
    plain = reported(ExamCode.BREAST)
    report = reported(ExamCode.BREAST, question, Scope.QUESTION)
    assert by_id(report) == by_id(plain)
    if question is not None:
        assert not asked(ExamCode.BREAST, question, Scope.QUESTION).narrowed


@pytest.mark.parametrize("exam", ExamCode)
def test_asking_for_one_thing_is_never_more_work_than_asking_for_all(exam: ExamCode) -> None:
    whole = reported(exam)
    for question in plan_for(case_of(exam, None)).case.protocols.exams[exam].questions:
        for keyword in question.keywords[:1]:
            report = reported(exam, keyword, Scope.QUESTION)
            assert len(report.steps) <= len(whole.steps), keyword


@pytest.mark.parametrize(
    ("exam", "question", "ran"),
    [
        (ExamCode.FETAL_HEAD, "BPD please", ("exam_cls", "fetal_head")),
        (
            ExamCode.MUSCLE,
            "pennation angle?",
            ("exam_cls", "muscle_aponeurosis", "muscle_fascicle"),
        ),
        (ExamCode.NERVE, "vessel area", INSTALLED[ExamCode.NERVE]),
        (ExamCode.INTRAPARTUM, "AoP", INSTALLED[ExamCode.INTRAPARTUM]),
        (
            ExamCode.THYROID,
            "how big is the nodule?",
            ("exam_cls", "thyroid_nodule_det", "thyroid_nodule"),
        ),
        (
            ExamCode.THYROID,
            "is it suspicious?",
            ("exam_cls", "thyroid_nodule_det", "thyroid_tirads_2cls"),
        ),
        (ExamCode.HEART, "two-chamber or four-chamber?", ("exam_cls", "cardiac_view_cls")),
        (ExamCode.OVARY, "ovarian cyst, how large?", ("exam_cls", "ovary_tumor")),
        (ExamCode.LUNG, "Pneumonia or covid-19?", ("exam_cls", "lung_disease_3cls")),
    ],
)
def test_a_narrowed_report_runs_what_its_number_is_made_of_and_no_more(
    exam: ExamCode, question: str, ran: tuple[str, ...]
) -> None:
    report = reported(exam, question, Scope.QUESTION)
    assert [step.action for step in report.steps] == [*ran, "stop"]
    assert report.outcome is Outcome.REPORTED


# ------------------------------------------------------------------------------------- the outcome


def test_an_age_without_millimetres_is_not_available_and_no_gap() -> None:
    report = report_of(
        fetal_head_answers(),
        question="gestational age?",
        image=an_even_image(),
        installed=INSTALLED[ExamCode.FETAL_HEAD],
    )
    age = report.measurements[0]
    assert (age.name, age.state) == ("gestational age", MeasurementState.NOT_ASSESSED)
    assert str(age.reason).startswith("Not available from this image: it needs millimetres")
    assert (report.outcome, report.reason) == (Outcome.REPORTED, None)


def test_a_question_about_a_lesion_that_is_not_there_is_answered() -> None:
    report = report_of(no_lesion_answers(), question="How big is the mass? Is it malignant?")
    assert (report.outcome, report.reason) == (Outcome.REPORTED, None)


def test_a_refused_image_answers_no_question() -> None:
    report = report_of(
        breast_answers(exam_cls=routed_to(ExamCode.HEART)), question="Is there a lesion?"
    )
    assert report.outcome is Outcome.REFUSED
    assert report.asked is None


def test_the_question_itself_is_nowhere_in_the_report() -> None:
    secret = "Is the lesion of Erika Mustermann malignant?"
    assert "Mustermann" not in report_of(question=secret).model_dump_json()


def test_every_statement_names_the_structure_that_it_is_grouped_by() -> None:
    for exam in ExamCode:
        report = reported(exam)
        assert all(item.structure for item in statements(report))
