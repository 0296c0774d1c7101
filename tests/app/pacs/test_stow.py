"""Answers of DICOMweb servers that accept, refuse, fail in part or are none, by instance."""

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pydicom
import pytest

from app.errors import DestinationAway, DestinationRefuses
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


@pytest.fixture
def answering() -> Iterator[tuple[Answering, str]]:
    answer = Answering()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            answer.requests.append((self.path, dict(self.headers), body))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

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
    answering: tuple[Answering, str],
) -> None:
    answer, url = answering
    destination = Destination(url=url, token="a-token")
    send(destination, two()[0])
    [(path, headers, body)] = answer.requests
    assert path == "/dicom-web/studies"
    assert headers["Authorization"] == "Bearer a-token"
    assert headers["Host"] == url.split("/")[2]
    assert body.count(b"DICM") == 2
    assert "a-token" not in repr(destination)


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
