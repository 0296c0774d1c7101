"""Regions that overlap, state nothing, or hold next to nothing."""

from typing import Any

import httpx
import numpy as np
import pytest
from pydicom.dataset import Dataset

from app.images.ingest import Ingested, ingest
from reports.model import Colour
from tests.app.dicom_files import HEIGHT, LIMIT_PIXELS, WIDTH, a_region, calibrated, speckle

HIGH, LOW = 0, 1
UPPER = {"RegionLocationMaxY1": 99}
M_MODE = {"RegionSpatialFormat": 2, "PhysicalUnitsXDirection": 4}
GRAPHICS = {"RegionSpatialFormat": 5, "RegionDataType": 12}
COLOUR_FLOW = {"RegionDataType": 2}
NOTHING = {
    "RegionSpatialFormat": 0,
    "RegionDataType": 0,
    "PhysicalUnitsXDirection": 0,
    "PhysicalUnitsYDirection": 0,
    "PhysicalDeltaX": 0.0,
    "PhysicalDeltaY": 0.0,
}


def read(*regions: Dataset, **changes: Any) -> Ingested:
    return ingest(calibrated(*regions, **changes), LIMIT_PIXELS)


def kept_px(found: Ingested) -> int:
    """How many pixels were not blackened."""
    assert found.image.info.dicom is not None
    return WIDTH * HEIGHT - found.image.info.dicom.masked_px


@pytest.mark.parametrize("below", [M_MODE, GRAPHICS], ids=["M-mode", "graphics"])
@pytest.mark.parametrize("more_bits", [0, 2, 2 + 4 + 8])
@pytest.mark.parametrize("first", [True, False])
def test_tissue_of_high_priority_is_shown_over_what_has_low(
    below: dict[str, int], more_bits: int, first: bool
) -> None:
    regions = [
        a_region(**below, RegionFlags=LOW + more_bits),
        a_region(**UPPER, RegionFlags=HIGH + more_bits),
    ]
    found = read(*(regions if first else reversed(regions)))
    info = found.image.info
    assert info.not_analysed is None
    assert info.spacing_mm is not None
    assert kept_px(found) == WIDTH * 100
    assert (found.image.pixels[:100] == speckle()[:100]).all()
    assert not found.image.pixels[100:].any()


@pytest.mark.parametrize(
    ("tissue", "other"), [(HIGH, HIGH), (LOW, LOW), (LOW, HIGH), (None, LOW), (HIGH, None)]
)
def test_what_is_not_of_lower_priority_is_cut_out_of_the_tissue(
    tissue: int | None, other: int | None
) -> None:
    strip = a_region(**M_MODE, RegionLocationMinY0=70, RegionFlags=other)
    found = read(a_region(**UPPER, RegionFlags=tissue), strip)
    assert kept_px(found) == WIDTH * 70
    whole = read(a_region(**UPPER, RegionFlags=tissue), a_region(**M_MODE, RegionFlags=other))
    assert "lies wholly under regions that show M-mode" in (whole.image.info.not_analysed or "")


