"""Requests to DICOMweb servers that accept, refuse, fail in part or are none, by instance."""

from pathlib import Path

import pytest

from app.errors import CredentialsUnreadable, DestinationAway, DestinationRefuses
from app.pacs.outbox import StoreResult
from app.pacs.server import Destination
from app.pacs.stow import send
from app.settings import address_of
from tests.app.images.test_dicom_privacy import leaks
from tests.app.pacs.answering import JSON, Answering, a_store_answer, two


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
