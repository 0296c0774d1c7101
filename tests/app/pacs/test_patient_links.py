"""The link to the original study: only on request, encrypted, stored apart, used for filing."""

import hashlib
import io
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from sqlalchemy import delete

from app.cli.terminal import Exit
from app.errors import LinkClosed, PushRefused, SettingsError
from app.images.dicom import reader
from app.images.dicom.messages import Ask
from app.images.dicom.reader import DicomFile
from app.images.dicom.sealing import FileKey
from app.pacs.instances import Filing
from app.pacs.outbox import PushRequest, outbox_of
from app.pacs.patient_links import LinkKeys, Links
from app.settings import Settings
from app.storage.analysis import SealedLink
from app.storage.store import Store
from app.storage.tables import AnalysisRow, JobRow, RecordRow, ReportRow
from reports.forms.dicom.identity import InstanceIdentity
from tests.app.conftest import Serve, a_png
from tests.app.dicom_files import (
    LIMIT_PIXELS,
    SECRETS,
    UIDS,
    a_dataset,
    a_dicom,
    a_region,
    calibrated,
    speckle,
    written,
)
from tests.app.images.test_dicom_privacy import leaks
from tests.app.orthanc import Orthanc
from tests.app.pacs.test_push import (  # noqa: F401
    environment,
    orthanc,
    password_file,
    push,
    signed_in,
)
from tests.tools import complaints

KEPT = {
    name: SECRETS[name]
    for name in (
        *("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber"),
        *("ReferringPhysicianName", "StudyDate", "StudyID"),
    )
}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return a_key_file(tmp_path / "link.key")


