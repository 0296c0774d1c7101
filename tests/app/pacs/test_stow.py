"""Answers of DICOMweb servers that accept, refuse, fail in part or are none, by instance."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest

from app.errors import CredentialsUnreadable, DestinationAway, DestinationRefuses
from app.images.ingest import ingest
from app.pacs.outbox import NewItem, Outbox, PushForm, StoreResult, outbox_of
from app.pacs.server import Destination
from app.pacs.stow import send
from app.settings import Settings, address_of
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from app.storage.tables import PushState
from reports.forms.dicom.image import to_image
from reports.forms.dicom.sr import to_sr
from tests.app.conftest import a_png
from tests.app.images.test_dicom_privacy import leaks
from tests.builders import a_worded_report
from tests.reports.report_forms import frame_png

JSON = "application/dicom+json"


@dataclass
class Answering:
    """A server that gives one answer to everything, and keeps what it was sent."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    held: list[str] | None = None
    """The UIDs that it names to who asks whether it holds them; None: it cannot be asked."""

    asked: Callable[[], object] = lambda: None


@pytest.fixture
def answering() -> Iterator[tuple[Answering, str]]:
    answer = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            answer.requests.append((self.path, dict(self.headers), body))
            answer.asked()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def do_GET(self) -> None:
            uid = parse_qs(urlsplit(self.path).query)["SOPInstanceUID"][0]
            if answer.held is None:
                self.send_error(501)
                return
            found = [{"00080018": {"vr": "UI", "Value": [uid]}}] if uid in answer.held else []
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield answer, f"http://127.0.0.1:{server.server_port}/dicom-web"
    server.shutdown()
    thread.join()
    server.server_close()


def two() -> tuple[list[bytes], list[str]]:
    """A picture and its SR, and their UIDs."""
    report = a_worded_report()
    files = [to_image(report, frame_png()), to_sr(report)]
    return files, [str(pydicom.dcmread(io.BytesIO(each)).SOPInstanceUID) for each in files]


def a_store_answer(stored: list[str], failed: dict[str, int]) -> bytes:
    def uid(value: str) -> dict[str, Any]:
        return {"00081155": {"vr": "UI", "Value": [value]}}

    answer: dict[str, Any] = {}
    if stored:
        answer["00081199"] = {"vr": "SQ", "Value": [uid(each) for each in stored]}
    if failed:
        items = [
            uid(each) | {"00081197": {"vr": "US", "Value": [reason]}}
            for each, reason in failed.items()
        ]
        answer["00081198"] = {"vr": "SQ", "Value": items}
    return json.dumps(answer).encode()


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize("kind", [JSON, f"{JSON}; charset=utf-8", "application/json"])
def test_a_partial_failure_is_read_for_each_instance(
    status: int, kind: str, answering: tuple[Answering, str]
) -> None:
    answer, url = answering
    files, (picture, report) = two()
    answer.status, answer.headers = status, {"Content-Type": kind}
    answer.body = a_store_answer([picture], {report: 0xA900})
    verdicts = send(Destination(url=url), files)
    assert verdicts[picture] == StoreResult(stored=True)
    assert not verdicts[report].stored
    assert not verdicts[report].again
    assert "not what its class says (failure reason 0xa900)" in str(verdicts[report].problem)
    assert len(answer.requests) == 1


@pytest.mark.parametrize(
    ("reason", "stored", "again", "words"),
    [
        (0x0111, True, False, None),
        (0x0110, False, True, "while processing"),
        (0xA700, False, True, "out of resources"),
        (0x0122, False, False, "this kind of instance"),
        (0xC000, False, False, "cannot understand"),
        (0xFFFF, False, False, "no reason"),
    ],
)
def test_a_failure_reason_says_whether_to_try_again(
    reason: int, stored: bool, again: bool, words: str | None, answering: tuple[Answering, str]
) -> None:
    answer, url = answering
    files, uids = two()
    answer.status, answer.headers = 409, {"Content-Type": JSON}
    answer.body = a_store_answer([], dict.fromkeys(uids, reason))
    for result in send(Destination(url=url), files).values():
        assert (result.stored, result.again) == (stored, again)
        assert (words or "") in (result.problem or "")


