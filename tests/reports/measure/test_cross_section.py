"""A nerve has one cross-sectional area, or none where its parts may be one nerve."""

import math

import pytest

from reports.measure.cross_section import CROSS_SECTION, cross_sections
from reports.measure.nerve import MASK, NERVE
from reports.measure.numbers import Number, Seen
from reports.model import MaskEvidence, Ring
from tests.builders import a_calibrated_image_info, an_ellipse


def a_nerve(x: float, radius: float = 30.0) -> Ring:
    return an_ellipse((x, 200), (radius, radius), points=180)


def found(*rings: Ring) -> tuple[Number, ...]:
    masks = [
        MaskEvidence(id=f"e{n}", specialist="s", step=1, label=NERVE, polygons=(ring,))
        for n, ring in enumerate(rings, start=1)
    ]
    image = a_calibrated_image_info((0.1, 0.1))
    return cross_sections(Seen(image=image, evidence={MASK: masks}))


def test_one_nerve_has_one_area_and_a_crumb_beside_it_changes_nothing() -> None:
    (number,) = found(a_nerve(200), a_nerve(260, radius=4))
    assert (number.name, number.unit) == (CROSS_SECTION, "mm²")
    assert number.value == pytest.approx(9 * math.pi, rel=0.01)
    assert [item.id for item in number.rests_on] == ["e1"]


def test_two_nerves_apart_have_an_area_each_the_largest_first() -> None:
    small, large = found(a_nerve(120, radius=20), a_nerve(400))
    assert [item.id for item in small.rests_on] == ["e2"]
    assert (small.value or 0) > (large.value or 0)


@pytest.mark.parametrize(
    ("rings", "why"),
    [
        ((a_nerve(100), a_nerve(163)), "pieces of one"),
        ((a_nerve(100), a_nerve(300), a_nerve(500)), "3 separate parts"),
    ],
)
def test_pieces_have_one_number_without_a_value(rings: tuple[Ring, ...], why: str) -> None:
    (number,) = found(*rings)
    assert number.value is None
    assert why in number.reason
    assert len(number.rests_on) == len(rings)


def test_without_a_nerve_there_is_no_number() -> None:
    assert found() == ()
