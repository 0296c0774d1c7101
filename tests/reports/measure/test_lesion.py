"""Size and descriptors of drawn lesions, with hand-computed values."""

import numpy as np
import numpy.typing as npt
import pytest

from reports.measure.formulas import NUMBERS_OF
from reports.measure.intervals import Form, Interval
from reports.measure.lesion import (
    LESION,
    MARGIN,
    NAMES,
    NO_PIXELS,
    NODULE,
    ORIENTATION,
    POSTERIOR,
    SHAPE,
    Quality,
    lesion_and_echo_numbers,
    qualities,
)
from reports.measure.numbers import NOT_AVAILABLE, RATIO, Seen, assemble
from reports.model import ExamCode, MaskEvidence, Ring
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info

FLAT = an_ellipse((300, 200), (100, 40), points=360)
ROUND = an_ellipse((300, 200), (60, 58), points=360)
FIELD: Ring = ((0.0, 0.0), (640.0, 0.0), (640.0, 480.0), (0.0, 480.0))


def a_mask(ring: Ring, name: str = "e1") -> MaskEvidence:
    return MaskEvidence(id=name, specialist="s", step=1, label="lesion", polygons=(ring,))


def tissue(behind: int) -> npt.NDArray[np.uint8]:
    """Even tissue of grey 100 with a strip of another grey behind the lesion."""
    pixels = np.full((480, 640), 100, np.uint8)
    pixels[240:, 200:400] = behind
    return pixels


def seen(*rings: Ring, pixels: npt.NDArray[np.uint8] | None = None, field: Ring = FIELD) -> Seen:
    masks = [a_mask(ring, f"e{n}") for n, ring in enumerate(rings, start=1)]
    return Seen(
        image=a_calibrated_image_info((0.1, 0.1)),
        evidence={LESION: masks},
        scanned=lambda: field,
        grey=lambda: pixels,
    )


def described(found: Seen, width: float | None = 0.05) -> dict[str, Quality]:
    """The qualities with an interval of the ratio that reaches so far to both sides."""
    known = {} if width is None else {RATIO: Interval(form=Form.ABSOLUTE, low=-width, high=width)}
    numbers = lesion_and_echo_numbers(found, LESION)
    measured = assemble(numbers, first_measurement=1, first_evidence=9, intervals=known)
    return {item.name: item for item in qualities(found, LESION, measured.measurements)}


def test_every_part_has_all_numbers_in_the_order_of_the_protocol() -> None:
    found = lesion_and_echo_numbers(seen(FLAT, ROUND), LESION)
    assert [number.name for number in found] == [*NAMES, *NAMES]
    assert [number.rests_on[0].id for number in found] == ["e1"] * 6 + ["e2"] * 6


def test_breast_and_thyroid_are_measured_by_the_same_formulas() -> None:
    nodule = Seen(image=an_image_info(), evidence={NODULE: [a_mask(FLAT)]})
    lesion = Seen(image=an_image_info(), evidence={LESION: [a_mask(FLAT)]})
    values = [
        [number.value for number in NUMBERS_OF[exam](given)]
        for exam, given in ((ExamCode.BREAST, lesion), (ExamCode.THYROID, nodule))
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize("behind", [50, 100, 180])
def test_the_echo_ratio_is_grey_behind_over_grey_beside(behind: int) -> None:
    found = {n.name: n for n in lesion_and_echo_numbers(seen(FLAT, pixels=tissue(behind)), LESION)}
    assert found[POSTERIOR].value == pytest.approx(behind / 100, abs=0.02)
    assert found[POSTERIOR].reason.startswith("Compared with both sides")


def test_an_image_that_ends_behind_the_lesion_cannot_show_the_echo_ratio() -> None:
    field: Ring = ((0.0, 0.0), (640.0, 0.0), (640.0, 241.0), (0.0, 241.0))
    found = lesion_and_echo_numbers(seen(FLAT, pixels=tissue(90), field=field), LESION)
    echo = next(number for number in found if number.name == POSTERIOR)
    assert echo.value is None
    assert echo.reason.startswith(f"{NOT_AVAILABLE}: the scanned area ends behind")


def test_without_pixels_the_echo_ratio_says_so() -> None:
    found = {number.name: number for number in lesion_and_echo_numbers(seen(FLAT), LESION)}
    assert (found[POSTERIOR].value, found[POSTERIOR].reason) == (None, NO_PIXELS)
    assert found[MARGIN].value == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize(
    ("ring", "shape", "word"), [(FLAT, "oval", "2.5 times"), (ROUND, "round", "1.0 times")]
)
def test_a_shape_says_its_geometry(ring: Ring, shape: str, word: str) -> None:
    found = described(seen(ring))[SHAPE]
    assert found.value == shape
    assert word in found.reason


@pytest.mark.parametrize(
    ("ring", "width", "value", "why"),
    [
        (FLAT, 0.05, "parallel", "lies below 1"),
        (FLAT, 0.7, "undetermined", "crosses 1"),
        (an_ellipse((300, 200), (40, 100), points=360), 0.05, "not parallel", "lies above 1"),
        (FLAT, None, "undetermined", "has no interval"),
    ],
)
def test_an_orientation_follows_from_the_interval_of_the_ratio(
    ring: Ring, width: float | None, value: str, why: str
) -> None:
    found = described(seen(ring), width)[ORIENTATION]
    assert found.value == value
    assert why in found.reason


def test_the_largest_part_is_described_and_one_at_the_edge_says_that_it_may_be_cut_off() -> None:
    cut = tuple((max(x, 0.0), y) for x, y in an_ellipse((40, 200), (120, 60), points=360))
    found = described(seen(ROUND, cut))
    assert {item.rests_on[0].id for item in found.values()} == {"e2"}
    assert all("cut it off" in item.reason for item in found.values())


def test_without_an_outline_nothing_is_described_and_without_an_area_it_says_why() -> None:
    assert described(seen()) == {}
    found = described(seen(((10.0, 10.0), (20.0, 20.0), (30.0, 30.0))))
    assert [item.value for item in found.values()] == [None, None]
    assert "no area" in found[SHAPE].reason
