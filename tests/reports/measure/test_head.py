"""A head's numbers are those of the drawn ellipse; none where the outline is cut or absurd."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import NotMeasurable
from reports.measure.ellipse import circumference
from reports.measure.gestation import head_standard_mm
from reports.measure.head import (
    BPD,
    CEPHALIC_INDEX,
    GESTATIONAL_AGE,
    HC,
    HC_PERCENTILE,
    LONG_ENDS,
    MASK,
    MOST_ON_EDGE,
    OFD,
    SHORT_ENDS,
    edge_share,
    gestational_age_weeks,
    head_ellipse,
    head_numbers,
    landmark_diameters,
)
from reports.measure.numbers import Number, Seen
from reports.model import ImageInfo, MaskEvidence, NamedPoint, Region, Ring, Spacing
from specialists.manifest import read_manifest
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info

HEAD = an_ellipse((320, 240), (190, 150), points=360)


def a_mask(ring: Ring, name: str = "e1") -> MaskEvidence:
    return MaskEvidence(id=name, specialist="fetal_head", step=4, label="head", polygons=(ring,))


def numbers(image: ImageInfo, *rings: Ring) -> dict[str, Number]:
    masks = [a_mask(ring, f"e{n + 1}") for n, ring in enumerate(rings)]
    return {item.name: item for item in head_numbers(Seen(image=image, evidence={MASK: masks}))}


def cut_at_left(depth: float) -> Ring:
    """A circle of radius 100 px of which so many px lie beyond the image's left edge."""
    ring = an_ellipse((100 - depth, 240), (100, 100), points=2000)
    return tuple((max(x, 0.0), y) for x, y in ring)


@pytest.mark.parametrize(("hc_cm", "weeks"), [(17.7, 20.18), (24.6, 26.71), (34.6, 40.07)])
def test_the_age_formula_gives_its_published_values(hc_cm: float, weeks: float) -> None:
    assert 8.96 + 0.540 * hc_cm + 0.0003 * hc_cm**3 == pytest.approx(weeks, abs=0.005)
    if weeks <= 40:
        assert gestational_age_weeks(hc_cm) == pytest.approx(weeks, abs=0.005)
    else:
        with pytest.raises(NotMeasurable, match="14 to 40 weeks"):
            gestational_age_weeks(hc_cm)


@pytest.mark.parametrize("hc_cm", [0.0, 8.8, 36.0, 1e3])
def test_an_age_outside_its_weeks_is_not_given(hc_cm: float) -> None:
    with pytest.raises(NotMeasurable):
        gestational_age_weeks(hc_cm)


@settings(max_examples=40)
@given(
    st.floats(45, 60),
    st.floats(0.65, 0.95),
    st.floats(-90, 90),
    st.tuples(st.floats(0.2, 0.3), st.floats(0.25, 0.4)),
)
def test_numbers_are_in_mm_however_the_head_lies_and_whatever_the_pixels_sides(
    long: float, ratio: float, angle: float, scale: tuple[float, float]
) -> None:
    centre = (320 * scale[0], 240 * scale[1])
    drawn = an_ellipse(centre, (long, long * ratio), angle_deg=angle, points=720)
    ring = tuple((x / scale[0], y / scale[1]) for x, y in drawn)
    image = a_calibrated_image_info(scale, width_px=1000, height_px=1000)
    moved = tuple((x + 150, y + 200) for x, y in ring)
    found = numbers(image, moved)
    assert {name: item.unit for name, item in found.items()} == {
        HC: "mm",
        BPD: "mm",
        OFD: "mm",
        CEPHALIC_INDEX: "%",
        GESTATIONAL_AGE: "wk",
    }
    assert found[HC].value == pytest.approx(circumference(long, long * ratio), rel=3e-4)
    assert found[OFD].value == pytest.approx(2 * long, rel=3e-4)
    assert found[BPD].value == pytest.approx(2 * long * ratio, rel=3e-4)
    assert found[CEPHALIC_INDEX].value == pytest.approx(100 * ratio, rel=3e-4)


def test_without_a_spacing_lengths_are_in_px_and_there_is_no_age() -> None:
    found = numbers(an_image_info(), HEAD)
    assert (found[HC].unit, found[OFD].unit) == ("px", "px")
    assert found[OFD].value == pytest.approx(380, rel=1e-3)
    assert "assuming square pixels" in found[CEPHALIC_INDEX].formula
    assert found[GESTATIONAL_AGE].value is None
    assert "states no pixel spacing" in found[GESTATIONAL_AGE].reason


def test_a_head_across_two_regions_is_in_px() -> None:
    spacing = Spacing(x=0.2, y=0.2)
    regions = (
        Region(box=(0, 0, 320, 480), spacing_mm=spacing),
        Region(box=(320, 0, 640, 480), spacing_mm=spacing),
    )
    found = numbers(an_image_info(regions=regions), HEAD)
    assert found[HC].unit == "px"
    assert "one calibrated region" in found[HC].reason


