"""What the checks flag: each contradiction once, in words without ids and thresholds."""

import pytest

from reports.layout import lay_out
from reports.model import (
    Check,
    CheckOutcome,
    Evidence,
    ExamCode,
    Finding,
    FindingState,
    Report,
    ScoresEvidence,
)
from reports.wording.report import word
from tests.builders import a_finding, a_report, some_evidence

BOX, MASK, _, TWO = some_evidence()
NORMAL = ScoresEvidence(
    id="e5",
    specialist="breast_3cls",
    step=4,
    scores={"normal": 0.96, "benign": 0.03, "malignant": 0.01},
)
MALIGNANT = ScoresEvidence(
    id="e5",
    specialist="breast_3cls",
    step=4,
    scores={"normal": 0.02, "benign": 0.3, "malignant": 0.68},
)
ROUTED = ScoresEvidence(
    id="e6",
    specialist="exam_cls",
    step=0,
    scores={code.value: 0.6 if code is ExamCode.NERVE else 0.05 for code in ExamCode},
)


def flagged(name: str, detail: str) -> Check:
    return Check(name=name, outcome=CheckOutcome.FLAG, detail=detail)


PRESENCE = flagged(
    "presence: detector against breast_3cls", "The detector gave a box; breast_3cls: normal (0.96)."
)
CLASSES = flagged(
    "classes: breast_2cls against breast_3cls", "breast_2cls: benign (0.82); breast_3cls: x (0.9)."
)
OUTLINE = flagged(
    "presence: detector against segmentation", "The detector gave a box (score 0.93); regions: 0."
)


def contradicted(
    *checks: Check,
    cross: ScoresEvidence = NORMAL,
    lesion: Finding | None = None,
    more: tuple[Evidence, ...] = (),
) -> Report:
    findings = (
        lesion or a_finding(),
        a_finding(id="f2", label="classification", evidence=("e4",)),
        a_finding(id="f3", label="three-way classification (cross-check)", evidence=("e5",)),
    )
    evidence = (*some_evidence(), cross, *more)
    return word(a_report(findings=findings, evidence=evidence, checks=checks, measurements=()))


def test_a_lesion_on_an_image_called_normal_is_one_contradiction_first_in_the_impression() -> None:
    report = contradicted(PRESENCE, CLASSES)
    said = "Contradiction: a lesion was found, but a classifier calls the image normal, score 0.96."
    assert report.impression == (
        said,
        "Lesion found.",
        "Classifier favours benign, score 0.82; it cannot exclude malignancy and is not a "
        "probability of cancer.",
    )
    [flag] = lay_out(report).flags
    assert flag.text == said
    assert flag.checks == (PRESENCE, CLASSES)


def test_no_lesion_on_an_image_that_a_classifier_does_not_call_normal_is_one_too() -> None:
    absent = a_finding(state=FindingState.NOT_FOUND, evidence=())
    report = contradicted(PRESENCE, cross=MALIGNANT, lesion=absent)
    assert report.impression[:2] == (
        "Contradiction: no lesion was found, but a classifier of normal images favours malignant, "
        "score 0.68.",
        "No lesion found; this does not exclude one that is faint or outside this image.",
    )


def test_two_classifiers_that_disagree_are_a_contradiction() -> None:
    assert contradicted(CLASSES, cross=MALIGNANT).impression[0] == (
        "Contradiction: two classifiers disagree: benign (score 0.82) and malignant (score 0.68)."
    )


@pytest.mark.parametrize(
    ("lesion", "said"),
    [
        (
            a_finding(evidence=("e1",)),
            "Contradiction: the detector found a lesion, but none was outlined.",
        ),
        (
            a_finding(state=FindingState.NOT_ASSESSED, reason="they disagree", evidence=("e2",)),
            "Contradiction: a lesion was outlined, but the detector found none.",
        ),
    ],
)
def test_a_detector_and_an_outline_that_disagree_are_a_contradiction(
    lesion: Finding, said: str
) -> None:
    report = contradicted(OUTLINE, cross=MALIGNANT, lesion=lesion)
    assert report.impression[0] == said


