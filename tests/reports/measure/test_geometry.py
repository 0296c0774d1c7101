import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.errors import OutlineDegenerate
from reports.measure.geometry import (
    SQUARE_PX,
    Scale,
    Segment,
    area,
    box_iou,
    box_of,
    convex_hull,
    extent,
    inside,
    long_and_short_axis,
    rasterize,
)
from reports.model import Box, Ring
from tests.builders import an_ellipse


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda p: (p[0] / 4, p[1] / 4)),
        min_size=0,
        max_size=60,
    )
)
def test_a_hull_is_that_of_all_points_although_few_are_looked_at(
    points: list[tuple[float, float]],
) -> None:
    def chain(ordered: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, y in ordered:
            while len(kept) > 1:
                (x0, y0), (x1, y1) = kept[-2:]
                if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept

    ordered = sorted(set(points))
    expected = chain(ordered)[:-1] + chain(ordered[::-1])[:-1]
    if len(expected) < 3:
        with pytest.raises(OutlineDegenerate):
            convex_hull(np.array(points).reshape(-1, 2))
    else:
        assert convex_hull(np.array(points)).tolist() == [list(point) for point in expected]


centres = st.tuples(st.floats(-50, 1000), st.floats(-50, 1000))
semi_axes = st.tuples(st.floats(30, 200), st.floats(5, 28))
angles = st.floats(-180, 180)
scales = st.tuples(st.floats(0.02, 2), st.floats(0.02, 2))
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def a_rectangle(x: float, y: float, width: float, height: float, angle_deg: float = 0.0) -> Ring:
    turn = math.radians(angle_deg)
    corners = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
    return tuple(
        (
            x + u * math.cos(turn) - v * math.sin(turn),
            y + u * math.sin(turn) + v * math.cos(turn),
        )
        for u, v in corners
    )


def scaled(ring: Ring, scale: Scale) -> Ring:
    return tuple((x * scale[0], y * scale[1]) for x, y in ring)


def vector(segment: Segment, scale: Scale) -> npt.NDArray[np.float64]:
    ends = np.array([segment.start, segment.end]) * np.array(scale)
    difference: npt.NDArray[np.float64] = ends[1] - ends[0]
    return difference


@given(centres, semi_axes, angles)
def test_the_axes_and_area_of_an_ellipse_are_known_wherever_it_lies_and_points(
    centre: tuple[float, float], axes: tuple[float, float], angle_deg: float
) -> None:
    rings = (an_ellipse(centre, axes, angle_deg, points=360),)
    measured = long_and_short_axis(rings)
    assert measured.long.length == pytest.approx(2 * axes[0], rel=2e-3)
    assert measured.short.length == pytest.approx(2 * axes[1], rel=2e-3)
    assert area(rings) == pytest.approx(math.pi * axes[0] * axes[1], rel=2e-3)


@given(centres, st.floats(1, 500), st.floats(1, 500), angles)
def test_a_rectangle_has_its_diagonal_as_long_axis_and_its_sides_as_area(
    corner: tuple[float, float], width: float, height: float, angle_deg: float
) -> None:
    rings = (a_rectangle(*corner, width, height, angle_deg),)
    measured = long_and_short_axis(rings)
    # The chord across the diagonal ends on the longer sides.
    across = min(width, height) * math.hypot(width, height) / max(width, height)
    assert measured.long.length == pytest.approx(math.hypot(width, height))
    assert measured.short.length == pytest.approx(across)
    assert area(rings) == pytest.approx(width * height)


@given(centres, semi_axes, angles, scales)
def test_anisotropic_pixels_measure_as_the_outline_scaled_beforehand(
    centre: tuple[float, float], axes: tuple[float, float], angle_deg: float, scale: Scale
) -> None:
    ring = an_ellipse(centre, axes, angle_deg)
    in_px, in_mm = long_and_short_axis((ring,), scale), long_and_short_axis((scaled(ring, scale),))
    assert in_px.long.length == pytest.approx(in_mm.long.length)
    assert in_px.short.length == pytest.approx(in_mm.short.length)
    assert area((ring,), scale) == pytest.approx(area((scaled(ring, scale),)))
    assert extent((ring,), scale) == pytest.approx(extent((scaled(ring, scale),)))


@given(centres, semi_axes, angles, scales)
def test_the_drawn_axes_are_perpendicular_after_scaling_and_as_long_as_they_say(
    centre: tuple[float, float], axes: tuple[float, float], angle_deg: float, scale: Scale
) -> None:
    measured = long_and_short_axis((an_ellipse(centre, axes, angle_deg),), scale)
    long, short = vector(measured.long, scale), vector(measured.short, scale)
    assert np.linalg.norm(long) == pytest.approx(measured.long.length)
    assert np.linalg.norm(short) == pytest.approx(measured.short.length)
    assert abs(long @ short) <= 1e-6 * np.linalg.norm(long) * np.linalg.norm(short)
    assert measured.short.length <= measured.long.length * (1 + 1e-9)


@given(semi_axes, angles)
def test_an_upright_extent_is_the_box_of_the_outline(
    axes: tuple[float, float], angle_deg: float
) -> None:
    rings = (an_ellipse((300.0, 300.0), axes, angle_deg),)
    box = box_of(rings)
    assert extent(rings) == (box[2] - box[0], box[3] - box[1])
    assert inside(rings[0], box)


def test_a_long_axis_that_is_a_side_of_the_hull_has_its_short_axis_on_the_other_side() -> None:
    measured = long_and_short_axis((((0.0, 0.0), (10.0, 0.0), (5.0, 4.0)),))
    assert (measured.long.start, measured.long.end) == ((0.0, 0.0), (10.0, 0.0))
    assert (measured.short.start, measured.short.end) == ((5.0, 0.0), (5.0, 4.0))


def test_a_notch_does_not_shorten_the_axes() -> None:
    notched = ((0.0, 0.0), (10.0, 0.0), (10.0, 6.0), (5.0, 1.0), (0.0, 6.0))
    whole = ((0.0, 0.0), (10.0, 0.0), (10.0, 6.0), (0.0, 6.0))
    assert long_and_short_axis((notched,)) == long_and_short_axis((whole,))
    assert area((notched,)) < area((whole,))


@pytest.mark.parametrize(
    "ring",
    [
        ((1.0, 1.0),),
        ((1.0, 1.0), (2.0, 2.0)),
        ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0)),
        ((4.0, 4.0), (4.0, 4.0), (4.0, 4.0)),
    ],
)
def test_an_outline_without_area_has_no_axes(ring: Ring) -> None:
    with pytest.raises(OutlineDegenerate, match="no area"):
        long_and_short_axis((ring,))


