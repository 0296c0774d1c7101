"""Reports and steps that an older version stored: served unchanged, and in every form."""

import httpx
import pytest
from sqlalchemy import update

from app.pacs.instances import Filing
from app.pacs.outbox import PushForm, PushRequest
from app.settings import Settings
from app.storage.store import Store
from app.storage.tables import RecordRow, ReportRow
from reports.model import ChosenBy
from tests.app.conftest import Serve, a_png
from tests.reports.test_upgrade import STORED


async def aged(client: httpx.AsyncClient, settings: Settings) -> str:
    """Return the id of an analysis whose report and steps are as version 1.0 stored them."""
    sent = await client.post("/analyze", files={"image": ("a.png", a_png(), "image/png")})
    analysis_id: str = sent.json()["analysis_id"]
    store = Store.open(settings)
    with store.write() as session:
        session.execute(update(ReportRow).values(body=STORED.read_text(encoding="utf-8")))
        for row in session.query(RecordRow):
            row.record = row.record.replace('"chosen_by":"rules"', '"chosen_by":"llava"')
            row.record = row.record.replace('"chosen_by":"forced"', '"chosen_by":"llava"')
    store.close()
    return analysis_id


async def test_a_report_of_1_0_is_served_unchanged_and_in_every_form(
    serve: Serve, settings: Settings
) -> None:
    async with serve() as client:
        here = f"/analyses/{await aged(client, settings)}"
        assert (await client.get(f"{here}/report.json")).content == STORED.read_bytes()
        for form in ("html", "txt"):
            shown = await client.get(f"{here}/report.{form}")
            assert shown.status_code == 200, shown.text
        assert (await client.get(f"{here}/view")).status_code == 200
        assert (await client.get(f"{here}/evidence/e1.png")).status_code == 200


async def test_a_report_of_1_0_is_filed(serve: Serve, settings: Settings) -> None:
    pytest.importorskip("highdicom")
    async with serve() as client:
        analysis_id = await aged(client, settings)
    store = Store.open(settings)
    filing = Filing(store, None, research_accepted=True)
    items = filing.instances(PushRequest(analysis_id=analysis_id, force=True))
    store.close()
    assert PushForm.SR in {item.form for item in items}


async def test_the_steps_of_an_older_version_are_read(serve: Serve, settings: Settings) -> None:
    async with serve() as client:
        analysis_id = await aged(client, settings)
        events = await client.get(f"/analyses/{analysis_id}/events")
        assert events.status_code == 200
    store = Store.open(settings)
    records = store.records(analysis_id)
    store.close()
    assert records
    assert {record.step.chosen_by for record in records} == {ChosenBy.MODEL}
