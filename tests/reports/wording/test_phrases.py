import pytest

from reports.forms.text import to_text
from reports.model import ExamInfo
from reports.wording.phrases import clause, exam_basis, listed, score_text, sentence
from reports.wording.report import word
from tests.builders import a_report


@pytest.mark.parametrize(
    ("text", "as_clause", "as_sentence"),
    [
        ("No lesion was found.", "no lesion was found", "No lesion was found."),
        ("no lesion", "no lesion", "No lesion."),
        ("A box is missing.", "a box is missing", "A box is missing."),
        ("IoU is 0.2.", "IoU is 0.2", "IoU is 0.2."),
        ("DICOM says so", "DICOM says so", "DICOM says so."),
    ],
)
def test_a_reason_fits_in_a_sentence_and_stands_alone(
    text: str, as_clause: str, as_sentence: str
) -> None:
    assert clause(text) == as_clause
    assert sentence(text) == as_sentence


def test_names_are_joined_as_in_a_sentence() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_score_is_never_printed_as_certain() -> None:
    assert score_text(0.18) == "0.18"
    assert [score_text(value) for value in (1.0, 0.9999, 0.995)] == ["> 0.99"] * 3
    assert [score_text(value) for value in (0.0, 0.0001)] == ["< 0.01"] * 2


@pytest.mark.parametrize(
    ("code", "chosen_by", "score", "sentence"),
    [
        (
            "breast",
            "request",
            0.16,
            "Exam named in the request; the router's score for it is 0.16.",
        ),
        ("breast", "request", None, "Exam named in the request."),
        (
            "nerve",
            "image",
            0.97,
            "Exam recognised from the image; the router's score for it is 0.97.",
        ),
        (None, "image", 0.33, "No exam was recognised; the router's best score is 0.33."),
        (None, "image", None, "No exam was recognised."),
    ],
)
def test_how_the_exam_was_chosen_is_never_called_recognised_when_it_was_not(
    code: str | None, chosen_by: str, score: float | None, sentence: str
) -> None:
    info = ExamInfo.model_validate(
        {"code": code, "title": "An exam", "chosen_by": chosen_by, "score": score}
    )
    assert exam_basis(info) == sentence
    assert sentence in to_text(word(a_report(exam=info)))
