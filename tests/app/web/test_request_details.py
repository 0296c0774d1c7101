"""The sender's details over HTTP: in the report, refused with a sentence, kept for a new one."""

import asyncio

import httpx
import pytest

from app.settings import Settings
from app.storage.store import Store
from app.storage.tables import JobRow, JobState
from tests.app.conftest import Serve, a_png
from tests.app.storage.test_details import SENT

UPLOAD = {"image": ("a.png", a_png(), "image/png")}
KEPT = {
    "label": "Case 12",
    "study": "Visit 7",
    "laterality": "left",
    "site": "3 o'clock",
    "indication": "Palpable lump",
    "gestational_age": "19w6d",
    "operator": "JD",
}


async def test_what_is_sent_stands_in_the_report(client: httpx.AsyncClient) -> None:
    sent = await client.post("/analyze", files=UPLOAD, data=SENT | {"scope": "question"})
    assert sent.status_code == 200, sent.text
    request = sent.json()["request"]
    assert {name: request[name] for name in KEPT} == KEPT
    assert request["scope"] == "question"
    here = f"/analyses/{sent.json()['analysis_id']}"
    assert (await client.get(here)).json()["scope"] == "question"


async def test_without_them_they_are_null(client: httpx.AsyncClient) -> None:
    request = (await client.post("/analyze", files=UPLOAD)).json()["request"]
    assert {request.get(name) for name in KEPT} == {None}
    assert request["scope"] == "protocol"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("scope", "all", "scope takes protocol"),
        ("label", "x" * 65, "label takes up to 64 characters"),
        ("operator", "J\tD", "operator takes printable characters"),
        ("laterality", "both", "laterality takes left, right, bilateral"),
        ("gestational_age", "20 weeks", "19w6d or 19+6"),
    ],
)
async def test_a_field_that_is_wrong_is_named_with_what_to_send(
    client: httpx.AsyncClient, field: str, value: str, told: str
) -> None:
    refused = await client.post("/analyze", files=UPLOAD, data={field: value})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert told in refused.json()["detail"]


async def test_a_question_orders_the_report_and_with_scope_question_narrows_it(
    client: httpx.AsyncClient,
) -> None:
    asked = {"question": "Is there a lesion?"}
    whole = (await client.post("/analyze", files=UPLOAD, data=asked)).json()
    narrow = (
        await client.post("/analyze", files=UPLOAD, data=asked | {"scope": "question"})
    ).json()
    assert "breast_2cls" in [step["action"] for step in whole["steps"]]
    assert "breast_2cls" not in [step["action"] for step in narrow["steps"]]
    assert (whole["outcome"], narrow["outcome"]) == ("reported", "reported")
    assert "lesion" in whole["asked"]


async def test_a_key_is_refused_for_the_same_image_with_another_label(
    client: httpx.AsyncClient,
) -> None:
    key = {"Idempotency-Key": "k"}
    one = await client.post("/analyze", files=UPLOAD, data={"label": "Case 12"}, headers=key)
    two = await client.post("/analyze", files=UPLOAD, data={"label": "Case 12"}, headers=key)
    other = await client.post("/analyze", files=UPLOAD, data={"label": "Case 13"}, headers=key)
    assert one.content == two.content
    assert other.status_code == 409


async def test_another_version_of_the_report_keeps_them(serve: Serve, settings: Settings) -> None:
    async with serve() as client:
        sent = await client.post("/analyze", files=UPLOAD, data=SENT)
        analysis_id = sent.json()["analysis_id"]
        store = Store.open(settings)
        with store.write() as session:
            session.add(JobRow(analysis_id=analysis_id, version=2, state=JobState.QUEUED))
        store.close()
        for _ in range(600):
            report = (await client.get(f"/analyses/{analysis_id}/report")).json()
            if report["version"] == 2:
                break
            await asyncio.sleep(0.05)
    assert report["version"] == 2
    assert {name: report["request"][name] for name in KEPT} == KEPT
