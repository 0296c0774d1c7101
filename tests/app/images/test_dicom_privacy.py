"""No identifying attribute of a DICOM file is kept, shown or logged."""

import io
import logging
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest
from pydicom.uid import UID

from app.errors import StoreUnavailable
from app.images.dicom.uids import UidMap
from app.images.ingest import ingest
from app.settings import Settings
from tests.app.dicom_files import (
    LIMIT_PIXELS,
    SECRETS,
    UIDS,
    US_IMAGE,
    a_dicom,
    a_region,
    calibrated,
    in_jpeg,
    speckle,
)

WORDS = [*SECRETS.values(), *UIDS.values()]


def leaks(data: bytes) -> list[str]:
    return [word for word in WORDS if word.encode() in data]


async def test_nothing_that_identifies_reaches_store_log_events_report_or_page(
    client: httpx.AsyncClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    data = calibrated()
    assert sorted(leaks(data)) == sorted(WORDS)
    answer = await client.post("/analyze", files={"image": ("Roe^Jane.dcm", data)})
    assert answer.status_code == 200, answer.text
    here = f"/analyses/{answer.json()['analysis_id']}"
    shown = [answer.content]
    for path in ("", "/report.html", "/report.txt", "/events", "/view", "/image.png"):
        shown.append((await client.get(here + path)).content)
    shown.append((await client.get("/")).content)
    kept = [path.read_bytes() for path in settings.data_dir.rglob("*") if path.is_file()]
    assert kept
    assert [leaks(text) for text in shown + kept if leaks(text)] == []
    assert leaks(caplog.text.encode()) == []


async def test_nothing_that_identifies_reaches_an_error(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = in_jpeg([speckle()])
    for data in (
        a_dicom(SOPClassUID="1.2.3.4711.1"),
        a_dicom(PhotometricInterpretation="ACC 0815", Rows=113),
        a_dicom(Rows=None, PatientID="PID-4711"),
        a_dicom(PixelData=b"ab"),
        broken[: len(broken) // 2],
        broken.replace(b"\xff\xd8\xff", b"Roe"),
    ):
        answer = await client.post("/analyze", files={"image": ("x", data)})
        assert 400 <= answer.status_code < 500
        assert leaks(answer.content) == []
    assert leaks(caplog.text.encode()) == []


def test_uids_of_one_study_belong_together_and_do_not_lead_back(tmp_path: Path) -> None:
    uids = UidMap.of(tmp_path)
    variants: list[dict[str, Any]] = [
        {},
        {"SOPInstanceUID": "1.2.3.4711.9"},
        {"StudyInstanceUID": "1.2.9"},
    ]
    sources = [
        ingest(a_dicom(**changes), LIMIT_PIXELS, None, uids).image.info.dicom
        for changes in variants
    ]
    one, same_study, other_study = (source for source in sources if source is not None)
    assert one.study_uid == same_study.study_uid != other_study.study_uid
    assert one.series_uid == same_study.series_uid
    assert one.instance_uid != same_study.instance_uid
    for uid in (one.study_uid, one.series_uid, one.instance_uid):
        assert UID(uid).is_valid
        assert uid not in UIDS.values()
    assert one.sop_class_uid == US_IMAGE


def test_uids_are_the_same_after_a_restart_and_others_elsewhere(tmp_path: Path) -> None:
    here, again = (UidMap.of(tmp_path / "a").remap("1.2.3") for _ in range(2))
    assert here == again
    assert here != UidMap.of(tmp_path / "b").remap("1.2.3")
    assert here != UidMap.of(tmp_path / "a").remap("1.2.4")


def test_a_file_without_uids_gets_some(tmp_path: Path) -> None:
    data = a_dicom(StudyInstanceUID=None, SeriesInstanceUID="4711")
    source = ingest(data, LIMIT_PIXELS, None, UidMap.of(tmp_path)).image.info.dicom
    assert source is not None
    assert len({source.study_uid, source.series_uid, source.instance_uid}) == 3
    assert all(UID(uid).is_valid for uid in (source.study_uid, source.series_uid))


def test_the_key_is_its_owners_alone_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    uids = UidMap.of(tmp_path)
    path = tmp_path / "uid.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert uids.key.hex() not in repr(uids)
    assert [item.name for item in tmp_path.iterdir()] == ["uid.key"]
    path.write_bytes(b"short")
    with pytest.raises(StoreUnavailable, match="damaged"):
        UidMap.of(tmp_path)


def test_a_banner_is_gone_before_the_frame_is_kept() -> None:
    pixels = speckle()
    pixels[:20] = 255
    region = a_region(RegionLocationMinY0=20)
    ingested = ingest(a_dicom(pixels, SequenceOfUltrasoundRegions=[region]), LIMIT_PIXELS)
    stored = np.asarray(PIL.Image.open(io.BytesIO(ingested.png)))
    assert not stored[:20].any()
    assert (stored[20:] == pixels[20:]).all()
    assert ingested.image.info.dicom is not None
    assert ingested.image.info.dicom.masked_px == 20 * pixels.shape[1]


@pytest.mark.parametrize(
    ("stated", "words"),
    [("YES", "states yes"), ("NO", "states no"), (None, "is not stated")],
)
async def test_a_report_says_what_is_known_of_burned_in_text(
    client: httpx.AsyncClient, stated: str | None, words: str
) -> None:
    for data, rest in (
        (
            calibrated(a_region(RegionLocationMinY0=20), BurnedInAnnotation=stated),
            "3200 px outside",
        ),
        (a_dicom(BurnedInAnnotation=stated), "nothing was blackened"),
    ):
        answer = await client.post("/analyze", files={"image": ("x", data)})
        [line] = [text for text in answer.json()["limitations"] if text.startswith("Burned-in")]
        assert f"BurnedInAnnotation {words}" in line
        assert rest in line


def test_a_study_is_named_by_a_keyed_hash_of_its_label_or_of_its_uid() -> None:
    uids, others = UidMap(b"k" * 32), UidMap(b"o" * 32)
    of_uid = uids.study_id(None, uids.remap("1.2.3"))
    assert of_uid == f"{int(uids.remap('1.2.3').removeprefix('2.25.')):032x}"
    named = uids.study_id("Visit 7", uids.remap("1.2.3"))
    assert named == uids.study_id("  visit   7 ", None) != of_uid
    assert named != others.study_id("Visit 7", None)
    assert uids.study_id("1.2.3", None) != of_uid
    assert uids.study_id(None, None) is None


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"PatientID": "PID-4711"}, True),
        ({"PatientID": "PID-4711", "IssuerOfPatientID": "St. Nowhere"}, True),
        ({"PatientID": ""}, False),
        ({"PatientID": "ANONYMOUS"}, False),
        ({"PatientID": "0000"}, False),
    ],
)
def test_a_patient_is_known_by_an_id_that_names_one(changes: dict[str, str], known: bool) -> None:
    uids = UidMap(b"k" * 32)
    keys = {ingest(a_dicom(None, **changes), LIMIT_PIXELS, uids=uids).patient_key for _ in range(2)}
    (key,) = keys
    assert (key is not None) == known
    if changes.get("IssuerOfPatientID"):
        other = ingest(a_dicom(PatientID=changes["PatientID"]), LIMIT_PIXELS, uids=uids)
        assert other.patient_key != key
    assert key is None or changes["PatientID"] not in key
