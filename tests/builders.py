"""Valid data for all tests: one believable breast analysis, each part open to changes by key."""

import hashlib
import math
from typing import Any

import numpy as np

from reports.canonical import content_sha256
from reports.measure.numbers import assemble, lesion_numbers
from reports.model import (
    BoxEvidence,
    Check,
    CheckOutcome,
    ChosenBy,
    Evidence,
    ExamCode,
    ExamInfo,
    Finding,
    FindingState,
    ImageInfo,
    MaskEvidence,
    Measurement,
    MeasurementState,
    NamedPoint,
    Outcome,
    PixelAspect,
    PointsEvidence,
    Report,
    RequestInfo,
    Ring,
    ScoresEvidence,
    Spacing,
    Step,
)
from reports.provenance import ModelRef, PlannerRef, Provenance
from reports.wording.report import word
from specialists.image import Image
from specialists.result import (
    ClassifyResult,
    Component,
    DetectResult,
    RegressResult,
    SegmentResult,
)

WIDTH_PX = 640
HEIGHT_PX = 480
LESION_BOX = (240.0, 160.0, 400.0, 260.0)
LESION_CENTRE = (320.0, 210.0)
LESION_SEMI_AXES = (80.0, 50.0)


def a_sha256(name: str) -> str:
    """A valid SHA-256, another one for another name."""
    return hashlib.sha256(name.encode()).hexdigest()


def an_ellipse(
    centre: tuple[float, float] = LESION_CENTRE,
    semi_axes: tuple[float, float] = LESION_SEMI_AXES,
    angle_deg: float = 0.0,
    points: int = 64,
) -> Ring:
    """The outline of an ellipse; the first semi-axis lies at `angle_deg` from +x towards +y."""
    turn = math.radians(angle_deg)
    outline = []
    for index in range(points):
        t = 2 * math.pi * index / points
        u, v = semi_axes[0] * math.cos(t), semi_axes[1] * math.sin(t)
        x = centre[0] + u * math.cos(turn) - v * math.sin(turn)
        y = centre[1] + u * math.sin(turn) + v * math.cos(turn)
        outline.append((round(x, 4), round(y, 4)))
    return tuple(outline)


def an_image_info(**changes: Any) -> ImageInfo:
    """A grey PNG without spacing, 640 × 480 unless changed."""
    return ImageInfo.model_validate(
        {
            "sha256": a_sha256("image"),
            "width_px": WIDTH_PX,
            "height_px": HEIGHT_PX,
            "frame": None,
            "spacing_mm": None,
            "spacing_source": None,
            "pixel_aspect": PixelAspect.ASSUMED_SQUARE,
        }
        | changes
    )


def a_calibrated_image_info(
    spacing_mm: tuple[float, float] = (0.1, 0.1), **changes: Any
) -> ImageInfo:
    """An image whose source states one spacing (x, y) for the whole frame."""
    return an_image_info(
        **{
            "spacing_mm": Spacing(x=spacing_mm[0], y=spacing_mm[1]),
            "spacing_source": "DICOM PixelSpacing",
            "pixel_aspect": PixelAspect.KNOWN,
        }
        | changes
    )


