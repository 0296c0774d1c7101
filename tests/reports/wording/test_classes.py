"""What a classifier's answer is worded as, whatever it favours."""

import pytest

from reports.model import ExamCode, ExamInfo, ScoresEvidence
from reports.wording.report import word
from tests.builders import a_finding, a_report, some_evidence

EXCLUDES_NOT = "it cannot exclude malignancy"
CANNOT = "it cannot exclude malignancy and is not a probability of cancer"
NEITHER = "it is neither a diagnosis nor a probability of cancer"


def says(
    scores: dict[str, float],
    kept: tuple[str, ...] | None = None,
    exam: ExamCode | None = ExamCode.BREAST,
) -> str:
    evidence = ScoresEvidence(id="e4", specialist="a_cls", step=3, scores=scores)
    report = a_report(
        exam=ExamInfo(code=exam, title="An exam", chosen_by="image", score=None),
        evidence=(*some_evidence()[:3], evidence),
        findings=(a_finding(label="classification", label_set=kept, evidence=("e4",)),),
        measurements=(),
    )
    return word(report).findings[0].statement


@pytest.mark.parametrize(
    ("scores", "kept", "said"),
    [
        (
            {"benign": 0.92, "malignant": 0.08},
            ("benign",),
            f"classifier favours benign, score 0.92; {CANNOT}.",
        ),
        (
            {"benign": 0.92, "malignant": 0.08},
            None,
            f"classifier favours benign, score 0.92; {CANNOT}.",
        ),
        (
            {"benign": 0.16, "malignant": 0.84},
            ("malignant",),
            f"classifier favours malignant, score 0.84; {NEITHER}.",
        ),
        (
            {"benign": 0.41, "malignant": 0.59},
            ("benign", "malignant"),
            f"classifier cannot tell benign from malignant; {EXCLUDES_NOT}.",
        ),
        (
            {"benign": 0.59, "malignant": 0.41},
            ("malignant",),
            f"classifier cannot tell benign from malignant; {EXCLUDES_NOT}.",
        ),
        (
            {"normal": 0.3, "benign": 0.4, "malignant": 0.3},
            ("normal", "benign", "malignant"),
            f"classifier cannot tell normal, benign and malignant apart; {EXCLUDES_NOT}.",
        ),
        (
            {"benign": 0.5, "malignant": 0.5},
            (),
            f"classifier finds that the image fits no class (benign, malignant); {EXCLUDES_NOT}.",
        ),
    ],
)
def test_a_breast_classifier_favours_or_cannot_tell(
    scores: dict[str, float], kept: tuple[str, ...] | None, said: str
) -> None:
    assert says(scores, kept) == f"Classification: {said}"


@pytest.mark.parametrize(
    ("exam", "scores", "kept", "said"),
    [
        (
            ExamCode.THYROID,
            {"lower suspicion": 0.27, "high suspicion": 0.73},
            ("high suspicion",),
            f"classifier favours high suspicion, score 0.73; {NEITHER}, and no TI-RADS category.",
        ),
        (
            ExamCode.THYROID,
            {"lower suspicion": 0.73, "high suspicion": 0.27},
            ("lower suspicion",),
            f"classifier favours lower suspicion, score 0.73; {CANNOT}, and no TI-RADS category.",
        ),
        (
            ExamCode.THYROID,
            {"lower suspicion": 0.53, "high suspicion": 0.47},
            ("lower suspicion", "high suspicion"),
            f"classifier cannot tell lower suspicion from high suspicion; {EXCLUDES_NOT} and gives "
            "no TI-RADS category.",
        ),
        (
            ExamCode.HEART,
            {"2-chamber": 0.03, "4-chamber": 0.97},
            ("4-chamber",),
            "classifier favours the apical 4-chamber view, score 0.97; it knows apical 2- and "
            "4-chamber views only.",
        ),
        (
            ExamCode.HEART,
            {"2-chamber": 0.43, "4-chamber": 0.57},
            ("2-chamber", "4-chamber"),
            "classifier cannot tell the apical 2-chamber view from the apical 4-chamber view; it "
            "knows apical 2- and 4-chamber views only.",
        ),
        (
            ExamCode.LUNG,
            {"regular": 0.9, "pneumonia": 0.06, "covid": 0.04},
            ("regular",),
            "classifier favours a regular lung, score 0.90; it cannot exclude lung disease and is "
            "not a probability of disease.",
        ),
        (
            ExamCode.LUNG,
            {"regular": 0.1, "pneumonia": 0.5, "covid": 0.4},
            ("pneumonia", "covid"),
            "classifier cannot tell pneumonia from COVID-19; it cannot exclude lung disease.",
        ),
        (
            ExamCode.LUNG,
            {"healthy": 0.1, "diseased": 0.9},
            ("diseased",),
            "classifier favours a diseased lung, score 0.90; it is neither a diagnosis nor a "
            "probability of disease.",
        ),
        (
            ExamCode.OVARY,
            {"simple cyst": 0.1, "high-grade serous": 0.9},
            None,
            f"classifier favours high-grade serous, score 0.90; {NEITHER}.",
        ),
        (
            ExamCode.OVARY,
            {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4},
            (),
            f"classifier finds that the image fits no class; {EXCLUDES_NOT}.",
        ),
        (
            None,
            {"class 0": 0.3, "class 1": 0.7},
            None,
            "classifier favours class 1, score 0.70; it cannot exclude disease and is not a "
            "probability of disease.",
        ),
    ],
)
def test_classifiers_of_other_exams_have_words_of_their_own(
    exam: ExamCode | None, scores: dict[str, float], kept: tuple[str, ...] | None, said: str
) -> None:
    assert says(scores, kept, exam) == f"Classification: {said}"
