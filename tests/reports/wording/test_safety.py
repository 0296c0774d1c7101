"""No sentence reassures, gives a category, or speaks of the machinery, in any drawn state."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reports
from reports.asked import Asked, Topic
from reports.layout import lay_out
from reports.model import (
    Check,
    CheckOutcome,
    ExamCode,
    ExamInfo,
    FindingState,
    Measurement,
    Outcome,
    Report,
    ScoresEvidence,
)
from reports.wording.report import word
from tests.builders import a_finding, a_measurement, a_report, an_image_info, some_evidence

FORBIDDEN = (
    r"rul(e|es|ed|ing) out",
    r"not a risk",
    r"no risk",
    r"low risk",
    r"reassur",
    r"no (sign|evidence) of (cancer|malignancy|disease)",
    r"(is|appears|looks) (normal|benign|healthy)\b",
    r"exclud(es|ed) (cancer|malignancy|disease)",
    r"BI-RADS",
    r"T[I1]-RADS [1-6]",
    r"category [0-6]",
    r"less sure",
    r"not an? disease",
)
WORDS = Path(reports.__file__).parent
SOURCES = sorted((*WORDS.glob("templates/*.j2"), *WORDS.glob("wording/*.py"), WORDS / "layout.py"))

CLASSES = {
    ExamCode.BREAST: (("benign", "malignant"), ("normal", "benign", "malignant")),
    ExamCode.THYROID: (("lower suspicion", "high suspicion"),),
    ExamCode.HEART: (("2-chamber", "4-chamber"),),
    ExamCode.LUNG: (("regular", "pneumonia", "covid"), ("healthy", "diseased")),
    ExamCode.OVARY: (("normal ovary", "simple cyst", "teratoma", "high-grade serous"),),
    ExamCode.FETAL_HEAD: (("a", "b"),),
}
CHECKS = (
    "presence: detector against breast_3cls",
    "classes: breast_2cls against breast_3cls",
    "image quality",
    "image against training images",
    "exam: router against request",
    "outline of the lesion: plausible shape",
    "overlap: detector's box against the outline's extent",
)
MACHINERY = re.compile(r"breast_|_det\b|_cls\b|flagged (above|below)|presence score|threshold")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_template_and_no_module_of_words_holds_a_forbidden_phrase(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").split())
    meant = text.replace('"TI-RADS 4b to 5 in its training data"', "").replace(
        '"TI-RADS 2 to 4a in its training data"', ""
    )
    assert not [phrase for phrase in FORBIDDEN if re.search(phrase, meant, re.IGNORECASE)]


@st.composite
def drawn_scores(draw: st.DrawFn, labels: tuple[str, ...]) -> ScoresEvidence:
    shares = draw(st.lists(st.floats(0.001, 1), min_size=len(labels), max_size=len(labels)))
    scores = {label: share / sum(shares) for label, share in zip(labels, shares, strict=True)}
    return ScoresEvidence(id="e4", specialist="breast_3cls", step=3, scores=scores)


@st.composite
def drawn_numbers(draw: st.DrawFn) -> tuple[Measurement, ...]:
    unit = draw(st.sampled_from(["px", "mm", "px²", "1"]))
    value = draw(st.none() | st.floats(0.1, 900))
    return tuple(
        a_measurement(
            id=f"m{n}",
            name=name,
            value=value,
            unit=unit,
            state="measured" if value is not None else "not_assessed",
            reason="the reason",
            unreliable=draw(st.sampled_from([None, "the outline has a bay"])),
            evidence=("e2",),
        )
        for n, name in enumerate(("long axis", "short axis", "head circumference"))
    )


@st.composite
def drawn_checks(draw: st.DrawFn) -> tuple[Check, ...]:
    detail = "breast_3cls: normal (0.96); flagged below 0.50."
    return tuple(
        Check(name=name, outcome=draw(st.sampled_from(CheckOutcome)), detail=detail)
        for name in draw(st.lists(st.sampled_from(CHECKS), unique=True))
    )


@st.composite
def drawn_reports(draw: st.DrawFn) -> Report:
    exam = draw(st.sampled_from(list(CLASSES)))
    labels = draw(st.sampled_from(CLASSES[exam]))
    kept = draw(st.none() | st.lists(st.sampled_from(labels), unique=True).map(tuple))
    outcome = draw(st.sampled_from(Outcome))
    label = {ExamCode.THYROID: "nodule", ExamCode.OVARY: "ovary or tumour"}.get(exam, "lesion")
    structure = a_finding(
        label=label,
        state=draw(st.sampled_from(FindingState)),
        reason="the reason",
        evidence=draw(st.sampled_from([(), ("e1",), ("e2",), ("e1", "e2")])),
    )
    classified = a_finding(
        id="f2",
        label="classification",
        state=draw(st.sampled_from(FindingState)),
        reason="the reason",
        label_set=kept,
        evidence=("e4",),
    )
    return a_report(
        exam=ExamInfo(code=exam, title="An exam", chosen_by="image", score=0.9),
        outcome=outcome,
        reason=None if outcome is Outcome.REPORTED else "Something is missing.",
        image=an_image_info(synthetic=draw(st.booleans())),
        evidence=(*some_evidence()[:3], draw(drawn_scores(labels))),
        findings=(structure, classified),
        measurements=draw(drawn_numbers()),
        checks=draw(drawn_checks()),
    )


@settings(deadline=None)
@given(drawn_reports(), st.booleans())
def test_no_drawn_report_says_a_forbidden_phrase_or_names_the_machinery(
    report: Report, narrowed: bool
) -> None:
    topics = (
        Topic(name="size", measurements=("m0", "m1")),
        Topic(name="classification", findings=("f2",)),
    )
    worded = word(report, asked=Asked(topics=topics, narrowed=narrowed))
    laid = lay_out(worded)
    said = (
        str(worded.asked),
        *worded.impression,
        *(item.statement for item in worded.findings),
        *(item.statement for item in worded.measurements),
        *(flag.text for flag in laid.flags),
        *laid.technique,
        *worded.limitations,
    )
    for line in said:
        assert not [phrase for phrase in FORBIDDEN if re.search(phrase, line, re.IGNORECASE)], line
        assert line[-1] == "."
        assert "None" not in line
        assert "  " not in line
        if not line.startswith("Image quality:"):
            assert not MACHINERY.search(line), line
    assert 1 <= len(worded.impression) <= 4 or not worded.impression
    assert not any("px²" in line for line in worded.impression)
