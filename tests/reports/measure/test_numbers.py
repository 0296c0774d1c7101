import math

import pytest

from reports.measure.intervals import NO_INTERVAL
from reports.measure.numbers import (
    AREA,
    LONG_AXIS,
    RATIO,
    SHORT_AXIS,
    Measured,
    assemble,
    calibration_for,
    lesion_numbers,
)
from reports.model import (
    ImageInfo,
    MaskEvidence,
    Measurement,
    MeasurementState,
    PixelAspect,
    Region,
    Ring,
    Spacing,
)
from tests.builders import a_calibrated_image_info, an_ellipse, an_image_info

LEFT = Region(box=(0, 0, 320, 480), spacing_mm=Spacing(x=0.1, y=0.1))
RIGHT = Region(box=(320, 0, 640, 480), spacing_mm=Spacing(x=0.2, y=0.2))
UNCALIBRATED = Region(box=(320, 0, 640, 480), spacing_mm=None)


def a_mask(ring: Ring) -> MaskEvidence:
    return MaskEvidence(
        id="e2", specialist="breast_lesion", step=2, score=0.9, label="lesion", polygons=(ring,)
    )


def measure(ring: Ring, image: ImageInfo) -> Measured:
    return assemble(lesion_numbers(a_mask(ring), image), first_measurement=1, first_evidence=3)


def by_name(measured: Measured) -> dict[str, Measurement]:
    return {measurement.name: measurement for measurement in measured.measurements}


def an_image_with(*regions: Region) -> ImageInfo:
    return an_image_info(regions=regions, pixel_aspect=PixelAspect.KNOWN)


def test_one_spacing_for_the_whole_image_measures_in_mm() -> None:
    calibration = calibration_for(a_calibrated_image_info((0.1, 0.2)), [(5, 5)])
    assert (calibration.scale, calibration.unit, calibration.reason) == ((0.1, 0.2), "mm", None)


def test_distance_is_in_px_when_the_source_states_no_spacing() -> None:
    calibration = calibration_for(an_image_info(), [(5, 5)])
    assert (calibration.scale, calibration.unit) == ((1, 1), "px")
    assert calibration.reason is not None
    assert "states no pixel spacing" in calibration.reason
    assert "square" in calibration.reason


@pytest.mark.parametrize(
    ("regions", "points", "unit", "why"),
    [
        ((LEFT, RIGHT), [(10, 10), (300, 400)], "mm", None),
        ((LEFT, RIGHT), [(10, 10), (400, 10)], "px", "do not lie in one calibrated region"),
        ((LEFT,), [(400, 10), (500, 10)], "px", "do not lie in one calibrated region"),
        ((LEFT, UNCALIBRATED), [(400, 10), (500, 10)], "px", "region of the image"),
        ((LEFT, UNCALIBRATED), [(10, 10), (20, 10)], "mm", None),
        (
            (LEFT, Region(box=(0, 0, 640, 480), spacing_mm=RIGHT.spacing_mm)),
            [(10, 10)],
            "px",
            "overlapping regions",
        ),
        ((LEFT, LEFT), [(10, 10)], "mm", None),
    ],
)
def test_points_are_in_mm_only_when_one_region_proves_their_spacing(
    regions: tuple[Region, ...], points: list[tuple[float, float]], unit: str, why: str | None
) -> None:
    calibration = calibration_for(an_image_with(*regions), points)
    assert calibration.unit == unit
    assert (why is None) == (calibration.reason is None)
    assert why is None or why in str(calibration.reason)


def test_a_frame_wide_spacing_does_not_reach_outside_its_regions() -> None:
    image = an_image_info(regions=(LEFT,), spacing_mm=Spacing(x=0.1, y=0.1))
    assert calibration_for(image, [(400, 10)]).unit == "px"


def test_a_lesion_without_spacing_is_measured_in_px_and_says_so() -> None:
    found = by_name(measure(an_ellipse((320, 210), (80, 50), points=256), an_image_info()))
    assert [found[name].unit for name in (LONG_AXIS, SHORT_AXIS, AREA, RATIO)] == [
        "px",
        "px",
        "px²",
        "1",
    ]
    assert found[LONG_AXIS].value == pytest.approx(160, abs=0.1)
    assert found[SHORT_AXIS].value == pytest.approx(100, abs=0.1)
    assert found[AREA].value == pytest.approx(math.pi * 80 * 50, rel=1e-3)
    assert found[RATIO].value == pytest.approx(50 / 80, rel=1e-3)
    assert "assuming square pixels" in str(found[RATIO].formula)


