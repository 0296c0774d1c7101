"""Reports of many kinds, for the tests of forms: each with its name."""

import io
from typing import Any

import PIL.Image

from reports.measure import head
from reports.measure.intervals import Form, Interval
from reports.measure.numbers import Seen, assemble
from reports.model import (
    ExamCode,
    ExamInfo,
    Laterality,
    MaskEvidence,
    Measurement,
    MeasurementState,
    NamedPoint,
    Outcome,
    PointsEvidence,
    Report,
    RequestInfo,
    Status,
)
from reports.wording.report import word
from tests.builders import (
    a_calibrated_image_info,
    a_finding,
    a_refused_report,
    a_report,
    a_worded_report,
    an_ellipse,
    an_image,
    an_image_info,
)
from tests.planner.exam_answers import an_even_image
from tests.planner.organ_answers import ORGAN_ANSWERS, ORGAN_TOOLS
from tests.planner.stand_ins import report_of

RING = ((100.0, 100.0), (200.0, 100.0), (200.0, 180.0), (100.0, 180.0))
HOLE = ((130.0, 120.0), (160.0, 120.0), (160.0, 150.0), (130.0, 150.0))


def frame_png(colour: bool = False) -> bytes:
    """The analysed frame of the reports, as a PNG."""
    picture = PIL.Image.fromarray(an_image().pixels)
    file = io.BytesIO()
    (picture.convert("RGB") if colour else picture).save(file, format="PNG")
    return file.getvalue()


_HEAD = MaskEvidence(
    id="e1",
    specialist="fetal_head",
    step=1,
    score=0.9,
    label="head",
    polygons=(an_ellipse(), HOLE),
)
_HEAD_ENDS = PointsEvidence(
    id="e2",
    specialist="fetal_head_axes",
    step=2,
    points=(
        NamedPoint(name="long axis left end", x=240.25, y=210.5, score=0.7),
        NamedPoint(name="long axis right end", x=400.75, y=210.5, score=0.6),
    ),
)
_CIRCUMFERENCE = Measurement(
    id="m1",
    name="head circumference",
    state=MeasurementState.MEASURED,
    value=176.5,
    unit="mm",
    interval=(170.0, 184.0),
    coverage=0.9,
    formula="ellipse of the segmented head",
    evidence=("e1",),
)
_GAPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gestational age": ("reported only for 14 to 40 weeks", ()),
    "biparietal diameter": ("no tangent was met", ("e2",)),
    "cephalic index": ("the heatmap is flat", ()),
    "occipitofrontal diameter": ("its specialist is not installed", ()),
}


def a_fetal_report(**changes: Any) -> Report:
    """Return a report of a head in mm with an interval, one number out of range, one failed.

    One outline has a hole.
    """
    gaps = tuple(
        Measurement(
            id=f"m{index}",
            name=name,
            state=MeasurementState.NOT_ASSESSED,
            reason=reason,
            evidence=evidence,
        )
        for index, (name, (reason, evidence)) in enumerate(_GAPS.items(), start=2)
    )
    findings = (
        a_finding(label="fetal brain", evidence=("e1",)),
        a_finding(
            id="f2",
            label="cavum septi pellucidi",
            state="not_assessed",
            reason="its specialist is not installed",
            score=None,
            evidence=(),
        ),
        a_finding(id="f3", label="lateral ventricle", state="not_found", evidence=()),
    )
    parts = {
        "outcome": Outcome.PARTIAL,
        "reason": "Some of the head's numbers were not obtained.",
        "exam": ExamInfo(
            code="fetal_head", title="Fetal head ultrasound", chosen_by="image", score=0.9
        ),
        "image": a_calibrated_image_info((0.2, 0.25)),
        "findings": findings,
        "measurements": (_CIRCUMFERENCE, *gaps),
        "evidence": (_HEAD, _HEAD_ENDS),
        "checks": (),
    }
    return word(a_report(**(parts | changes)))


