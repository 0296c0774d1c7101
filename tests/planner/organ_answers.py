"""Believable answers of the specialists of thyroid, heart, ovary and lung, open to changes.

There is one image of each exam.
"""

import math
from collections.abc import Callable

from reports.model import ExamCode, Ring
from tests.builders import a_classify_result, a_component, a_sha256, an_ellipse
from tests.planner.exam_answers import ANSWERS, TOOLS, a_box, outlines
from tests.planner.stand_ins import Answer, routed_to

ORGAN_TOOLS = {
    ExamCode.THYROID: ("exam_cls", "thyroid_nodule_det", "thyroid_nodule", "thyroid_tirads_2cls"),
    ExamCode.HEART: ("exam_cls", "cardiac_view_cls", "cardiac_multi"),
    ExamCode.OVARY: ("exam_cls", "ovary_tumor", "ovary_type_cls"),
    ExamCode.LUNG: ("exam_cls", "lung_disease_3cls", "lung_2cls"),
}
TYPES = (
    "chocolate cyst",
    "high-grade serous",
    "mucinous cystadenoma",
    "normal ovary",
    "serous cystadenoma",
    "simple cyst",
    "teratoma",
    "theca cell tumour",
)
CHAMBERS = ("left ventricular cavity", "myocardium", "left atrium")


def scores(specialist: str, kept: tuple[str, ...] | None = None, **found: float) -> Answer:
    """A classifier's answer; names with a space are written with an underscore."""
    given = {name.replace("_", " "): score for name, score in found.items()}
    return a_classify_result(
        specialist=specialist, sha256=a_sha256(specialist), scores=given, label_set=kept
    )


def thyroid_answers(**changes: Answer) -> dict[str, Answer]:
    """One nodule, rather suspicious, and all agree."""
    nodule = a_component(label="nodule", polygons=(an_ellipse((320.0, 200.0), (80.0, 50.0)),))
    answers = {
        "exam_cls": routed_to(ExamCode.THYROID),
        "thyroid_nodule_det": a_box("thyroid_nodule_det", "nodule", (238.0, 149.0, 402.0, 251.0)),
        "thyroid_nodule": outlines("thyroid_nodule", ("nodule",), nodule),
        "thyroid_tirads_2cls": scores(
            "thyroid_tirads_2cls", ("high suspicion",), lower_suspicion=0.27, high_suspicion=0.73
        ),
    }
    return answers | changes


def a_vault(semi_axes: tuple[float, float]) -> Ring:
    """The upper half of an ellipse whose centre is the middle of the mitral plane."""
    turns = [math.pi * index / 60 for index in range(61)]
    return tuple(
        (320.0 - semi_axes[0] * math.cos(turn), 300.0 - semi_axes[1] * math.sin(turn))
        for turn in turns
    )


def heart_answers(**changes: Answer) -> dict[str, Answer]:
    """A four-chamber view with what is outlined in it."""
    hollow = a_vault((50.0, 180.0))
    wall = (*a_vault((98.0, 228.0)), *reversed(hollow))
    rings = (hollow, wall, an_ellipse((320.0, 346.0), (52.0, 45.0)))
    parts = [a_component(label=n, polygons=(r,)) for n, r in zip(CHAMBERS, rings, strict=True)]
    view = {"2-chamber": 0.03, "4-chamber": 0.97}
    answers = {
        "exam_cls": routed_to(ExamCode.HEART),
        "cardiac_view_cls": a_classify_result(
            specialist="cardiac_view_cls", sha256=a_sha256("cardiac_view_cls"), scores=view
        ),
        "cardiac_multi": outlines("cardiac_multi", CHAMBERS, *parts),
    }
    return answers | changes


def ovary_answers(**changes: Answer) -> dict[str, Answer]:
    """One outline and a type that is not decided."""
    shares = dict.fromkeys(TYPES, 0.05) | {"simple cyst": 0.4, "serous cystadenoma": 0.3}
    outline = a_component(label="ovary or tumour", polygons=(an_ellipse((300.0, 240.0)),))
    answers = {
        "exam_cls": routed_to(ExamCode.OVARY),
        "ovary_tumor": outlines("ovary_tumor", ("ovary or tumour",), outline),
        "ovary_type_cls": a_classify_result(
            specialist="ovary_type_cls",
            sha256=a_sha256("ovary_type_cls"),
            scores=shares,
            label_set=("serous cystadenoma", "simple cyst"),
        ),
    }
    return answers | changes


def lung_answers(**changes: Answer) -> dict[str, Answer]:
    """A regular lung that both classifiers call so."""
    answers = {
        "exam_cls": routed_to(ExamCode.LUNG),
        "lung_disease_3cls": scores(
            "lung_disease_3cls", ("regular",), regular=0.9, pneumonia=0.06, covid=0.04
        ),
        "lung_2cls": scores("lung_2cls", ("healthy",), healthy=0.88, diseased=0.12),
    }
    return answers | changes


ORGAN_ANSWERS: dict[ExamCode, Callable[[], dict[str, Answer]]] = {
    ExamCode.THYROID: thyroid_answers,
    ExamCode.HEART: heart_answers,
    ExamCode.OVARY: ovary_answers,
    ExamCode.LUNG: lung_answers,
}

ALL_ANSWERS, ALL_TOOLS = ANSWERS | ORGAN_ANSWERS, TOOLS | ORGAN_TOOLS
