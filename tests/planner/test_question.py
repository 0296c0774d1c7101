"""Free-text questions: the topics that their words ask for, in the question's order."""

import pytest

from planner.protocols import read_protocols
from planner.question import Reading, read_question
from reports.model import ExamCode

AXES_AND_AREA = ["long axis", "short axis", "area"]
SIZES = ["head circumference", "biparietal diameter", "occipitofrontal diameter"]


def read(text: str | None, exam: ExamCode = ExamCode.BREAST) -> Reading:
    return read_question(text, exam, read_protocols())


def own(text: str, exam: ExamCode = ExamCode.BREAST) -> list[str]:
    return [question.label for question in read(text, exam).own]


def names(text: str, exam: ExamCode = ExamCode.BREAST) -> list[str]:
    return [topic.name for topic in read(text, exam).topics]


@pytest.mark.parametrize(
    ("text", "exam", "labels"),
    [
        ("Is there a lesion?", ExamCode.BREAST, ["lesion"]),
        ("IS  THERE A\nMASS", ExamCode.BREAST, ["lesion"]),
        ("benign or malignant?", ExamCode.BREAST, ["classification"]),
        ("How big is it?", ExamCode.BREAST, AXES_AND_AREA),
        ("Is the lump in this breast cancer?", ExamCode.BREAST, ["classification"]),
        ("taller than wide?", ExamCode.BREAST, ["taller-than-wide ratio", "orientation"]),
        ("only the head circumference", ExamCode.FETAL_HEAD, ["head circumference"]),
        ("How big is the head?", ExamCode.FETAL_HEAD, SIZES),
        ("Angle of progression please", ExamCode.INTRAPARTUM, ["angle of progression"]),
        ("nerve-vessel distance", ExamCode.NERVE, ["nerve–vessel distance"]),
        ("median nerve swollen?", ExamCode.NERVE, ["nerve cross-sectional area"]),
        ("muscle thickness", ExamCode.MUSCLE, ["muscle thickness"]),
        ("Is this cyst simple?", ExamCode.BREAST, ["lesion"]),
        ("thyroid nodule: TI-RADS?", ExamCode.THYROID, ["suspicion of the nodule"]),
        ("heart muscle and left atrium", ExamCode.HEART, ["myocardium", "left atrium"]),
        ("dermoid or endometrioma?", ExamCode.OVARY, ["type of finding"]),
        ("covid?", ExamCode.LUNG, ["lung classification"]),
    ],
)
def test_words_name_the_exams_questions_in_their_order(
    text: str, exam: ExamCode, labels: list[str]
) -> None:
    assert own(text, exam) == labels


@pytest.mark.parametrize("text", [None, "", "  \n "])
def test_no_question_asks_for_nothing(text: str | None) -> None:
    assert read(text) == Reading()


@pytest.mark.parametrize(
    "text",
    ["?", "...!?", "asdf qwer", "masseter, researcher, sized", "Ist er bösartig?", "x" * 2000],
)
def test_what_no_word_of_is_known_has_no_topic_and_is_still_a_question(text: str) -> None:
    assert read(text) == Reading(given=True)


def test_questions_of_one_topic_go_by_its_name_and_one_of_them_by_its_own() -> None:
    assert names("size?") == ["size"]
    assert names("short axis?") == ["short axis"]
    assert names("AoP", ExamCode.INTRAPARTUM) == ["angle of progression"]
    assert names("How far down is the head?", ExamCode.INTRAPARTUM) == ["descent"]


def test_what_an_outline_is_like_is_asked_for_beside_its_margin() -> None:
    assert names("shape and margins?") == ["shape", "margin"]
    assert names("shape of the mass?") == ["shape"]


def test_topics_stand_in_the_order_of_the_question() -> None:
    assert names("How big is the mass? What BI-RADS?") == ["size", "BI-RADS category"]
    assert names("What BI-RADS is it, and how big?") == ["BI-RADS category", "size"]


def test_a_structure_is_asked_for_alone_or_where_its_presence_is_asked() -> None:
    assert names("lump") == ["lesion"]
    assert names("size of the lump") == ["size"]
    assert names("Any lump? Size?") == ["lesion", "size"]
    assert names("Is the CSP visible?", ExamCode.FETAL_HEAD) == ["cavum septi pellucidi"]


def test_what_this_service_does_not_answer_is_named_with_what_it_does_say_of_it() -> None:
    (topic,) = read("What BI-RADS?").topics
    assert [question.label for question in topic.questions] == ["classification"]
    assert topic.cannot == "This service gives no BI-RADS category."
    (topic,) = read("What BI-RADS?", ExamCode.NERVE).topics
    assert (topic.questions, topic.cannot) == ((), "This service gives no BI-RADS category.")


@pytest.mark.parametrize(
    ("text", "exam", "name"),
    [
        ("only the head circumference", ExamCode.BREAST, "head circumference"),
        ("fetal head", ExamCode.BREAST, "Fetal head ultrasound"),
        ("how is the ovary?", ExamCode.NERVE, "Ovary ultrasound"),
        ("ejection", ExamCode.NERVE, None),
        ("38 weeks, in labour, swelling of the vessels", ExamCode.BREAST, None),
        ("Is there a mass?", ExamCode.NERVE, None),
    ],
)
def test_words_of_one_other_exam_name_it_and_everyday_words_none(
    text: str, exam: ExamCode, name: str | None
) -> None:
    reading = read(text, exam)
    assert [topic.name for topic in reading.topics] == ([] if name is None else [name])
    assert not reading.own
    if name is not None:
        title = read_protocols().exams[exam].title
        assert f"answers it; this is {title[:1].lower()}{title[1:]}." in str(
            reading.topics[0].cannot
        )


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("58F, palpable lump L breast 3 o'clock", ["lesion"]),
        ("34F, family history of breast cancer", []),
        ("family history of cancer, lump?", ["lesion"]),
        ("s/p biopsy. Is it malignant?", ["classification"]),
        ("known fibroadenoma, size?", ["size"]),
        ("G1P0 39+4 in labour", []),
    ],
)
def test_a_history_asks_for_nothing(text: str, asked: list[str]) -> None:
    assert names(text) == asked


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Everything except the area", ["whole report"]),
        ("Skip the size", ["whole report"]),
        ("Skip the size, is it malignant?", ["classification"]),
        ("Is it malignant? Do not measure it.", ["classification"]),
    ],
)
def test_what_is_excluded_is_not_asked_for_and_narrows_nothing(text: str, asked: list[str]) -> None:
    assert names(text) == asked
    assert not read(text).distinct


@pytest.mark.parametrize(
    ("text", "distinct"),
    [
        ("size", True),
        ("What BI-RADS?", True),
        ("normal?", False),
        ("recurrence?", False),
        ("?", False),
    ],
)
def test_a_question_is_distinct_where_it_names_a_part_of_the_exam(
    text: str, distinct: bool
) -> None:
    assert read(text).distinct is distinct


@pytest.mark.parametrize("exam", ExamCode)
def test_normal_asks_for_everything_and_is_not_judged(exam: ExamCode) -> None:
    (topic,) = read("Is it normal?", exam).topics
    assert topic.everything
    assert "does not judge" in str(topic.cannot)


def test_the_structure_whose_normality_is_asked_comes_first() -> None:
    (topic,) = read("Is the cavum normal?", ExamCode.FETAL_HEAD).topics
    assert [question.id for question in topic.questions] == ["csp"]


def test_a_long_question_is_read_to_its_end() -> None:
    filler = "The patient was seen by us before. "
    text = (filler * 57)[:1960] + "Is it malignant?"
    assert names(text) == ["classification"]
