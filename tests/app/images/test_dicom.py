"""DICOM files: their frame in every syntax that is read, a clear message for the others."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from pydicom.data import get_testdata_file

from app.errors import ImageRejected, ImageUnreadable, ImageUnsupported, RequestRejected
from app.images.ingest import Ingested, ingest, load_image
from reports.model import Colour, PixelAspect
from tests.app.dicom_files import (
    EXPLICIT_BIG,
    HEIGHT,
    JPEG_BASELINE,
    LIMIT_PIXELS,
    SECONDARY_CAPTURE,
    SHARED,
    US_MULTI_FRAME,
    WIDTH,
    a_dataset,
    a_dicom,
    a_region,
    calibrated,
    compressed,
    element,
    in_jpeg,
    needs_shared,
    shared_index,
    speckle,
    written,
)

IMPLICIT, DEFLATED, RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"


def read(data: bytes, frame: int | None = None) -> Ingested:
    return ingest(data, LIMIT_PIXELS, frame)


def a_palette(depth: int, entries: int = 256, first: int = 0, big: bool = False) -> dict[str, Any]:
    """A palette that turns grey upside down, of 8- or 16-bit entries."""
    values = (np.arange(entries)[::-1] * 255 // max(1, entries - 1)).astype(np.uint16)
    table = values.astype(np.uint8) if depth == 8 else values * 257
    kind = table.dtype if depth == 8 else np.dtype(">u2" if big else "<u2")
    data = table.astype(kind).tobytes()
    return {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{
            f"{colour}PaletteColorLookupTable{what}": value
            for colour in ("Red", "Green", "Blue")
            for what, value in (("Descriptor", [entries % 65536, first, depth]), ("Data", data))
        },
    }


@pytest.mark.parametrize("syntax", [IMPLICIT, DEFLATED, EXPLICIT_BIG])
def test_an_uncompressed_frame_is_read_as_it_is(syntax: str) -> None:
    dataset = a_dataset(SequenceOfUltrasoundRegions=[a_region()])
    assert (read(written(dataset, syntax)).image.pixels == speckle()).all()


@pytest.mark.parametrize("syntax", [RLE, JPEG_LS, J2K_LOSSLESS])
def test_a_losslessly_compressed_frame_is_the_same_pixels(syntax: str) -> None:
    assert (read(compressed(a_dataset(), syntax)).image.pixels == speckle()).all()


def test_a_lossily_compressed_frame_is_close() -> None:
    for data in (
        in_jpeg([speckle()]),
        compressed(a_dataset(), JPEG_LS_NEAR, jls_error=2),
        compressed(a_dataset(), J2K, j2k_cr=[2]),
    ):
        assert np.abs(read(data).image.pixels.astype(int) - speckle()).mean() < 4


def a_wash() -> npt.NDArray[np.uint8]:
    """A smooth picture whose three channels differ."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([rows * 2, columns, np.full_like(rows, 40)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_is_read_by_pixel_and_by_plane(planar: int) -> None:
    stored = a_wash() if planar == 0 else np.moveaxis(a_wash(), 2, 0)
    data = a_dicom(a_wash(), PlanarConfiguration=planar, PixelData=stored.tobytes())
    assert (stored_picture(read(data)) == a_wash()).all()


def stored_picture(ingested: Ingested) -> npt.NDArray[np.uint8]:
    return np.asarray(PIL.Image.open(io.BytesIO(ingested.png)))


def test_ybr_full_and_422_become_the_same_colours() -> None:
    ybr = np.asarray(PIL.Image.fromarray(a_wash()).convert("YCbCr"))
    halved = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=2)
    full = a_dicom(a_wash(), PhotometricInterpretation="YBR_FULL", PixelData=ybr.tobytes())
    sampled = a_dicom(
        a_wash(), PhotometricInterpretation="YBR_FULL_422", PixelData=halved.tobytes()
    )
    for data in (full, sampled, in_jpeg([a_wash()])):
        found = stored_picture(read(data)).astype(int)
        assert np.abs(found - a_wash()).max() <= 8
        assert np.abs(found - a_wash()).mean() < 2


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT_BIG, RLE])
def test_a_palette_of_8_or_16_bits_is_looked_up(depth: int, syntax: str) -> None:
    dataset = a_dataset(**a_palette(depth, big=syntax == EXPLICIT_BIG))
    if depth == 8 and syntax == EXPLICIT_BIG:
        for colour in ("Red", "Green", "Blue"):
            keyword = f"{colour}PaletteColorLookupTableData"
            swapped = np.frombuffer(dataset[keyword].value, dtype=np.uint16).byteswap()
            setattr(dataset, keyword, swapped.tobytes())
    data = compressed(dataset, RLE) if syntax == RLE else written(dataset, syntax)
    assert (read(data).image.pixels == 255 - speckle()).all()