def test_a_hole_is_left_out_of_the_area_whichever_way_it_turns() -> None:
    outer, hole = a_rectangle(0, 0, 10, 10), a_rectangle(2, 2, 3, 4)
    assert area((outer, hole)) == area((outer, hole[::-1])) == 88


@given(st.integers(-20, 60), st.integers(-20, 60), sizes, sizes)
def test_a_rectangle_on_pixel_edges_fills_exactly_its_pixels(
    x: int, y: int, size: tuple[int, int], frame: tuple[int, int]
) -> None:
    mask = rasterize((a_rectangle(x, y, *size),), *frame)
    expected = np.zeros((frame[1], frame[0]), dtype=bool)
    expected[max(y, 0) : max(y + size[1], 0), max(x, 0) : max(x + size[0], 0)] = True
    assert np.array_equal(mask, expected)


def crossed_edge_by_edge(rings: list[Ring], width: int, height: int) -> npt.NDArray[np.bool_]:
    """The raster by a loop over edges and rows: a pixel toggles at each crossing to its left."""
    found = np.zeros((height, width), dtype=np.bool_)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, (*ring[1:], ring[0]), strict=True):
            top, bottom = min(y0, y1), max(y0, y1)
            for row in range(max(math.ceil(top - 0.5), 0), min(math.ceil(bottom - 0.5), height)):
                x = x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
                found[row, min(max(math.ceil(x - 0.5), 0), width) :] ^= True
    return found