@pytest.mark.parametrize(
    ("check", "lead", "text"),
    [
        (
            flagged(
                "angle of progression: landmarks against outlines",
                "132.1° from the landmarks, 145.1° from the outlines; flagged above 10° apart.",
            ),
            "Results disagree: angle of progression (landmarks against outlines).",
            "Angle of progression (landmarks against outlines): 132.1° from the landmarks, 145.1° "
            "from the outlines.",
        ),
        (
            flagged(
                "outline of the head: plausible shape",
                "The outline has a bay: it covers 85 % of its convex hull.",
            ),
            "The outline of the head is implausible: the outline has a bay: it covers 85 % of its "
            "convex hull.",
            "The outline of the head is implausible: the outline has a bay: it covers 85 % of its "
            "convex hull.",
        ),
        (
            flagged("exam: planner against router", "The planner saw no exam; the router's best"),
            "Two recognitions of the image disagree on which exam it shows.",
            "Two recognitions of the image disagree on which exam it shows.",
        ),
        (
            flagged("a comparison", "breast_3cls says so (0.96); flagged below 0.50."),
            "Results disagree: a comparison.",
            "A comparison: three-class classifier says so (0.96).",
        ),
    ],
)
def test_other_checks_that_flag_are_said_without_thresholds_and_ids(
    check: Check, lead: str, text: str
) -> None:
    report = contradicted(check, cross=MALIGNANT)
    assert report.impression[0] == lead
    assert [flag.text for flag in lay_out(report).flags] == [text]
    assert lay_out(report).made.checks == (check,)


def test_an_implausible_outline_that_no_headline_rests_on_does_not_stand_before_it() -> None:
    check = flagged("outline of the vessel: plausible shape", "It covers 0.6 % of the field.")
    report = contradicted(check, cross=MALIGNANT)
    assert report.impression[0] == "Lesion found."
    assert report.impression[-1] == "Also to review: implausible outline of the vessel."


def test_an_image_that_looks_like_another_exam_than_requested_is_said_to() -> None:
    check = flagged("exam: router against request", "The request names breast; the router's best…")
    assert contradicted(check, cross=MALIGNANT, more=(ROUTED,)).impression[0] == (
        "The request names breast, but the image looks more like nerve, score 0.60."
    )


def test_a_poor_image_is_one_line_at_the_end_and_the_flag_says_no_more() -> None:
    check = flagged("image quality", "The image is very dark.")
    report = contradicted(check, cross=MALIGNANT)
    assert report.impression[0] == "Lesion found."
    assert report.impression[-1] == "Poor image: the image is very dark."
    assert [flag.text for flag in lay_out(report).flags] == ["Poor image: The image is very dark."]


def test_what_is_unlike_the_training_and_further_flags_are_named_in_one_line() -> None:
    checks = (
        flagged("image against training images", "Its distance from them is 9.00."),
        flagged("overlap: detector's box against the outline's extent", "IoU 0.40."),
        flagged("diameters: outline against landmarks", "At most 9% apart."),
    )
    report = contradicted(*checks, cross=MALIGNANT)
    assert report.impression[0] == (
        "Results disagree: overlap (detector's box against the outline's extent)."
    )
    assert report.impression[-1] == (
        "Also to review: diameters (outline against landmarks) and the image is unlike those of "
        "the training."
    )
    assert lay_out(report).flags[-1].text.startswith("The image is unlike those that the networks")


def test_a_check_that_agrees_is_no_flag() -> None:
    agreed = PRESENCE.model_copy(update={"outcome": CheckOutcome.AGREE})
    laid = lay_out(contradicted(agreed, cross=MALIGNANT))
    assert laid.flags == ()
    assert laid.made.checks == (agreed,)