def in_xml(stored: list[str], failed: dict[str, int]) -> bytes:
    """The same answer in the Native DICOM Model."""

    def uid(number: int, value: str, more: str = "") -> str:
        return (
            f'<Item number="{number}"><DicomAttribute tag="00081155" vr="UI" '
            f'keyword="ReferencedSOPInstanceUID"><Value number="1">{value}</Value>'
            f"</DicomAttribute>{more}</Item>"
        )

    def reason(value: int) -> str:
        inner = f'<Value number="1">{value}</Value>'
        return f'<DicomAttribute tag="00081197" vr="US">{inner}</DicomAttribute>'

    parts = "".join(uid(n, each) for n, each in enumerate(stored, 1))
    gone = "".join(uid(n, each, reason(why)) for n, (each, why) in enumerate(failed.items(), 1))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
        '<DicomAttribute tag="00081190" vr="UR" keyword="RetrieveURL"><Value number="1">https://x'
        "</Value></DicomAttribute>"
        + (f'<DicomAttribute tag="00081199" vr="SQ">{parts}</DicomAttribute>' if parts else "")
        + (f'<DicomAttribute tag="00081198" vr="SQ">{gone}</DicomAttribute>' if gone else "")
        + "</NativeDicomModel>"
    ).encode()


RETRIEVE = {"00081190": {"vr": "UR", "Value": ["https://pacs.example/studies/1"]}}


@pytest.mark.parametrize("kind", ["application/dicom+xml", "application/xml", "text/xml"])
@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (in_xml([], {}), (True, True)),
        (b'<NativeDicomModel xml:space="preserve"/>', (True, True)),
        (in_xml(["picture"], {"report": 0xA900}), (True, False)),
        (in_xml([], {"picture": 0xB00E, "report": 0xC000}), (True, False)),
    ],
)
def test_an_answer_in_xml_is_read_as_one_in_json(
    kind: str, body: bytes, stored: tuple[bool, bool], answering: tuple[Answering, str]
) -> None:
    answer, url = answering
    files, uids = two()
    answer.headers = {"Content-Type": kind}
    for name, uid in zip(("picture", "report"), uids, strict=True):
        body = body.replace(f">{name}<".encode(), f">{uid}<".encode())
    answer.body = body
    verdicts = send(Destination(url=url), files)
    assert tuple(verdicts[uid].stored for uid in uids) == stored


@pytest.mark.parametrize(
    "answered",
    [
        RETRIEVE,
        [RETRIEVE],
        {"RetrieveURL": "https://pacs.example/studies/1"},
        RETRIEVE | {"00081199": {"vr": "SQ"}},
        {"00081190": {"vr": "UR"}},
        [],
        {},
    ],
)
def test_success_without_a_list_of_instances_is_success(
    answered: object, answering: tuple[Answering, str]
) -> None:
    answer, url = answering
    answer.headers, answer.body = {"Content-Type": JSON}, json.dumps(answered).encode()
    assert all(result.stored for result in send(Destination(url=url), two()[0]).values())


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Sign in</body></html>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel>&b;</NativeDicomModel>',
        b"<NativeDicomModel>",
        b"{}",
    ],
)
def test_a_page_in_xml_is_no_answer_of_a_store(
    body: bytes, answering: tuple[Answering, str]
) -> None:
    answer, url = answering
    answer.headers, answer.body = {"Content-Type": "application/xml"}, body
    with pytest.raises(DestinationRefuses, match="no DICOMweb server"):
        send(Destination(url=url), two()[0])


@pytest.mark.parametrize("status", [200, 202, 400, 409, 422])
@pytest.mark.parametrize("reason", [0x0111, 0xB00E])
def test_what_is_already_there_is_stored_under_any_status(
    status: int, reason: int, answering: tuple[Answering, str]
) -> None:
    answer, url = answering
    files, (picture, report) = two()
    answer.status, answer.headers = status, {"Content-Type": JSON}
    answer.body = a_store_answer([], {picture: reason, report: 0xA900})
    verdicts = send(Destination(url=url), files)
    assert verdicts[picture].stored
    assert not verdicts[report].stored


@pytest.mark.parametrize(
    ("body", "held", "stored"),
    [
        (0xD001, None, True),
        (0xD001, (), False),
        (0xA900, None, False),
        (0xA900, ("report",), True),
        (0x0110, ("report",), True),
        (0x0110, ("another",), False),
        (b"", ("report",), True),
        (b"", None, False),
        (b"", (), False),
        (b"The instance already exists.", None, True),
    ],
)
def test_a_conflict_is_stored_where_the_server_holds_the_instance(
    body: bytes | int,
    held: tuple[str, ...] | None,
    stored: bool,
    answering: tuple[Answering, str],
) -> None:
    answer, url = answering
    files, (_, report) = two()
    if isinstance(body, int):
        body = a_store_answer([], {report: body})
    answer.status, answer.headers, answer.body = 409, {"Content-Type": JSON}, body
    answer.held = None if held is None else [report if each == "report" else each for each in held]
    assert send(Destination(url=url), files[1:])[report].stored is stored