@pytest.fixture
def linking(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The key file, which commands are told of too."""
    monkeypatch.setenv("USTRI_LINK_KEY_FILE", str(key_file))
    return key_file


@dataclass
class Pacs:
    """A server, and the words of a command that signs in there."""

    server: Orthanc
    words: tuple[str, ...]


@pytest.fixture
def pacs(orthanc: Orthanc, password_file: Path) -> Pacs:  # noqa: F811
    return Pacs(server=orthanc, words=signed_in(orthanc, password_file))


def a_key_file(path: Path, *keys: str) -> Path:
    path.write_text("\n".join(keys or (os.urandom(32).hex(),)), encoding="ascii")
    path.chmod(0o600)
    return path


KEY = FileKey(key=bytes(32), about=b"this test")


def read_original(data: bytes) -> InstanceIdentity | None:
    with DicomFile(data, KEY) as file:
        file.frame(LIMIT_PIXELS)
    return (
        None if file.sealed is None else InstanceIdentity.model_validate_json(KEY.open(file.sealed))
    )


def an_original(data: bytes | None = None) -> InstanceIdentity:
    original = read_original(calibrated() if data is None else data)
    assert original is not None
    return original


def sealed_by(keys: LinkKeys, original: InstanceIdentity, image_sha256: str) -> SealedLink:
    """A link as an upload makes it."""
    new = keys.new_link()
    text = original.model_dump_json().encode()
    return new.link(new.file_key(image_sha256).seal(text))


async def analysed(serve: Serve, data: bytes, **settings: object) -> str:
    async with serve(**settings) as client:
        return await posted(client, data)


async def posted(client: httpx.AsyncClient, data: bytes) -> str:
    answer = await client.post("/analyze", files={"image": ("x", data)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["analysis_id"])


def kept_bytes(folder: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def rows(settings: Settings) -> list[tuple[str, bytes]]:
    with sqlite3.connect(settings.data_dir / "ustri.db") as database:
        found = database.execute("select analysis_id, sealed from links").fetchall()
    database.close()
    return found


async def test_without_the_setting_no_link_is_kept(serve: Serve, settings: Settings) -> None:
    await analysed(serve, calibrated())
    assert rows(settings) == []
    assert leaks(kept_bytes(settings.data_dir)) == []


async def test_with_the_setting_the_link_is_kept_and_nothing_can_be_read_of_it(
    serve: Serve, settings: Settings, key_file: Path
) -> None:
    analysis = await analysed(serve, calibrated(), link_key_file=key_file)
    [(of, sealed)] = rows(settings)
    assert of == analysis
    assert len(sealed) > 100
    assert leaks(kept_bytes(settings.data_dir)) == []


async def test_a_picture_that_is_no_dicom_file_has_no_link(
    serve: Serve, settings: Settings, key_file: Path
) -> None:
    await analysed(serve, a_png(), link_key_file=key_file)
    assert rows(settings) == []


@pytest.mark.parametrize("frames", [1, 3])
async def test_a_report_is_filed_beside_its_original_under_its_patient(
    frames: int,
    serve: Serve,
    settings: Settings,
    linking: Path,
    pacs: Pacs,
    tmp_path: Path,
) -> None:
    dataset = a_dataset(SequenceOfUltrasoundRegions=[a_region()])
    if frames > 1:
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
        dataset.NumberOfFrames = frames
        dataset.PixelData = dataset.PixelData * frames
    data = written(dataset)
    pacs.server.store(data)
    analysis = await analysed(serve, data, link_key_file=linking)
    answer = push(analysis, *pacs.words)
    assert answer.exit_code == Exit.OK, answer.output
    assert answer.output.count("beside the original") == 2
    stored = {}
    for each in pacs.server.instances():
        read = pydicom.dcmread(io.BytesIO(each))
        stored[str(read.Modality)] = read
        assert read.StudyInstanceUID == UIDS["StudyInstanceUID"]
        for keyword, value in KEPT.items():
            assert str(read[keyword].value) == value, keyword
        if read.Modality != "US":
            assert not [line for line in complaints(each, tmp_path) if line.startswith("Error")]
    assert set(stored) == {"US", "SR", "SEG"}
    assert refers_to(stored["SR"]) == UIDS["SOPInstanceUID"]
    with pacs.server.rest as client:
        assert len(client.get("/studies").json()) == len(client.get("/patients").json()) == 1
    image = an_image_item(stored["SR"])
    referred = image.ReferencedSOPSequence[0]
    assert referred.ReferencedSOPInstanceUID == UIDS["SOPInstanceUID"]
    assert ("ReferencedFrameNumber" in referred) == (frames > 1)
    assert leaks(kept_bytes(settings.data_dir)) == []


def refers_to(document: Dataset) -> str:
    [evidence] = document.CurrentRequestedProcedureEvidenceSequence
    return str(
        evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    )


def an_image_item(item: Dataset) -> Dataset:
    """The first IMAGE below that content item."""
    children: list[Dataset] = list(item.get("ContentSequence", []))
    for child in children:
        if child.ValueType == "IMAGE":
            return child
        try:
            return an_image_item(child)
        except LookupError:
            continue
    raise LookupError("no image")


async def test_a_wrong_or_absent_key_is_refused_and_a_push_apart_still_works(
    serve: Serve, settings: Settings, key_file: Path, tmp_path: Path
) -> None:
    analysis = await analysed(serve, calibrated(), link_key_file=key_file)
    store = Store.open(settings)
    push_request = PushRequest(analysis_id=analysis)
    with pytest.raises(LinkClosed, match="USTRI_LINK_KEY_FILE is not set"):
        Filing(store, None, research_accepted=True).instances(push_request)
    other = LinkKeys.read(a_key_file(tmp_path / "other"), settings.data_dir)
    with pytest.raises(LinkClosed, match="another key"):
        Filing(store, other, research_accepted=True).instances(push_request)
    apart = Filing(store, None, research_accepted=True).instances(
        PushRequest(analysis_id=analysis, unlinked=True)
    )
    keys = LinkKeys.read(key_file, settings.data_dir)
    beside = Filing(store, keys, research_accepted=True).instances(push_request)
    assert [item.form for item in apart] == ["image", "sr", "seg"]
    assert [item.form for item in beside] == ["sr", "seg"]
    # The same report says other things there, so that it must not be the same instance.
    assert not {i.sop_instance_uid for i in apart} & {i.sop_instance_uid for i in beside}
    with pytest.raises(PushRefused, match="beside the original"):
        Filing(store, keys, research_accepted=True).instances(
            PushRequest(analysis_id=analysis, forms=("image",))  # type: ignore[arg-type]
        )
    store.close()


async def test_an_erased_link_is_gone_and_what_waits_for_it_is_not_sent_elsewhere(
    serve: Serve,
    settings: Settings,
    linking: Path,
    pacs: Pacs,
) -> None:
    analysis = await analysed(serve, calibrated(), link_key_file=linking)
    pacs.server.stop()
    push(analysis, *pacs.words, "--wait", "0")
    [(_, sealed)] = rows(settings)
    assert "erased" in push(analysis, "--forget-link").output
    assert "No link" in push(analysis, "--forget-link").output
    assert rows(settings) == []
    assert sealed not in kept_bytes(settings.data_dir)
    pacs.server.start()
    answer = push("--pending", *pacs.words)
    assert answer.exit_code == Exit.FAILED
    assert "was erased" in answer.output
    assert pacs.server.instances() == []


async def test_a_link_goes_with_its_analysis(
    serve: Serve, settings: Settings, key_file: Path
) -> None:
    analysis = await analysed(serve, calibrated(), link_key_file=key_file)
    store = Store.open(settings)
    keys = LinkKeys.read(key_file, settings.data_dir)
    items = Filing(store, keys, research_accepted=True).instances(PushRequest(analysis_id=analysis))
    outbox_of(settings, store).add(items, "https://pacs.example")
    with store.write() as session:
        for table in (RecordRow, ReportRow, JobRow):
            session.execute(delete(table).where(table.analysis_id == analysis))
        session.execute(delete(AnalysisRow).where(AnalysisRow.id == analysis))
    assert Links(store).sealed(analysis) is None
    assert outbox_of(settings, store).items() == ()
    store.close()


def test_a_link_that_an_earlier_version_sealed_opens(key_file: Path, tmp_path: Path) -> None:
    keys, original = LinkKeys.read(key_file, tmp_path / "data"), an_original()
    about = b"ustri link 1\0" + b"a" * 64
    sealed = FileKey(key=keys.keys[0], about=about).seal(original.model_dump_json().encode())
    key_id = hashlib.sha256(b"ustri link key\0" + keys.keys[0]).hexdigest()[:16]
    link = SealedLink(key_id=key_id, sealed=sealed)
    assert keys.open(link, "a" * 64) == original
    with pytest.raises(LinkClosed, match="altered"):
        keys.open(link, "b" * 64)


def test_the_reader_gets_a_key_of_one_file_and_none_of_the_deployment(
    key_file: Path, tmp_path: Path
) -> None:
    keys = LinkKeys.read(key_file, tmp_path / "data")
    new = keys.new_link()
    files = [one.file_key(sha) for one in (new, keys.new_link()) for sha in ("a" * 64, "b" * 64)]
    assert len({file.key for file in files} | {*keys.keys}) == 5
    assert keys.keys[0].hex() not in repr(new)
    assert files[0].key.hex() not in repr(files[0])


async def test_an_upload_is_sent_to_the_reader_once_with_its_patient(
    serve: Serve, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cine = np.stack([speckle(), speckle()[::-1], speckle()[:, ::-1]])
    for data, frames in ((calibrated(), 1), (a_dicom(cine), 3)):
        asked = await asks_of(serve, data, key_file, monkeypatch)
        assert [payload for _, payload in asked] == [len(data)] + [0] * (frames - 1)


async def asks_of(
    serve: Serve, data: bytes, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Ask, int]]:
    """What the reader process was asked at an upload, with the size of what was sent along."""
    asked: list[tuple[Ask, int]] = []
    process = reader._READER._process
    exchange = process.exchange

    def noted(ask: Ask, payload: bytes, *rest: Any, **named: Any) -> Any:
        asked.append((ask, len(payload)))
        return exchange(ask, payload, *rest, **named)

    with monkeypatch.context() as patched:
        patched.setattr(process, "exchange", noted)
        async with serve(link_key_file=key_file) as client:
            await posted(client, data)
    return asked


def test_a_link_opens_for_its_own_file_only(key_file: Path, tmp_path: Path) -> None:
    keys = LinkKeys.read(key_file, tmp_path / "data")
    original = an_original()
    link = sealed_by(keys, original, "a" * 64)
    assert keys.open(link, "a" * 64) == original
    assert sealed_by(keys, original, "a" * 64).sealed != link.sealed
    with pytest.raises(LinkClosed, match="altered"):
        keys.open(link, "b" * 64)
    changed = bytearray(link.sealed)
    changed[-1] ^= 1
    with pytest.raises(LinkClosed, match="altered"):
        keys.open(SealedLink(key_id=link.key_id, sealed=bytes(changed)), "a" * 64)
    shown = f"{keys!r} {link!r} {original!r} {original}"
    assert leaks(shown.encode()) == []
    assert keys.keys[0].hex() not in shown


def test_the_first_key_seals_and_an_older_one_still_opens(tmp_path: Path) -> None:
    old, new = os.urandom(32).hex(), os.urandom(32).hex()
    before = LinkKeys.read(a_key_file(tmp_path / "before", old), tmp_path / "data")
    after = LinkKeys.read(a_key_file(tmp_path / "after", new, old), tmp_path / "data")
    link = sealed_by(before, an_original(), "a" * 64)
    assert after.open(link, "a" * 64) == an_original()
    assert sealed_by(after, an_original(), "a" * 64).key_id != link.key_id


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("", "64 hexadecimal"), ("ab" * 16, "64 hexadecimal"), ("é", "cannot be read")],
)
def test_a_file_without_a_key_stops_the_start(content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=sentence):
        LinkKeys.read(path, tmp_path / "data")


def test_a_key_beside_what_it_encrypts_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="lies in the data folder"):
        LinkKeys.read(a_key_file(tmp_path / "key"), tmp_path)
    with pytest.raises(SettingsError, match="cannot be read"):
        LinkKeys.read(tmp_path / "none", tmp_path / "data")


@pytest.mark.filterwarnings("ignore:.*for VR:UserWarning")
def test_what_is_not_valid_is_left_out_and_without_uids_there_is_no_link() -> None:
    original = an_original(
        a_dicom(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", PatientSex="female")
    )
    assert original.patient_name == "Müller^Jörg"
    assert original.patient_sex == ""
    assert original.study_date == SECRETS["StudyDate"]
    variants: list[dict[str, Any]] = [
        {"StudyInstanceUID": None},
        {"SeriesInstanceUID": "4711"},
        {"PatientID": "x" * 65},
        {"PatientID": "one\\two"},
        {"PatientID": "ü" * 33},
    ]
    for changes in variants:
        assert read_original(a_dicom(**changes)) is None, changes
