"""Which pixels are analysed and how large they are, case by case."""

import math
from typing import Any

import httpx
import pytest
from pydicom.dataset import Dataset

from app.images.ingest import ingest
from reports.measure.numbers import calibration_for
from reports.model import ImageInfo, PixelAspect
from tests.app.dicom_files import (
    HEIGHT,
    LIMIT_PIXELS,
    SECONDARY_CAPTURE,
    WIDTH,
    a_dicom,
    a_region,
    calibrated,
    speckle,
)

HALF = WIDTH // 2
LEFT = {"RegionLocationMaxX1": HALF - 1}
RIGHT = {"RegionLocationMinX0": HALF}
WHOLE_FRAME = (0.0, 0.0, float(WIDTH), float(HEIGHT))


def info_of(*regions: Dataset, **changes: Any) -> ImageInfo:
    return ingest(calibrated(*regions, **changes), LIMIT_PIXELS).image.info


def spacing_of(info: ImageInfo) -> tuple[float, float] | None:
    return None if info.spacing_mm is None else (info.spacing_mm.x, info.spacing_mm.y)


def test_x_and_y_are_apart_and_centimetres_become_millimetres() -> None:
    info = info_of(a_region(PhysicalDeltaX=0.05, PhysicalDeltaY=0.02))
    assert spacing_of(info) == pytest.approx((0.5, 0.2))
    assert info.spacing_source == "SequenceOfUltrasoundRegions"
    assert info.spacing_reason is None
    assert info.pixel_aspect is PixelAspect.KNOWN
    assert info.regions[0].box == WHOLE_FRAME


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1), (-1, -1)])
def test_the_sign_of_a_delta_is_ignored(signs: tuple[int, int]) -> None:
    region = a_region(PhysicalDeltaX=0.05 * signs[0], PhysicalDeltaY=0.02 * signs[1])
    assert spacing_of(info_of(region)) == pytest.approx((0.5, 0.2))


@pytest.mark.parametrize("delta", [0.0, 1e-9, 5.0, 1e30, math.nan, math.inf, None])
@pytest.mark.parametrize("axis", ["PhysicalDeltaX", "PhysicalDeltaY"])
def test_zero_absurd_and_missing_deltas_give_no_mm_and_the_reason(
    axis: str, delta: float | None
) -> None:
    info = info_of(a_region(**{axis: delta}))
    assert spacing_of(info) is None
    assert info.spacing_source is None
    assert info.spacing_reason is not None
    assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE
    measured = calibration_for(info, [(10.0, 10.0), (50.0, 50.0)])
    assert measured.unit == "px"
    assert info.spacing_reason in (measured.reason or "")


@pytest.mark.parametrize(("unit_x", "unit_y"), [(0, 0), (3, 0), (None, 3)])
def test_tissue_without_a_unit_of_length_is_analysed_in_px(unit_x: int, unit_y: int) -> None:
    info = info_of(a_region(PhysicalUnitsXDirection=unit_x, PhysicalUnitsYDirection=unit_y))
    assert info.not_analysed is None
    assert spacing_of(info) is None
    assert "no unit of length" in (info.spacing_reason or "")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"RegionSpatialFormat": 2, "PhysicalUnitsXDirection": 4}, "M-mode"),
        ({"RegionSpatialFormat": 3, "RegionDataType": 3}, "spectral"),
        ({"RegionSpatialFormat": 4, "RegionDataType": 10}, "waveform"),
        ({"RegionDataType": 2}, "colour flow"),
        ({"PhysicalUnitsXDirection": 4}, "tissue"),
        ({"PhysicalUnitsYDirection": 7}, "tissue"),
    ],
)
def test_what_is_not_2d_tissue_over_lengths_is_not_analysed(
    changes: dict[str, int], kind: str
) -> None:
    info = info_of(a_region(**changes))
    assert info.not_analysed is not None
    assert kind in info.not_analysed
    assert spacing_of(info) is None


def test_a_region_may_overrun_the_image_by_one_pixel() -> None:
    info = info_of(a_region(RegionLocationMaxX1=WIDTH, RegionLocationMaxY1=HEIGHT))
    assert spacing_of(info) == pytest.approx((0.5, 0.2))
    assert info.regions[0].box == WHOLE_FRAME


@pytest.mark.parametrize(
    "changes", [{"RegionLocationMaxX1": WIDTH + 1}, {"RegionLocationMaxY1": HEIGHT + 1}]
)
def test_an_overrun_of_two_pixels_invalidates_every_calibration(changes: dict[str, int]) -> None:
    info = info_of(a_region(**LEFT), a_region(**RIGHT, **changes))
    assert spacing_of(info) is None
    assert [region.spacing_mm for region in info.regions] == [None, None]
    assert "overruns the image by 2 pixels" in (info.spacing_reason or "")


def test_an_overrunning_waveform_says_that_the_pixels_were_cropped_too() -> None:
    strip = a_region(RegionSpatialFormat=4, RegionDataType=10, RegionLocationMinY0=HEIGHT + 30)
    strip.RegionLocationMaxY1 = HEIGHT + 90
    assert "resized or cropped" in (info_of(a_region(), strip).spacing_reason or "")