def test_the_largest_of_several_regions_is_measured_and_that_is_said() -> None:
    found = numbers(an_image_info(), an_ellipse((40, 40), (20, 15)), HEAD)
    assert found[OFD].value == pytest.approx(380, rel=1e-3)
    assert "2 regions" in found[OFD].reason
    assert [item.id for item in found[OFD].rests_on] == ["e2"]


def test_nothing_outlined_gives_no_numbers() -> None:
    assert head_numbers(Seen(image=an_image_info())) == ()


def test_a_circle_cut_at_the_limit_reads_one_percent_too_little_and_beyond_is_refused() -> None:
    image = an_image_info()
    depth = next(d / 10 for d in range(1, 300) if edge_share(cut_at_left(d / 10), image) > 0.1)
    assert edge_share(cut_at_left(depth - 0.1), image) <= MOST_ON_EDGE
    error = 1 - head_ellipse((cut_at_left(depth - 0.1),), image).circumference / (200 * math.pi)
    assert 0.002 < error < 0.012
    with pytest.raises(NotMeasurable, match="cuts the head off"):
        head_ellipse((cut_at_left(depth + 0.1),), image)


@pytest.mark.parametrize(
    ("ring", "why"),
    [
        (an_ellipse((320, 240), (200, 90)), "times as long as wide"),
        (
            ((200.0, 100.0), (400.0, 100.0), (400.0, 150.0), (250.0, 150.0),
             (250.0, 250.0), (200.0, 250.0)),
            "no ellipse",
        ),
        (((5.0, 5.0), (6.0, 6.0), (7.0, 7.0)), "no area"),
    ],
)  # fmt: skip
def test_an_outline_that_is_no_head_has_no_numbers_and_says_why(ring: Ring, why: str) -> None:
    found = numbers(an_image_info(), ring)
    assert len(found) == 5
    assert all(item.value is None and why in item.reason for item in found.values())


@pytest.mark.parametrize("spacing", [0.02, 2.0])
def test_an_absurd_circumference_is_not_assessed(spacing: float) -> None:
    found = numbers(a_calibrated_image_info((spacing, spacing)), HEAD)
    assert found[HC].value is None
    assert "implausible" in found[HC].reason


def test_landmarks_give_the_diameters_in_either_order_and_name_what_is_missing() -> None:
    places = [
        *zip(LONG_ENDS, [(100.0, 100.0), (300.0, 100.0)], strict=True),
        *zip(SHORT_ENDS, [(200.0, 40.0), (200.0, 160.0)], strict=True),
    ]
    points = [NamedPoint(name=name, x=x, y=y) for name, (x, y) in places]
    assert landmark_diameters(points, (0.5, 0.5)) == pytest.approx((100, 60))
    assert landmark_diameters(points, (0.1, 1.0)) == pytest.approx((120, 20))
    with pytest.raises(NotMeasurable, match="short axis lower end"):
        landmark_diameters(points[:3], (1, 1))


def test_the_landmarks_are_named_as_the_manifest_names_them() -> None:
    assert read_manifest().specialist("fetal_head_axes").landmarks == (*LONG_ENDS, *SHORT_ENDS)


def ranked(image: ImageInfo, age: str | None) -> Number | None:
    seen = Seen(image=image, evidence={MASK: [a_mask(HEAD, "e1")]}, gestational_age=age)
    return next((n for n in head_numbers(seen) if n.name == HC_PERCENTILE), None)


def test_the_percentile_is_that_of_the_circumference_at_the_stated_age() -> None:
    image = a_calibrated_image_info((0.25, 0.25))
    found = ranked(image, "28w3d")
    assert found is not None
    hc = numbers(image, HEAD)[HC].value
    mean, deviation = head_standard_mm(28 + 3 / 7)
    assert hc is not None
    assert found.value == pytest.approx(100 * NormalDist(mean, deviation).cdf(hc), abs=1e-6)
    assert found.unit == "percentile"
    assert "28w3d" in found.reason


@pytest.mark.parametrize(
    ("scale", "age", "why"),
    [
        (None, "28w0d", "needs millimetres"),
        (0.25, "42w0d", "lies outside"),
        (9.0, "28w0d", "implausible"),
    ],
)
def test_without_a_percentile_it_says_why(scale: float | None, age: str, why: str) -> None:
    image = an_image_info() if scale is None else a_calibrated_image_info((scale, scale))
    found = ranked(image, age)
    assert found is not None
    assert found.value is None
    assert why in found.reason


def test_without_a_stated_age_there_is_no_percentile() -> None:
    assert ranked(a_calibrated_image_info((0.25, 0.25)), None) is None
