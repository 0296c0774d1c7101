"""Believable answers of the specialists of the four exams besides breast, open to changes.

There is one image of each exam.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reports.model import ExamCode, NamedPoint, PixelAspect, Point, Ring, Spacing
from specialists.image import Image, image_of
from specialists.result import Component, RegressResult
from tests.builders import (
    a_component,
    a_detect_result,
    a_regress_result,
    a_segment_result,
    a_sha256,
    an_ellipse,
)
from tests.planner.stand_ins import Answer, routed_to

TOOLS = {
    ExamCode.FETAL_HEAD: (
        "exam_cls",
        "fetal_brain_det",
        "fetal_csp_det",
        "fetal_ventricle_det",
        "fetal_head",
        "fetal_head_axes",
    ),
    ExamCode.INTRAPARTUM: (
        "exam_cls",
        "intrapartum_head_det",
        "head_symphysis_multi",
        "aop_landmarks",
    ),
    ExamCode.NERVE: ("exam_cls", "nerve_vessel_multi"),
    ExamCode.MUSCLE: ("exam_cls", "muscle_aponeurosis", "muscle_fascicle", "muscle_thickness"),
}

HEAD_CENTRE, HEAD_SEMI_AXES = (320.0, 240.0), (190.0, 150.0)


def an_even_image(spacing_mm: tuple[float, float] | None = None, **changes: Any) -> Image:
    """640 × 480 pixels of one grey: all of it is scanned, none of it is near an edge."""
    image = image_of(np.full((480, 640), 90, dtype=np.uint8))
    known: dict[str, Any] = {}
    if spacing_mm:
        known["spacing_mm"] = Spacing(x=spacing_mm[0], y=spacing_mm[1])
        known["spacing_source"] = "DICOM PixelSpacing"
        known["pixel_aspect"] = PixelAspect.KNOWN
    info = image.info.model_copy(update=known | changes)
    return Image(pixels=image.pixels, key=image.key, info=info)


def landmarks(specialist: str, places: Mapping[str, Point], *missing: str) -> RegressResult:
    """Located landmarks in order, and the names of those that were not."""
    return a_regress_result(
        specialist=specialist,
        sha256=a_sha256(specialist),
        points=tuple(NamedPoint(name=name, x=x, y=y, score=0.8) for name, (x, y) in places.items()),
        missing=missing,
    )


def outlines(specialist: str, labels: tuple[str, ...], *components: Component) -> Answer:
    """A segmentation's answer."""
    return a_segment_result(
        specialist=specialist, sha256=a_sha256(specialist), labels=labels, components=components
    )


def a_box(specialist: str, label: str, box: tuple[float, float, float, float] | None) -> Answer:
    """A detector's answer whose training had no image without one."""
    return a_detect_result(
        specialist=specialist,
        sha256=a_sha256(specialist),
        label=label,
        score=0.9 if box else 0.2,
        box=box,
        absence_known=False,
    )


HEAD_AXES = {
    "long axis left end": (131.0, 240.0),
    "long axis right end": (509.0, 241.0),
    "short axis upper end": (320.0, 91.0),
    "short axis lower end": (321.0, 389.0),
}


def a_head(**changes: Any) -> Component:
    """A head of 380 × 300 px."""
    ring = an_ellipse(HEAD_CENTRE, HEAD_SEMI_AXES, points=180)
    return a_component(**{"label": "head", "polygons": (ring,)} | changes)


def fetal_head_answers(**changes: Answer) -> dict[str, Answer]:
    """A whole head with its structures, and all agree."""
    answers = {
        "exam_cls": routed_to(ExamCode.FETAL_HEAD),
        "fetal_brain_det": a_box("fetal_brain_det", "brain", (140.0, 100.0, 500.0, 380.0)),
        "fetal_csp_det": a_box(
            "fetal_csp_det", "cavum septi pellucidi", (400.0, 220.0, 440.0, 260.0)
        ),
        "fetal_ventricle_det": a_box(
            "fetal_ventricle_det", "lateral ventricle", (200.0, 260.0, 280.0, 300.0)
        ),
        "fetal_head": outlines("fetal_head", ("head",), a_head()),
        "fetal_head_axes": landmarks("fetal_head_axes", HEAD_AXES),
    }
    return answers | changes


