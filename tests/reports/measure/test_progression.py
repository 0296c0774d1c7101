"""Angle of progression and head–symphysis distance, against phantoms whose truth is known."""

import math
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.errors import NotMeasurable
from reports.measure.intervals import Calibrated, Form, Interval
from reports.measure.numbers import Number, Seen, assemble, calibration_for
from reports.measure.progression import (
    AOP,
    FAR,
    HEAD,
    HSD,
    MASK,
    NEAR,
    POINTS,
    STATION,
    SYMPHYSIS,
    TANGENT,
    head_station_cm,
    infrapubic_distance,
    progression_numbers,
    progression_of_outlines,
    progression_of_points,
)
from reports.measure.scan_area import scanned_outline
from reports.model import (
    Evidence,
    ImageInfo,
    MaskEvidence,
    NamedPoint,
    PixelAspect,
    Point,
    PointsEvidence,
    Ring,
)
from specialists.manifest import read_manifest
from specialists.phantom.draw import Options, Phantom, draw
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info

PLACES = {FAR: (130.0, 110.0), NEAR: (250.0, 110.0), TANGENT: (390.0, 208.0)}
PUBIS = an_ellipse((190, 110), (60, 22), points=360)
SKULL = an_ellipse((330, 300), (130, 110), angle_deg=40, points=720)


@cache
def a_phantom(seed: int, aspect: float) -> Phantom:
    return draw("intrapartum", seed=seed, options=Options(pixel_aspect=aspect))


def named(places: dict[str, Point]) -> tuple[NamedPoint, ...]:
    return tuple(NamedPoint(name=name, x=x, y=y) for name, (x, y) in places.items())


def seen(image: ImageInfo, places: dict[str, Point], *rings: tuple[str, Ring]) -> Seen:
    points = PointsEvidence(id="e1", specialist="aop_landmarks", step=3, points=named(places))
    masks: list[Evidence] = [
        MaskEvidence(id=f"e{n}", specialist="m", step=2, label=label, polygons=(ring,))
        for n, (label, ring) in enumerate(rings, start=2)
    ]
    return Seen(image=image, evidence={POINTS: [points], MASK: masks})


def by_name(seen: Seen) -> dict[str, Number]:
    return {number.name: number for number in progression_numbers(seen)}


def the_image_of(phantom: Phantom, calibrated: bool) -> ImageInfo:
    truth = phantom.truth
    if not calibrated:
        return an_image_info(width_px=truth.width_px, height_px=truth.height_px)
    return a_calibrated_image_info(
        (truth.spacing_mm.x, truth.spacing_mm.y),
        width_px=truth.width_px,
        height_px=truth.height_px,
        pixel_aspect=PixelAspect.KNOWN,
    )


