"""Labels lie off the structures and each other, inside the picture; angles have their arcs."""

import math
from itertools import combinations

import pytest

from reports.forms.overlay.naming import MANY, MOST_LETTERS, labels
from reports.forms.overlay.scene import LARGE, Label, Scene, Shape, scene_of
from reports.forms.overlay.text import text_width
from reports.measure.geometry import area
from reports.measure.lines import within
from reports.model import (
    Box,
    BoxEvidence,
    MaskEvidence,
    NamedPoint,
    PointsEvidence,
    Report,
    Ring,
)
from tests.builders import (
    a_calibrated_image_info,
    a_finding,
    a_measurement,
    a_report,
    a_worded_report,
    an_ellipse,
    an_image_info,
    some_evidence,
)
from tests.planner.exam_answers import ANSWERS
from tests.reports.report_forms import REPORTS
from tests.reports.test_golden_exams import the_report
from tests.tools import module


def corner(*places: tuple[float, float]) -> Report:
    """Return a report whose lesions lie at those places, where there is little room."""
    box, mask, *_ = some_evidence()
    assert isinstance(mask, MaskEvidence)
    masks = [
        mask.model_copy(update={"id": f"e{n}", "polygons": (an_ellipse(place, (40, 25)),)})
        for n, place in enumerate(places, start=2)
    ]
    return a_report(
        evidence=(box, *masks),
        findings=(a_finding(evidence=tuple(item.id for item in masks)),),
        measurements=(),
    )


CROWDED = {
    "in the corners": corner((40, 25), (600, 25), (40, 455)),
    "side by side": corner((150, 240), (235, 240), (320, 240)),
    "the whole image": a_worded_report(
        evidence=(
            some_evidence()[1].model_copy(
                update={"polygons": (an_ellipse((320, 240), (319, 239)),)}
            ),
        ),
        findings=(a_finding(evidence=("e2",)),),
        measurements=(),
    ),
}
EXAMS = {exam.value: the_report(exam) for exam in ANSWERS}
ALL = {**REPORTS, **EXAMS, **CROWDED}
each = pytest.mark.parametrize("name", sorted(ALL))


def placed(scene: Scene) -> list[tuple[Shape, Label]]:
    return [(shape, label) for shape in scene.shapes for label in shape.labels]


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def ring_of(box: Box) -> Ring:
    x_min, y_min, x_max, y_max = box
    return ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))


def outlines(scene: Scene) -> list[Ring]:
    """The outer edge of each structure, a detector's box included."""
    rings = [shape.rings[0] for shape in scene.shapes if shape.rings]
    return rings + [ring_of(shape.box) for shape in scene.shapes if shape.box is not None]


@each
def test_no_label_covers_another_or_the_scale_bar(name: str) -> None:
    scene = scene_of(ALL[name])
    boxes = [label.box for _, label in placed(scene)]
    bars = [
        (bar.x, bar.y - max(bar.depth_px, 0.9 * scene.line), bar.x + bar.across_px, bar.y)
        for bar in scene.bars
    ]
    for one, other in combinations([*boxes, *bars], 2):
        assert not overlap(one, other)


@each
def test_every_label_is_inside_the_picture(name: str) -> None:
    scene = scene_of(ALL[name])
    for _, label in placed(scene):
        x_min, y_min, x_max, y_max = label.box
        assert 0 <= x_min < x_max <= scene.width
        assert 0 <= y_min < y_max <= scene.height


@each
def test_no_label_covers_a_structure_and_none_the_edge_of_a_large_one(name: str) -> None:
    scene = scene_of(ALL[name])
    frame = scene.width * ALL[name].image.height_px
    for _, label in placed(scene):
        for ring in outlines(scene):
            covered = [
                point
                for point in ring
                if overlap(label.box, (point[0], point[1], point[0], point[1]))
            ]
            assert covered == []
            if area((ring,)) <= LARGE * frame:
                assert not [p for p in ring_of(label.box) if within(p, ring)]


@each
def test_a_label_that_stands_apart_has_a_line_to_what_it_names(name: str) -> None:
    scene = scene_of(ALL[name])
    for shape, label in placed(scene):
        ends = [*(p for ring in shape.rings for p in ring), *shape.marks, *shape.arc]
        ends += [p for line in shape.lines for p in line]
        ends += ring_of(shape.box) if shape.box is not None else ()
        middle = ((label.box[0] + label.box[2]) / 2, (label.box[1] + label.box[3]) / 2)
        reach = math.hypot(label.box[2] - label.box[0], label.box[3] - label.box[1])
        near = min(math.dist(middle, end) for end in ends) < reach / 2 + 1.5 * scene.line
        assert near or label.leader is not None
        if label.leader is not None:
            start, end = label.leader
            x_min, y_min, x_max, y_max = label.box
            assert overlap((*start, *start), (x_min - 1, y_min - 1, x_max + 1, y_max + 1))
            assert min(math.dist(end, point) for point in ends) < 2 * scene.line


@each
def test_the_scale_bar_lies_off_every_structure(name: str) -> None:
    scene = scene_of(ALL[name])
    for bar in scene.bars:
        line = (bar.x, bar.y - bar.depth_px, bar.x + bar.across_px, bar.y + 1)
        for ring in outlines(scene):
            xs, ys = zip(*ring, strict=True)
            assert not overlap(line, (min(xs), min(ys), max(xs), max(ys)))


def test_a_picture_without_a_free_corner_has_its_scale_bar_below() -> None:
    scene = scene_of(CROWDED["the whole image"])
    assert scene.height > 480
    assert scene.bars[0].y > 480
    assert scene_of(a_worded_report()).height == 480


