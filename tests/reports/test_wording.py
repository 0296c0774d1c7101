import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.errors import EvidenceMissing, ReasonMissing
from reports.forms.html import to_html
from reports.forms.text import to_text
from reports.model import (
    CheckOutcome,
    Colour,
    ExamInfo,
    Finding,
    FindingState,
    MaskEvidence,
    MeasurementState,
    Outcome,
    PixelAspect,
    Region,
    Report,
    RequestInfo,
    ScoresEvidence,
    Spacing,
)
from reports.wording import (
    NOT_FOR_CLINICAL_USE,
    TRAINING_CLASSES,
    clause,
    digits,
    exam_basis,
    number,
    score_text,
    sentence,
    word,
)
from specialists.manifest import read_manifest
from tests.builders import (
    a_calibrated_image_info,
    a_finding,
    a_measurement,
    a_refused_report,
    a_report,
    a_worded_report,
    an_ellipse,
    an_image_info,
    some_evidence,
)
from tests.shared_data import known_rows, sources_of


def says(finding: Finding) -> str:
    return word(a_report(findings=(finding,), measurements=())).findings[0].statement


def limits(report: Report) -> str:
    return "\n".join(word(report).limitations)


def test_every_finding_and_measurement_gets_a_statement() -> None:
    worded = a_worded_report()
    assert all(finding.statement for finding in worded.findings)
    assert all(measurement.statement for measurement in worded.measurements)
    assert worded.impression


def test_wording_twice_changes_nothing() -> None:
    assert word(a_worded_report()) == a_worded_report()


def test_a_found_lesion_is_stated_with_its_presence_score() -> None:
    assert says(a_finding()) == "Lesion: found (presence score 0.93), outlined."


def test_a_lesion_of_several_parts_is_counted_and_its_parts_are_numbered() -> None:
    second = MaskEvidence(
        id="e9",
        specialist="breast_lesion",
        step=2,
        label="lesion",
        polygons=(an_ellipse((100, 100), (90, 80)),),
    )
    report = word(
        a_report(
            evidence=(*some_evidence(), second),
            findings=(a_finding(evidence=("e1", "e2", "e9")),),
            measurements=(a_measurement(), a_measurement(id="m2", value=180.0, evidence=("e9",))),
        )
    )
    assert report.impression[0] == "Lesion found in 2 parts; the largest: long axis 180 px."
    assert "outlined in 2 parts" in report.findings[0].statement
    assert report.measurements[0].statement.startswith("Lesion 1 of 2, long axis: ")
    assert report.measurements[1].statement.startswith("Lesion 2 of 2, long axis: ")


def test_a_box_without_an_outline_is_said_to_be_just_that() -> None:
    assert says(a_finding(evidence=("e1",))).endswith("boxed but not outlined.")


def test_not_found_excludes_nothing_that_the_image_does_not_show() -> None:
    statement = says(a_finding(state=FindingState.NOT_FOUND, score=0.08, evidence=()))
    assert statement.startswith("Lesion: not found (presence score 0.08).")
    assert "does not exclude" in statement


def test_not_assessed_gives_its_reason() -> None:
    finding = a_finding(
        label="classification",
        state=FindingState.NOT_ASSESSED,
        score=None,
        reason="No lesion was found.",
        evidence=(),
    )
    assert says(finding) == "Classification: not assessed, because no lesion was found."


@pytest.mark.parametrize(
    "changes",
    [
        {"findings": (a_finding(state=FindingState.NOT_ASSESSED, reason=None),)},
        {"measurements": (a_measurement(state=MeasurementState.NOT_ASSESSED, reason=" "),)},
        {"outcome": Outcome.REFUSED, "reason": None},
        {"outcome": Outcome.PARTIAL, "reason": None},
    ],
)
def test_a_gap_without_a_reason_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(ReasonMissing):
        word(a_report(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"findings": (a_finding(evidence=("e77",)),)},
        {"measurements": (a_measurement(evidence=("e77",)),)},
    ],
)
def test_a_statement_on_evidence_that_is_not_there_is_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(EvidenceMissing, match="e77"):
        word(a_report(**changes))


def test_a_class_score_is_called_a_score_with_what_it_was_trained_on() -> None:
    statement = says(a_finding(label="classification", evidence=("e4",)))
    assert statement.startswith(
        "Classification: classifier score for malignant 0.18 (benign 0.82, by breast_2cls)."
    )
    assert "Trained on a set with 34 % malignant images (BUSI" in statement
    assert "neither a probability of disease nor a BI-RADS or TI-RADS category" in statement
    assert "No label set is given" in statement