def an_image(
    height: int = HEIGHT_PX, width: int = WIDTH_PX, seed: int = 0, **changes: Any
) -> Image:
    """Speckle-like noise with a dark ellipse in the middle; `changes` go to its `ImageInfo`."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    inside = ((x - width / 2) / (width / 8)) ** 2 + ((y - height / 2) / (height / 8)) ** 2 <= 1
    echo = generator.rayleigh(60.0, (height, width)) * np.where(inside, 0.3, 1.0)
    pixels = np.clip(echo, 0, 255).astype(np.uint8)
    key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    info = an_image_info(**{"width_px": width, "height_px": height, "sha256": key} | changes)
    return Image(pixels=pixels, key=key, info=info)


def a_detect_result(**changes: Any) -> DetectResult:
    """A lesion box around the ellipse; `box=None` for none found."""
    return DetectResult.model_validate(
        {
            "specialist": "breast_lesion_det",
            "sha256": a_sha256("breast_lesion_det"),
            "label": "lesion",
            "score": 0.93,
            "box": LESION_BOX,
            "absence_known": True,
        }
        | changes
    )


def a_component(**changes: Any) -> Component:
    """One elliptic lesion of 160 × 100 px."""
    return Component.model_validate(
        {"label": "lesion", "polygons": (an_ellipse(),), "score": 0.88} | changes
    )


def a_segment_result(**changes: Any) -> SegmentResult:
    """One lesion component; `components=()` for none seen."""
    return SegmentResult.model_validate(
        {
            "specialist": "breast_lesion",
            "sha256": a_sha256("breast_lesion"),
            "labels": ("lesion",),
            "components": (a_component(),),
        }
        | changes
    )


def a_classify_result(**changes: Any) -> ClassifyResult:
    """Benign against malignant, leaning to benign; change `specialist` and `scores` for another."""
    return ClassifyResult.model_validate(
        {
            "specialist": "breast_2cls",
            "sha256": a_sha256("breast_2cls"),
            "scores": {"benign": 0.82, "malignant": 0.18},
        }
        | changes
    )


def an_exam_result(**changes: Any) -> ClassifyResult:
    """The router's answer, clearly breast."""
    scores = {code.value: 0.005 for code in ExamCode} | {ExamCode.BREAST.value: 0.96}
    return a_classify_result(
        **{"specialist": "exam_cls", "sha256": a_sha256("exam_cls"), "scores": scores} | changes
    )


def a_regress_result(**changes: Any) -> RegressResult:
    """Two landmarks of a line."""
    return RegressResult.model_validate(
        {
            "specialist": "muscle_thickness",
            "sha256": a_sha256("muscle_thickness"),
            "points": (
                NamedPoint(name="upper", x=100.0, y=50.0, score=0.8),
                NamedPoint(name="lower", x=100.0, y=120.0, score=0.7),
            ),
        }
        | changes
    )


def a_finding(**changes: Any) -> Finding:
    """A lesion found in evidence e1 (box) and e2 (mask)."""
    return Finding.model_validate(
        {
            "id": "f1",
            "label": "lesion",
            "state": FindingState.FOUND,
            "score": 0.93,
            "evidence": ("e1", "e2"),
        }
        | changes
    )


def a_measurement(**changes: Any) -> Measurement:
    """A long axis of 160 px on evidence e3."""
    return Measurement.model_validate(
        {
            "id": "m1",
            "name": "long axis",
            "state": MeasurementState.MEASURED,
            "reason": "interval not calibrated yet",
            "value": 160.0,
            "unit": "px",
            "formula": "maximum Feret diameter: "
            "greatest distance between two points of the outline",
            "evidence": ("e3", "e2"),
        }
        | changes
    )


def some_evidence() -> tuple[Evidence, ...]:
    """Box e1, mask e2, end points e3 and scores e4 of the default report."""
    return (
        BoxEvidence(id="e1", specialist="breast_lesion_det", step=1, score=0.93, box=LESION_BOX),
        MaskEvidence(
            id="e2",
            specialist="breast_lesion",
            step=2,
            score=0.88,
            label="lesion",
            polygons=(an_ellipse(),),
        ),
        PointsEvidence(
            id="e3",
            specialist="breast_lesion",
            step=2,
            points=(
                NamedPoint(name="long axis, start", x=240.0, y=210.0),
                NamedPoint(name="long axis, end", x=400.0, y=210.0),
            ),
        ),
        ScoresEvidence(
            id="e4", specialist="breast_2cls", step=3, scores={"benign": 0.82, "malignant": 0.18}
        ),
    )


def a_step(**changes: Any) -> Step:
    """The router's step, forced."""
    return Step.model_validate(
        {
            "index": 0,
            "action": "exam_cls",
            "legal": ("exam_cls",),
            "chosen_by": ChosenBy.FORCED,
            "duration_ms": 12.5,
            "reason": "The only legal action.",
        }
        | changes
    )