def test_each_region_is_cut_by_what_lies_over_it_alone() -> None:
    left = a_region(RegionLocationMaxX1=WIDTH // 2 - 1, RegionFlags=HIGH)
    right = a_region(RegionLocationMinX0=WIDTH // 2, RegionFlags=LOW)
    strip = a_region(**M_MODE, RegionLocationMinY0=70, RegionFlags=LOW)
    pixels = read(left, right, strip).image.pixels
    assert (pixels[:, : WIDTH // 2] == speckle()[:, : WIDTH // 2]).all()
    assert not pixels[70:, WIDTH // 2 :].any()


@pytest.mark.parametrize(
    ("flow", "colour"), [(HIGH, Colour.COLOUR), (LOW, Colour.GREY), (None, Colour.COLOUR)]
)
def test_colour_flow_below_tissue_is_not_shown(flow: int | None, colour: Colour) -> None:
    grey = np.repeat(speckle()[:, :, None], 3, axis=2)
    regions = [a_region(RegionFlags=HIGH), a_region(**COLOUR_FLOW, RegionFlags=flow)]
    found = ingest(
        calibrated(
            *regions,
            Rows=HEIGHT,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            PixelData=grey.tobytes(),
        ),
        LIMIT_PIXELS,
    )
    assert found.image.info.colour is colour


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("flags", [HIGH, LOW, None])
@pytest.mark.parametrize("data_type", [0, 1, 12, None])
@pytest.mark.parametrize("spatial_format", [0, None])
def test_a_region_over_the_frame_that_states_nothing_hides_no_tissue(
    spatial_format: int | None, data_type: int | None, flags: int | None, first: bool
) -> None:
    frame = a_region(
        **NOTHING
        | {
            "RegionSpatialFormat": spatial_format,
            "RegionDataType": data_type,
            "RegionFlags": flags,
            "RegionLocationMaxX1": WIDTH,
            "RegionLocationMaxY1": HEIGHT,
        }
    )
    regions = [frame, a_region(**UPPER, RegionLocationMinX0=10)]
    found = read(*(regions if first else reversed(regions)))
    info = found.image.info
    assert info.not_analysed is None
    assert [region.box for region in info.regions] == [(10, 0, WIDTH, 100)]
    assert info.spacing_mm is not None
    assert kept_px(found) == (WIDTH - 10) * 100


def test_a_trace_without_a_format_is_cut_out_where_it_lies_on_tissue() -> None:
    trace = a_region(**NOTHING | {"RegionDataType": 10, "RegionLocationMinY0": 90})
    assert kept_px(read(trace, a_region())) == WIDTH * 90


def test_a_frame_of_which_nothing_is_stated_is_refused_as_such() -> None:
    assert "not stated (RegionSpatialFormat 0)" in (
        read(a_region(**NOTHING)).image.info.not_analysed or ""
    )


POINT = {"RegionLocationMinX0": 5, "RegionLocationMinY0": 5}


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ({**POINT, "RegionLocationMaxX1": 5, "RegionLocationMaxY1": 5}, "holds one pixel;"),
        ({"RegionLocationMaxX1": 0, "RegionLocationMaxY1": 0}, "holds one pixel;"),
        ({**POINT, "RegionLocationMaxX1": 4, "RegionLocationMaxY1": 80}, "holds no pixel (it ends"),
        ({**POINT, "RegionLocationMaxX1": 80, "RegionLocationMaxY1": 2}, "holds no pixel (it ends"),
        ({**POINT, "RegionLocationMaxX1": 5, "RegionLocationMaxY1": 80}, "holds 1 × 76 pixels;"),
        ({**POINT, "RegionLocationMaxX1": 80, "RegionLocationMaxY1": 19}, "holds 76 × 15 pixels;"),
        ({"RegionLocationMinX0": WIDTH + 9, "RegionLocationMaxX1": WIDTH + 99}, "of the frame;"),
    ],
)
async def test_a_region_of_next_to_nothing_is_said_as_such(
    corners: dict[str, int], words: str, client: httpx.AsyncClient
) -> None:
    region = a_region(**corners)
    assert words in (read(region).image.info.not_analysed or "")
    answer = await client.post("/analyze", files={"image": ("x", calibrated(region))})
    assert words in answer.text
    assert "gain" not in answer.text


def test_a_region_of_one_pixel_beside_a_good_one_is_left_out_and_said() -> None:
    point = a_region(**POINT, RegionLocationMaxX1=5, RegionLocationMaxY1=5, PhysicalDeltaX=0.07)
    for regions in ([point, a_region()], [a_region(), point]):
        info = read(*regions).image.info
        assert len(info.regions) == 1
        assert info.spacing_mm is not None
        assert info.spacing_mm.x == pytest.approx(0.5)
        assert any("left out, since it holds one pixel" in note for note in info.conversions)