def test_each_region_has_its_own_millimetres_and_points_must_lie_in_one() -> None:
    info = info_of(a_region(**LEFT), a_region(**RIGHT, PhysicalDeltaX=0.01, PhysicalDeltaY=0.01))
    assert spacing_of(info) is None
    assert info.pixel_aspect is PixelAspect.KNOWN
    left, right = [(5.0, 5.0), (9.0, 9.0)], [(HALF + 5.0, 5.0), (HALF + 9.0, 9.0)]
    assert calibration_for(info, left).scale == pytest.approx((0.5, 0.2))
    assert calibration_for(info, right).scale == pytest.approx((0.1, 0.1))
    assert calibration_for(info, left + right).unit == "px"


def test_one_bad_region_leaves_the_other_its_millimetres() -> None:
    info = info_of(a_region(**LEFT), a_region(**RIGHT, PhysicalDeltaX=0.0))
    assert calibration_for(info, [(5.0, 5.0)]).unit == "mm"
    assert calibration_for(info, [(HALF + 5.0, 5.0)]).unit == "px"
    assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE


def test_pixel_spacing_is_not_of_the_ultrasound_iod_and_not_used() -> None:
    info = ingest(a_dicom(PixelSpacing=[0.2, 0.5]), LIMIT_PIXELS).image.info
    assert spacing_of(info) is None
    assert any("PixelSpacing is not used" in note for note in info.conversions)


def test_pixel_spacing_of_a_secondary_capture_is_rows_first() -> None:
    data = a_dicom(SOPClassUID=SECONDARY_CAPTURE, PixelSpacing=[0.2, 0.5])
    info = ingest(data, LIMIT_PIXELS).image.info
    assert spacing_of(info) == pytest.approx((0.5, 0.2))
    assert info.spacing_source == "PixelSpacing"


@pytest.mark.parametrize("spacing", [[0.0, 0.5], [0.2, 40.0], ["-1", "1"]])
def test_an_absurd_pixel_spacing_is_refused(spacing: list[Any]) -> None:
    data = a_dicom(SOPClassUID=SECONDARY_CAPTURE, PixelSpacing=spacing)
    info = ingest(data, LIMIT_PIXELS).image.info
    assert spacing_of(info) is None
    assert "PixelSpacing states pixels of" in (info.spacing_reason or "")


def test_regions_come_before_pixel_spacing() -> None:
    data = calibrated(SOPClassUID=SECONDARY_CAPTURE, PixelSpacing=[1.0, 1.0])
    assert spacing_of(ingest(data, LIMIT_PIXELS).image.info) == pytest.approx((0.5, 0.2))


def test_a_file_that_states_nothing_is_in_px_with_the_reason() -> None:
    info = ingest(a_dicom(), LIMIT_PIXELS).image.info
    assert spacing_of(info) is None
    assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE
    measured = calibration_for(info, [(1.0, 1.0)])
    assert measured.unit == "px"
    assert "states no calibrated region" in (measured.reason or "")


def test_all_outside_the_tissue_is_black_and_counted() -> None:
    box = a_region(
        RegionLocationMinX0=20,
        RegionLocationMinY0=30,
        RegionLocationMaxX1=99,
        RegionLocationMaxY1=79,
    )
    strip = a_region(RegionSpatialFormat=4, RegionDataType=10, RegionLocationMinY0=70)
    ingested = ingest(calibrated(box, strip), LIMIT_PIXELS)
    pixels, info = ingested.image.pixels, ingested.image.info
    kept = pixels[30:70, 20:100]
    assert (kept == speckle()[30:70, 20:100]).all()
    assert pixels.astype(int).sum() == kept.astype(int).sum()
    assert info.dicom is not None
    assert info.dicom.masked_px == WIDTH * HEIGHT - 40 * 80
    assert any("masked outside the ultrasound regions" in note for note in info.conversions)


def test_a_stated_pixel_aspect_is_known_without_millimetres() -> None:
    info = ingest(a_dicom(PixelAspectRatio=[6, 5]), LIMIT_PIXELS).image.info
    assert info.pixel_aspect is PixelAspect.KNOWN
    assert info.aspect_ratio == pytest.approx(1.2)  # The vertical size is stated first.
    measured = calibration_for(info, [(1.0, 1.0)])
    assert measured.unit == "px"
    assert measured.scale == pytest.approx((1.0, 1.2))
    assert not measured.square_assumed
    assert "1.2 times as high as wide" in (measured.reason or "")


@pytest.mark.parametrize("ratio", [[0, 0], [1, 0], [-1, 1], [100, 1], [1]])
def test_an_absurd_pixel_aspect_is_none(ratio: list[int]) -> None:
    info = ingest(a_dicom(PixelAspectRatio=ratio), LIMIT_PIXELS).image.info
    assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE
    assert info.aspect_ratio is None


def test_a_resized_frame_has_no_pixel_aspect_either() -> None:
    info = info_of(a_region(RegionLocationMaxX1=WIDTH + 40), PixelAspectRatio=[6, 5])
    assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE
    assert info.aspect_ratio is None


async def test_two_views_in_a_frame_are_said(client: httpx.AsyncClient) -> None:
    data = calibrated(a_region(**LEFT), a_region(**RIGHT))
    report = (await client.post("/analyze", files={"image": ("x", data)})).json()
    assert any("2 regions of 2D tissue" in line for line in report["limitations"])
