"""Directions, distances and fitted lines, in pixels that need not be square."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import NotMeasurable
from reports.measure.lines import (
    Line,
    angle_at,
    axial_deg,
    first_crossing,
    length,
    long_axis,
    nearest_points,
    robust_line,
    turn_deg,
    within,
)
from tests.builders import an_ellipse

SCALES = st.tuples(st.floats(0.1, 2), st.floats(0.1, 2))


@settings(max_examples=40)
@given(st.floats(-1.5, 1.5), st.floats(-50, 50), SCALES)
def test_a_robust_line_is_the_line_in_spite_of_a_fifth_of_wrong_points(
    slope: float, intercept: float, scale: tuple[float, float]
) -> None:
    x = np.linspace(10, 90, 60)
    y = slope * x + intercept
    y[::5] += 40
    line = robust_line(np.stack([x, y], axis=1) / scale, scale)
    assert line.slope == pytest.approx(slope, abs=1e-6)
    assert line.depth_at(50) == pytest.approx(50 * slope + intercept, abs=1e-4)
    assert line.inclination_deg == pytest.approx(math.degrees(math.atan(slope)), abs=1e-4)
    (left, _), (right, _) = line.ends
    assert (left * scale[0], right * scale[0]) == pytest.approx((10, 90))


def test_a_line_of_many_points_is_thinned_and_stays_the_line() -> None:
    x = np.arange(3000.0)
    assert robust_line(np.stack([x, 0.3 * x], axis=1)).slope == pytest.approx(0.3)


def test_one_column_of_points_has_no_line() -> None:
    with pytest.raises(NotMeasurable, match="columns"):
        robust_line([(3, 1), (3, 2), (3, 9)])


def test_a_turn_goes_left_down_right_on_the_screen() -> None:
    assert turn_deg((-1, 0), (0, 1)) == pytest.approx(90)
    assert turn_deg((-1, 0), (1, 0)) == pytest.approx(180)
    assert turn_deg((-1, 0), (0, -1)) == pytest.approx(270)


@settings(max_examples=40)
@given(st.floats(-720, 720))
def test_undirected_lines_are_at_most_a_right_angle_apart(degrees: float) -> None:
    found = axial_deg(degrees)
    assert -90 < found <= 90 + 1e-9
    assert math.sin(math.radians(found - degrees)) == pytest.approx(0, abs=1e-9)


@settings(max_examples=40)
@given(st.floats(-75, 75), SCALES)
def test_the_long_axis_ends_at_the_ellipses_ends(angle: float, scale: tuple[float, float]) -> None:
    drawn = an_ellipse((150, 120), (60, 20), angle_deg=angle, points=720)
    axis = long_axis((tuple((x / scale[0], y / scale[1]) for x, y in drawn),), scale)
    turn = math.radians(angle)
    centre = np.array([150.0, 120.0])
    along = np.array([60 * math.cos(turn), 60 * math.sin(turn)])
    assert np.array(axis.start) * scale == pytest.approx(centre - along, abs=0.1)
    assert np.array(axis.end) * scale == pytest.approx(centre + along, abs=0.1)
    assert axis.length == pytest.approx(120, abs=0.05)
    assert length(axis.start, axis.end, scale) == pytest.approx(axis.length)


def test_a_ray_meets_the_near_side_of_a_ring_or_nothing() -> None:
    ring = ((10.0, 10.0), (20.0, 10.0), (20.0, 30.0), (10.0, 30.0))
    assert first_crossing((15, 0), (0, 1), ring) == pytest.approx((15, 10))
    assert first_crossing((15, 0), (0, 5), ring, (0.5, 2.0)) == pytest.approx((15, 10))
    assert first_crossing((15, 20), (1, 0), ring) == pytest.approx((20, 20))
    assert first_crossing((15, 0), (0, -1), ring) is None
    assert first_crossing((0, 0), (0, 1), ring) is None


def test_the_nearest_points_may_lie_between_corners_and_on_either_ring() -> None:
    flat = ((0.0, 0.0), (100.0, 0.0), (100.0, 10.0), (0.0, 10.0))
    tip = ((50.0, 30.0), (60.0, 50.0), (40.0, 50.0))
    for one, other, start, end in (
        (flat, tip, (50, 10), (50, 30)),
        (tip, flat, (50, 30), (50, 10)),
    ):
        found = nearest_points(one, other)
        assert found.start == pytest.approx(start)
        assert found.end == pytest.approx(end)
        assert found.length == pytest.approx(20)
    assert nearest_points(flat, tip, (1.0, 0.25)).length == pytest.approx(5)


def test_within_is_inside_the_ring() -> None:
    ring = an_ellipse((100, 100), (50, 20))
    assert within((140, 100), ring)
    assert not within((100, 125), ring)
    assert not within((300, 100), ring)


@pytest.mark.parametrize("inclination_deg", [-25.0, 12.0, 40.0])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.2)])
@pytest.mark.parametrize("through", [(200.0, 100.0), (200.0, 250.0), (20.0, 30.0)])
def test_an_angle_is_drawn_at_the_line_that_it_is_measured_against(
    inclination_deg: float, scale: tuple[float, float], through: tuple[float, float]
) -> None:
    line = Line(slope=0.1, intercept=150 * scale[1], x_min=0, x_max=400 * scale[0], scale=scale)
    one, corner, other = (
        np.array(point) * scale for point in angle_at(line, through, inclination_deg)
    )
    assert line.x_min <= corner[0] <= line.x_max
    assert corner[1] == pytest.approx(line.depth_at(corner[0]))
    assert other[1] == pytest.approx(line.depth_at(other[0]))
    first, second = one - corner, other - corner
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    between = abs(axial_deg(inclination_deg - line.inclination_deg))
    assert math.degrees(math.acos(cosine)) == pytest.approx(between)
    above = through[1] * scale[1] < line.depth_at(through[0] * scale[0])
    assert (one[1] < line.depth_at(one[0])) == above