@pytest.mark.parametrize("aspect", [1.0, 1.2, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_landmarks_and_outlines_give_the_phantoms_angle(seed: int, aspect: float) -> None:
    phantom = a_phantom(seed, aspect)
    truth = phantom.truth.aop
    assert truth is not None
    places = {FAR: truth.superior, NEAR: truth.inferior, TANGENT: truth.tangent}
    image = the_image_of(phantom, calibrated=True)
    scanned = scanned_outline(phantom.pixels)
    found = progression_of_points(named(places), image, scanned)
    assert found.deg == pytest.approx(truth.deg, abs=0.01)
    square = progression_of_points(named(places), the_image_of(phantom, False), scanned)
    assert square.deg == pytest.approx(truth.square_pixel_deg, abs=0.01)
    rings = {part.label: part.polygon for part in phantom.truth.structures}
    scale = (phantom.truth.spacing_mm.x, phantom.truth.spacing_mm.y)
    outlined = progression_of_outlines((rings[SYMPHYSIS],), (rings[HEAD],), scale)
    assert outlined.deg == pytest.approx(truth.deg, abs=0.3)
    assert outlined.near == pytest.approx(truth.inferior, abs=1)
    assert outlined.far == pytest.approx(truth.superior, abs=1)


@settings(max_examples=40)
@given(
    st.floats(70, 170),
    st.floats(-40, 40),
    st.tuples(st.floats(0.2, 0.6), st.floats(0.2, 0.6)),
)
def test_an_angle_is_the_one_drawn_in_millimetres(
    angle: float, tilt: float, scale: tuple[float, float]
) -> None:
    back, open_by = math.radians(180 + tilt), math.radians(180 + tilt - angle)
    near = (200.0, 200.0)
    far = (near[0] + 60 * math.cos(back), near[1] + 60 * math.sin(back))
    tangent = (near[0] + 80 * math.cos(open_by), near[1] + 80 * math.sin(open_by))
    places = {
        name: (x / scale[0], y / scale[1])
        for name, (x, y) in ((FAR, far), (NEAR, near), (TANGENT, tangent))
    }
    image = a_calibrated_image_info(scale, width_px=2000, height_px=2000)
    assert progression_of_points(named(places), image, None).deg == pytest.approx(angle, abs=1e-6)


def test_the_number_says_that_square_pixels_are_assumed_and_why() -> None:
    angle = by_name(seen(an_image_info(), PLACES))[AOP]
    assert angle.value == pytest.approx(145, abs=0.1)
    assert angle.formula.endswith("assuming square pixels")
    assert "states no pixel spacing" in angle.reason
    assert [place for _, place in angle.drawn] == [PLACES[FAR], PLACES[NEAR], PLACES[TANGENT]]
    known = by_name(seen(a_calibrated_image_info((0.4, 0.5)), PLACES))[AOP]
    assert "square" not in known.formula + known.reason


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({NEAR: (100.0, 110.0)}, "against the assumed orientation"),
        ({FAR: (240.0, 110.0)}, "too close together"),
        ({TANGENT: (639.5, 300.0)}, "image's edge"),
        ({TANGENT: (395.0, 208.0)}, "edge of the scanned area"),
        ({TANGENT: (380.0, 100.0)}, None),
        ({TANGENT: (200.0, 30.0)}, "implausible"),
    ],
)
def test_points_that_cannot_be_right_are_not_assessed(
    change: dict[str, Point], why: str | None
) -> None:
    scanned = ((0.0, 0.0), (398.0, 0.0), (398.0, 480.0), (0.0, 480.0))
    points = named(PLACES | change)
    if why is None:
        assert progression_of_points(points, an_image_info(), scanned).deg > 180
        return
    with pytest.raises(NotMeasurable, match=why):
        progression_of_points(points, an_image_info(), scanned)


@pytest.mark.parametrize("name", [FAR, NEAR, TANGENT])
def test_a_missing_landmark_is_named(name: str) -> None:
    places = {key: place for key, place in PLACES.items() if key != name}
    angle = by_name(seen(an_image_info(), places))[AOP]
    assert angle.value is None
    assert name in angle.reason


@settings(max_examples=40)
@given(st.floats(-25, 25), st.tuples(st.floats(0.3, 0.6), st.floats(0.3, 0.6)))
def test_the_distance_is_measured_at_right_angles_to_the_symphysis_in_mm(
    tilt: float, scale: tuple[float, float]
) -> None:
    turn = math.radians(tilt)
    pubis = an_ellipse((60, 40), (18, 7), angle_deg=tilt, points=360)
    near = (60 + 18 * math.cos(turn), 40 + 18 * math.sin(turn))
    skull = an_ellipse(
        (near[0] - 70 * math.sin(turn), near[1] + 70 * math.cos(turn)), (45, 45), points=720
    )
    rings = [tuple((x / scale[0], y / scale[1]) for x, y in ring) for ring in (pubis, skull)]
    line = infrapubic_distance((rings[0],), (rings[1],), scale)
    assert line.length == pytest.approx(25, abs=0.05)
    assert (line.start[0] * scale[0], line.start[1] * scale[1]) == pytest.approx(near, abs=0.05)


