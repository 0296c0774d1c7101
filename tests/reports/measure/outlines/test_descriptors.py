"""Shapes, orientation and posterior echoes of drawn outlines in drawn tissue."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.geometry import rasterize
from reports.measure.outlines.contour import (
    ellipse_residual,
    hole_share,
    resampled,
    roughness,
    solidity,
)
from reports.measure.outlines.descriptors import (
    MOST_ROUND,
    Orientation,
    Shape,
    orientation,
    outline_of,
    posterior_echo,
)
from reports.measure.scan_area import scanned_outline
from reports.model import Ring
from tests.builders import an_ellipse

LESION = an_ellipse((150, 90), (50, 30), points=360)
FIELD: Ring = ((0.0, 0.0), (300.0, 0.0), (300.0, 240.0), (0.0, 240.0))


def a_star(waves: int, depth: float, radius: float = 60) -> Ring:
    """A circle whose radius swings so many times around it."""
    turns = [2 * math.pi * index / 720 for index in range(720)]
    radii = [radius * (1 + depth * math.sin(waves * turn)) for turn in turns]
    return tuple(
        (150 + r * math.cos(t), 150 + r * math.sin(t)) for r, t in zip(radii, turns, strict=True)
    )


def tissue(behind: int, beside: int = 100) -> npt.NDArray[np.uint8]:
    """Even tissue of 300 × 240 px with a dark lesion and a strip of another grey behind it."""
    pixels = np.full((240, 300), beside, np.uint8)
    pixels[90:, 100:200] = behind
    pixels[rasterize([LESION], 300, 240)] = 20
    return pixels


@pytest.mark.parametrize(
    ("ring", "shape"),
    [
        (an_ellipse((100, 100), (40, 38), points=180), Shape.ROUND),
        (an_ellipse((100, 100), (60, 30), angle_deg=20, points=180), Shape.OVAL),
        (a_star(3, 0.06), Shape.ROUND),
        (a_star(7, 0.25), Shape.IRREGULAR),
        (
            ((0.0, 0.0), (80.0, 0.0), (80.0, 20.0), (20.0, 20.0), (20.0, 80.0), (0.0, 80.0)),
            Shape.IRREGULAR,
        ),
    ],
)
def test_a_shape_follows_from_ellipse_and_hull(ring: Ring, shape: Shape) -> None:
    assert outline_of([ring]).shape is shape


def test_pixels_that_are_not_square_do_not_make_a_circle_oval() -> None:
    squeezed = tuple((x, y / 2) for x, y in an_ellipse((100, 100), (40, 40), points=180))
    assert outline_of([squeezed]).shape is Shape.OVAL
    assert outline_of([squeezed], (1.0, 2.0)).shape is Shape.ROUND


@settings(max_examples=30)
@given(st.floats(20, 80), st.floats(0.4, 1), st.floats(0, 180))
def test_an_ellipse_is_regular_whatever_its_size_and_direction(
    long: float, ratio: float, angle: float
) -> None:
    found = outline_of([an_ellipse((300, 300), (long, ratio * long), angle, points=720)])
    assert found.shape in {Shape.ROUND, Shape.OVAL}
    assert (found.shape is Shape.ROUND) == (found.elongation <= MOST_ROUND)
    assert found.solidity > 0.999
    assert found.residual < 0.002
    assert found.roughness < 0.002


def test_roughness_rises_with_the_waves_and_does_not_depend_on_size() -> None:
    smooth, rough = roughness([a_star(9, 0.0)]), roughness([a_star(9, 0.1)])
    assert rough > smooth + 0.04
    assert roughness([a_star(9, 0.1, radius=20)]) == pytest.approx(rough, rel=1e-3)


def test_holes_count_by_their_area_and_bays_by_the_hull() -> None:
    outer, hole = (
        an_ellipse((100, 100), (50, 50), points=360),
        an_ellipse((100, 100), (25, 25), points=360),
    )
    assert hole_share([outer, hole]) == pytest.approx(0.25, abs=1e-3)
    assert solidity([outer, hole]) == pytest.approx(1, abs=1e-3)
    square: Ring = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
    assert ellipse_residual([square]) == pytest.approx(0.109, abs=0.002)
    corner: Ring = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (5.0, 10.0), (5.0, 5.0), (0.0, 5.0))
    assert solidity([corner]) == pytest.approx(75 / 87.5)


def test_resampled_points_are_evenly_apart() -> None:
    points = resampled(LESION, points=100)
    apart = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1)
    assert apart.max() / apart.min() < 1.01
    with pytest.raises(OutlineDegenerate):
        resampled(((1.0, 1.0), (1.0, 1.0)))


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.5, 0.9), Orientation.PARALLEL),
        ((1.1, 1.4), Orientation.NOT_PARALLEL),
        ((0.9, 1.1), Orientation.UNDETERMINED),
        ((0.8, 1.0), Orientation.UNDETERMINED),
        (None, Orientation.UNDETERMINED),
    ],
)
def test_orientation_is_told_only_by_an_interval_on_one_side_of_1(
    interval: tuple[float, float] | None, expected: Orientation
) -> None:
    assert orientation(interval) is expected


@pytest.mark.parametrize(("behind", "ratio"), [(150, 1.5), (40, 0.4), (100, 1.0)])
def test_echoes_behind_are_compared_with_those_beside_at_the_same_depth(
    behind: int, ratio: float
) -> None:
    found = posterior_echo(tissue(behind), [LESION], FIELD)
    assert found.ratio == pytest.approx(ratio, abs=0.01)
    assert found.depth_share == pytest.approx(1, abs=0.05)
    assert not found.field_ends
    assert found.note == "compared with both sides, down to 100 % of its height behind it"


def test_the_field_may_end_behind_a_lesion_and_it_is_said() -> None:
    cut = tuple((x, min(y, 150.0)) for x, y in FIELD)
    found = posterior_echo(tissue(150), [LESION], cut)
    assert found.ratio == pytest.approx(1.5, abs=0.01)
    assert found.field_ends
    assert found.note.endswith("where the scanned area ends")
    with pytest.raises(NotMeasurable, match="ends behind"):
        posterior_echo(tissue(150), [LESION], tuple((x, min(y, 125.0)) for x, y in FIELD))


def test_one_side_is_enough_and_none_is_not() -> None:
    right = tuple((max(x, 99.0), y) for x, y in FIELD)
    assert posterior_echo(tissue(150), [LESION], right).sides == 1
    with pytest.raises(NotMeasurable, match="beside"):
        posterior_echo(tissue(150), [LESION], tuple((min(x, 201.0), y) for x, y in right))
    with pytest.raises(NotMeasurable, match="not known"):
        posterior_echo(tissue(150), [LESION], None)
    with pytest.raises(NotMeasurable, match="black"):
        posterior_echo(tissue(150, beside=0), [LESION], FIELD)


def test_the_scanned_area_of_an_image_serves_as_the_field() -> None:
    pixels = np.zeros((300, 300), np.uint8)
    pixels[:240] = tissue(150)
    found = posterior_echo(pixels, [LESION], scanned_outline(pixels))
    assert found.ratio == pytest.approx(1.5, abs=0.02)
