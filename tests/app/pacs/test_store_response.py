"""Store responses in JSON and XML, whole, in part or odd, and what a server already holds."""

import json
from typing import Any

import pytest

from app.errors import DestinationRefuses
from app.pacs.server import Destination
from app.pacs.stow import send
from tests.app.pacs.answering import JSON, Answering, a_store_answer, two


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