def test_16_bit_indices_into_a_long_palette_that_starts_late() -> None:
    index = speckle().astype(np.uint16) * 4 + 100
    found = read(a_dicom(index, **a_palette(16, entries=1021, first=100))).image.pixels
    assert np.abs(found.astype(int) - (255 - speckle())).max() <= 1


def test_12_bits_in_16_are_scaled_over_their_12() -> None:
    deep = speckle().astype(np.uint16) * 16
    ingested = read(a_dicom(deep, BitsStored=12, HighBit=11))
    assert np.abs(ingested.image.pixels.astype(int) - speckle()).max() <= 1
    assert "12-bit grey scaled linearly, 0 to 4095" in ingested.image.info.conversions[0]


def test_monochrome1_is_turned_so_that_bright_is_echogenic() -> None:
    ingested = read(a_dicom(PhotometricInterpretation="MONOCHROME1"))
    assert (ingested.image.pixels == 255 - speckle()).all()


def a_cine(count: int = 5) -> npt.NDArray[np.uint8]:
    return np.stack([np.roll(speckle(), 7 * index, axis=1) for index in range(count)])


@pytest.mark.parametrize("form", ["raw", RLE, JPEG_LS])
def test_a_frame_is_chosen_by_its_number_from_0(form: str) -> None:
    data = a_dicom(a_cine()) if form == "raw" else compressed(a_dataset(a_cine()), form)
    for frame in (0, 3, 4):
        ingested = read(data, frame)
        assert (ingested.image.pixels == a_cine()[frame]).all()
        assert ingested.image.info.frame == frame
        assert ingested.image.info.dicom is not None
        assert ingested.image.info.dicom.frames == 5


def test_no_frame_is_taken_for_granted() -> None:
    with pytest.raises(RequestRejected, match=r"5 frames.*from 0 to 4"):
        read(a_dicom(a_cine()))
    with pytest.raises(RequestRejected, match="5 frames"):
        read(a_dicom(a_cine()), 5)
    with pytest.raises(RequestRejected, match="one frame"):
        read(a_dicom(), 1)


def test_a_still_needs_no_frame_and_has_none() -> None:
    assert read(a_dicom()).image.info.frame is None
    assert read(a_dicom(), 0).image.info.frame is None
    assert read(a_dicom(a_cine(1)), 0).image.info.frame is None


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.10008.1.2.4.102", "MPEG-4"),
        ("1.2.3.4.5", "1.2.3.4.5"),
    ],
)
def test_a_syntax_that_is_not_decoded_is_named(syntax: str, name: str) -> None:
    baseline = element(2, 0x10, b"UI", JPEG_BASELINE.encode())
    other = element(2, 0x10, b"UI", syntax.encode() + b"\0" * (len(syntax) % 2))
    data = in_jpeg([speckle()])
    assert baseline in data
    with pytest.raises(ImageUnsupported, match=name):
        read(data.replace(baseline, other))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, ImageUnsupported),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.33"}, ImageUnsupported),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT"}, ImageUnsupported),
        ({"PhotometricInterpretation": "HSV"}, ImageUnsupported),
        ({"Rows": 8, "Columns": 8, "PixelData": bytes(64)}, ImageUnreadable),
        ({"Rows": None}, ImageUnreadable),
    ],
    ids=["CT", "SR", "capture of another modality", "HSV", "tiny", "no Rows"],
)
def test_what_is_no_ultrasound_image_is_refused(
    changes: dict[str, Any], error: type[ImageRejected]
) -> None:
    with pytest.raises(ImageRejected) as caught:
        read(a_dicom(**changes))
    assert type(caught.value) is error
    assert str(caught.value).endswith(".")


def test_a_secondary_capture_of_an_ultrasound_is_read() -> None:
    info = read(a_dicom(SOPClassUID=SECONDARY_CAPTURE)).image.info
    assert info.dicom is not None
    assert info.dicom.sop_class_uid == SECONDARY_CAPTURE


def test_a_stored_frame_is_the_same_image_again() -> None:
    ingested = read(calibrated())
    again = load_image(ingested.png, ingested.image.info)
    assert again.key == ingested.image.key


PACKAGED = {
    "JPEG2000.dcm": ImageUnsupported,
    "CT_small.dcm": ImageUnsupported,
    "MR_small_expb.dcm": ImageUnsupported,
    "reportsi.dcm": ImageUnsupported,
    "SC_rgb_jpeg_dcmtk.dcm": ImageUnsupported,
    "image_dfl.dcm": ImageUnsupported,
    "no_meta.dcm": ImageUnsupported,
    "dicomdirtests/DICOMDIR": ImageUnsupported,
}


@pytest.mark.parametrize("name", PACKAGED)
def test_files_of_other_kinds_are_unsupported(name: str) -> None:
    path = get_testdata_file(name, download=False)
    if not isinstance(path, str):
        pytest.skip(f"this pydicom has no {name}")
    with pytest.raises(PACKAGED[name]) as caught:
        read(Path(path).read_bytes())
    assert str(caught.value).endswith(".")


