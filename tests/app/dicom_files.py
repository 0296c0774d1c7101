"""DICOM ultrasound files for tests, made by pydicom or byte by byte, and real ones if present."""

import io
import json
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests.app.conftest import some_pixels

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
US_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
HEIGHT, WIDTH = 120, 160
LIMIT_PIXELS = 25_000_000

SECRETS = {
    "PatientName": "Roe^Jane",
    "PatientID": "PID-4711",
    "PatientBirthDate": "19500203",
    "AccessionNumber": "ACC-0815",
    "InstitutionName": "St. Nowhere Hospital",
    "ReferringPhysicianName": "Strange^Stephen",
    "StudyDescription": "Jane Roe follow-up",
    "StudyDate": "20211224",
    "StudyID": "S-9981",
    "StationName": "ROOM-FOUR",
    "DeviceSerialNumber": "SN-55512",
    "ImageComments": "said by Jane Roe",
}
"""Identifying attributes (PS3.15 table E.1-1), each with a value that nothing holds by chance."""

UIDS = {
    "StudyInstanceUID": "1.2.3.4711.1",
    "SeriesInstanceUID": "1.2.3.4711.2",
    "SOPInstanceUID": "1.2.3.4711.3",
}

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "dicom"
needs_shared = pytest.mark.skipif(
    not (SHARED / "index.json").is_file(), reason="../shared/dicom is not on this machine"
)


def shared_index() -> list[dict[str, Any]]:
    """The index of the real files; empty where they are not."""
    index = SHARED / "index.json"
    return list(json.loads(index.read_text(encoding="utf-8"))) if index.is_file() else []


def speckle() -> npt.NDArray[np.uint8]:
    """(H, W) grey values that no two rows share."""
    return some_pixels(HEIGHT, WIDTH)


def a_region(**changes: Any) -> Dataset:
    """A 2D tissue region over the whole frame: 0.05 cm per pixel across, 0.02 down."""
    values = {
        "RegionSpatialFormat": 1,
        "RegionDataType": 1,
        "RegionFlags": 0,
        "RegionLocationMinX0": 0,
        "RegionLocationMinY0": 0,
        "RegionLocationMaxX1": WIDTH - 1,
        "RegionLocationMaxY1": HEIGHT - 1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.05,
        "PhysicalDeltaY": 0.02,
    }
    region = Dataset()
    for keyword, value in (values | changes).items():
        if value is not None:
            setattr(region, keyword, value)
    return region


def a_dataset(pixels: npt.NDArray[Any] | None = None, **changes: Any) -> Dataset:
    """A US image of those pixels, (H, W), (H, W, 3) or (N, H, W), with identifying attributes."""
    pixels = speckle() if pixels is None else pixels
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    cine = pixels.ndim == 3 and not colour
    bits = pixels.dtype.itemsize * 8
    values: dict[str, Any] = {
        **SECRETS,
        **UIDS,
        "SOPClassUID": US_MULTI_FRAME if cine else US_IMAGE,
        "Modality": "US",
        "Rows": pixels.shape[1] if cine else pixels.shape[0],
        "Columns": pixels.shape[2] if cine else pixels.shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    if colour:
        values["PlanarConfiguration"] = 0
    if cine:
        values["NumberOfFrames"] = len(pixels)
    dataset = Dataset()
    for keyword, value in (values | changes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    return dataset


def written(dataset: Dataset, syntax: str | None = None) -> bytes:
    """That data set as a file; `syntax` names another one without changing the pixels."""
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # pydicom warns of what these files are wrong in on purpose.
        dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def a_dicom(pixels: npt.NDArray[Any] | None = None, **changes: Any) -> bytes:
    """A US image as a file."""
    return written(a_dataset(pixels, **changes))


def calibrated(*regions: Dataset, **changes: Any) -> bytes:
    """A US image with those regions; with a region over the whole frame when none is given."""
    return a_dicom(SequenceOfUltrasoundRegions=list(regions or (a_region(),)), **changes)


def compressed(dataset: Dataset, syntax: str, **options: Any) -> bytes:
    """That data set compressed by pydicom's encoder of that syntax."""
    dataset.compress(UID(syntax), generate_instance_uid=False, **options)
    return written(dataset)


def in_jpeg(frames: list[npt.NDArray[np.uint8]], **changes: Any) -> bytes:
    """Frames in baseline JPEG, in as many fragments; colours as YBR_FULL_422."""
    streams = []
    for frame in frames:
        file = io.BytesIO()
        PIL.Image.fromarray(frame).save(file, "JPEG", quality=95)
        streams.append(file.getvalue())
    pixels = frames[0] if len(frames) == 1 else np.stack(frames)
    dataset = a_dataset(pixels)
    if frames[0].ndim == 3:
        dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].is_undefined_length = True
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return written(dataset, JPEG_BASELINE)


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One explicit little-endian element; `length` lies about its value's."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", group, number) + vr
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + b"\0\0" + struct.pack("<I", size) + value
    return head + struct.pack("<H", size) + value


def raw_file(body: bytes, syntax: bytes = b"1.2.840.10008.1.2.1", preamble: bytes = b"") -> bytes:
    """A file of that data set, whose meta information says no more than its transfer syntax."""
    syntax += b"\0" * (len(syntax) % 2)
    return preamble.ljust(128, b"\0") + b"DICM" + element(2, 0x10, b"UI", syntax) + body