def test_an_item_that_is_not_valid_hides_no_other(answering: tuple[Answering, str]) -> None:
    answer, url = answering
    files, (picture, report) = two()
    broken: dict[str, Any] = json.loads(a_store_answer([picture], {report: 0x0122}))
    broken["00081199"]["Value"] += [None, 7, {"00081155": {"vr": "UI"}}]
    broken["00081198"]["Value"] += ["x", {"00081155": 1}]
    broken["00081198"]["Value"][0]["00081197"]["Value"] = ["290"]
    answer.headers, answer.body = {"Content-Type": JSON}, json.dumps(broken).encode()
    verdicts = send(Destination(url=url), files)
    assert verdicts[picture].stored
    assert "0x0122" in str(verdicts[report].problem)


def test_a_token_is_read_again_for_each_attempt(
    answering: tuple[Answering, str], tmp_path: Path
) -> None:
    answer, url = answering
    token_file = tmp_path / "token"
    destination = Destination(url=url, token_file=token_file)
    for token in ("first", "second"):
        token_file.write_text(token, encoding="utf-8")
        send(destination, two()[0])
    assert [headers["Authorization"] for _, headers, _ in answer.requests] == [
        "Bearer first",
        "Bearer second",
    ]
    answer.status = 401
    answer.asked = lambda: token_file.write_text("third", encoding="utf-8")
    with pytest.raises(DestinationAway, match="renewed while"):
        send(destination, two()[0])
    with pytest.raises(DestinationRefuses, match="credentials"):
        send(destination, two()[0])


@pytest.mark.parametrize("text", [None, "", "\nsecond line", "two words", "zweiß"])
def test_a_token_file_without_a_token_is_tried_again_later(
    text: str | None, answering: tuple[Answering, str], tmp_path: Path
) -> None:
    answer, url = answering
    token_file = tmp_path / "token"
    if text is not None:
        token_file.write_text(text, encoding="utf-8")
    with pytest.raises(CredentialsUnreadable, match="token"):
        send(Destination(url=url, token_file=token_file), two()[0])
    assert answer.requests == []


def test_an_instance_that_the_server_is_silent_of_is_not_taken_for_stored(
    answering: tuple[Answering, str],
) -> None:
    answer, url = answering
    files, (picture, report) = two()
    answer.headers, answer.body = {"Content-Type": JSON}, a_store_answer([picture], {})
    assert send(Destination(url=url), files)[report].again


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "words"),
    [
        (401, {}, b"Jane Roe", DestinationRefuses, "credentials"),
        (403, {}, b"", DestinationRefuses, "credentials"),
        (404, {}, b"", DestinationRefuses, "no DICOMweb service"),
        (413, {}, b"", DestinationRefuses, "this size"),
        (400, {"Content-Type": JSON}, b"Jane Roe", DestinationRefuses, "HTTP 400"),
        (500, {}, b"Jane Roe", DestinationAway, "HTTP 500"),
        (503, {}, b"", DestinationAway, "busy"),
        (429, {}, b"", DestinationAway, "busy"),
        (
            200,
            {"Content-Type": "text/html"},
            b"<h1>Sign in</h1>",
            DestinationRefuses,
            "no DICOMweb",
        ),
        (200, {"Content-Type": JSON}, b"Roe^Jane {", DestinationRefuses, "no DICOMweb server"),
        (200, {"Content-Type": JSON}, b'{"00081199": 7}', DestinationRefuses, "no DICOMweb server"),
        (302, {"Location": "http://127.0.0.1:1/"}, b"", DestinationRefuses, "another address"),
    ],
)
def test_a_server_that_refuses_is_explained_in_our_words(
    status: int,
    headers: dict[str, str],
    body: bytes,
    error: type[Exception],
    words: str,
    answering: tuple[Answering, str],
) -> None:
    answer, url = answering
    answer.status, answer.headers, answer.body = status, headers, body
    with pytest.raises(error) as caught:
        send(Destination(url=url), two()[0])
    assert words in str(caught.value)
    assert leaks(str(caught.value).encode()) == []
    assert "Jane" not in str(caught.value)


def test_nobody_at_the_address_is_tried_again() -> None:
    with pytest.raises(DestinationAway, match="cannot be reached"):
        send(Destination(url="http://127.0.0.1:1/dicom-web"), two()[0])


def test_a_token_is_shown_and_the_host_is_named_with_its_port(
    answering: tuple[Answering, str], tmp_path: Path
) -> None:
    answer, url = answering
    token_file = tmp_path / "token"
    token_file.write_text("a-token\n", encoding="utf-8")
    destination = Destination(url=url, token_file=token_file)
    send(destination, two()[0])
    [(path, headers, body)] = answer.requests
    assert path == "/dicom-web/studies"
    assert headers["Authorization"] == "Bearer a-token"
    assert headers["Host"] == url.split("/")[2]
    assert body.count(b"DICM") == 2
    assert "a-token" not in repr(destination.credentials())