def test_pydicoms_own_ultrasound_image_is_read_and_its_calibration_refused() -> None:
    path = get_testdata_file("examples_palette.dcm", download=False)
    assert isinstance(path, str)
    info = read(Path(path).read_bytes()).image.info
    assert info.spacing_mm is None
    assert info.spacing_reason is not None
    assert "resized or cropped" in info.spacing_reason


@needs_shared
@pytest.mark.parametrize("entry", shared_index(), ids=lambda entry: str(entry["file"]))
def test_every_real_file_is_calibrated_or_refused_as_its_index_says(entry: dict[str, Any]) -> None:
    data = (SHARED / entry["file"]).read_bytes()
    info = read(data, entry["frames"] - 1 if entry["frames"] > 1 else None).image.info
    assert (info.width_px, info.height_px) == (entry["columns"], entry["rows"])
    tissue = [item for item in entry["regions"] if (item["sf"], item["dtype"]) == (1, 1)]
    if not tissue:
        assert info.regions == ()
        assert info.spacing_mm is None
        assert info.pixel_aspect is PixelAspect.ASSUMED_SQUARE
        return
    assert [region.box[:2] for region in info.regions] == [(t["x0"], t["y0"]) for t in tissue]
    if entry["file"] == "examples_palette.dcm":
        assert info.spacing_mm is None
        assert "overruns the image by 169 pixels" in (info.spacing_reason or "")
        return
    assert info.spacing_mm is not None
    assert info.spacing_mm.x == pytest.approx(10 * tissue[0]["dx"])
    assert info.spacing_mm.y == pytest.approx(10 * tissue[0]["dy"])
    assert info.pixel_aspect is PixelAspect.KNOWN
    assert info.dicom is not None
    assert info.dicom.masked_px > 0


@needs_shared
def test_one_image_in_four_syntaxes_is_one_image() -> None:
    names = ("OBXXXX1A.dcm", "OBXXXX1A_expb.dcm", "OBXXXX1A_rle.dcm")
    keys = {read((SHARED / name).read_bytes()).key for name in names}
    assert len(keys) == 1


async def test_the_service_reports_a_dicom_frame_with_its_size(client: httpx.AsyncClient) -> None:
    data = a_dicom(a_cine(), SequenceOfUltrasoundRegions=[a_region()])
    for frame, status in (("7", 422), ("first", 422), ("2", 200)):
        answer = await client.post("/analyze", files={"image": ("x", data)}, data={"frame": frame})
        assert answer.status_code == status, answer.text
    report = answer.json()
    assert report["image"]["frame"] == report["request"]["frame"] == 2
    assert report["image"]["spacing_mm"] == {"x": pytest.approx(0.5), "y": pytest.approx(0.2)}
    assert report["image"]["spacing_source"] == "SequenceOfUltrasoundRegions"
    assert report["image"]["pixel_aspect"] == "known"
    page = (await client.get(f"/analyses/{report['analysis_id']}/view")).text
    assert "Frame 3 of 5: named in the request" in page
    assert "Analysed region 1 of 1: 0.5 × 0.2 mm per pixel" in page


async def test_what_shows_no_tissue_gets_a_refused_report(client: httpx.AsyncClient) -> None:
    flow = a_region(RegionDataType=2)
    m_mode = a_region(RegionSpatialFormat=2, PhysicalUnitsXDirection=4)
    for region, word in ((m_mode, "M-mode"), (flow, "colour flow")):
        answer = await client.post("/analyze", files={"image": ("x", calibrated(region))})
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert report["outcome"] == "refused"
        assert word in report["reason"]


def test_colour_flow_over_tissue_is_colour_and_beside_it_is_masked() -> None:
    half = WIDTH // 2
    left, right = {"RegionLocationMaxX1": half - 1}, {"RegionLocationMinX0": half}
    grey = np.repeat(speckle()[..., None], 3, axis=2)
    colours = grey.copy()
    colours[20:60, half + 10 : half + 60] = (210, 40, 20)
    over = a_dicom(
        colours, SequenceOfUltrasoundRegions=[a_region(), a_region(RegionDataType=2, **right)]
    )
    beside = a_dicom(
        colours,
        SequenceOfUltrasoundRegions=[a_region(**left), a_region(RegionDataType=2, **right)],
    )
    assert read(over).image.info.colour is Colour.COLOUR
    seen = read(beside).image
    assert seen.info.colour is Colour.GREY
    assert not seen.pixels[:, half:].any()
    assert (seen.pixels[:, :half] == speckle()[:, :half]).all()


def test_multi_frame_class_with_one_frame_is_a_still() -> None:
    assert read(a_dicom(SOPClassUID=US_MULTI_FRAME)).image.info.frame is None
