"""The impression: at most four lines, the headline of each exam first."""

import pytest

from reports.model import (
    CheckOutcome,
    ExamCode,
    Finding,
    FindingState,
    MaskEvidence,
    Outcome,
    Report,
)
from reports.wording.report import word
from tests.builders import (
    a_finding,
    a_measurement,
    a_refused_report,
    a_report,
    a_worded_report,
    an_ellipse,
    an_image_info,
    some_evidence,
)
from tests.reports.wording.impressions import a_number, of_exam

CANNOT = "it cannot exclude malignancy and is not a probability of cancer."


def test_a_breast_report_begins_with_the_lesions_size_and_what_the_classifier_favours() -> None:
    assert a_worded_report().impression == (
        "Lesion 160 × 100 px.",
        f"Classifier favours benign, score 0.82; {CANNOT}",
    )


def test_the_largest_part_gives_the_size_of_a_lesion() -> None:
    second = MaskEvidence(
        id="e9",
        specialist="breast_lesion",
        step=2,
        label="lesion",
        polygons=(an_ellipse((100, 100), (90, 80)),),
    )
    sizes = [
        a_measurement(id=f"m{n}", name=name, value=value, unit="mm", evidence=(mask,))
        for n, (name, value, mask) in enumerate(
            [
                ("long axis", 16.0, "e2"),
                ("short axis", 10.0, "e2"),
                ("long axis", 18.0, "e9"),
                ("short axis", 16.0, "e9"),
            ]
        )
    ]
    lesion = a_finding(evidence=("e1", "e2", "e9"))
    said = of_exam(ExamCode.BREAST, sizes, (lesion,), evidence=(*some_evidence(), second))
    assert said == ("Lesion 18.0 × 16.0 mm, the largest of 2 parts.",)


@pytest.mark.parametrize(
    ("code", "finding", "said"),
    [
        (ExamCode.BREAST, a_finding(evidence=("e1",)), "Lesion found, not outlined."),
        (ExamCode.BREAST, a_finding(), "Lesion found."),
        (
            ExamCode.THYROID,
            a_finding(label="nodule", state=FindingState.NOT_FOUND, evidence=()),
            "No nodule found; this does not exclude one that is faint or outside this image.",
        ),
        (
            ExamCode.OVARY,
            a_finding(
                label="ovary or tumour",
                state=FindingState.NOT_ASSESSED,
                reason="the segmentation outlined neither ovary nor tumour",
                evidence=(),
            ),
            "Ovary or tumour not assessed, because the segmentation outlined neither ovary nor "
            "tumour.",
        ),
        (
            None,
            a_finding(label="kidney", state=FindingState.NOT_FOUND, evidence=()),
            "Kidney not found; this does not exclude one that is faint or outside this image.",
        ),
        (
            None,
            a_finding(
                label="kidney",
                state=FindingState.NOT_ASSESSED,
                reason="it was not outlined",
                evidence=(),
            ),
            "Kidney not assessed, because it was not outlined.",
        ),
    ],
)
def test_a_structure_without_a_size_says_what_is_known_of_it(
    code: ExamCode | None, finding: Finding, said: str
) -> None:
    assert of_exam(code, (), (finding,)) == (said,)


def test_a_nerve_that_was_not_outlined_is_said_not_to_be_assessed() -> None:
    nerve = a_finding(
        label="nerve",
        state=FindingState.NOT_ASSESSED,
        reason="the segmentation outlined no nerve",
        evidence=(),
    )
    assert of_exam(ExamCode.NERVE, (), (nerve,)) == (
        "Nerve not assessed, because the segmentation outlined no nerve.",
    )


def test_an_unreliable_number_is_no_headline_without_that_word() -> None:
    bay = {"unreliable": "the outline has a bay"}
    hc = a_number("head circumference", 178.0, "mm").model_copy(update=bay)
    age = a_number("gestational age", 19.86, "wk", (18.4, 21.3)).model_copy(update=bay)
    bpd = a_number("biparietal diameter", 47.0, "mm").model_copy(update=bay)
    assert of_exam(ExamCode.FETAL_HEAD, (hc, age, bpd)) == (
        "Gestational age 19w6d (90 % interval 18w3d to 21w2d), unreliable, by a head circumference "
        "of 178.0 mm, unreliable.",
        "Biparietal diameter 47.0 mm, unreliable.",
    )
    axes = [
        a_number(name, value, "mm").model_copy(update=bay)
        for name, value in (("long axis", 16.0), ("short axis", 10.0))
    ]
    assert of_exam(ExamCode.BREAST, axes, (a_finding(),)) == ("Lesion 16.0 × 10.0 mm, unreliable.",)


def test_a_lung_and_a_heart_begin_with_their_classifier() -> None:
    said = of_exam(ExamCode.LUNG, (), (a_finding(label="lung classification", evidence=("e4",)),))
    assert said == (
        "Classifier favours benign, score 0.82; it cannot exclude lung disease and is not a "
        "probability of disease.",
    )


def test_the_impression_of_a_refusal_is_the_refusal_and_nothing_of_a_poor_image() -> None:
    poor = (
        a_report()
        .checks[0]
        .model_copy(
            update={"name": "image quality", "outcome": CheckOutcome.FLAG, "detail": "It is dark."}
        )
    )
    reason = "The image shows a cat. Send an ultrasound image."
    report: Report = word(a_refused_report(reason=reason, checks=(poor,)))
    assert report.impression == ("Refused: the image shows a cat. Send an ultrasound image.",)


def test_a_partial_report_names_what_is_missing_and_not_what_the_headline_has() -> None:
    gaps = [
        a_finding(id=f"f{n}", label=label, state="not_assessed", reason="why", evidence=())
        for n, label in enumerate(["lesion", "cavum", "other (cross-check)"])
    ]
    absent = a_number("gestational age", None, "wk").model_copy(
        update={"reason": "Not available from this image: it needs millimetres."}
    )
    partial = {"outcome": Outcome.PARTIAL, "reason": "The cavum was not assessed."}
    assert of_exam(ExamCode.BREAST, (absent, a_number("area", None, "mm²")), gaps, **partial) == (
        "Lesion not assessed, because why.",
        "Not assessed: cavum and area.",
    )
    assert of_exam(ExamCode.BREAST, (absent,), gaps) == ("Lesion not assessed, because why.",)


def test_a_synthetic_image_is_named_in_the_impression_also_of_a_refusal() -> None:
    image = an_image_info(synthetic=True)
    line = "Synthetic test image: it shows no patient."
    assert word(a_report(image=image, checks=())).impression[-1] == line
    assert word(a_refused_report(image=image)).impression[-1] == line


def test_there_are_at_most_four_lines_and_the_notes_share_the_last() -> None:
    flags = tuple(
        a_report()
        .checks[0]
        .model_copy(update={"name": name, "outcome": CheckOutcome.FLAG, "detail": "It is so."})
        for name in ("overlap: a against b", "image quality")
    )
    findings = (
        a_finding(evidence=("e1",)),
        a_finding(id="f2", label="classification", evidence=("e4",)),
        a_finding(id="f3", label="cavum", state="not_assessed", reason="why", evidence=()),
    )
    said = of_exam(
        ExamCode.BREAST,
        (),
        findings,
        outcome=Outcome.PARTIAL,
        reason="The cavum is open.",
        checks=flags,
        image=an_image_info(synthetic=True),
    )
    assert said == (
        "Results disagree: overlap (a against b).",
        "Lesion found, not outlined.",
        f"Classifier favours benign, score 0.82; {CANNOT}",
        "Not assessed: cavum. Poor image: it is so. Synthetic test image: it shows no patient.",
    )
