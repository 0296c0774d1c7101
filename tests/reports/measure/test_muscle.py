"""Thickness, inclinations and pennation angle of drawn muscles.

There are none where layers or fascicles are unclear.
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import NotMeasurable
from reports.measure.muscle import (
    APONEUROSIS,
    DEEP_INCLINATION,
    FASCICLE,
    LOWER,
    PENNATION_ANGLE,
    POINTS,
    SUPERFICIAL_INCLINATION,
    THICKNESS,
    UPPER,
    layers_of,
    muscle_numbers,
    pennation,
    thickness_between,
)
from reports.measure.numbers import Number, Seen
from reports.model import (
    Evidence,
    ImageInfo,
    MaskEvidence,
    NamedPoint,
    Point,
    PointsEvidence,
    Region,
    Ring,
    Spacing,
)
from specialists.manifest import read_manifest
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info

IMAGE = an_image_info()


def a_band(left: Point, right: Point, thick: float = 10.0) -> Ring:
    (x0, y0), (x1, y1) = left, right
    return ((x0, y0), (x1, y1), (x1, y1 + thick), (x0, y0 + thick))


def fragments(*angles: float, long: float = 40.0) -> list[Ring]:
    return [
        an_ellipse((100.0 + 90 * n, 200.0), (long / 2, 2), angle_deg=angle, points=60)
        for n, angle in enumerate(angles)
    ]


TOP = a_band((20, 90), (620, 90))
BOTTOM = a_band((20, 300), (620, 300))


def seen(
    image: ImageInfo,
    layers: list[Ring],
    fascicles: list[Ring],
    points: dict[str, Point] | None = None,
) -> dict[str, Number]:
    evidence: dict[str, list[Evidence]] = {}
    for slot, label, rings in (
        (APONEUROSIS, "aponeurosis", layers),
        (FASCICLE, "fascicle", fascicles),
    ):
        evidence[slot] = [
            MaskEvidence(id=f"{label}{n}", specialist=label, step=1, label=label, polygons=(ring,))
            for n, ring in enumerate(rings)
        ]
    if points is not None:
        evidence[POINTS] = [PointsEvidence(id="p", specialist="p", step=3, points=named(points))]
    found = muscle_numbers(Seen(image=image, evidence=evidence))
    return {number.name: number for number in found}


def named(places: dict[str, Point]) -> tuple[NamedPoint, ...]:
    return tuple(NamedPoint(name=name, x=x, y=y) for name, (x, y) in places.items())


def test_a_drawn_muscle_has_all_its_numbers() -> None:
    points = {UPPER: (60.0, 100.0), LOWER: (62.0, 300.0)}
    found = seen(IMAGE, [TOP, BOTTOM], fragments(-18, -17, -16, -15), points)
    assert {name: item.unit for name, item in found.items()} == {
        THICKNESS: "px",
        SUPERFICIAL_INCLINATION: "deg",
        DEEP_INCLINATION: "deg",
        PENNATION_ANGLE: "deg",
    }
    assert [item.value for item in found.values()] == pytest.approx([200, 0, 0, 16.5], abs=0.1)
    assert found[THICKNESS].drawn == (
        (f"{THICKNESS}, start", (61.0, 100.0)),
        (f"{THICKNESS}, end", (61.0, 300.0)),
    )
    assert "Median of 4 fragments" in found[PENNATION_ANGLE].reason
    assert "assuming square pixels" in found[PENNATION_ANGLE].formula


@settings(max_examples=25)
@given(
    st.floats(-6, 6),
    st.floats(5, 40),
    st.sampled_from([-1, 1]),
    st.tuples(st.floats(0.08, 0.14), st.floats(0.08, 0.14)),
)
def test_the_angle_is_the_one_to_the_deep_aponeurosis_in_millimetres(
    tilt: float, angle: float, side: int, scale: tuple[float, float]
) -> None:
    rise = math.tan(math.radians(tilt))
    width_mm, height_mm = 640 * scale[0], 480 * scale[1]
    x0, x1 = 0.05 * width_mm, 0.95 * width_mm

    def band(depth: float) -> Ring:
        return a_band((x0, depth + rise * x0), (x1, depth + rise * x1), 1.0)

    top, bottom = band(0.2 * height_mm), band(0.7 * height_mm)
    pieces = [
        an_ellipse(
            (share * width_mm, 0.45 * height_mm + rise * share * width_mm),
            (2.5, 0.2),
            angle_deg=tilt + side * angle,
            points=60,
        )
        for share in (0.2, 0.4, 0.6, 0.8)
    ]
    layers, fascicles = (
        [tuple((x / scale[0], y / scale[1]) for x, y in ring) for ring in rings]
        for rings in ((top, bottom), pieces)
    )
    found = seen(a_calibrated_image_info(scale), layers, fascicles)
    assert found[DEEP_INCLINATION].value == pytest.approx(tilt, abs=0.3)
    assert found[SUPERFICIAL_INCLINATION].value == pytest.approx(tilt, abs=0.3)
    assert found[PENNATION_ANGLE].value == pytest.approx(angle, abs=0.4)
    assert "square" not in found[PENNATION_ANGLE].formula


@settings(max_examples=40)
@given(st.tuples(st.floats(0.05, 0.5), st.floats(0.05, 0.5)), st.floats(10, 350))
def test_thickness_is_vertical_and_scaled_by_the_rows(
    scale: tuple[float, float], apart: float
) -> None:
    points = named({UPPER: (300.0, 60.0), LOWER: (310.0, 60.0 + apart)})
    line = thickness_between(points, a_calibrated_image_info(scale))
    assert line.length == pytest.approx(apart * scale[1])
    assert line.start[0] == line.end[0] == 305


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ({UPPER: (60.0, 100.0)}, LOWER),
        ({LOWER: (60.0, 100.0)}, UPPER),
        ({UPPER: (60.0, 300.0), LOWER: (60.0, 100.0)}, "above the superficial"),
        ({UPPER: (60.0, 100.0), LOWER: (120.0, 300.0)}, "one image column"),
    ],
)
def test_points_that_cannot_be_right_have_no_thickness(points: dict[str, Point], why: str) -> None:
    thickness = seen(IMAGE, [], [], points)[THICKNESS]
    assert thickness.value is None
    assert why in thickness.reason


def test_inner_edges_bound_the_muscle_and_a_doubled_sheet_is_one_layer() -> None:
    second = a_band((300, 320), (600, 325))
    layers = layers_of([(BOTTOM,), (TOP,), (second,)], IMAGE, (1.0, 1.0))
    assert layers.superficial.depth_at(320) == pytest.approx(100, abs=0.5)
    assert layers.deep.depth_at(320) == pytest.approx(300, abs=0.5)
    assert (layers.superficial_parts, layers.deep_parts) == ((1,), (0, 2))
    assert layers.note == ()


def test_a_broken_aponeurosis_is_joined_across_the_gap() -> None:
    parts = [a_band((20, 300), (250, 280)), a_band((350, 270), (620, 245))]
    layers = layers_of([(TOP,), *((part,) for part in parts)], IMAGE, (1.0, 1.0))
    assert layers.deep_parts == (2, 1)
    assert layers.deep.inclination_deg == pytest.approx(-5.1, abs=0.5)


def test_of_three_layers_the_two_uppermost_are_taken_and_that_is_said() -> None:
    third = a_band((20, 420), (620, 420))
    found = seen(IMAGE, [TOP, BOTTOM, third], fragments(-18, -17, -16))
    assert "3 layers were outlined" in found[DEEP_INCLINATION].reason
    assert "3 layers were outlined" in found[PENNATION_ANGLE].reason
    assert [item.id for item in found[DEEP_INCLINATION].rests_on] == ["aponeurosis1"]


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([TOP], "two are needed"),
        ([TOP, a_band((20, 300), (80, 300))], "wide enough"),
        ([a_band((20, 100), (250, 100)), a_band((330, 300), (620, 300))], "one aponeurosis"),
        ([a_band((20, 50), (620, 250)), a_band((20, 260), (620, 130))], "cross in the image"),
    ],
)
def test_layers_that_do_not_bound_a_muscle_have_no_lines(layers: list[Ring], why: str) -> None:
    found = seen(IMAGE, layers, fragments(-18, -17, -16))
    for name in (SUPERFICIAL_INCLINATION, DEEP_INCLINATION, PENNATION_ANGLE):
        assert found[name].value is None
        assert why in found[name].reason


@pytest.mark.parametrize(
    ("fascicles", "why"),
    [
        (fragments(-18, -17), "2 of 2"),
        (fragments(-18, -17, -16, long=10), "0 of 3"),
        ([an_ellipse((100.0 + n, 400), (20, 2)) for n in range(3)], "0 of 3"),
        ([an_ellipse((100.0 * n, 200), (20, 15)) for n in range(1, 4)], "0 of 3"),
        ([((1.0, 1.0), (2.0, 2.0), (3.0, 3.0))], "0 of 1"),
        (fragments(-40, -20, 0, 20, 40), "do not agree"),
        (fragments(-70, -71, -72), "implausible"),
    ],
)
def test_fascicles_without_a_common_direction_have_no_angle(
    fascicles: list[Ring], why: str
) -> None:
    found = seen(IMAGE, [TOP, BOTTOM], fascicles)[PENNATION_ANGLE]
    assert found.value is None
    assert why in found.reason


def test_one_wrong_fragment_of_many_does_not_move_the_angle_much() -> None:
    layers = layers_of([(TOP,), (BOTTOM,)], IMAGE, (1.0, 1.0))
    rings = [(ring,) for ring in fragments(-17, -17, 40, -17, -17, -17)]
    found = pennation(rings, layers, IMAGE)
    assert found.deg == pytest.approx(17, abs=0.2)
    assert found.fragments == 6


def test_fascicles_outside_of_the_aponeuroses_region_have_no_angle() -> None:
    spacing = Spacing(x=0.1, y=0.12)
    image = an_image_info(
        regions=(Region(box=(0, 0, 640, 320), spacing_mm=spacing),),
    )
    found = seen(image, [TOP, BOTTOM], [*fragments(-18, -17, -16), *fragments(-17, long=20)])
    assert found[PENNATION_ANGLE].value is not None
    away = [an_ellipse((300, 400), (20, 2), angle_deg=-17)]
    found = seen(image, [TOP, BOTTOM], [*fragments(-18, -17, -16), *away])
    assert "calibrated region" in found[PENNATION_ANGLE].reason


def test_nothing_seen_gives_no_numbers_and_fascicles_alone_say_what_they_lack() -> None:
    assert seen(IMAGE, [], []) == {}
    found = seen(IMAGE, [], fragments(-18, -17, -16))
    assert "not outlined" in found[PENNATION_ANGLE].reason
    with pytest.raises(NotMeasurable):
        layers_of([], IMAGE, (1.0, 1.0))


def test_the_landmarks_are_named_as_the_manifest_names_them() -> None:
    assert read_manifest().specialist("muscle_thickness").landmarks == (UPPER, LOWER)