SYMPHYSIS_RING = an_ellipse((190.0, 110.0), (60.0, 24.0), points=120)
BIRTH_HEAD_RING = an_ellipse((330.0, 300.0), (130.0, 110.0), angle_deg=40, points=180)
AOP_POINTS = {
    "symphysis far end": (130.0, 110.0),
    "symphysis near end": (250.0, 111.0),
    "tangent point": (390.0, 208.0),
}


def intrapartum_answers(**changes: Answer) -> dict[str, Answer]:
    """A level symphysis and a head below it, and all agree."""
    answers = {
        "exam_cls": routed_to(ExamCode.INTRAPARTUM),
        "intrapartum_head_det": a_box("intrapartum_head_det", "head", (205.0, 180.0, 455.0, 420.0)),
        "head_symphysis_multi": birth_outlines(SYMPHYSIS_RING, BIRTH_HEAD_RING),
        "aop_landmarks": landmarks("aop_landmarks", AOP_POINTS),
    }
    return answers | changes


def birth_outlines(symphysis: Ring | None, head: Ring | None) -> Answer:
    """The outlines of a transperineal view; None leaves one out."""
    named = (("fetal head", head), ("pubic symphysis", symphysis))
    components = [a_component(label=label, polygons=(ring,)) for label, ring in named if ring]
    return outlines("head_symphysis_multi", ("pubic symphysis", "fetal head"), *components)


def nerve_answers(*components: Component) -> dict[str, Answer]:
    """A nerve beside two vessels, of which one is nearer; other components if given."""
    standard = (
        a_component(label="nerve", polygons=(an_ellipse((300.0, 200.0), (40.0, 20.0)),)),
        a_component(label="vessel", polygons=(an_ellipse((400.0, 200.0), (20.0, 20.0)),)),
        a_component(label="vessel", polygons=(an_ellipse((300.0, 400.0), (18.0, 18.0)),)),
    )
    return {
        "exam_cls": routed_to(ExamCode.NERVE),
        "nerve_vessel_multi": outlines(
            "nerve_vessel_multi", ("nerve", "vessel"), *(components or standard)
        ),
    }


def a_band(left: Point, right: Point, thick: float) -> Ring:
    """A band between two columns, `thick` px deep, whose upper edge runs from left to right."""
    (x0, y0), (x1, y1) = left, right
    return ((x0, y0), (x1, y1), (x1, y1 + thick), (x0, y0 + thick))


def a_fragment(centre: Point, angle_deg: float, long: float = 40.0) -> Ring:
    """A thin fascicle fragment; the angle counts from +x towards +y."""
    return an_ellipse(centre, (long / 2, 2.0), angle_deg=angle_deg, points=40)


UPPER_BAND = a_band((20.0, 90.0), (620.0, 90.0), 10.0)
LOWER_BAND = a_band((20.0, 300.0), (620.0, 300.0), 12.0)
FRAGMENTS = tuple(
    a_fragment((120.0 + 100 * n, 160.0 + 25 * n), angle)
    for n, angle in enumerate((-18.0, -17.0, -16.0, -15.0))
)
THICKNESS_POINTS = {
    "superficial aponeurosis": (60.0, 100.5),
    "deep aponeurosis": (60.0, 300.5),
}


def muscle_answers(**changes: Answer) -> dict[str, Answer]:
    """Two level aponeuroses 200 px apart with four fascicle fragments between them."""
    answers = {
        "exam_cls": routed_to(ExamCode.MUSCLE),
        "muscle_aponeurosis": muscle_outlines("aponeurosis", UPPER_BAND, LOWER_BAND),
        "muscle_fascicle": muscle_outlines("fascicle", *FRAGMENTS),
        "muscle_thickness": landmarks("muscle_thickness", THICKNESS_POINTS),
    }
    return answers | changes


def muscle_outlines(label: str, *rings: Ring) -> Answer:
    """The outlines of one of a muscle's structures."""
    parts = [a_component(label=label, polygons=(ring,)) for ring in rings]
    return outlines(f"muscle_{label}", (label,), *parts)


ANSWERS: dict[ExamCode, Callable[[], dict[str, Answer]]] = {
    ExamCode.FETAL_HEAD: fetal_head_answers,
    ExamCode.INTRAPARTUM: intrapartum_answers,
    ExamCode.NERVE: nerve_answers,
    ExamCode.MUSCLE: muscle_answers,
}
