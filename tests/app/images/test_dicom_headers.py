"""Headers that contradict their pixels: settled by what cannot lie, or refused by attribute."""

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from app.errors import ImageUnreadable
from app.images.ingest import Ingested, ingest
from reports.model import Colour
from tests.app.dicom_files import (
    JPEG_BASELINE,
    LIMIT_PIXELS,
    a_dataset,
    a_dicom,
    compressed,
    in_jpeg,
    speckle,
    written,
)

DEEP = speckle().astype(np.uint16)
GREY_RGB = np.repeat(speckle()[..., None], 3, axis=2)
NEUTRAL = np.dstack([speckle(), *[np.full_like(speckle(), 128)] * 2])


def read(data: bytes) -> Ingested:
    return ingest(data, LIMIT_PIXELS)


def without(dataset: Dataset, *keywords: str) -> bytes:
    for keyword in keywords:
        del dataset[keyword]
    return written(dataset)


def ycc_jpeg(subsampling: int, **changes: Any) -> bytes:
    """A JPEG of components 1, 2, 3 without JFIF, as some devices label RGB."""
    file = io.BytesIO()
    PIL.Image.fromarray(GREY_RGB).save(file, "JPEG", quality=95, subsampling=subsampling)
    stream = file.getvalue()
    stream = stream[:2] + stream[4 + int.from_bytes(stream[4:6]) :]
    dataset = a_dataset(GREY_RGB, **changes)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    return written(dataset, JPEG_BASELINE)


SETTLED = {
    "12 bits at the top": a_dicom(DEEP * 256 & 0xFFF0, BitsStored=12, HighBit=15),
    "12 bits at the top, HighBit 11": a_dicom(DEEP * 256 & 0xFFF0, BitsStored=12, HighBit=11),
    "12 bits at the bottom, HighBit 15": a_dicom(DEEP * 16 + 15, BitsStored=12, HighBit=15),
    "8 bits at the top of 16": a_dicom(DEEP * 256, BitsStored=8, HighBit=15),
    "8 bits in 16": a_dicom(DEEP),
    "8 bits in 12": a_dicom(DEEP, BitsStored=12, HighBit=11),
    "8 bits in 16 with a window": a_dicom(DEEP, WindowCenter=128, WindowWidth=256),
    "8 bits in signed 16": a_dicom(DEEP, PixelRepresentation=1),
    "12 bits in 16": a_dicom(DEEP * 16 + 15),
    "12 bits in 16 with a window": a_dicom(DEEP * 16 + 15, WindowCenter=2048, WindowWidth=4096),
    "12 bits, 8 stated": a_dicom(DEEP * 16 + 15, BitsStored=8, HighBit=7),
    "7 bits stated": a_dicom(BitsStored=7, HighBit=6),
    "HighBit 15 of 8": a_dicom(HighBit=15),
    "an overlay's bit": a_dicom(
        DEEP | (np.arange(DEEP.size).reshape(DEEP.shape) % 97 == 0).astype(np.uint16) * 4096,
        BitsStored=8,
        HighBit=7,
    ),
    "no frames": a_dicom(NumberOfFrames=0),
    "no frames, compressed": in_jpeg([speckle()], NumberOfFrames=0),
    "fewer bytes per value": a_dicom(BitsAllocated=16),
    "more bytes per value": a_dicom(DEEP * 16 + 15, BitsAllocated=8, BitsStored=12, HighBit=11),
    "three samples of grey": a_dicom(SamplesPerPixel=3),
    "one sample of RGB": a_dicom(GREY_RGB, SamplesPerPixel=1),
    "no PlanarConfiguration": a_dicom(GREY_RGB, PlanarConfiguration=None),
    "no PixelRepresentation": a_dicom(PixelRepresentation=None),
    "no BitsStored": a_dicom(BitsStored=None, HighBit=None),
    "no SamplesPerPixel": a_dicom(SamplesPerPixel=None),
    "no BitsAllocated": a_dicom(BitsAllocated=None),
    "422 of three bytes": a_dicom(NEUTRAL, PhotometricInterpretation="YBR_FULL_422"),
    "YBR labelled RGB": a_dicom(NEUTRAL),
    "RGB labelled YBR": a_dicom(GREY_RGB, PhotometricInterpretation="YBR_FULL"),
    "YCbCr 4:2:0 labelled RGB": ycc_jpeg(2),
    "YCbCr 4:2:2 labelled RGB": ycc_jpeg(1),
    "YCbCr 4:4:4 labelled RGB": ycc_jpeg(0),
    "8-bit JPEG of 7": in_jpeg([speckle()], BitsStored=7, HighBit=6),
    "8-bit JPEG of 12": in_jpeg([speckle()], BitsAllocated=16, BitsStored=12, HighBit=11),
    "grey JPEG labelled RGB": in_jpeg(
        [speckle()], SamplesPerPixel=3, PhotometricInterpretation="RGB"
    ),
    "12 bits at the top in RLE": compressed(
        a_dataset(DEEP * 256 & 0xFFF0, BitsStored=12, HighBit=15), "1.2.840.10008.1.2.5"
    ),
    "8 bits in 16 in RLE": compressed(a_dataset(DEEP), "1.2.840.10008.1.2.5"),
    "JPEG-LS of 8 bits in 16": compressed(a_dataset(DEEP), "1.2.840.10008.1.2.4.80"),
}


@pytest.mark.parametrize("data", SETTLED.values(), ids=SETTLED)
def test_the_picture_is_as_drawn(data: bytes) -> None:
    read_one = read(data)
    assert read_one.image.info.colour is Colour.GREY
    away = np.abs(read_one.image.pixels.astype(int) - speckle())
    assert away.mean() < 4
    assert np.percentile(away, 99) < 32


@pytest.mark.parametrize(
    ("keyword", "value"), [("PlanarConfiguration", 2), ("PixelRepresentation", 7)]
)
def test_what_nothing_settles_is_refused_by_its_name(keyword: str, value: int) -> None:
    with pytest.raises(ImageUnreadable, match=keyword):
        read(a_dicom(GREY_RGB, **{keyword: value}))


def test_pixels_that_no_reading_fits_are_refused_by_the_attributes_that_could_be_wrong() -> None:
    with pytest.raises(ImageUnreadable, match="NumberOfFrames"):
        ingest(a_dicom(np.stack([speckle()] * 3), NumberOfFrames=5), LIMIT_PIXELS, 0)


@pytest.mark.parametrize("vr", ["OW", "OB", "US", "SS", "UN"])
def test_a_palette_is_read_in_whichever_value_representation(vr: str) -> None:
    ramp = np.arange(256, dtype="<u2") * 257
    dataset = a_dataset(PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        setattr(dataset, f"{name}Descriptor", [256, 0, 16])
        words = ramp.astype("<i2") if vr == "SS" else ramp
        setattr(dataset, f"{name}Data", ramp.tobytes())
        if vr in ("US", "SS"):
            dataset[f"{name}Data"].VR = vr
            dataset[f"{name}Data"].value = [int(word) for word in words]
        else:
            dataset[f"{name}Data"].VR = vr
    assert (read(written(dataset)).image.pixels == speckle()).all()
