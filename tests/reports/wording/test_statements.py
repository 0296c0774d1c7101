"""The statement of each finding and measurement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.errors import EvidenceMissing, ReasonMissing
from reports.model import (
    Finding,
    FindingState,
    MaskEvidence,
    Measurement,
    MeasurementState,
    Outcome,
    ScoresEvidence,
)
from reports.wording.report import word
from tests.builders import (
    a_finding,
    a_measurement,
    a_report,
    a_worded_report,
    an_ellipse,
    some_evidence,
)


def says(finding: Finding) -> str:
    return word(a_report(findings=(finding,), measurements=())).findings[0].statement


def reads(measurement: Measurement) -> str:
    return word(a_report(measurements=(measurement,))).measurements[0].statement


def test_every_finding_and_measurement_gets_a_statement() -> None:
    worded = a_worded_report()
    assert all(finding.statement for finding in worded.findings)
    assert all(measurement.statement for measurement in worded.measurements)
    assert worded.impression


def test_wording_twice_changes_nothing() -> None:
    assert word(a_worded_report()) == a_worded_report()


@pytest.mark.parametrize(
    ("finding", "statement"),
    [
        (a_finding(), "Lesion: found, outlined."),
        (a_finding(evidence=("e1",)), "Lesion: found, not outlined."),
        (a_finding(label="fetal brain", evidence=("e1",)), "Fetal brain: found."),
        (
            a_finding(label="head axis end points", evidence=("e3",)),
            "Head axis end points: located.",
        ),
        (a_finding(evidence=()), "Lesion: found."),
        (
            a_finding(state=FindingState.NOT_FOUND, score=0.08, evidence=()),
            "Lesion: not found. This does not exclude one that is faint or outside this image.",
        ),
        (
            a_finding(
                label="classification",
                state=FindingState.NOT_ASSESSED,
                reason="No lesion was found.",
                evidence=(),
            ),
            "Classification: not assessed, because no lesion was found.",
        ),
        (
            a_finding(
                state=FindingState.NOT_ASSESSED,
                reason="the detector found none (presence score 0.66; one counts as found from "
                "0.68), but the segmentation outlined 1 region: the two disagree",
            ),
            "Lesion: not assessed, because the detector found none, but the segmentation outlined "
            "1 region: the two disagree.",
        ),
        (
            a_finding(
                label="shape",
                value="oval",
                evidence=("e2",),
                reason="The outline covers 97 % of its convex hull.",
            ),
            "Shape: oval, as computed from the outline. The outline covers 97 % of its convex "
            "hull.",
        ),
        (
            a_finding(
                label="shape",
                state=FindingState.NOT_ASSESSED,
                reason="Not available from this image: the pixels' sides are not known.",
                evidence=(),
            ),
            "Shape: not available from this image: the pixels' sides are not known.",
        ),
    ],
)
def test_what_a_finding_says(finding: Finding, statement: str) -> None:
    assert says(finding) == statement


def test_a_lesion_of_several_parts_is_one_finding_and_its_parts_are_numbered() -> None:
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
    assert report.findings[0].statement == "Lesion: found, outlined in 2 parts."
    assert [item.statement for item in report.measurements] == [
        "Lesion 1 of 2, long axis: 160 px.",
        "Lesion 2 of 2, long axis: 180 px.",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"findings": (a_finding(state=FindingState.NOT_ASSESSED, reason=None),)},
        {
            "measurements": (
                a_measurement(state=MeasurementState.NOT_ASSESSED, value=None, reason=" "),
            )
        },
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


@pytest.mark.parametrize(
    ("changes", "statement"),
    [
        ({"value": 160.4}, "Long axis: 160 px."),
        (
            {"value": 16.04, "unit": "mm", "interval": (15.12, 16.88), "coverage": 0.9},
            "Long axis: 16.0 mm (90 % interval 15.1 to 16.9 mm).",
        ),
        (
            {"value": -3.2, "unit": "deg", "name": "deep aponeurosis inclination"}
            | {"formula": "angle to the horizontal, assuming square pixels"},
            "Deep aponeurosis inclination: −3.2°, assuming square pixels.",
        ),
        (
            {"value": None, "state": "not_assessed", "reason": "The outline has no area."},
            "Long axis: not assessed, because the outline has no area.",
        ),
        (
            {"value": 178.0, "unit": "mm", "name": "head circumference"}
            | {"unreliable": "the outline has a bay: it covers 85 % of its convex hull"},
            "Head circumference: 178.0 mm. Unreliable: the outline has a bay: it covers 85 % of "
            "its convex hull.",
        ),
        (
            {"value": 0.95, "unit": "1", "name": "taller-than-wide ratio", "formula": "h ÷ w"}
            | {"interval": (0.8, 1.1), "coverage": 0.9},
            "Taller-than-wide ratio: 0.95 (90 % interval 0.80 to 1.10); h ÷ w. Its interval holds "
            "1: the orientation is undetermined.",
        ),
        (
            {"value": 0.7, "unit": "1", "name": "taller-than-wide ratio", "formula": "h ÷ w"}
            | {"interval": (0.6, 0.8), "coverage": 0.9},
            "Taller-than-wide ratio: 0.70 (90 % interval 0.60 to 0.80); h ÷ w.",
        ),
        (
            {
                "value": 1.31,
                "unit": "1",
                "name": "posterior echo ratio",
                "formula": "behind ÷ beside",
            },
            "Posterior echo ratio: 1.31; behind ÷ beside.",
        ),
        (
            {"value": 132.0, "unit": "deg", "name": "angle of progression"},
            "Angle of progression: 132.0°. For context: an angle of 116° corresponds to head "
            "station 0 (Tutschek 2011, BJOG 118:62; ISUOG guideline 2018, Ultrasound Obstet "
            "Gynecol 52:128).",
        ),
        (
            {"value": 1.46, "unit": "cm", "name": "head station", "interval": (1.1, 1.8)}
            | {"coverage": 0.9},
            "Head station: +1.5 cm (90 % interval +1.1 cm to +1.8 cm). It follows from the angle "
            "of progression alone: 0 at the ischial spines, positive below them (Tutschek 2011, "
            "BJOG 118:62).",
        ),
        (
            {"value": None, "state": "not_assessed", "unit": "cm", "name": "head station"}
            | {"reason": "Not available from this image: it needs the true shape of the pixels."},
            "Head station: not available from this image: it needs the true shape of the pixels.",
        ),
        (
            {"value": 23.0, "unit": "mm", "name": "head–symphysis distance"},
            "Head–symphysis distance: 23.0 mm. Along the infrapubic line (Youssef 2013, Ultrasound "
            "Obstet Gynecol 41:419).",
        ),
        (
            {"value": 47.0, "unit": "mm", "name": "biparietal diameter"},
            "Biparietal diameter: 47.0 mm. Outer to outer; many charts are made for outer to "
            "inner.",
        ),
        (
            {"value": 81.0, "unit": "%", "name": "cephalic index"},
            "Cephalic index: 81.0 %. Normal range 70 to 86 % (Hadlock 1981, AJR 137:83).",
        ),
        (
            {"value": 19.86, "unit": "wk", "name": "gestational age", "interval": (18.4, 21.3)}
            | {"coverage": 0.9},
            "Gestational age: 19w6d (90 % interval 18w3d to 21w2d). From the head circumference "
            "alone (Hadlock 1984, Radiology 152:497). Its interval holds the measuring error and "
            "how fetuses of one age differ.",
        ),
        (
            {"value": None, "state": "not_assessed", "name": "gestational age"}
            | {
                "reason": "Not available from this image: it needs millimetres, but the image "
                "states no pixel spacing."
            },
            "Gestational age: not available from this image: it needs millimetres, but the image "
            "states no pixel spacing.",
        ),
        (
            {"value": 45.4, "unit": "percentile", "name": "head circumference percentile"}
            | {"interval": (0.4, 62.3), "coverage": 0.9},
            "Head circumference percentile: 45th (90 % interval below the 1st to 62nd). By the "
            "INTERGROWTH-21st standard for the age as sent (Papageorghiou 2014, Lancet 384:869).",
        ),
        (
            {"value": 72.0, "unit": "mm", "name": "fascicle length"},
            "Fascicle length: 72.0 mm. Extrapolated along a straight line to both aponeuroses "
            "(Blazevich 2006, J Anat 209:289).",
        ),
        (
            {"value": 16.5, "unit": "deg", "name": "pennation angle"},
            "Pennation angle: 16.5°. Between the fascicles and the deep aponeurosis.",
        ),
        (
            {"value": 81.0, "unit": "mm", "name": "left ventricular long axis"},
            "Left ventricular long axis: 81.0 mm. From the middle of the mitral plane to the apex "
            "(Lang 2015, J Am Soc Echocardiogr 28:1).",
        ),
    ],
)
def test_what_a_measurement_says(changes: dict[str, object], statement: str) -> None:
    assert reads(a_measurement(**changes)) == statement


@given(st.floats(0, 1), st.sampled_from(FindingState))
def test_no_state_and_score_leave_a_template_unfilled(score: float, state: FindingState) -> None:
    statement = says(a_finding(state=state, score=score, reason="The reason."))
    assert statement.endswith(".")
    assert not {"{", "}", "None"} & set(statement.split())
    assert "  " not in statement


def test_no_statement_names_a_specialist_or_a_score_of_presence() -> None:
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
                a_finding(),
                a_finding(id="f2", label="classification", evidence=("e4",)),
                a_finding(id="f3", label="classification (cross-check)", evidence=("e9",)),
            ),
        )
    )
    said = " ".join(
        (
            *(item.statement for item in report.findings),
            *(item.statement for item in report.measurements),
            *report.impression,
        )
    )
    assert "breast_" not in said
    assert "presence" not in said