corners = st.tuples(
    st.one_of(st.floats(-30, 60), st.integers(-60, 120).map(lambda n: n / 2)),
    st.one_of(st.floats(-30, 60), st.integers(-60, 120).map(lambda n: n / 2)),
)
outlines = st.lists(corners, min_size=1, max_size=12).map(tuple)


@given(st.lists(outlines, min_size=1, max_size=3), sizes)
def test_any_outlines_are_rasterized_as_edge_by_edge(
    rings: list[Ring], frame: tuple[int, int]
) -> None:
    assert np.array_equal(rasterize(rings, *frame), crossed_edge_by_edge(rings, *frame))


def test_an_outline_of_a_thousand_points_is_rasterized_as_edge_by_edge() -> None:
    ring = an_ellipse((120.0, 90.0), (80.0, 50.0), 20.0, points=1000)
    star = tuple((x, y) if index % 2 else (120.0, 90.0) for index, (x, y) in enumerate(ring))
    mask = rasterize((ring, star), 220, 200)
    assert np.array_equal(mask, crossed_edge_by_edge([ring, star], 220, 200))


def test_no_outline_fills_nothing() -> None:
    assert not rasterize((), 5, 4).any()


def test_a_pixel_counts_when_its_centre_lies_inside() -> None:
    assert rasterize((a_rectangle(0.4, 0.4, 1.2, 1.2),), 3, 3).sum() == 4
    assert rasterize((a_rectangle(0.6, 0.6, 0.8, 0.8),), 3, 3).sum() == 0


def test_a_hole_is_left_out_of_the_raster() -> None:
    mask = rasterize((a_rectangle(0, 0, 10, 10), a_rectangle(2, 2, 3, 4)), 12, 12)
    assert mask.sum() == 88
    assert not mask[3, 3]


@given(semi_axes, angles)
def test_a_rasterized_ellipse_covers_about_its_area(
    axes: tuple[float, float], angle_deg: float
) -> None:
    rings = (an_ellipse((256.0, 256.0), axes, angle_deg, points=200),)
    outline = np.asarray(rings[0])
    length = np.hypot(*(outline - np.roll(outline, -1, axis=0)).T).sum()
    # Whole pixels along a straight side can all err the same way: by less than a quarter of each.
    assert rasterize(rings, 512, 512).sum() == pytest.approx(area(rings), abs=length / 4)


@given(centres, sizes, centres, sizes)
def test_iou_is_symmetric_and_one_only_with_itself(
    at: tuple[float, float], size: tuple[int, int], other: tuple[float, float], big: tuple[int, int]
) -> None:
    one: Box = (at[0], at[1], at[0] + size[0], at[1] + size[1])
    two: Box = (other[0], other[1], other[0] + big[0], other[1] + big[1])
    assert box_iou(one, one) == 1
    assert box_iou(one, two) == box_iou(two, one)
    assert 0 <= box_iou(one, two) <= 1


@pytest.mark.parametrize(
    ("other", "iou"),
    [((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0), ((0, 0, 10, 5), 0.5), ((3, 3, 3, 3), 0)],
)
def test_iou_of_known_boxes(other: Box, iou: float) -> None:
    assert box_iou((0, 0, 10, 10), other) == pytest.approx(iou)


def test_two_empty_boxes_do_not_overlap() -> None:
    assert box_iou((3, 3, 3, 3), (3, 3, 3, 3)) == 0


def test_a_point_on_the_edge_of_a_box_is_inside_and_one_past_it_is_not() -> None:
    assert inside([(0, 0), (10, 10)], (0, 0, 10, 10))
    assert not inside([(0, 0), (10.01, 10)], (0, 0, 10, 10))


def test_pixels_are_measured_in_pixels_unless_a_scale_is_given() -> None:
    assert SQUARE_PX == (1.0, 1.0)