def a_biometry_report(
    spacing_mm: tuple[float, float] | None = (0.5, 0.5), **changes: Any
) -> Report:
    """Return a report of a measured head with intervals: all of its numbers, in mm or in px.

    In mm its age is within the weeks of the formula.
    """
    image = an_image_info() if spacing_mm is None else a_calibrated_image_info(spacing_mm)
    outline = MaskEvidence(
        id="e1",
        specialist="fetal_head",
        step=1,
        score=0.9,
        label="head",
        polygons=(an_ellipse(semi_axes=(80.0, 62.0), points=360),),
    )
    measured = assemble(
        head.head_numbers(Seen(image=image, evidence={head.MASK: (outline,)})),
        first_measurement=1,
        first_evidence=2,
        intervals={
            name: Interval(form=Form.RELATIVE, low=-0.02, high=0.03)
            for name in (head.HC, head.BPD, head.OFD)
        },
    )
    parts = {
        "exam": ExamInfo(
            code="fetal_head", title="Fetal head ultrasound", chosen_by="image", score=0.9
        ),
        "image": image,
        "findings": (a_finding(label="fetal head outline", evidence=("e1",)),),
        "measurements": measured.measurements,
        "evidence": (outline, *measured.evidence),
        "checks": (),
    }
    return word(a_report(**(parts | changes)))


def a_sent_report() -> Report:
    """Return a head's report with all that a sender may state, and a doubtful circumference."""
    request = RequestInfo(
        exam=ExamCode.FETAL_HEAD,
        question_given=True,
        frame=None,
        label="Bed 4",
        laterality=Laterality.LEFT,
        site="Suite 2",
        indication="Growth at risk",
        gestational_age="21w3d",
        operator="Doe^Jane",
    )
    image = a_calibrated_image_info((0.5, 0.5))
    outline = MaskEvidence(
        id="e1", specialist="fetal_head", step=1, label="head", polygons=(an_ellipse(),)
    )
    seen = Seen(image=image, evidence={head.MASK: (outline,)}, gestational_age="21w3d")
    wide = Interval(form=Form.RELATIVE, low=-0.6, high=0.6)
    measured = assemble(
        head.head_numbers(seen), first_measurement=1, first_evidence=2, intervals={head.HC: wide}
    )
    parts = {
        "exam": ExamInfo(
            code="fetal_head", title="Fetal head ultrasound", chosen_by="request", score=0.9
        ),
        "request": request,
        "asked": "Asked: size. The circumference is given below.",
        "image": image,
        "findings": (a_finding(label="fetal head outline", evidence=("e1",)),),
        "measurements": measured.measurements,
        "evidence": (outline, *measured.evidence),
        "checks": (),
    }
    return word(a_report(**parts)).model_copy(update={"asked": parts["asked"]})


def a_landmark_report() -> Report:
    """Two landmarks that no measurement rests on."""
    fetal = a_fetal_report()
    return fetal.model_copy(
        update={"measurements": fetal.measurements[:1], "evidence": fetal.evidence}
    )


REPORTS = {
    "breast": a_worded_report(),
    "breast in mm, synthetic": a_worded_report(
        image=a_calibrated_image_info((0.1, 0.12), synthetic=True), external_id="ABC-1"
    ),
    "burned-in text": a_worded_report(image=an_image_info(text_blackened=3)),
    "fetal head": a_fetal_report(),
    "fetal biometry": a_biometry_report(),
    "fetal head in px": a_biometry_report(spacing_mm=None),
    "landmarks": a_landmark_report(),
    "refused": word(a_refused_report()),
    "refused, no exam": word(
        a_refused_report(
            exam=ExamInfo(code=None, title="Exam not recognised", chosen_by="image", score=0.3)
        )
    ),
    "amended": a_worded_report(status=Status.AMENDED, version=2, supersedes="0" * 32),
    "final": a_worded_report(status=Status.FINAL),
    **{
        exam.value: report_of(answers(), installed=ORGAN_TOOLS[exam], image=an_even_image())
        for exam, answers in ORGAN_ANSWERS.items()
    },
    "lung, not installed": report_of(exam=ExamCode.LUNG),
}
