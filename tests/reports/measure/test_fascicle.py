"""Fascicle lengths by extrapolation between drawn aponeuroses."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import NotMeasurable
from reports.measure.fascicle import FASCICLE_LENGTH, fascicle_length, length_numbers
from reports.measure.lines import Line
from reports.measure.muscle import APONEUROSIS, FASCICLE, Layers, Pennation
from reports.measure.numbers import Number, Seen
from reports.model import ImageInfo, MaskEvidence, Point, Ring
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info


def a_band(y: float) -> Ring:
    return ((20.0, y), (620.0, y), (620.0, y + 10), (20.0, y + 10))


def fragments(angle: float) -> list[Ring]:
    return [
        an_ellipse((x, 200.0), (20, 2), angle_deg=angle, points=60) for x in (230.0, 320.0, 410.0)
    ]


def measured(image: ImageInfo, layers: list[Ring], fascicles: list[Ring]) -> tuple[Number, ...]:
    evidence = {
        slot: [
            MaskEvidence(id=f"{slot}{n}", specialist="s", step=1, label="x", polygons=(ring,))
            for n, ring in enumerate(rings)
        ]
        for slot, rings in ((APONEUROSIS, layers), (FASCICLE, fascicles))
    }
    return length_numbers(Seen(image=image, evidence=evidence))


def a_line(slope: float, intercept: float) -> Line:
    return Line(slope=slope, intercept=intercept, x_min=0, x_max=640, scale=(1.0, 1.0))


def between(superficial: Line, deep: Line) -> Layers:
    return Layers(
        superficial=superficial, deep=deep, superficial_parts=(0,), deep_parts=(1,), outlined=2
    )


def fascicles(deg: float, centre: Point = (320.0, 200.0)) -> Pennation:
    return Pennation(deg=abs(deg), low=0, high=0, fragments=3, inclination_deg=deg, centre=centre)


@settings(max_examples=40)
@given(st.floats(20, 80), st.booleans())
def test_between_level_aponeuroses_it_is_thickness_by_the_sine(deg: float, left: bool) -> None:
    layers = between(a_line(0, 100), a_line(0, 300))
    found = fascicle_length(layers, fascicles(-deg if left else deg), an_image_info())
    assert found.length == pytest.approx(200 / math.sin(math.radians(deg)))
    assert found.start[1] == pytest.approx(100)
    assert found.end[1] == pytest.approx(300)


def test_aponeuroses_that_are_not_parallel_are_met_where_they_are() -> None:
    layers = between(a_line(0.1, 80), a_line(-0.05, 320))
    found = fascicle_length(layers, fascicles(30), an_image_info())
    for (x, y), line in ((found.start, layers.superficial), (found.end, layers.deep)):
        assert y == pytest.approx(line.depth_at(x))
        assert y - 200 == pytest.approx((x - 320) * math.tan(math.radians(30)))


def test_fascicles_along_an_aponeurosis_have_no_length() -> None:
    layers = between(a_line(0, 100), a_line(0, 300))
    with pytest.raises(NotMeasurable, match="nearly along"):
        fascicle_length(layers, fascicles(4), an_image_info())


def test_half_of_the_length_must_be_shown() -> None:
    layers = between(a_line(0, 100), a_line(0, 300))
    with pytest.raises(NotMeasurable, match="50 % are needed"):
        fascicle_length(layers, fascicles(8), an_image_info())


def test_outlines_give_a_length_in_mm_with_the_part_that_is_seen() -> None:
    (number,) = measured(
        a_calibrated_image_info((0.1, 0.1)), [a_band(90), a_band(300)], fragments(25)
    )
    assert (number.name, number.unit, number.reason) == (FASCICLE_LENGTH, "mm", "")
    assert number.value == pytest.approx(20 / math.sin(math.radians(25)), rel=0.02)
    (wide,) = measured(an_image_info(), [a_band(90), a_band(300)], fragments(14))
    assert "The image shows" in wide.reason
    assert wide.unit == "px"


def test_without_aponeuroses_the_length_says_so_and_without_fascicles_there_is_none() -> None:
    (number,) = measured(an_image_info(), [], fragments(25))
    assert number.value is None
    assert "aponeuroses were not outlined" in number.reason
    assert measured(an_image_info(), [a_band(90), a_band(300)], []) == ()
