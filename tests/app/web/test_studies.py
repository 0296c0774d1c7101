"""Studies over HTTP: what belongs together, what is earlier, and the report in every form."""

import hashlib
import io
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest

from app.settings import Settings
from app.storage.store import Store
from app.storage.tables import AnalysisRow, JobRow, JobState
from reports.forms.study.render import STUDY_MEDIA, StudyForm
from tests.app.conftest import Serve, a_png
from tests.app.dicom_files import SECRETS, UIDS, calibrated, speckle


async def sent(client: httpx.AsyncClient, image: bytes, **fields: str) -> dict[str, Any]:
    """The report of an image."""
    answer = await client.post("/analyze", files={"image": image}, data=fields)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def a_scan(turn: int = 0, **changes: Any) -> bytes:
    """A calibrated DICOM image of the patient of `SECRETS`; another picture for another turn."""
    uids = UIDS | {"SOPInstanceUID": f"1.2.3.4711.3.{turn}"}
    stated: dict[str, Any] = uids | SECRETS | changes
    return calibrated(pixels=np.roll(speckle(), turn, axis=1), **stated)


async def test_images_with_one_study_label_are_one_study(serve_either: Serve) -> None:
    async with serve_either() as client:
        one = await sent(client, a_png(), study="Visit 7", exam="breast")
        two = await sent(client, a_png(200, 300), study=" visit  7 ", laterality="left")
        other = await sent(client, a_png(), study="Visit 8")
        none = await sent(client, a_png())
        assert one["study"] == two["study"] != other["study"]
        assert none["study"] is None
        assert "study" not in none["request"]
        assert one["request"]["study"] == "Visit 7"
        here = f"/studies/{one['study']['id']}"
        study = (await client.get(here)).json()
        assert (study["label"], study["complete"], study["status"]) == (
            "Visit 7",
            True,
            "preliminary",
        )
        assert [image["analysis_id"] for image in study["images"]] == [
            one["analysis_id"],
            two["analysis_id"],
        ]
        listed = (await client.get("/studies")).json()
        assert [(found["label"], found["images"]) for found in listed["studies"]] == [
            ("Visit 8", 1),
            ("Visit 7", 2),
        ]
        assert listed["total"] == 2