@pytest.mark.parametrize(
    "url",
    [
        *(
            "pacs.example",
            "ftp://pacs.example",
            "https://",
            "https://[::1",
            "https://a:b@pacs.example",
        ),
        *("https://pacs.example/?key=1", "http://pacs.example/", "https://" + "a" * 500),
    ],
)
def test_an_address_that_is_none_or_not_encrypted_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        address_of(url)


def test_an_address_is_kept_without_its_last_slash() -> None:
    assert address_of("https://pacs.example/dicom-web/") == "https://pacs.example/dicom-web"
    assert address_of("http://127.0.0.1:8042/x") == "http://127.0.0.1:8042/x"
    assert address_of("http://pacs.example/x", plain_http=True) == "http://pacs.example/x"


@pytest.fixture
def outbox(settings: Settings) -> Iterator[Outbox]:
    store = Store.open(settings)
    store.accept(ingest(a_png(), 25_000_000), NewAnalysis(), 8)
    yield Outbox(store, "[]", attempts_limit=2, retry_s=0.001)
    store.close()


def some(settings: Settings, *forms: PushForm) -> list[NewItem]:
    store = Store.open(settings)
    [analysis] = store.worklist()
    store.close()
    return [
        NewItem(
            analysis_id=analysis.id,
            version=1,
            form=form,
            sop_instance_uid=f"2.25.{n}",
            linked=False,
        )
        for n, form in enumerate(forms, start=1)
    ]


HERE = "https://pacs.example"


def test_what_refers_to_the_picture_goes_after_it(outbox: Outbox, settings: Settings) -> None:
    outbox.add(some(settings, PushForm.IMAGE, PushForm.SR, PushForm.SEG), HERE)
    [picture] = outbox.claim(HERE)
    assert picture.form is PushForm.IMAGE
    assert outbox.claim(HERE) == ()
    outbox.settle(picture, StoreResult(stored=True))
    assert [item.form for item in outbox.claim(HERE)] == ["sr", "seg"]
    assert outbox.claim("https://other.example") == ()


def test_attempts_are_bounded_and_a_new_wish_starts_anew(
    outbox: Outbox, settings: Settings
) -> None:
    items = some(settings, PushForm.IMAGE, PushForm.SR)
    outbox.add(items, HERE)
    for _ in range(2):
        [picture] = outbox.claim(HERE, early=True)
        outbox.settle(picture, StoreResult(stored=False, again=True, problem="It is away."))
    assert [item.state for item in outbox.items()] == [PushState.FAILED, PushState.FAILED]
    first, second = outbox.items()
    assert first.problem == "Given up after 2 attempts. It is away."
    assert "was not stored" in str(second.problem)
    assert [item.state for item in outbox.add(items, HERE)] == [PushState.PENDING] * 2
    assert len(outbox.items()) == 2


def test_what_failed_waits_again_when_it_is_revived(outbox: Outbox, settings: Settings) -> None:
    outbox.add(some(settings, PushForm.IMAGE, PushForm.SR), HERE)
    [picture] = outbox.claim(HERE)
    outbox.settle(picture, StoreResult(stored=False, problem="No."))
    assert outbox.revive(destination="https://other.example") == 0
    assert outbox.revive(analysis_id="0" * 32) == 0
    assert outbox.revive(destination=HERE) == 2
    assert {(item.state, item.attempts, item.problem) for item in outbox.items()} == {
        (PushState.PENDING, 0, None)
    }


def test_who_was_thought_dead_does_not_speak_for_the_next_attempt(
    outbox: Outbox, settings: Settings
) -> None:
    outbox.add(some(settings, PushForm.IMAGE), HERE)
    [slow] = outbox.claim(HERE)
    outbox.settle(slow, StoreResult(stored=False, again=True, problem="It is away."))
    [second] = outbox.claim(HERE, early=True)
    outbox.settle(slow, StoreResult(stored=False, problem="Late."))
    [item] = outbox.items()
    assert (item.state, item.attempts) == (PushState.SENDING, second.attempts)
    outbox.settle(second, StoreResult(stored=True))
    assert outbox.items()[0].state is PushState.SENT
    assert outbox.waiting() == ()


def test_a_retry_waits_before_it_is_due(settings: Settings) -> None:
    store = Store.open(settings)
    store.accept(ingest(a_png(), 25_000_000), NewAnalysis(), 8)
    outbox = outbox_of(settings, store)
    outbox.add(some(settings, PushForm.IMAGE), HERE)
    [picture] = outbox.claim(HERE)
    outbox.settle(picture, StoreResult(stored=False, again=True, problem="It is away."))
    assert outbox.claim(HERE) == ()
    assert len(outbox.claim(HERE, early=True)) == 1
    store.close()
