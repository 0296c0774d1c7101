"""Unusual but valid DICOM files: read as far as they are clear, else refused by what they are."""

import gzip
import io
import zipfile

import httpx
import numpy as np
import pytest

from app.errors import ImageUnreadable, ImageUnsupported
from app.images.ingest import Ingested, ingest
from app.images.multiframe import ingest_frames
from reports.model import Colour, PixelAspect
from tests.app.dicom_files import (
    HEIGHT,
    LIMIT_PIXELS,
    SECONDARY_CAPTURE,
    US_MULTI_FRAME,
    WIDTH,
    a_dataset,
    a_dicom,
    a_region,
    calibrated,
    raw_file,
    speckle,
    written,
)

ENHANCED_VOLUME = "1.2.840.10008.5.1.4.1.1.6.2"
MULTI_FRAME_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.2"


def read(data: bytes, frame: int | None = None) -> Ingested:
    return ingest(data, LIMIT_PIXELS, frame)


def zipped(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.dcm", data)
    return file.getvalue()


def after_meta(data: bytes) -> bytes:
    """The data set alone, without preamble and meta information."""
    length = int.from_bytes(data[140:144], "little")
    return data[144 + length :]


def test_a_file_whose_preamble_was_cut_off_is_the_same_image() -> None:
    assert read(calibrated()[132:]).key == read(calibrated()).key


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (gzip.compress(calibrated()), "gzip"),
        (zipped(calibrated()), "zip"),
        (after_meta(calibrated()), "without its file header"),
        (after_meta(written(a_dataset(), "1.2.840.10008.1.2")), "without its file header"),
        (a_dicom(SOPClassUID=ENHANCED_VOLUME), "Enhanced US Volume"),
    ],
    ids=["gzip", "zip", "data set", "implicit data set", "volume"],
)
def test_what_is_not_read_is_named(data: bytes, word: str) -> None:
    with pytest.raises(ImageUnsupported, match=word):
        read(data)


async def test_neither_type_nor_name_of_a_part_decides_what_it_is(
    client: httpx.AsyncClient,
) -> None:
    for name, kind in (("a.png", "image/png"), ("a.exe", "application/x-msdownload"), ("a", "")):
        answer = await client.post("/analyze", files={"image": (name, calibrated(), kind)})
        assert answer.status_code == 200, answer.text
        assert answer.json()["image"]["spacing_mm"] is not None


def test_signed_pixels_are_read_from_their_lowest_value() -> None:
    signed = speckle().astype(np.int16) * 16 - 2048
    ingested = read(a_dicom(signed, BitsStored=12, HighBit=11, PixelRepresentation=1))
    assert np.abs(ingested.image.pixels.astype(int) - speckle()).max() <= 1


def test_16_bits_with_a_window_are_scaled_over_all_bits_and_the_window_is_said() -> None:
    deep = speckle().astype(np.uint16) * 257
    ingested = read(a_dicom(deep, WindowCenter=1000, WindowWidth=400))
    assert (ingested.image.pixels == speckle()).all()
    assert any(
        "window" in note and "not applied" in note for note in ingested.image.info.conversions
    )


def test_monochrome1_of_12_bits_is_turned_after_scaling() -> None:
    deep = speckle().astype(np.uint16) * 16
    ingested = read(
        a_dicom(deep, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    )
    assert np.abs(ingested.image.pixels.astype(int) - (255 - speckle())).max() <= 1


def test_an_empty_or_missing_sequence_of_regions_leaves_the_frame_whole_and_in_px() -> None:
    for data in (a_dicom(), a_dicom(SequenceOfUltrasoundRegions=[])):
        info = read(data).image.info
        assert (info.regions, info.spacing_mm) == ((), None)
        assert info.not_analysed is None
        assert info.dicom is not None
        assert info.dicom.masked_px == 0


def test_a_frame_of_graphics_is_not_analysed_and_its_kind_is_said() -> None:
    info = read(calibrated(a_region(RegionSpatialFormat=5, RegionDataType=0))).image.info
    assert "graphics" in (info.not_analysed or "")


def test_a_region_without_a_corner_is_a_damaged_file() -> None:
    with pytest.raises(ImageUnreadable, match="RegionLocationMaxX1"):
        read(calibrated(a_region(RegionLocationMaxX1=None)))


def test_duplex_keeps_the_tissue_and_drops_the_spectrum_below() -> None:
    half = HEIGHT // 2
    tissue = a_region(RegionLocationMaxY1=half - 1)
    spectrum = a_region(
        RegionSpatialFormat=3, RegionDataType=3, RegionLocationMinY0=half, PhysicalUnitsXDirection=4
    )
    ingested = read(calibrated(tissue, spectrum))
    assert (ingested.image.pixels[:half] == speckle()[:half]).all()
    assert not ingested.image.pixels[half:].any()
    assert ingested.image.info.spacing_mm is not None


def test_a_part_of_a_concatenation_is_the_frames_that_it_holds() -> None:
    cine = np.stack([np.roll(speckle(), 9 * index, axis=1) for index in range(3)])
    data = a_dicom(
        cine,
        ConcatenationUID="1.2.3.9",
        InConcatenationNumber=2,
        InConcatenationTotalNumber=4,
        SOPInstanceUIDOfConcatenationSource="1.2.3.10",
    )
    frames = ingest_frames(data, LIMIT_PIXELS).frames
    assert [frame.info.frame for frame in frames] == [0, 1, 2]
    assert frames[2].info.dicom is not None
    assert frames[2].info.dicom.frames == 3


def test_captures_of_several_frames_and_their_spacing_are_read() -> None:
    cine = np.stack([speckle(), 255 - speckle()])
    data = a_dicom(cine, SOPClassUID=MULTI_FRAME_CAPTURE, PixelSpacing=[0.2, 0.3])
    info = read(data, 1).image.info
    assert info.spacing_mm is not None
    assert (info.spacing_mm.x, info.spacing_mm.y) == pytest.approx((0.3, 0.2))


def test_a_capture_without_spacing_is_in_px() -> None:
    info = read(a_dicom(SOPClassUID=SECONDARY_CAPTURE)).image.info
    assert info.spacing_mm is None
    assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE


def test_one_frame_of_the_multi_frame_class_is_named_or_not() -> None:
    data = a_dicom(np.stack([speckle()]), SOPClassUID=US_MULTI_FRAME)
    assert read(data).key == read(data, 0).key == ingest_frames(data, LIMIT_PIXELS).key


def test_a_black_frame_is_read_and_grey() -> None:
    info = read(a_dicom(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))).image.info
    assert info.colour is Colour.GREY


def test_a_file_without_a_data_set_does_not_state_what_it_is() -> None:
    with pytest.raises(ImageUnsupported, match="SOPClassUID"):
        read(raw_file(b""))
