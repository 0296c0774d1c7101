"""Reports are sent to a real Orthanc, once, whatever is down, killed or refused meanwhile."""

import io
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from dicomweb_client.web import DICOMwebClient
from requests.auth import HTTPBasicAuth
from typer.testing import CliRunner, Result

from app.cli.main import app as command_line
from app.cli.terminal import Exit
from app.errors import PushRefused
from app.images.ingest import ingest
from app.pacs.instances import Filing
from app.pacs.outbox import PushRequest, outbox_of
from app.pacs.sender import Sender
from app.pacs.server import Destination
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from app.storage.tables import PushState
from app.worker.worker import Worker
from reports.forms.dicom.image import to_image
from reports.forms.dicom.source import own_source
from reports.forms.dicom.sr import to_sr
from reports.release import ACCEPTED_BY
from tests.app.conftest import Serve, a_png
from tests.app.dicom_files import calibrated
from tests.app.orthanc import PASSWORD, USER, Orthanc
from tests.app.stand_in import StandInTools
from tests.processes import end, started

LIMIT_PIXELS = 25_000_000


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("USTRI_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("USTRI_PUSH_RETRY_S", "0.05")
    monkeypatch.setenv(*ACCEPTED_BY.split("="))


@pytest.fixture
def over(either: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings over SQLite, then over PostgreSQL, for this process and those that it starts."""
    if either.database_url is not None:
        monkeypatch.setenv("USTRI_DATABASE_URL", either.database_url)
    return either


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path / "orthanc")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password.txt"
    path.write_text(f"{PASSWORD}\n", encoding="utf-8")
    return path


def reported(settings: Settings, data: bytes | None = None) -> str:
    """The id of an analysis with its report, in the store of those settings."""
    store = Store.open(settings)
    accepted = store.accept(ingest(data or a_png(), LIMIT_PIXELS), NewAnalysis(), 8)
    worker = Worker(settings, store, StandInTools())
    worker.start()
    until = time.monotonic() + 60
    while not store.analysis(accepted.analysis_id).ended and time.monotonic() < until:
        time.sleep(0.02)
    worker.stop(30)
    assert store.report(accepted.analysis_id) is not None
    store.close()
    return accepted.analysis_id


def push(*words: str) -> Result:
    return CliRunner().invoke(command_line, ["push", *words])


def signed_in(orthanc: Orthanc, password_file: Path) -> tuple[str, ...]:
    return (
        *("--dicomweb", orthanc.url),
        *("--user", USER),
        *("--password-file", str(password_file)),
    )


def test_a_report_arrives_with_its_picture_and_is_read_back(
    settings: Settings, orthanc: Orthanc, password_file: Path
) -> None:
    analysis = reported(settings, calibrated())
    answer = push(analysis, *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    store = Store.open(settings)
    report, png = store.report(analysis), store.png(store.analysis(analysis).image_key)
    created = store.analysis(analysis).created_at
    store.close()
    assert report is not None
    assert report.image.dicom is not None
    client = DICOMwebClient(orthanc.url)
    client._session.auth = HTTPBasicAuth(USER, PASSWORD)
    study = report.image.dicom.study_uid
    found = client.search_for_instances(study_instance_uid=study)
    assert len(found) == 3
    stored = {str(each.Modality): each for each in client.retrieve_study(study)}
    assert set(stored) == {"SR", "SEG", "US"}
    source = own_source(report, started_at=created)
    for modality, ours in (
        ("US", to_image(report, png, source)),
        ("SR", to_sr(report, source)),
    ):
        expected = pydicom.dcmread(io.BytesIO(ours))
        assert stored[modality].to_json_dict() == pydicom.Dataset(expected).to_json_dict()
    [evidence] = stored["SR"].CurrentRequestedProcedureEvidenceSequence
    [series] = evidence.ReferencedSeriesSequence
    [referred] = series.ReferencedSOPSequence
    assert referred.ReferencedSOPInstanceUID == stored["US"].SOPInstanceUID


def test_a_second_push_sends_nothing_again(
    settings: Settings, orthanc: Orthanc, password_file: Path
) -> None:
    analysis = reported(settings)
    for _ in range(2):
        answer = push(analysis, *signed_in(orthanc, password_file))
        assert answer.exit_code == Exit.OK, answer.output
    outbox = outbox_of(settings, store := Store.open(settings))
    items = outbox.items()
    store.close()
    assert [(item.form, item.state, item.attempts) for item in items] == [
        ("image", PushState.SENT, 1),
        ("sr", PushState.SENT, 1),
        ("seg", PushState.SENT, 1),
    ]
    assert len(orthanc.instances()) == 3


def test_one_form_takes_the_picture_with_it(
    settings: Settings, orthanc: Orthanc, password_file: Path
) -> None:
    analysis = reported(settings)
    answer = push(analysis, "--form", "sr", *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    modalities = {str(pydicom.dcmread(io.BytesIO(data)).Modality) for data in orthanc.instances()}
    assert modalities == {"SR", "US"}


def test_what_a_server_that_is_down_does_not_get_waits_and_is_sent_later(
    over: Settings, orthanc: Orthanc, password_file: Path
) -> None:
    analysis = reported(over)
    orthanc.stop()
    answer = push(analysis, *signed_in(orthanc, password_file), "--wait", "0.3")
    assert answer.exit_code == Exit.INCOMPLETE, answer.output
    assert "cannot be reached" in answer.output
    listed = push("--list").output
    assert listed.count("pending") == 3
    orthanc.start()
    answer = push("--pending", *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    assert len(orthanc.instances()) == 3
    assert "nothing to send" in push("--pending").output


async def test_the_service_sends_what_waited_before_it_started_and_what_it_is_asked(
    settings: Settings, serve: Serve, orthanc: Orthanc, password_file: Path
) -> None:
    waiting, asked = reported(settings), reported(settings, calibrated())
    orthanc.stop()
    push(waiting, *signed_in(orthanc, password_file), "--wait", "0")
    orthanc.start()
    configured = {
        "dicomweb_url": f"{orthanc.url}/",
        "dicomweb_user": USER,
        "dicomweb_password_file": password_file,
        "push_retry_s": 0.05,
        "accept_research_licence": "release",
    }
    async with serve(**configured) as client:
        answer = await client.post(f"/analyses/{asked}/push", json={"forms": ["sr"]})
        assert answer.status_code == 202, answer.text
        assert [item["form"] for item in answer.json()["instances"]] == ["image", "sr"]
        until = time.monotonic() + 60
        while len(orthanc.instances()) < 5 and time.monotonic() < until:
            time.sleep(0.1)
        here = (await client.get(answer.headers["location"])).json()
        while here["instances"][-1]["state"] != "sent" and time.monotonic() < until:
            here = (await client.get(answer.headers["location"])).json()
        assert {item["state"] for item in here["instances"]} == {"sent"}
        assert here["destination"] == orthanc.url
        refused = await client.post(
            f"/analyses/{asked}/push", json={"dicomweb": "http://169.254.169.254/"}
        )
        assert refused.status_code == 422
        missing = await client.post(f"/analyses/{'0' * 32}/push")
        assert missing.status_code == 404
    assert len(orthanc.instances()) == 5


async def test_the_service_sends_nowhere_unless_its_settings_say_where(
    settings: Settings, serve: Serve
) -> None:
    analysis = reported(settings)
    async with serve() as client:
        answer = await client.post(f"/analyses/{analysis}/push")
        assert answer.status_code == 404
        assert "USTRI_DICOMWEB_URL" in answer.json()["detail"]


def test_wrong_credentials_are_explained_and_not_tried_again(
    settings: Settings, orthanc: Orthanc, password_file: Path
) -> None:
    analysis = reported(settings)
    password_file.write_text("wrong", encoding="utf-8")
    answer = push(analysis, *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.FAILED
    assert "does not accept the credentials" in answer.output
    assert "the picture that it refers to was not stored" in answer.output
    assert orthanc.instances() == []
    password_file.write_text(PASSWORD, encoding="utf-8")
    answer = push("--failed", *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    assert len(orthanc.instances()) == 3


def test_an_address_without_dicomweb_is_explained(
    settings: Settings, orthanc: Orthanc, password_file: Path
) -> None:
    analysis = reported(settings)
    words = signed_in(orthanc, password_file)
    for path, sentence in (("/dicom-webb", "no DICOMweb service"), ("/app", "HTTP")):
        changed = [w.replace("/dicom-web", path) for w in words]
        answer = push(analysis, *changed)
        assert answer.exit_code == Exit.FAILED, answer.output
        assert sentence in answer.output


def test_a_process_killed_while_it_sends_is_followed_by_one_that_finishes_without_duplicates(
    over: Settings, orthanc: Orthanc, password_file: Path, tmp_path: Path
) -> None:
    """The first process is killed once the server has its request, before its answer counts."""
    analysis = reported(over)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        code = "from app.cli.main import main; main()"
        words = ["push", analysis, "--dicomweb", f"http://127.0.0.1:{port}/dicom-web"]
        with started([sys.executable, "-c", code, *words]) as process:
            connection, _ = silent.accept()
            with connection:
                sent = b""
                while not sent.endswith((b"--", b"--\r\n")):  # The end of a multipart body.
                    sent += connection.recv(1 << 16)
                end(process)
    assert b"DICM" in sent
    store = Store.open(over)
    [picture, *others] = outbox_of(over, store).items()
    assert picture.state is PushState.SENDING
    assert {item.state for item in others} == {PushState.PENDING}
    # What the dead process sent did arrive, and the server is now where that address is.
    filing = Filing(store, None, research_accepted=True)
    orthanc.store(filing.made(picture))
    store.close()
    orthanc.stop()
    orthanc.port = port
    orthanc.start()
    answer = push("--pending", *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    assert answer.output.count(" sent ") == 3
    uids = [str(pydicom.dcmread(io.BytesIO(d)).SOPInstanceUID) for d in orthanc.instances()]
    assert len(uids) == len(set(uids)) == 3


def test_two_that_send_at_once_send_each_instance_once(
    over: Settings, orthanc: Orthanc, password_file: Path
) -> None:
    analyses = [reported(over), reported(over, calibrated())]
    orthanc.stop()
    for analysis in analyses:
        push(analysis, *signed_in(orthanc, password_file), "--wait", "0")
    orthanc.start()
    destination = Destination(url=orthanc.url, user=USER, password_file=password_file)
    stores = [Store.open(over) for _ in range(2)]
    before = [item.attempts for item in outbox_of(over, stores[0]).items()]
    senders = [
        Sender(outbox_of(over, store), Filing(store, None, research_accepted=True))
        for store in stores
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda sender: sender.drain(destination, early=True), senders))
    answer = push("--pending", *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    items = outbox_of(over, stores[0]).items()
    for store in stores:
        store.close()
    assert {item.state for item in items} == {PushState.SENT}
    # Images were tried during the outage whenever their wait was over; nothing was sent twice.
    assert all(before[::3])
    assert [item.attempts for item in items] == [tries + 1 for tries in before]
    uids = [str(pydicom.dcmread(io.BytesIO(d)).SOPInstanceUID) for d in orthanc.instances()]
    assert len(uids) == len(set(uids)) == len(items)


def test_a_command_that_cannot_be_right_is_refused(settings: Settings, tmp_path: Path) -> None:
    for words, sentence in (
        ((), "Name an analysis"),
        (("--failed", "--pending"), "Name an analysis"),
        (("a", "--dicomweb", "http://pacs.example/dicom-web"), "not encrypted"),
        (("a", "--dicomweb", "https://me:pw@pacs.example/"), "takes no user"),
        (("a", "--dicomweb", "ftp://pacs.example/"), "looks like"),
        (("a", "--user", "me"), "belong to an address"),
        (("a", "--dicomweb", "https://pacs.example", "--user", "me"), "--password-file"),
    ):
        answer = push(*words)
        assert answer.exit_code == Exit.INPUT, words
        assert sentence in answer.output
    answer = push("a")
    assert answer.exit_code == Exit.SETUP
    assert "USTRI_DICOMWEB_URL" in answer.output


def test_a_refused_report_is_sent_only_when_forced(settings: Settings) -> None:
    tools = StandInTools()
    store = Store.open(settings)
    data = calibrated(BurnedInAnnotation="NO")
    accepted = store.accept(ingest(data, LIMIT_PIXELS), NewAnalysis(exam="nerve"), 8)  # type: ignore[arg-type]
    worker = Worker(settings, store, tools)
    worker.start()
    while not store.analysis(accepted.analysis_id).ended:
        time.sleep(0.02)
    worker.stop(30)
    filing = Filing(store, None, research_accepted=True)
    with pytest.raises(PushRefused, match="refused"):
        filing.instances(PushRequest(analysis_id=accepted.analysis_id))
    forced = filing.instances(PushRequest(analysis_id=accepted.analysis_id, force=True))
    assert [item.form for item in forced] == ["image", "sr"]
    store.close()


def test_the_shipped_weights_report_is_sent_only_where_the_setting_accepts_it(
    settings: Settings, orthanc: Orthanc, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = reported(settings)
    for accepted in ("no", "plan"):
        monkeypatch.setenv(ACCEPTED_BY.partition("=")[0], accepted)
        answer = push(analysis, "--force", *signed_in(orthanc, password_file))
        assert answer.exit_code == Exit.FAILED, answer.output
        [refusal] = [line for line in answer.output.splitlines() if "stays here" in line]
        for part in ("weights of usgen, exam_cls,", "not read at the source (busi,", ACCEPTED_BY):
            assert part in refusal
    assert orthanc.instances() == []
    assert "pending" not in push("--list").output
    monkeypatch.setenv(*ACCEPTED_BY.split("="))
    answer = push(analysis, *signed_in(orthanc, password_file))
    assert answer.exit_code == Exit.OK, answer.output
    assert len(orthanc.instances()) == 3


async def test_over_http_it_is_shown_and_downloaded_and_not_sent(
    settings: Settings, serve: Serve
) -> None:
    analysis = reported(settings)
    async with serve(dicomweb_url="http://127.0.0.1:1/dicom-web") as client:
        for form in ("report.json", "report.html", "report.txt", "report.pdf", "report.dcm"):
            shown = await client.get(f"/analyses/{analysis}/{form}")
            assert shown.status_code == 200, form
        report = (await client.get(f"/analyses/{analysis}/report.json")).json()
        assert report["status"] == "preliminary"
        assert "may be used for research only" in report["provenance"]["research_only"]
        answer = await client.post(f"/analyses/{analysis}/push", json={"force": True})
        assert answer.status_code == 409
        assert ACCEPTED_BY in answer.json()["detail"]


def test_what_waits_to_be_sent_is_not_sent_once_the_setting_no_longer_accepts_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = reported(settings)
    store = Store.open(settings)
    filing, outbox = Filing(store, None, research_accepted=True), outbox_of(settings, store)
    outbox.add(filing.instances(PushRequest(analysis_id=analysis)), "http://127.0.0.1:1/dicom-web")
    monkeypatch.setenv(ACCEPTED_BY.partition("=")[0], "no")
    answer = push("--pending")
    assert answer.exit_code == Exit.FAILED
    assert "stays here" in answer.output
    assert {item.state for item in outbox.items()} == {PushState.FAILED}
    store.close()