def test_the_distance_is_not_assessed_where_its_line_misses_the_head_or_parts_touch() -> None:
    aside = an_ellipse((120, 330), (80, 70), points=180)
    touching = an_ellipse((270, 160), (90, 80), points=180)
    for skull, why in ((aside, "does not meet"), (touching, "reaches into")):
        found = by_name(seen(an_image_info(), PLACES, (SYMPHYSIS, PUBIS), (HEAD, skull)))[HSD]
        assert found.value is None
        assert why in found.reason
    with pytest.raises(NotMeasurable, match="reaches into"):
        progression_of_outlines((PUBIS,), (touching,))


def test_one_of_two_outlines_is_not_enough_and_none_gives_no_number() -> None:
    alone = by_name(seen(an_image_info(), PLACES, (SYMPHYSIS, PUBIS)))[HSD]
    assert "no fetal head" in alone.reason
    assert HSD not in by_name(seen(an_image_info(), PLACES))
    assert progression_numbers(Seen(image=an_image_info())) == ()


def test_the_largest_component_of_each_is_measured() -> None:
    spots = [(HEAD, an_ellipse((250, 130), (8, 8))), (SYMPHYSIS, an_ellipse((500, 50), (9, 5)))]
    with_spots = by_name(seen(an_image_info(), PLACES, *spots, (SYMPHYSIS, PUBIS), (HEAD, SKULL)))
    without = by_name(seen(an_image_info(), PLACES, (SYMPHYSIS, PUBIS), (HEAD, SKULL)))
    assert with_spots[HSD].value == without[HSD].value


def test_the_landmarks_and_labels_are_named_as_the_manifest_names_them() -> None:
    manifest = read_manifest()
    assert manifest.specialist("aop_landmarks").landmarks == (FAR, NEAR, TANGENT)
    assert {SYMPHYSIS, HEAD} < set(manifest.specialist("head_symphysis_multi").labels)


KNOWN = calibration_for(a_calibrated_image_info((0.4, 0.4)), [])
ASSUMED = calibration_for(an_image_info(), [])


@pytest.mark.parametrize(
    ("deg", "station"), [(84, -3), (95, -2), (106, -1), (116, 0), (127, 1), (138, 2), (148, 3)]
)
def test_the_station_of_an_angle_is_that_of_the_guidelines_table(deg: float, station: int) -> None:
    assert head_station_cm(deg, KNOWN) == pytest.approx(station, abs=0.06)


def test_the_station_is_withheld_where_pixels_are_only_assumed_square() -> None:
    with pytest.raises(NotMeasurable, match="assumed to be square"):
        head_station_cm(116, ASSUMED)


@pytest.mark.parametrize("deg", [75, 180])
def test_no_station_is_made_up_where_the_relation_is_unknown(deg: float) -> None:
    with pytest.raises(NotMeasurable, match=r"−3 to \+5 cm"):
        head_station_cm(deg, KNOWN)


def test_the_station_follows_the_angle_with_its_interval_where_pixels_are_known() -> None:
    image = a_calibrated_image_info((0.3, 0.3), pixel_aspect=PixelAspect.KNOWN)
    numbers = progression_numbers(seen(image, PLACES))
    degrees = by_name(seen(image, PLACES))[AOP].value
    assert degrees is not None
    intervals: dict[str, Calibrated] = {AOP: Interval(form=Form.ABSOLUTE, low=-10.0, high=10.0)}
    made = assemble(numbers, first_measurement=1, first_evidence=2, intervals=intervals)
    station = next(item for item in made.measurements if item.name == STATION)
    assert station.unit == "cm"
    assert station.value == pytest.approx(0.0937 * degrees - 10.911, abs=1e-3)
    assert station.interval is not None
    assert station.interval[1] - station.interval[0] == pytest.approx(0.0937 * 20, abs=1e-3)
    assert station.unreliable is None


def test_without_an_angle_or_a_known_aspect_the_station_says_why() -> None:
    square = by_name(seen(an_image_info(), PLACES))[STATION]
    assert square.value is None
    assert "assumed to be square" in square.reason
    image = a_calibrated_image_info((0.3, 0.3), pixel_aspect=PixelAspect.KNOWN)
    without = by_name(seen(image, {name: PLACES[name] for name in (FAR, NEAR)}))[STATION]
    assert without.value is None
    assert without.reason.startswith("It follows from the angle of progression. Not located")