async def test_the_files_of_one_dicom_study_are_one_study_unless_the_sender_says_otherwise(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    one, two = await sent(client, a_scan(1)), await sent(client, a_scan(2))
    apart = await sent(client, a_scan(3), study="Visit 7")
    assert one["study"] == two["study"] != apart["study"]
    assert int(one["study"]["id"], 16) == int(one["image"]["dicom"]["study_uid"][5:])


async def test_an_earlier_study_of_the_same_patient_is_compared(serve_either: Serve) -> None:
    async with serve_either() as client:
        then = await sent(client, a_scan(1), exam="breast")
        now = await sent(client, a_scan(2, StudyInstanceUID="1.2.3.4711.9"), exam="breast")
        other = await sent(
            client, a_scan(3, StudyInstanceUID="1.2.3.4711.10", PatientID="PID-4712"), exam="breast"
        )
        nobody = await sent(
            client,
            a_scan(4, StudyInstanceUID="1.2.3.4711.11", PatientID="Anonymous"),
            exam="breast",
        )
        report = (await client.get(f"/studies/{now['study']['id']}/report.json")).json()
        assert [earlier["id"] for earlier in report["earlier"]] == [then["study"]["id"]]
        assert report["comparisons"]
        assert all("in the study received on" in m["statement"] for m in report["comparisons"])
        for apart in (then, other, nobody):
            found = (await client.get(f"/studies/{apart['study']['id']}/report.json")).json()
            assert (found["earlier"], found["comparisons"]) == ([], [])
        page = (await client.get(f"/analyses/{now['analysis_id']}/view")).text
        assert f'href="/studies/{then["study"]["id"]}"' in page
        assert "Image 1 of 1 of" in page


async def test_the_patient_is_kept_as_a_keyed_hash_only(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    now = await sent(client, a_scan(1))
    store = Store.open(settings)
    with store.read() as session:
        row = session.get_one(AnalysisRow, now["analysis_id"])
        kept = row.patient_key or ""
    store.close()
    assert len(kept) == 64
    digest = hashlib.sha256(f"\0{SECRETS['PatientID']}".encode()).hexdigest()
    database = b"".join(path.read_bytes() for path in settings.data_dir.glob("*.db*"))
    assert digest.encode() not in database
    assert SECRETS["PatientID"].encode() not in database
    here = f"/studies/{now['study']['id']}"
    for form in StudyForm:
        answer = await client.get(f"{here}/report.{form}")
        found = answer.content
        if form is StudyForm.ARCHIVE:
            with zipfile.ZipFile(io.BytesIO(found)) as archive:
                found = b"".join(map(archive.read, archive.namelist()))
        assert kept.encode() not in found
        assert not [word for word in SECRETS.values() if word.encode() in found]


async def test_a_report_of_a_study_comes_in_every_form(client: httpx.AsyncClient) -> None:
    report = await sent(client, a_png(), study="Visit 7", exam="breast")
    here = f"/studies/{report['study']['id']}"
    for form, media in STUDY_MEDIA.items():
        by_suffix = await client.get(f"{here}/report.{form}")
        assert by_suffix.status_code == 200, by_suffix.text
        assert by_suffix.headers["content-type"].partition(";")[0] == media
        assert by_suffix.headers["content-location"] == f"{here}/report.{form}"
        by_accept = await client.get(f"{here}/report", headers={"accept": media})
        assert by_accept.content == by_suffix.content
    refused = await client.get(f"{here}/report", headers={"accept": "image/png"})
    assert refused.status_code == 406


async def test_browsers_get_pages_and_programs_json(client: httpx.AsyncClient) -> None:
    report = await sent(client, a_png(), study="<b>Visit</b>", exam="breast")
    html = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    here = f"/studies/{report['study']['id']}"
    listed = await client.get("/studies", headers=html)
    page = await client.get(here, headers=html)
    for found in (listed, page):
        assert found.headers["content-type"].startswith("text/html")
        assert found.headers["vary"] == "Accept"
        assert "<b>Visit" not in found.text
        assert "&lt;b&gt;Visit&lt;/b&gt;" in found.text
    assert f'href="/analyses/{report["analysis_id"]}/view"' in page.text
    gone = await client.get("/studies/none", headers=html)
    assert (gone.status_code, "There is no study" in gone.text) == (404, True)
    assert gone.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path", ["/studies/none", "/studies/none/report", "/studies/none/report.x"]
)
async def test_what_is_not_there_is_404(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_only_the_newest_version_of_an_analysis_counts(
    serve: Serve, settings: Settings
) -> None:
    async with serve() as client:
        report = await sent(client, a_png(), study="Visit 7", exam="breast")
        marked = {"points": [[10, 10], [110, 10]], "distance_mm": 20}
        made = await client.post(f"/analyses/{report['analysis_id']}/calibration", json=marked)
        assert made.status_code == 201, made.text
        assert made.json()["study"] == report["study"]
        summary = (await client.get(f"/studies/{report['study']['id']}/report.json")).json()
        assert [image["version"] for image in summary["images"]] == [2]
        units = {item["unit"] for item in summary["measurements"]}
        assert "mm" in units
        assert not units & {"px", "px²"}


@pytest.mark.parametrize(
    ("job", "shown", "complete"),
    [
        ({"state": JobState.FAILED, "problem": "It was given up."}, "failed", True),
        (
            {"state": JobState.RUNNING, "lease_owner": "w", "lease_expires_at": 9e9},
            "waiting",
            False,
        ),
    ],
)
async def test_an_image_without_a_report_is_shown_as_what_it_is(
    serve: Serve, settings: Settings, job: dict[str, Any], shown: str, complete: bool
) -> None:
    async with serve() as client:
        report = await sent(client, a_png(), study="Visit 7", exam="breast")
        store = Store.open(settings)
        with store.write() as session:
            first = session.get_one(AnalysisRow, report["analysis_id"])
            row = {
                column.key: getattr(first, column.key) for column in AnalysisRow.__table__.columns
            }
            later = {"id": "b" * 32, "created_at": "2999-12-01T00:00:00.000000Z"}
            session.add(AnalysisRow(**row | later))
            session.flush()
            session.add(JobRow(analysis_id="b" * 32, version=1, **job))
        store.close()
        here = f"/studies/{report['study']['id']}"
        study = (await client.get(here)).json()
        assert [image["state"] for image in study["images"]] == ["reported", shown]
        assert (study["complete"], study["outcome"]) == (complete, "partial")
        page = (await client.get(here, headers={"accept": "text/html"})).text
        assert ('data-waiting="1"' in page) == (not complete)
        assert ("It was given up." in page) == complete


async def test_a_study_of_two_patients_is_flagged_and_compared_with_nothing(
    client: httpx.AsyncClient,
) -> None:
    await sent(client, a_scan(1), exam="breast")
    await sent(client, a_scan(2), exam="breast", study="Visit 7")
    other = await sent(client, a_scan(3, PatientID="PID-4712"), exam="breast", study="Visit 7")
    here = f"/studies/{other['study']['id']}"
    report = (await client.get(f"{here}/report.json")).json()
    assert (report["patients"], report["earlier"], report["comparisons"]) == (2, [], [])
    assert "name 2 patients" in report["flags"][0]
