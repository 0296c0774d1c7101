"""Areas and the long axis of a drawn left heart, in mm, px and pixels that are not square."""

import math

import pytest

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.formulas import MEASUREMENTS, NUMBERS_OF
from reports.measure.heart import (
    ATRIUM,
    ATRIUM_AREA,
    CAVITY,
    CAVITY_AREA,
    LONG_AXIS,
    MASK,
    WALL,
    WALL_AREA,
    heart_numbers,
    ventricle_axis,
)
from reports.measure.numbers import Number, Seen
from reports.model import ExamCode, ImageInfo, MaskEvidence, Ring
from specialists.manifest import read_manifest
from tests.builders import a_calibrated_image_info, an_image_info

APEX, PLANE_Y, HALF_WIDTH = (200.0, 100.0), 300.0, 50.0


def a_vault(grown: float) -> list[tuple[float, float]]:
    """Half an ellipse from one end of the mitral plane over the apex to the other."""
    tall = PLANE_Y - APEX[1] + grown
    turns = [math.pi * index / 90 for index in range(91)]
    return [
        (APEX[0] - (HALF_WIDTH + grown) * math.cos(t), PLANE_Y - tall * math.sin(t)) for t in turns
    ]


HOLLOW: Ring = tuple(a_vault(0.0))
MUSCLE: Ring = (*a_vault(25.0), *reversed(a_vault(0.0)))
UPPER: Ring = ((150.0, 300.0), (250.0, 300.0), (240.0, 380.0), (160.0, 380.0))


def numbers(image: ImageInfo, *parts: tuple[str, Ring]) -> dict[str, Number]:
    masks = [
        MaskEvidence(id=f"e{n}", specialist="s", step=1, label=label, polygons=(ring,))
        for n, (label, ring) in enumerate(parts, start=1)
    ]
    return {n.name: n for n in heart_numbers(Seen(image=image, evidence={MASK: masks}))}


WHOLE = ((CAVITY, HOLLOW), (WALL, MUSCLE), (ATRIUM, UPPER))


def test_the_long_axis_runs_from_the_middle_of_the_mitral_plane_to_the_apex() -> None:
    found = ventricle_axis([HOLLOW], [MUSCLE])
    assert found.start == pytest.approx((200, 300), abs=3)
    assert found.end == pytest.approx(APEX, abs=2)
    assert found.length == pytest.approx(200, abs=3)


def test_areas_and_axis_are_in_cm2_and_mm_where_the_image_states_them() -> None:
    found = numbers(a_calibrated_image_info((0.5, 0.5)), *WHOLE)
    assert list(found) == [CAVITY_AREA, LONG_AXIS, WALL_AREA, ATRIUM_AREA]
    assert found[CAVITY_AREA].value == pytest.approx(math.pi * 50 * 200 / 2 / 4 / 100, rel=0.01)
    assert found[LONG_AXIS].value == pytest.approx(100, abs=1.5)
    assert found[ATRIUM_AREA].value == pytest.approx(90 * 80 / 4 / 100)
    assert [number.unit for number in found.values()] == ["cm²", "mm", "cm²", "cm²"]


def test_the_pixels_aspect_counts_where_it_is_known() -> None:
    square = numbers(an_image_info(), *WHOLE)
    tall = numbers(an_image_info(aspect_ratio=1.3), *WHOLE)
    assert tall[LONG_AXIS].value == pytest.approx(1.3 * (square[LONG_AXIS].value or 0), rel=0.01)
    assert tall[WALL_AREA].value == pytest.approx(1.3 * (square[WALL_AREA].value or 0))
    assert square[WALL_AREA].unit == "px²"
    assert "assumed square" in square[LONG_AXIS].reason


def test_a_small_gap_between_cavity_and_wall_does_not_open_the_plane() -> None:
    thin: Ring = (*a_vault(25.0), *reversed(a_vault(4.0)))
    assert ventricle_axis([HOLLOW], [thin]).length == pytest.approx(200, abs=6)


def test_without_a_wall_around_it_the_cavity_has_an_area_but_no_axis() -> None:
    alone = numbers(an_image_info(), (CAVITY, HOLLOW))
    assert alone[CAVITY_AREA].value is not None
    assert alone[LONG_AXIS].value is None
    assert "no myocardium" in alone[LONG_AXIS].reason
    half: Ring = tuple(point for point in MUSCLE if point[0] <= 200)
    found = numbers(an_image_info(), (CAVITY, HOLLOW), (WALL, half))
    assert "does not surround" in found[LONG_AXIS].reason


def test_a_wall_that_closes_around_the_cavity_shows_no_mitral_plane() -> None:
    closed: Ring = (*a_vault(25.0), (280.0, 330.0), (120.0, 330.0))
    with pytest.raises(NotMeasurable, match="closes around"):
        ventricle_axis([HOLLOW], [closed, HOLLOW])


def test_what_was_not_outlined_has_no_number_and_no_area_is_said() -> None:
    assert heart_numbers(Seen(image=an_image_info())) == ()
    flat: Ring = ((10.0, 10.0), (20.0, 20.0), (30.0, 30.0))
    found = numbers(an_image_info(), (ATRIUM, flat))
    assert found[ATRIUM_AREA].value is None
    assert "no area" in found[ATRIUM_AREA].reason
    with pytest.raises(OutlineDegenerate):
        ventricle_axis([flat], [MUSCLE])


def test_the_heart_is_measured_by_its_own_formulas_and_the_manifests_labels() -> None:
    assert NUMBERS_OF[ExamCode.HEART] is heart_numbers
    assert MEASUREMENTS[MASK] == (CAVITY_AREA, LONG_AXIS, WALL_AREA, ATRIUM_AREA)
    assert {CAVITY, WALL, ATRIUM} < set(read_manifest().specialist("cardiac_multi").labels)