def test_a_classifier_of_unknown_training_says_so() -> None:
    scores = ScoresEvidence(
        id="e4", specialist="fmc_breast_2cls", step=3, scores={"class 0": 0.3, "class 1": 0.7}
    )
    report = a_report(
        evidence=(*some_evidence()[:3], scores),
        findings=(a_finding(label="classification", evidence=("e4",)),),
    )
    statement = word(report).findings[0].statement
    assert "classifier score for class 1 0.70 (class 0 0.30, by fmc_breast_2cls)" in statement
    assert "share of class 1 images in its training set is not stated" in statement


@pytest.mark.parametrize("task", sorted(TRAINING_CLASSES))
def test_the_training_shares_are_those_of_the_training_tables(task: str) -> None:
    entry = read_manifest().specialist(task)
    stated = TRAINING_CLASSES[task]
    names = stated.source.lower().replace("-", "")
    assert all(source in names for source in sources_of(entry))
    classes = [int(row["mask"]) for row in known_rows(entry) if row["split"] == "train"]
    assert list(stated.counts.values()) == [
        classes.count(index) for index in range(len(stated.counts))
    ]


def test_a_measurement_states_its_interval_where_it_has_one() -> None:
    measurement = a_measurement(
        value=16.04, unit="mm", interval=(15.12, 16.88), coverage=0.9, reason=None
    )
    statement = word(a_report(measurements=(measurement,))).measurements[0].statement
    assert statement == "Lesion, long axis: 16.0 mm (90 % interval 15.1 to 16.9 mm)."


def test_a_measurement_that_was_not_assessed_says_why() -> None:
    measurement = a_measurement(
        state=MeasurementState.NOT_ASSESSED, value=None, reason="The outline has no area."
    )
    statement = word(a_report(measurements=(measurement,))).measurements[0].statement
    assert statement == "Lesion, long axis: not assessed, because the outline has no area."


def test_a_ratio_is_printed_with_its_definition() -> None:
    ratio = a_worded_report().measurements[3].statement
    assert ratio.startswith("Lesion, taller-than-wide ratio: 0.62 (height ÷ width")
    assert "assuming square pixels" in ratio


def test_the_impression_sums_up_lesion_size_and_score() -> None:
    assert a_worded_report().impression == (
        "Lesion found: long axis 160 px, short axis 100 px.",
        "Classification: classifier score for malignant 0.18 (benign 0.82); "
        "not a probability of disease.",
    )


def test_the_impression_of_a_refusal_is_the_refusal() -> None:
    report = word(a_refused_report())
    assert report.impression == (
        "Refused, nothing was assessed: the specialists for nerve exams are not installed: "
        "nerve_vessel_multi.",
    )
    assert "Nothing of this image was assessed." in report.limitations


def test_a_partial_report_says_what_is_missing_first() -> None:
    report = word(a_report(outcome=Outcome.PARTIAL, reason="The outline was not assessed."))
    assert report.impression[0] == "Incomplete: the outline was not assessed."


def test_a_flag_reaches_the_impression() -> None:
    check = a_report().checks[0].model_copy(update={"outcome": CheckOutcome.FLAG})
    last = word(a_report(checks=(check,))).impression[-1]
    assert last == "To review, the results disagree: box against mask."


def test_a_synthetic_image_is_loud_in_impression_and_limitations() -> None:
    report = word(a_report(image=an_image_info(synthetic=True)))
    assert report.impression[0] == "Synthetic test image: it shows no patient."
    assert any("Synthetic test image" in line for line in report.limitations)


@pytest.mark.parametrize(
    "line",
    [
        NOT_FOR_CLINICAL_USE,
        "Burned-in text: not checked",
        "Pixel spacing: unknown",
        "Square pixels are assumed",
        "Out of distribution: no distance from the training images is stated",
        "Intervals: none is given for long axis, because it is not calibrated yet.",
        "One still image was analysed",
    ],
)
def test_the_limitations_name_what_is_not_known(line: str) -> None:
    assert line in limits(a_report())


@pytest.mark.parametrize("places", [None, 0, 1, 3])
def test_what_became_of_burned_in_text_is_said(places: int | None) -> None:
    count = {0: "none was found", 1: "1 place was found", 3: "3 places were found"}.get(places or 0)
    done = " and blackened before anything was stored" if places else ""
    said = "not checked" if places is None else f"{count}{done}; small or faint text may remain."
    assert f"Burned-in text: {said}" in limits(a_report(image=an_image_info(text_blackened=places)))


