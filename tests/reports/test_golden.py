"""The breast report in three forms, compared byte for byte.

After a wanted change, write them anew and read the diff:
    USTRI_WRITE_GOLDEN=1 .venv/bin/pytest tests/reports/test_golden.py
"""

import os
from pathlib import Path

import pytest

from reports.canonical import content_sha256, to_json
from reports.forms.html import to_html
from reports.forms.text import to_text
from reports.measure.intervals import LARGEST_ONLY, Calibrated, Form, Interval, NoInterval
from reports.measure.numbers import AREA, LONG_AXIS, RATIO, SHORT_AXIS, assemble, lesion_numbers
from reports.model import (
    BoxEvidence,
    Check,
    CheckOutcome,
    Evidence,
    MaskEvidence,
    Measurement,
    PixelAspect,
    Region,
    Report,
    ScoresEvidence,
    Spacing,
)
from reports.wording.report import word
from tests.builders import LESION_BOX, a_finding, a_report, an_ellipse, an_image_info

GOLDEN = Path(__file__).parent / "golden"

IMAGE = an_image_info(
    pixel_aspect=PixelAspect.KNOWN,
    spacing_source="DICOM SequenceOfUltrasoundRegions",
    regions=(
        Region(box=(0, 0, 440, 480), spacing_mm=Spacing(x=0.08, y=0.1)),
        Region(box=(440, 0, 640, 480), spacing_mm=None),
    ),
)


SCORES = {
    "breast_2cls": {"benign": 0.41, "malignant": 0.59},
    "breast_3cls": {"normal": 0.02, "benign": 0.61, "malignant": 0.37},
}


INTERVALS: dict[str, Calibrated] = {
    name: Interval(form=Form.RELATIVE, low=-0.2, high=0.25) for name in (LONG_AXIS, SHORT_AXIS)
}
INTERVALS |= {
    AREA: Interval(form=Form.RELATIVE, low=-0.4, high=0.6),
    RATIO: Interval(form=Form.ABSOLUTE, low=-0.2, high=0.2),
}
SMALLER: dict[str, Calibrated] = {name: NoInterval(reason=LARGEST_ONLY) for name in INTERVALS}


FINDINGS = (
    a_finding(evidence=("e1", "e2", "e3")),
    a_finding(
        id="f2",
        label="classification",
        score=0.59,
        label_set=("benign", "malignant"),
        evidence=("e4",),
    ),
    a_finding(
        id="f3",
        label="three-way classification (cross-check)",
        score=0.61,
        label_set=("benign",),
        evidence=("e5",),
    ),
)


def two_masks() -> tuple[MaskEvidence, ...]:
    """One part in the calibrated region, and one with a hole outside of it."""
    return tuple(
        MaskEvidence(
            id=f"e{index}",
            specialist="breast_lesion",
            step=2,
            score=score,
            label="lesion",
            polygons=rings,
        )
        for index, score, rings in (
            (2, 0.91, (an_ellipse(angle_deg=20, points=48),)),
            (
                3,
                0.64,
                (
                    an_ellipse((540, 300), (30, 24), points=24),
                    an_ellipse((540, 300), (8, 6), points=12),
                ),
            ),
        )
    )


def a_breast_report() -> Report:
    """Two lesion parts, one in a calibrated region and one not; two classifiers that disagree."""
    masks = two_masks()
    evidence: list[Evidence] = [
        BoxEvidence(id="e1", specialist="breast_lesion_det", step=1, score=0.93, box=LESION_BOX),
        *masks,
        *(
            ScoresEvidence(id=f"e{index}", specialist=name, step=index - 1, scores=SCORES[name])
            for index, name in enumerate(SCORES, start=4)
        ),
    ]
    measurements: list[Measurement] = []
    for mask in masks:
        measured = assemble(
            lesion_numbers(mask, IMAGE),
            first_measurement=len(measurements) + 1,
            first_evidence=len(evidence) + 1,
            intervals=INTERVALS if mask is masks[0] else SMALLER,
        )
        measurements += measured.measurements
        evidence += measured.evidence
    report = word(
        a_report(
            image=IMAGE,
            findings=FINDINGS,
            measurements=tuple(measurements),
            evidence=tuple(evidence),
            checks=(
                Check(
                    name="overlap: detector's box against the outline's extent",
                    outcome=CheckOutcome.AGREE,
                    detail="IoU 0.84; flagged below 0.50.",
                ),
                Check(
                    name="classes: breast_2cls against breast_3cls",
                    outcome=CheckOutcome.FLAG,
                    detail="breast_2cls: malignant (0.59); breast_3cls: benign (0.61).",
                ),
            ),
        )
    )
    hashed = report.provenance.model_copy(update={"content_sha256": content_sha256(report)})
    return report.model_copy(update={"provenance": hashed})


FORMS = {
    "breast.json": to_json(a_breast_report()),
    "breast.txt": to_text(a_breast_report()).encode(),
    "breast.html": to_html(a_breast_report(), "image.png").encode(),
}


@pytest.mark.parametrize("name", sorted(FORMS))
def test_the_breast_report_is_the_golden_one_byte_for_byte(name: str) -> None:
    golden = GOLDEN / name
    if os.environ.get("USTRI_WRITE_GOLDEN"):
        golden.write_bytes(FORMS[name])
    assert FORMS[name] == golden.read_bytes()


def test_the_golden_json_is_a_valid_report() -> None:
    golden = (GOLDEN / "breast.json").read_bytes()
    assert to_json(Report.model_validate_json(golden)) == golden
