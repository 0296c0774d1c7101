"""Areas and distances of nerves and vessels, in mm where the image proves it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.measure.nerve import (
    DISTANCE,
    GAP,
    MASK,
    NERVE,
    NERVE_AREA,
    VESSEL,
    VESSEL_AREA,
    nerve_numbers,
)
from reports.measure.numbers import Number, Seen
from reports.model import ImageInfo, MaskEvidence, Region, Ring, Spacing
from specialists.manifest import read_manifest
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info

NERVE_RING = an_ellipse((300, 200), (40, 20), points=360)
VESSEL_RING = an_ellipse((400, 200), (20, 20), points=360)


def numbers(image: ImageInfo, *parts: tuple[str, Ring]) -> list[Number]:
    masks = [
        MaskEvidence(id=f"e{n}", specialist="s", step=1, label=label, polygons=(ring,))
        for n, (label, ring) in enumerate(parts, start=1)
    ]
    return list(nerve_numbers(Seen(image=image, evidence={MASK: masks})))


def values(found: list[Number], name: str) -> list[float | None]:
    return [number.value for number in found if number.name == name]


@settings(max_examples=40)
@given(
    st.tuples(st.floats(0.03, 0.1), st.floats(0.03, 0.1)),
    st.floats(-60, 60),
    st.floats(4, 9),
)
def test_areas_and_distances_are_in_mm_whatever_the_pixels_sides(
    scale: tuple[float, float], angle: float, apart: float
) -> None:
    turn = math.radians(angle)
    centre = (9.0, 9.0)
    other = (9 + apart * math.cos(turn), 9 + apart * math.sin(turn))
    rings = [
        tuple((x / scale[0], y / scale[1]) for x, y in an_ellipse(at, (r, r), points=180))
        for at, r in ((centre, 2.0), (other, 1.0))
    ]
    image = a_calibrated_image_info(scale, width_px=2000, height_px=2000)
    found = numbers(image, (NERVE, rings[0]), (VESSEL, rings[1]))
    assert values(found, NERVE_AREA) == [pytest.approx(4 * math.pi, rel=1e-3)]
    assert values(found, VESSEL_AREA) == [pytest.approx(math.pi, rel=1e-3)]
    assert values(found, DISTANCE) == [pytest.approx(apart, abs=0.01)]
    assert values(found, GAP) == [pytest.approx(apart - 3, abs=0.01)]
    assert [number.unit for number in found] == ["mm²", "mm²", "mm", "mm"]


def test_each_nerve_goes_to_the_vessel_whose_outline_is_nearest() -> None:
    # The large vessel's centre is further away than the small one's, but its outline is nearer.
    large = an_ellipse((480, 200), (130, 130), points=360)
    small = an_ellipse((300, 300), (5, 5), points=360)
    found = numbers(an_image_info(), (NERVE, NERVE_RING), (VESSEL, small), (VESSEL, large))
    assert values(found, DISTANCE) == [pytest.approx(180, abs=0.1)]
    assert values(found, GAP) == [pytest.approx(10, abs=0.1)]
    pair = next(number for number in found if number.name == GAP)
    assert [item.id for item in pair.rests_on] == ["e1", "e3"]
    assert [place for _, place in pair.drawn] == [
        pytest.approx((340, 200), abs=2),
        pytest.approx((350, 200), abs=2),
    ]


def test_an_outline_at_the_images_edge_has_no_area_and_no_centre_but_a_gap() -> None:
    cut = tuple((min(x, 640.0), y) for x, y in an_ellipse((630, 200), (20, 20), points=360))
    found = numbers(an_image_info(), (NERVE, NERVE_RING), (VESSEL, cut))
    assert values(found, VESSEL_AREA) == [None]
    assert values(found, DISTANCE) == [None]
    assert values(found, GAP) == [pytest.approx(270, abs=0.1)]
    assert all("edge" in number.reason for number in found if number.value is None)


def test_without_a_vessel_the_distance_says_so_and_without_a_nerve_there_is_none() -> None:
    alone = numbers(an_image_info(), (NERVE, NERVE_RING))
    assert values(alone, DISTANCE) == [None]
    assert values(alone, GAP) == [None]
    assert all("no vessel" in number.reason for number in alone if number.value is None)
    assert [number.name for number in numbers(an_image_info(), (VESSEL, VESSEL_RING))] == [
        VESSEL_AREA
    ]


@pytest.mark.parametrize(
    ("ring", "why"),
    [
        (((10.0, 10.0), (20.0, 20.0), (30.0, 30.0)), "no area"),
        (an_ellipse((300, 200), (150, 150)), "implausible"),
    ],
)
def test_an_absurd_outline_has_no_area(ring: Ring, why: str) -> None:
    found = numbers(a_calibrated_image_info((0.1, 0.1)), (NERVE, ring), (VESSEL, VESSEL_RING))
    assert found[0].value is None
    assert why in found[0].reason


def test_a_pair_in_two_regions_is_in_px_though_each_area_is_in_mm() -> None:
    regions = (
        Region(box=(0, 0, 360, 480), spacing_mm=Spacing(x=0.05, y=0.05)),
        Region(box=(360, 0, 640, 480), spacing_mm=Spacing(x=0.1, y=0.1)),
    )
    found = numbers(an_image_info(regions=regions), (NERVE, NERVE_RING), (VESSEL, VESSEL_RING))
    assert [number.unit for number in found] == ["mm²", "mm²", "px", "px"]


def test_the_structures_are_named_as_the_manifest_names_them() -> None:
    assert {NERVE, VESSEL} < set(read_manifest().specialist("nerve_vessel_multi").labels)


def a_nerve(x: float, radius: float = 30.0) -> tuple[str, Ring]:
    return NERVE, an_ellipse((x, 200), (radius, radius), points=180)


def areas_of(*parts: tuple[str, Ring]) -> list[Number]:
    found = numbers(a_calibrated_image_info((0.1, 0.1)), *parts)
    return [number for number in found if number.name == NERVE_AREA]


def test_one_nerve_has_one_area_and_a_crumb_beside_it_changes_nothing() -> None:
    (number,) = areas_of(a_nerve(200), a_nerve(260, radius=4))
    assert number.unit == "mm²"
    assert number.value == pytest.approx(9 * math.pi, rel=0.01)
    assert [item.id for item in number.rests_on] == ["e1"]


def test_two_nerves_apart_have_an_area_each_the_largest_first() -> None:
    large, small = areas_of(a_nerve(120, radius=20), a_nerve(400))
    assert [item.id for item in large.rests_on] == ["e2"]
    assert (large.value or 0) > (small.value or 0)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((a_nerve(100), a_nerve(163)), "pieces of one"),
        ((a_nerve(100), a_nerve(300), a_nerve(500)), "3 separate parts"),
    ],
)
def test_pieces_have_one_number_each_without_a_value(
    parts: tuple[tuple[str, Ring], ...], why: str
) -> None:
    image = a_calibrated_image_info((0.1, 0.1))
    found = numbers(image, *parts, (VESSEL, an_ellipse((300, 400), (20, 20), points=90)))
    assert [number.name for number in found] == [NERVE_AREA, VESSEL_AREA, DISTANCE, GAP]
    for number in found:
        if number.name != VESSEL_AREA:
            assert number.value is None
            assert why in number.reason
            assert len(number.rests_on) == len(parts)