def test_anisotropic_spacing_turns_a_wide_ellipse_into_a_tall_lesion() -> None:
    image = a_calibrated_image_info((0.1, 0.4))
    found = by_name(measure(an_ellipse((320, 210), (80, 50), points=256), image))
    assert found[LONG_AXIS].value == pytest.approx(40, rel=1e-3)
    assert found[SHORT_AXIS].value == pytest.approx(16, rel=1e-3)
    assert found[AREA].value == pytest.approx(math.pi * 8 * 20, rel=1e-3)
    assert found[RATIO].value == pytest.approx(2.5, rel=1e-3)
    assert found[AREA].unit == "mm²"
    assert "square" not in str(found[RATIO].formula)


def test_a_known_pixel_aspect_makes_ratios_true_without_millimetres() -> None:
    image = an_image_info(aspect_ratio=4.0, pixel_aspect=PixelAspect.KNOWN)
    found = by_name(measure(an_ellipse((320, 210), (80, 50), points=256), image))
    assert found[LONG_AXIS].value == pytest.approx(400, rel=1e-3)
    assert found[SHORT_AXIS].value == pytest.approx(160, rel=1e-3)
    assert found[AREA].value == pytest.approx(math.pi * 80 * 200, rel=1e-3)
    assert found[RATIO].value == pytest.approx(2.5, rel=1e-3)
    assert found[AREA].unit == "px²"
    assert "square" not in str(found[RATIO].formula)
    assert "4 times as high as wide" in str(found[LONG_AXIS].reason)


def test_components_of_one_image_may_be_measured_in_different_units() -> None:
    image = an_image_with(LEFT, UNCALIBRATED)
    left = by_name(measure(an_ellipse((150, 210), (80, 50)), image))
    right = by_name(measure(an_ellipse((480, 210), (80, 50)), image))
    across = by_name(measure(an_ellipse((320, 210), (80, 50)), image))
    assert [found[LONG_AXIS].unit for found in (left, right, across)] == ["mm", "px", "px"]
    assert left[LONG_AXIS].value == pytest.approx(16, rel=1e-3)


def test_measured_axes_rest_on_their_end_points_and_the_mask() -> None:
    measured = assemble(
        lesion_numbers(a_mask(an_ellipse()), an_image_info()), first_measurement=5, first_evidence=7
    )
    assert [item.id for item in measured.measurements] == ["m5", "m6", "m7", "m8"]
    assert [item.evidence for item in measured.measurements] == [
        ("e7", "e2"),
        ("e8", "e2"),
        ("e2",),
        ("e2",),
    ]
    assert [item.id for item in measured.evidence] == ["e7", "e8"]
    start, end = measured.evidence[0].points
    length = math.hypot(end.x - start.x, end.y - start.y)
    assert length == pytest.approx(measured.measurements[0].value, abs=0.01)


def test_a_measurement_without_interval_says_that_it_is_not_calibrated_yet() -> None:
    for measurement in measure(an_ellipse(), a_calibrated_image_info()).measurements:
        assert measurement.interval is None
        assert measurement.coverage is None
        assert measurement.reason == f"{NO_INTERVAL} it is not calibrated yet."


def test_a_lesion_cut_off_by_the_edge_of_the_image_may_be_larger() -> None:
    reason = measure(an_ellipse((80.5, 210), (80, 50)), an_image_info()).measurements[0].reason
    assert "reaches the edge of the image" in str(reason)


def test_an_outline_without_area_is_not_assessed_with_the_reason() -> None:
    measured = measure(((1.0, 1.0), (2.0, 2.0), (3.0, 3.0)), an_image_info())
    assert measured.evidence == ()
    for measurement in measured.measurements:
        assert measurement.state is MeasurementState.NOT_ASSESSED
        assert measurement.value is None
        assert "no area" in str(measurement.reason)