def some_steps() -> tuple[Step, ...]:
    """Router, detector, segmentation, classifier, stop."""
    actions = ("exam_cls", "breast_lesion_det", "breast_lesion", "breast_2cls", "stop")
    return tuple(
        a_step(index=index, action=action, legal=(action,)) for index, action in enumerate(actions)
    )


def a_provenance(**changes: Any) -> Provenance:
    """Three weights files that may be used for anything, planned by the rules."""
    return Provenance.model_validate(
        {
            "code_version": "0.1.0",
            "runtime": "torch-cpu",
            "models": tuple(
                ModelRef(id=name, sha256=a_sha256(name))
                for name in ("generalist", "breast_lesion_det", "breast_lesion", "breast_2cls")
            ),
            "planner": PlannerRef(id="rules", sha256=a_sha256("rules")),
            "content_sha256": a_sha256("content"),
            "research_only": None,
        }
        | changes
    )


def a_check(**changes: Any) -> Check:
    """A box that agrees with its mask."""
    return Check.model_validate(
        {
            "name": "box against mask",
            "outcome": CheckOutcome.AGREE,
            "detail": "IoU 0.97 of 0.50.",
        }
        | changes
    )


def a_report(**changes: Any) -> Report:
    """A breast report with one lesion, not worded yet (`reports.wording.report.word` does that)."""
    return Report.model_validate(
        {
            "report_id": "6f1d4be6c1f54a0c9d2d7b0a7f5f3c11",
            "analysis_id": "0a9b1c0d5c3e4f7f8b3f0a3c5f7e9d22",
            "version": 1,
            "created_at": "2026-11-20T12:00:00Z",
            "outcome": Outcome.REPORTED,
            "request": RequestInfo(exam=ExamCode.BREAST, question_given=False, frame=None),
            "exam": ExamInfo(
                code=ExamCode.BREAST, title="Breast ultrasound", chosen_by="request", score=0.96
            ),
            "image": an_image_info(),
            "findings": (
                a_finding(),
                a_finding(id="f2", label="classification", score=0.18, evidence=("e4",)),
            ),
            "measurements": (a_measurement(),),
            "evidence": some_evidence(),
            "steps": some_steps(),
            "checks": (a_check(),),
            "provenance": a_provenance(),
        }
        | changes
    )


def a_worded_report(**changes: Any) -> Report:
    """The breast report as a reader gets it: measured, worded and hashed."""
    image = changes.get("image", an_image_info())
    box, mask, _, scores = some_evidence()
    assert isinstance(mask, MaskEvidence)
    measured = assemble(lesion_numbers(mask, image), first_measurement=1, first_evidence=4)
    report = a_report(
        **{
            "findings": (
                a_finding(),
                a_finding(id="f2", label="classification", score=0.18, evidence=("e3",)),
            ),
            "measurements": measured.measurements,
            "evidence": (box, mask, scores.model_copy(update={"id": "e3"}), *measured.evidence),
        }
        | changes
    )
    worded = word(report)
    hashed = worded.provenance.model_copy(update={"content_sha256": content_sha256(worded)})
    return worded.model_copy(update={"provenance": hashed})


def a_refused_report(**changes: Any) -> Report:
    """A report that says why nothing was analysed: an exam without installed specialists."""
    return a_report(
        **{
            "outcome": Outcome.REFUSED,
            "reason": "The specialists for nerve exams are not installed: nerve_vessel_multi.",
            "request": RequestInfo(exam=None, question_given=False, frame=None),
            "exam": ExamInfo(
                code=ExamCode.NERVE, title="Nerve ultrasound", chosen_by="image", score=0.97
            ),
            "findings": (),
            "measurements": (),
            "evidence": (),
            "steps": (a_step(),),
            "checks": (),
        }
        | changes
    )
