"""Headers that contradict their pixels: settled by what cannot lie, or refused by attribute."""

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from scipy import ndimage

from app.errors import ImageRejected, ImageUnreadable
from app.images.ingest import Ingested, ingest
from app.images.multiframe import ingest_frames
from reports.model import Colour
from tests.app.dicom_files import (
    EXPLICIT_BIG,
    HEIGHT,
    JPEG_BASELINE,
    LIMIT_PIXELS,
    WIDTH,
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


MARKED = np.arange(DEEP.size).reshape(DEEP.shape) % 300 == 0
SIGNED = DEEP.astype(np.int16) * 16 - 2048
SMOOTH = ndimage.gaussian_filter(speckle(), 4)
SMOOTH = ((SMOOTH.astype(int) - SMOOTH.min()) * 255 // np.ptp(SMOOTH)).astype(np.uint8)
RLE, LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"


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


def relabelled(data: bytes, syntax: str, stated: str) -> bytes:
    """That file with another transfer syntax stated, and the length of its meta information."""
    old, new = (text.encode() + b"\0" * (len(text) % 2) for text in (syntax, stated))
    at = data.index(b"\x02\0\x10\0UI")
    length = int.from_bytes(data[140:144], "little") + len(new) - len(old)
    return b"".join(
        (
            *(data[:140], length.to_bytes(4, "little"), data[144 : at + 6]),
            *(len(new).to_bytes(2, "little"), new, data[at + 8 + len(old) :]),
        )
    )


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
    "9 bits of 8": a_dicom(BitsStored=9),
    "no bits": a_dicom(BitsStored=0),
    "16 bits, 12 stated": a_dicom(DEEP * 257, BitsStored=12, HighBit=11),
    "8 bits, HighBit of 7": a_dicom(BitsStored=7, HighBit=7),
    "a window of 9 bits": a_dicom(DEEP * 2, WindowCenter=256, WindowWidth=512),
    "a window of the lower bits": a_dicom(DEEP // 4, WindowCenter=32, WindowWidth=64),
    "a window without width": a_dicom(DEEP, WindowCenter=128, WindowWidth=0),
    "a negative window": a_dicom(DEEP, WindowCenter=128, WindowWidth=-256),
    "a window far too wide": a_dicom(DEEP, WindowCenter=32768, WindowWidth=65536),
    "graphics of 65535": a_dicom(np.where(MARKED, 65535, DEEP).astype(np.uint16)),
    "swapped bytes": a_dicom((DEEP * 16 + 15).byteswap(), BitsStored=12, HighBit=11),
    "signed values, unsigned stated": a_dicom(SIGNED, BitsStored=12, HighBit=11),
    "unsigned values, signed stated": a_dicom(SMOOTH, PixelRepresentation=1),
    "signed values, nothing stated": a_dicom(
        SMOOTH.astype(np.int16) * 16 - 2048,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=None,
    ),
    "unsigned JPEG, signed stated": in_jpeg([SMOOTH], PixelRepresentation=1),
    "unsigned RLE, signed stated": compressed(a_dataset(SMOOTH, PixelRepresentation=1), RLE),
    "RGB of 16 bits": a_dicom(GREY_RGB.astype(np.uint16) * 257),
    "by pixel, by plane stated": a_dicom(GREY_RGB, PlanarConfiguration=1),
    "by plane, by pixel stated": a_dicom(GREY_RGB, PixelData=np.moveaxis(GREY_RGB, 2, 0).tobytes()),
    "YBR by plane, by pixel stated": a_dicom(
        NEUTRAL,
        PhotometricInterpretation="YBR_FULL",
        PixelData=np.moveaxis(NEUTRAL, 2, 0).tobytes(),
    ),
    "JPEG by plane": in_jpeg([GREY_RGB], PlanarConfiguration=1),
    "Rows and Columns exchanged": a_dicom(SMOOTH, Rows=WIDTH, Columns=HEIGHT),
    "exchanged in JPEG": in_jpeg([speckle()], Rows=WIDTH, Columns=HEIGHT),
    "no Rows in JPEG": in_jpeg([speckle()], Rows=0),
    "10⁹ frames": a_dicom(NumberOfFrames=10**9),
    "200 frames, one there": in_jpeg([speckle()], NumberOfFrames=200),
    "a negative number of frames": a_dicom(NumberOfFrames="-4"),
    "RGB of one sample, MONOCHROME2 stated": a_dicom(
        GREY_RGB, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2"
    ),
    "grey, RGB stated": a_dicom(PhotometricInterpretation="RGB"),
    "a blank instead of a dash": a_dicom(GREY_RGB, PhotometricInterpretation="YBR FULL"),
    "no PhotometricInterpretation": a_dicom(PhotometricInterpretation=None),
    "nor SamplesPerPixel, of RGB": a_dicom(
        GREY_RGB, PhotometricInterpretation=None, SamplesPerPixel=None
    ),
    "YBR_RCT uncompressed": a_dicom(NEUTRAL, PhotometricInterpretation="YBR_RCT"),
    "YCbCr JPEG labelled YBR_RCT": ycc_jpeg(2, PhotometricInterpretation="YBR_RCT"),
    "JPEG-LS labelled JPEG": relabelled(compressed(a_dataset(), LS), LS, JPEG_BASELINE),
    "JPEG labelled RLE": relabelled(in_jpeg([speckle()]), JPEG_BASELINE, RLE),
    "JPEG labelled uncompressed": relabelled(in_jpeg([speckle()]), JPEG_BASELINE, EXPLICIT),
    "uncompressed labelled JPEG": relabelled(a_dicom(), EXPLICIT, JPEG_BASELINE),
    "implicit labelled explicit": relabelled(written(a_dataset(), IMPLICIT), IMPLICIT, EXPLICIT),
    "explicit labelled implicit": relabelled(a_dicom(), EXPLICIT, IMPLICIT),
    "explicit labelled big-endian": relabelled(a_dicom(), EXPLICIT, EXPLICIT_BIG),
    "explicit labelled deflated": relabelled(a_dicom(), EXPLICIT, DEFLATED),
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


DRAWN_SMOOTH = {
    *("unsigned values, signed stated", "signed values, nothing stated"),
    *("unsigned JPEG, signed stated", "unsigned RLE, signed stated", "Rows and Columns exchanged"),
}


@pytest.mark.parametrize("name", SETTLED)
def test_the_picture_is_as_drawn(name: str) -> None:
    read_one = read(SETTLED[name])
    drawn = SMOOTH if name in DRAWN_SMOOTH else speckle()
    assert read_one.image.info.colour is Colour.GREY
    away = np.abs(read_one.image.pixels.astype(int) - drawn)
    if name == "graphics of 65535":
        away = away[~MARKED]
    assert away.mean() < 4
    assert np.percentile(away, 99) < 32


@pytest.mark.parametrize(
    ("keyword", "value"), [("PlanarConfiguration", 2), ("PixelRepresentation", 7)]
)
def test_what_nothing_settles_is_refused_by_its_name(keyword: str, value: int) -> None:
    with pytest.raises(ImageUnreadable, match=keyword):
        read(a_dicom(GREY_RGB, **{keyword: value}))


REFUSED: dict[str, tuple[bytes, str]] = {
    "32 bits": (
        a_dicom(BitsAllocated=32, BitsStored=32, PixelData=bytes(4 * DEEP.size)),
        "BitsAllocated is 32",
    ),
    "no palette": (a_dicom(PhotometricInterpretation="PALETTE COLOR"), "LookupTableDescriptor"),
    "HSV": (a_dicom(GREY_RGB, PhotometricInterpretation="HSV"), "PhotometricInterpretation is HSV"),
    "one column less": (a_dicom(Columns=WIDTH - 1), "Columns"),
    "one row less": (a_dicom(Rows=HEIGHT - 1), "Rows"),
    "no Rows": (a_dicom(Rows=None), "no valid Rows"),
    "a JPEG of another size": (in_jpeg([speckle()], Rows=HEIGHT - 1), "states Rows 119"),
    "RLE of more": (compressed(a_dataset(), RLE), "Rows × Columns"),
}
REFUSED["RLE of more"] = (
    REFUSED["RLE of more"][0].replace(b"\x28\0\x10\0US\2\0\x78\0", b"\x28\0\x10\0US\2\0\x70\0"),
    REFUSED["RLE of more"][1],
)


@pytest.mark.parametrize(("data", "named"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_attribute_and_calls_nothing_cut(data: bytes, named: str) -> None:
    with pytest.raises(ImageRejected, match=named) as caught:
        read(data)
    assert "cut short" not in str(caught.value)


@pytest.mark.parametrize("frames", [None, 0, 2, 5])
def test_the_number_of_frames_is_that_of_the_pixels(frames: int | None) -> None:
    cine = np.stack([speckle(), speckle()[::-1], speckle()[:, ::-1]])
    for data in (a_dicom(cine, NumberOfFrames=frames), in_jpeg([*cine], NumberOfFrames=frames)):
        found = ingest_frames(data, LIMIT_PIXELS)
        assert [picture.info.frame for picture in found.frames] == [0, 1, 2]
        assert "NumberOfFrames" in found.image.info.conversions[0]


def test_pixels_that_no_reading_fits_are_refused_by_the_attributes_that_could_be_wrong() -> None:
    with pytest.raises(ImageUnreadable, match="NumberOfFrames"):
        ingest(a_dicom(Rows=HEIGHT + 1), LIMIT_PIXELS)


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
