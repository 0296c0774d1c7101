"""What the sender makes of verdicts that differ from instance to instance."""

import io
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import requests

from app.pacs.instances import Filing
from app.pacs.outbox import PushRequest, outbox_of
from app.pacs.sender import Sender
from app.pacs.server import Destination
from app.pacs.stow import holds
from app.settings import Settings
from app.storage.store import Store
from tests.app.orthanc import PASSWORD, USER, Orthanc
from tests.app.pacs.answering import Answering, two
from tests.app.pacs.test_push import reported

SR_CLASS, SEG_CLASS = b"1.2.840.10008.5.1.4.1.1.88.34", b"1.2.840.10008.5.1.4.1.1.66.4"


def sent(
    settings: Settings, answering: tuple[Answering, str], status_of: Callable[[bytes], int]
) -> tuple[dict[str, str], int]:
    """The states after one round to a server that answers each body so, and how many it got."""
    answer, url = answering

    def decide() -> None:
        answer.status = status_of(answer.requests[-1][2])

    answer.asked = decide
    analysis = reported(settings)
    store = Store.open(settings)
    outbox, filing = outbox_of(settings, store), Filing(store, None, research_accepted=True)
    outbox.add(filing.instances(PushRequest(analysis_id=analysis)), url)
    Sender(outbox, filing).drain(Destination(url=url))
    states = {item.form.value: item.state.value for item in outbox.items()}
    store.close()
    return states, len(answer.requests)


@pytest.mark.parametrize(
    ("refused", "status", "others"),
    [
        (SEG_CLASS, 413, {"sr": "sent", "seg": "failed"}),
        (SR_CLASS, 400, {"sr": "failed", "seg": "sent"}),
        (SR_CLASS, 500, {"sr": "pending", "seg": "sent"}),
        (SEG_CLASS, 409, {"sr": "sent", "seg": "failed"}),
    ],
)
def test_a_verdict_on_one_instance_is_about_no_other(
    refused: bytes,
    status: int,
    others: dict[str, str],
    settings: Settings,
    answering: tuple[Answering, str],
) -> None:
    states, _ = sent(settings, answering, lambda body: status if _is_of(refused, body) else 200)
    assert states == {"image": "sent"} | others


def test_refused_credentials_are_not_tried_for_the_rest(
    settings: Settings, answering: tuple[Answering, str]
) -> None:
    states, count = sent(
        settings,
        answering,
        lambda body: 401 if _is_of(SR_CLASS, body) or _is_of(SEG_CLASS, body) else 200,
    )
    assert states == {"image": "sent", "sr": "failed", "seg": "failed"}
    assert count == 2


def _is_of(sop_class: bytes, body: bytes) -> bool:
    """Return whether the file meta information in a body names that class."""
    meta = body.partition(b"DICM")[2][:400]
    return sop_class in meta


def test_a_real_server_says_whether_it_holds_an_instance(tmp_path: Path) -> None:
    server = Orthanc(tmp_path / "orthanc")
    server.start()
    try:
        files, _ = two()
        server.store(files[0])
        password_file = tmp_path / "password"
        password_file.write_text(PASSWORD, encoding="utf-8")
        destination = Destination(url=server.url, user=USER, password_file=password_file)
        with requests.Session() as session:
            session.auth = (USER, PASSWORD)
            held = [
                holds(session, destination, pydicom.dcmread(io.BytesIO(data))) for data in files
            ]
        assert held == [True, False]
    finally:
        server.stop()