@pytest.mark.parametrize(
    ("spacing_mm", "text", "depth_px"),
    [
        (None, "100 px", 0),
        ((0.1, 0.1), "10 mm", 0),
        ((0.25, 0.25), "20 mm", 0),
        ((0.1, 0.2), "10 mm", 50),
    ],
)
def test_a_scale_bar_is_labelled_and_of_a_round_length(
    spacing_mm: tuple[float, float] | None, text: str, depth_px: float
) -> None:
    image = an_image_info() if spacing_mm is None else a_calibrated_image_info(spacing_mm)
    (bar,) = scene_of(a_worded_report(image=image)).bars
    assert (bar.text, bar.depth_px) == (text, depth_px)
    length = float(text.split()[0]) / (1 if spacing_mm is None else spacing_mm[0])
    assert bar.across_px == pytest.approx(length)


def test_labels_carry_short_names_and_values() -> None:
    assert set(labels(REPORTS["fetal biometry"]).values()) == {
        "HC 224 mm",
        "1 BPD 62.0 mm",
        "2 OFD 80.0 mm",
    }
    assert "lesion" in labels(a_worded_report()).values()
    in_mm = labels(REPORTS["breast in mm, synthetic"])
    assert [text for text in in_mm.values() if "axis" in text] == [
        "1 long axis 16.0 mm",
        "2 short axis 12.0 mm",
    ]


def test_a_number_that_is_unreliable_says_so_in_the_picture() -> None:
    weak = a_measurement(unreliable="the outline has holes", evidence=("e3", "e2"))
    assert labels(a_report(measurements=(weak,)))["e3"] == "long axis 160 px, unreliable"


def test_no_area_in_square_pixels_and_no_tag_over_fascicles_is_printed() -> None:
    assert not [text for text in labels(a_worded_report()).values() if "px²" in text]
    mask = some_evidence()[1]
    many = tuple(mask.model_copy(update={"id": f"e{n}"}) for n in range(1, MANY + 1))
    assert labels(a_report(evidence=many, findings=(), measurements=())) == {}


def test_a_long_name_is_cut() -> None:
    mask = some_evidence()[1].model_copy(update={"label": "a very long name of a structure " * 9})
    (text,) = labels(a_report(evidence=(mask,), findings=(), measurements=())).values()
    assert len(text) <= MOST_LETTERS


def drawn_shape(report: Report, evidence_id: str) -> Shape:
    return next(shape for shape in scene_of(report).shapes if shape.evidence.id == evidence_id)


@pytest.mark.parametrize("degrees", [30.0, 90.0, 121.0, 200.0])
def test_an_angle_is_drawn_with_an_arc_of_its_size(degrees: float) -> None:
    turn = math.radians(180 - degrees)
    far, near = (100.0, 200.0), (250.0, 200.0)
    tangent = (near[0] + 120 * math.cos(turn), near[1] + 120 * math.sin(turn))
    points = [
        {"name": f"angle, {name}", "x": x, "y": y}
        for name, (x, y) in (("far", far), ("near", near), ("tangent", tangent))
    ]
    evidence = PointsEvidence.model_validate(
        {"id": "e1", "specialist": "aop_landmarks", "step": 1, "points": points}
    )
    number = a_measurement(name="angle of progression", value=degrees, unit="deg", evidence=("e1",))
    report = a_report(evidence=(evidence,), measurements=(number,), findings=())
    arc = drawn_shape(report, "e1").arc
    length = sum(math.dist(one, other) for one, other in zip(arc, arc[1:], strict=False))
    assert length == pytest.approx(math.radians(degrees) * math.dist(near, arc[0]), rel=0.01)
    other = number.model_copy(update={"value": degrees + 20})
    wrong = a_report(evidence=(evidence,), measurements=(other,), findings=())
    assert drawn_shape(wrong, "e1").arc == ()


def test_a_line_that_leaves_the_image_is_drawn_up_to_its_edge() -> None:
    points = [{"name": f"l, {n}", "x": x, "y": 100.0} for n, x in (("a", -50.0), ("b", 300.0))]
    evidence = PointsEvidence.model_validate(
        {"id": "e1", "specialist": "s", "step": 1, "points": points}
    )
    number = a_measurement(evidence=("e1",))
    shape = drawn_shape(a_report(evidence=(evidence,), measurements=(number,), findings=()), "e1")
    assert shape.lines == (((0.0, 100.0), (300.0, 100.0)),)
    assert shape.marks == ((300.0, 100.0),)


def test_evidence_of_another_frame_is_not_drawn_over_this_one() -> None:
    box = BoxEvidence(id="e1", specialist="s", step=1, box=(1, 1, 9, 9), frame=3)
    assert scene_of(a_report(evidence=(box,), findings=(), measurements=())).shapes == ()


def test_the_same_report_gives_the_same_scene() -> None:
    report = REPORTS["fetal biometry"]
    assert scene_of(report) == scene_of(report)


def test_no_text_of_the_pdf_is_wider_than_its_place() -> None:
    module("reportlab", "pip install 'ustri[dicom]'")
    from reportlab.pdfbase.pdfmetrics import stringWidth

    from reports.forms.pdf.style import fonts

    fonts()
    for report in REPORTS.values():
        for text in labels(report).values():
            assert stringWidth(text, "Vera", 10) <= text_width(text, 10)


def test_what_lies_outside_the_image_has_no_label() -> None:
    points = PointsEvidence(
        id="e2",
        specialist="aop_landmarks",
        step=1,
        points=tuple(
            NamedPoint(name=name, x=x, y=y) for name, x, y in (("a", 900, 50), ("b", 950, 700))
        ),
    )
    report = a_report(
        evidence=(points,),
        findings=(),
        measurements=(a_measurement(evidence=("e2",)),),
    )
    (shape,) = scene_of(report).shapes
    assert (shape.lines, shape.marks, shape.labels) == ((), (), ())
