"""A marker wherever a DICOM file may hold a name: none is found in anything the service returns.

The attributes are all that pydicom's dictionary knows with a text, date, number string or UID as
value, which holds those of the basic profile (PS3.15 table E.1-1), but for the few that say how
the pixels are stored.
"""

import io
import logging
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from app.settings import Settings
from reports.forms.render import ReportForm
from tests.app.dicom_files import UIDS, US_MULTI_FRAME, a_dataset, a_region, in_jpeg, speckle

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
NUMBERED = {"DA": "18991213", "DT": "18991213235958.471104", "TM": "235958.471104"}
FORM_OF_PIXELS = {
    *("SOPClassUID", "Modality", "PhotometricInterpretation", "BurnedInAnnotation"),
    *("SequenceOfUltrasoundRegions", "PixelAspectRatio", "PixelSpacing", "NumberOfFrames"),
}
MARK = b"ZQXJV"
_WHOLE = re.compile(rb"ZQXJV|1\.2\.3\.4711|18991213|235958\.4711")


def planted() -> Dataset:
    """A calibrated cine with a marker in every attribute, private ones, sequences and overlays."""
    cine = np.stack([np.roll(speckle(), 5 * index, axis=1) for index in range(3)])
    dataset = a_dataset(cine, SequenceOfUltrasoundRegions=[a_region(RegionLocationMinY0=20)])
    inner = Dataset()
    for into in (inner, dataset):
        for number, (tag, (vr, _, _, _, keyword)) in enumerate(DicomDictionary.items()):
            group = tag >> 16
            if group < 8 or not keyword or keyword in FORM_OF_PIXELS or "Palette" in keyword:
                continue
            if vr in TEXT:
                into.add_new(tag, vr, f"ZQXJV{number}")
            elif vr in NUMBERED:
                into.add_new(tag, vr, NUMBERED[vr])
            elif vr == "UI" and keyword not in UIDS:
                into.add_new(tag, vr, f"1.2.3.4711.{number}")
    dataset.SOPClassUID = US_MULTI_FRAME
    dataset.RequestAttributesSequence = [inner]
    dataset.OriginalAttributesSequence = [inner]
    block = dataset.private_block(0x0009, "ZQXJVPRIVATE", create=True)
    block.add_new(1, "LO", "ZQXJVPRIVATE-LO")
    block.add_new(2, "UN", b"ZQXJVPRIVATE-UN ")
    block.add_new(3, "SQ", [inner])
    for offset, vr, value in (
        (0x0010, "US", 16),
        (0x0011, "US", 16),
        (0x0022, "LO", "ZQXJVOVERLAY"),
        (0x1500, "LO", "ZQXJVLABEL"),
        (0x3000, "OW", (MARK * 11)[:32]),
        (0x4000, "LT", "ZQXJVCOMMENTS"),
    ):
        dataset.add_new((0x6000 << 16) | offset, vr, value)
    dataset.DataSetTrailingPadding = MARK * 8
    dataset.IconImageSequence = [inner]
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = UID(UIDS["SOPInstanceUID"])
    meta.SourceApplicationEntityTitle = "ZQXJVAETITLE"
    meta.SendingApplicationEntityTitle = "ZQXJVSENDER"
    meta.PrivateInformationCreatorUID = UID("1.2.3.4711.77")
    meta.PrivateInformation = MARK * 4
    return dataset


def planted_file() -> bytes:
    """That data set as a file, with markers in its preamble and behind its end."""
    return file_of(planted())


def file_of(dataset: Dataset) -> bytes:
    """The file of that data set, which need not be a valid one."""
    dataset.preamble = (MARK * 26)[:128]
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=False)
    return file.getvalue()


def found_in(data: bytes) -> set[bytes]:
    return set(_WHOLE.findall(data))


def test_the_markers_are_where_names_are() -> None:
    dataset = dcmread(io.BytesIO(planted_file()))
    for keyword in (
        "PatientName",
        "PatientID",
        "OperatorsName",
        "AccessionNumber",
        "ImageComments",
    ):
        assert "ZQXJV" in str(dataset[keyword].value)
    assert len(re.findall(rb"ZQXJV", planted_file())) > 2000


async def test_no_marker_comes_out_anywhere(
    client: httpx.AsyncClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upload = {"image": ("ZQXJV_Roe^Jane.dcm", planted_file(), "text/ZQXJV")}
    caplog.clear()  # pydicom speaks of the values that it writes here.
    given: list[tuple[str, bytes]] = []
    for fields in ({}, {"frame": "1"}):
        answer = await client.post("/analyze", files=upload, data=fields)
        assert answer.status_code == 200, answer.text
        here = f"/analyses/{answer.json()['analysis_id']}"
        paths = [
            here,
            f"{here}/events",
            f"{here}/view",
            f"{here}/image.png",
            f"{here}/thumbnail.png",
            "/",
        ]
        paths += [f"{here}/report.{form}" for form in ReportForm]
        if not fields:
            paths += [f"{here}/frames/1", f"{here}/frames/1.png"]
        for path in paths:
            shown = await client.get(path)
            given.append((path, shown.content + str(shown.headers).encode()))
    asked = await client.post("/specialists/exam_cls", files=upload, data={"frame": "0"})
    assert asked.status_code == 200, asked.text
    given.append(("specialist", asked.content))
    given += [(path.name, path.read_bytes()) for path in _files(settings.data_dir)]
    assert {name: found_in(data) for name, data in given if found_in(data)} == {}
    assert found_in(caplog.text.encode()) == set()


@pytest.mark.parametrize(
    "keyword",
    [
        "SOPClassUID",
        "Modality",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "BitsStored",
    ],
)
async def test_no_marker_comes_out_of_a_refusal_or_a_note(
    keyword: str, client: httpx.AsyncClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dataset = planted()
    del dataset[keyword]
    dataset.add_new(keyword, "LO", "ZQXJV4711")
    bodies = [file_of(dataset)]
    if keyword == "SOPClassUID":
        cut = in_jpeg([speckle()])
        bodies += [
            planted_file()[:-40_000],
            planted_file()[132:],
            cut.replace(b"\xff\xd8\xff", MARK),
        ]
    caplog.clear()
    for data in bodies:
        answer = await client.post("/analyze", files={"image": ("ZQXJV.dcm", data)})
        if keyword in ("SOPClassUID", "Rows"):  # The others are settled by the pixels.
            assert 400 <= answer.status_code < 500, answer.text
        assert found_in(answer.content) == set()
    assert found_in(caplog.text.encode()) == set()
    assert {path.name for path in _files(settings.data_dir) if found_in(path.read_bytes())} == set()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
