"""An outline's ellipse is the drawn one, however it lies and whatever the pixels' sides."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import OutlineDegenerate
from reports.measure.ellipse import circumference, ellipse_of
from reports.measure.geometry import rasterize
from reports.model import Ring
from tests.builders import an_ellipse

POINTS = 720
SHRINKS = 1 - (2 * math.pi / POINTS) ** 2 / 12
"""A polygon inside an ellipse has this much of its axes."""


def in_pixels(ring: Ring, scale: tuple[float, float]) -> Ring:
    """A ring that is given in mm, in pixels of that size."""
    return tuple((x / scale[0], y / scale[1]) for x, y in ring)


@settings(max_examples=40)
@given(
    st.floats(5, 200),
    st.floats(0.4, 0.98),
    st.floats(-90, 90),
    st.tuples(st.floats(0.05, 2), st.floats(0.05, 2)),
)
def test_axes_and_circumference_are_those_drawn(
    long: float, ratio: float, angle: float, scale: tuple[float, float]
) -> None:
    drawn = an_ellipse((300.0, 200.0), (long, long * ratio), angle_deg=angle, points=POINTS)
    found = ellipse_of((in_pixels(drawn, scale),), scale)
    assert found.long.length == pytest.approx(2 * long, rel=2e-4)
    assert found.short.length == pytest.approx(2 * long * ratio, rel=2e-4)
    assert found.circumference == pytest.approx(circumference(long, long * ratio), rel=2e-4)
    assert found.fill == pytest.approx(1, abs=1e-4)
    assert (found.centre[0] * scale[0], found.centre[1] * scale[1]) == pytest.approx(
        (300, 200), abs=0.01
    )


@settings(max_examples=40)
@given(st.floats(-80, 80))
def test_the_axes_end_where_they_are_drawn(angle: float) -> None:
    found = ellipse_of((an_ellipse((300, 200), (100, 60), angle_deg=angle, points=POINTS),))
    (x0, y0), (x1, y1) = found.long.start, found.long.end
    turn = math.radians(angle)
    assert (x1 - x0, y1 - y0) == pytest.approx(
        (200 * math.cos(turn), 200 * math.sin(turn)), abs=0.1
    )
    (x2, y2), (x3, y3) = found.short.start, found.short.end
    assert (x1 - x0) * (x3 - x2) + (y1 - y0) * (y3 - y2) == pytest.approx(0, abs=1e-6)


def test_circumference_is_exact() -> None:
    assert circumference(7, 7) == pytest.approx(2 * math.pi * 7)
    assert circumference(1, 0) == pytest.approx(4)
    # Ramanujan's second approximation is right to eleven digits for a head's shape.
    long, short = 95.0, 75.0
    h = ((long - short) / (long + short)) ** 2
    close = math.pi * (long + short) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert circumference(long, short) == pytest.approx(close, rel=1e-9)


def test_moments_are_those_of_the_filled_raster_by_which_circumference_is_scored() -> None:
    ring = an_ellipse((200, 150), (120, 90), angle_deg=25, points=POINTS)
    y, x = np.nonzero(rasterize((ring,), 400, 300))
    variances = np.linalg.eigvalsh(np.cov(np.stack([x, y]), bias=True))
    found = ellipse_of((ring,))
    assert found.short.length == pytest.approx(4 * math.sqrt(variances[0]), rel=1e-3)
    assert found.long.length == pytest.approx(4 * math.sqrt(variances[1]), rel=1e-3)


@pytest.mark.parametrize("direction", [1, -1])
def test_neither_winding_nor_holes_change_the_outer_border(direction: int) -> None:
    outer = an_ellipse((200, 150), (120, 90), points=POINTS)[::direction]
    hole = an_ellipse((220, 150), (30, 20))
    assert ellipse_of((outer, hole)) == ellipse_of((outer,))
    assert ellipse_of((outer,)).long.length == pytest.approx(240, rel=1e-4)


def test_fill_falls_where_the_outline_is_no_ellipse() -> None:
    square = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
    assert ellipse_of((square,)).fill == pytest.approx(3 / math.pi)
    cross = (
        (40, 0), (60, 0), (60, 40), (100, 40), (100, 60), (60, 60),
        (60, 100), (40, 100), (40, 60), (0, 60), (0, 40), (40, 40),
    )  # fmt: skip
    assert ellipse_of((cross,)).fill < 0.75


@pytest.mark.parametrize(
    "ring",
    [
        ((1.0, 1.0), (2.0, 2.0)),
        ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0)),
        ((5.0, 5.0), (5.0, 5.0), (5.0, 5.0)),
    ],
)
def test_an_outline_without_area_has_no_ellipse(ring: Ring) -> None:
    with pytest.raises(OutlineDegenerate):
        ellipse_of((ring,))