def test_a_proven_spacing_is_stated_with_its_source_and_assumes_nothing_square() -> None:
    report = a_report(
        image=a_calibrated_image_info(), measurements=(a_measurement(value=16.0, unit="mm"),)
    )
    assert "Pixel spacing: 0.1 × 0.1 mm as stated by DICOM PixelSpacing" in limits(report)
    assert "Square pixels" not in limits(report)


def test_mixed_calibration_counts_its_regions_and_keeps_the_assumption_for_px() -> None:
    image = an_image_info(
        pixel_aspect=PixelAspect.KNOWN,
        regions=(
            Region(box=(0, 0, 320, 480), spacing_mm=Spacing(x=0.1, y=0.1)),
            Region(box=(320, 0, 640, 480), spacing_mm=None),
        ),
    )
    text = limits(a_report(image=image))
    assert "1 of 2 regions of the image are calibrated" in text
    assert "Square pixels are assumed wherever a measurement is in px" in text


def test_limits_of_source_and_request_are_stated() -> None:
    image = an_image_info(colour=Colour.TINTED, conversions=("16 bits to 8 bits",), frame=3)
    request = RequestInfo(exam=None, question_given=True, frame=3)
    text = limits(a_report(image=image, request=request))
    assert "The image is tinted" in text
    assert "Converted before the analysis: 16 bits to 8 bits." in text
    assert "One frame was analysed (frame 3)" in text
    assert "A question was given" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (160.4, "px", "160 px"),
        (12546.2, "px²", "12546 px²"),
        (16.04, "mm", "16.0 mm"),
        (0.625, "1", "0.62"),
        (98.76, "deg", "98.8°"),
    ],
)
def test_a_number_has_the_digits_of_its_unit(value: float, unit: str, text: str) -> None:
    assert number(value, unit) == text
    assert text.startswith(digits(value, unit))


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


@given(st.floats(0, 1), st.sampled_from(FindingState))
def test_no_state_and_score_leave_a_template_unfilled(score: float, state: FindingState) -> None:
    statement = says(a_finding(state=state, score=score, reason="The reason."))
    assert statement.endswith(".")
    assert not {"{", "}", "None"} & set(statement.split())
    assert "  " not in statement


def test_a_score_is_never_printed_as_certain() -> None:
    assert score_text(0.18) == "0.18"
    assert [score_text(value) for value in (1.0, 0.9999, 0.995)] == ["> 0.99"] * 3
    assert [score_text(value) for value in (0.0, 0.0001)] == ["< 0.01"] * 2
    assert says(a_finding(score=0.9999)).startswith("Lesion: found (presence score > 0.99)")


def test_two_classifications_are_told_apart_by_their_labels() -> None:
    scores = ScoresEvidence(
        id="e9",
        specialist="breast_3cls",
        step=4,
        scores={"normal": 0.85, "benign": 0.05, "malignant": 0.1},
    )
    report = word(
        a_report(
            evidence=(*some_evidence(), scores),
            findings=(
                a_finding(label="classification", evidence=("e4",)),
                a_finding(id="f2", label="three-way classification", evidence=("e9",)),
            ),
        )
    )
    assert [line.partition(":")[0] for line in report.impression] == [
        "Classification",
        "Three-way classification",
    ]
    assert "malignant 0.10 (normal 0.85, benign 0.05)" in report.impression[1]
    assert report.findings[1].statement.startswith("Three-way classification: classifier score")


def test_the_impression_says_a_reason_once() -> None:
    gap = a_finding(
        state=FindingState.NOT_ASSESSED, score=None, reason="the two disagree", evidence=()
    )
    reason = "Not answered: lesion, because the two disagree."
    partial = word(a_report(outcome=Outcome.PARTIAL, reason=reason, findings=(gap,)))
    assert " ".join(partial.impression).count("the two disagree") == 1
    refused = word(a_report(outcome=Outcome.REFUSED, reason="It is a cat.", findings=(gap,)))
    assert refused.impression == ("Refused, nothing was assessed: it is a cat.",)


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
    report = word(a_report(exam=info))
    for form in (to_text(report), to_html(report, None).replace("&#39;", "'")):
        assert sentence.rstrip(".") in form
