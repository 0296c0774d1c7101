"""The worklist: a page at a time, without parsing a report, and without a word of the sender."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event, select

from app.images.ingest import ingest
from app.jobs.owner import new_owner
from app.jobs.queue import Jobs
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.database import MIGRATIONS, open_engine, writer
from app.storage.store import Store
from app.storage.tables import ReportRow, SummaryRow
from app.storage.worklist import summary_of
from app.storage.worklist_search import Search
from app.web.pages.worklist import UNREADABLE
from reports.canonical import to_json
from reports.forms.text import to_text
from reports.model import CheckOutcome, FindingState, Outcome, Report, Status
from reports.upgrade import read_report
from tests.app.conftest import Serve, a_png
from tests.app.dicom_files import SECRETS, UIDS, calibrated
from tests.builders import a_report, a_worded_report
from tests.reports.test_upgrade import STORED

SENT = {
    "question": "Is there a sent-question lesion?",
    "label": "sent-label",
    "study": "sent-study",
    "site": "sent-site",
    "indication": "sent-indication",
    "operator": "sent-operator",
    "external_id": "sent-external-id",
    "gestational_age": "19w6d",
}
GOLDEN = sorted((Path(__file__).parents[2] / "reports" / "golden").glob("*.json"))


@pytest.fixture
def store(either: Settings) -> Iterator[Store]:
    opened = Store.open(either)
    yield opened
    opened.close()


def finished(store: Store, report: Report) -> str:
    """The id of a new analysis with that report."""
    store.accept(ingest(a_png(64, 64), 10_000), NewAnalysis(), 9)
    jobs = Jobs(store, new_owner(), lease_s=60.0, attempts_limit=3)
    lease = jobs.claim()
    assert lease is not None
    named = {"report_id": lease.analysis_id, "analysis_id": lease.analysis_id}
    jobs.finish(lease, report.model_copy(update=named))
    return lease.analysis_id


def test_a_report_is_listed_by_what_was_written_with_it(store: Store) -> None:
    report = a_worded_report()
    analysis_id = finished(store, report)
    with store.write() as session:
        session.execute(sa.update(ReportRow).values(body="not read for the worklist"))
    [entry] = store.worklist.page(25).entries
    assert entry.analysis_id == analysis_id
    assert entry.outcome is report.outcome
    assert entry.summary == summary_of(report)
    assert entry.summary.headline == report.impression[0]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_summary_says_what_the_report_says(path: Path) -> None:
    report = Report.model_validate_json(path.read_bytes())
    summary = summary_of(report)
    assert (summary.exam, summary.title) == (report.exam.code, report.exam.title)
    assert summary.flagged == any(check.outcome is CheckOutcome.FLAG for check in report.checks)
    measured = [(m.name, m.value, m.unit) for m in report.measurements if m.value is not None]
    first = (summary.number_name, summary.number, summary.number_unit)
    assert (summary.value is None) == (not measured)
    assert summary.value is None or summary.value.partition(",")[0] in to_text(report)
    assert first == (measured[0] if measured else (None, None, None))
    found = [item for item in report.findings if item.state is FindingState.FOUND]
    words = summary.findings.split("; ")
    assert all(item.label in words and (item.value or item.label) in words for item in found)


def test_a_refused_report_is_listed_with_its_reason() -> None:
    refused = a_report(outcome=Outcome.REFUSED, reason="it is too dark", impression=())
    summary = summary_of(refused)
    assert (summary.headline, summary.flagged) == ("it is too dark", False)


def test_pages_hold_all_analyses_once_newest_first_and_count_them(store: Store) -> None:
    ingested = ingest(a_png(64, 64), 10_000)
    made = [store.accept(ingested, NewAnalysis(), 99).analysis_id for _ in range(7)]
    pages = [store.worklist.page(3, skipped) for skipped in (0, 3, 6, 9)]
    assert [entry.analysis_id for page in pages for entry in page.entries] == made[::-1]
    assert [page.total for page in pages] == [7, 7, 7, 7]
    with store.write() as session:  # Of one moment: their ids give the order.
        session.execute(sa.text("UPDATE worklist SET created_at = '2026-12-01T00:00:00Z'"))
    alike = [e.analysis_id for n in (0, 3, 6) for e in store.worklist.page(3, n).entries]
    assert alike == sorted(made, reverse=True)


def test_a_page_is_one_query_and_its_rows_come_from_the_index(settings: Settings) -> None:
    store, asked = Store.open(settings), []
    finished(store, a_worded_report())
    keep: Any = lambda *given: asked.append(given[2:4])  # noqa: E731
    event.listen(store._reader, "before_cursor_execute", keep)
    store.worklist.page(25)
    event.remove(store._reader, "before_cursor_execute", keep)
    statements = [(sql, values) for sql, values in asked if sql.startswith("SELECT")]
    assert [("count" in sql) for sql, _ in statements] == [True, False]
    assert "body" not in statements[1][0]
    with store.read() as session:
        raw = session.connection().exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statements[1][0]}", statements[1][1]
        )
        plan = [str(line[-1]) for line in raw]
    assert any("ix_worklist_created_at_analysis_id" in line for line in plan), plan
    assert not [line for line in plan if line.startswith("SCAN reports")]
    store.close()


async def test_no_word_of_sender_or_patient_enters_a_summary(
    serve: Serve, settings: Settings
) -> None:
    async with serve() as client:
        files = {"image": ("Roe^Jane.dcm", calibrated())}
        answer = await client.post("/analyze", files=files, data=SENT)
        assert answer.status_code == 200, answer.text
        assert "sent-label" in answer.text
    store = Store.open(settings)
    with store.read() as session:
        [row] = session.scalars(select(SummaryRow)).all()
        kept = repr([getattr(row, column.name) for column in SummaryRow.__table__.columns])
    store.close()
    words = ("sent-", "19w6d", *SECRETS.values(), *UIDS.values())
    assert [word for word in words if word in kept] == []


THEN = "2026-11-01T12:00:00.000000Z"
OLD = {"first": STORED.read_text(encoding="utf-8"), "damaged": '{"schema_version": "2.0", "x": '}


def before_summaries(settings: Settings) -> dict[str, str]:
    """A store at migration 0006 with the reports OLD and a present one; their analyses' ids."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    engine = open_engine(settings.store_url, settings.busy_s)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    bodies = OLD | {"present": to_json(a_worded_report()).decode()}
    info = ingest(a_png(64, 64), 10_000).image.info.model_dump_json()
    ids = {name: f"{n}" * 32 for n, name in enumerate(bodies)}
    with writer(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")

        def add(table: str, **values: Any) -> None:
            columns: list[Any] = [sa.column(name) for name in values]
            connection.execute(sa.insert(sa.table(table, *columns)).values(**values))

        add("images", key="b" * 64, size_bytes=1, created_at=THEN)
        for name, body in bodies.items():
            at = {"analysis_id": ids[name], "version": 1}
            add(
                "analyses",
                id=ids[name],
                image_key="b" * 64,
                image_info=info,
                question_given=False,
                request_sha256="c" * 64,
                created_at=THEN,
            )
            add("jobs", **at, state="done", fencing_token=1, attempts=1)
            add(
                "reports",
                **{"id": ids[name], **at, "outcome": "reported", "content_sha256": "d" * 64},
                body=body,
                created_at=THEN,
            )
    engine.dispose()
    return ids


def test_stored_reports_are_summarised_and_a_damaged_one_is_kept_and_named(
    either: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    ids = before_summaries(either)
    store = Store.open(either)
    entries = {entry.analysis_id: entry for entry in store.worklist.page(9).entries}
    assert entries[ids["first"]].summary == summary_of(read_report(OLD["first"]))
    assert entries[ids["present"]].summary == summary_of(a_worded_report())
    assert entries[ids["damaged"]].summary is None
    assert entries[ids["damaged"]].outcome is Outcome.REPORTED
    assert store.report_json(ids["damaged"]) == OLD["damaged"].encode()
    found = {
        text: {
            entry.analysis_id for entry in store.worklist.page(9, search=Search(text=text)).entries
        }
        for text in ("1 nov", "lesion")
    }
    assert found["1 nov"] == set(ids.values())
    assert found["lesion"] == {ids["first"], ids["present"]}
    store.close()
    [said] = [line for line in caplog.records if "cannot be read" in line.message]
    assert (said.levelno, ids["damaged"] in said.message) == (logging.WARNING, True)


async def test_a_report_that_cannot_be_read_is_listed_by_its_id_with_its_json(
    serve: Serve, settings: Settings
) -> None:
    ids = before_summaries(settings)
    async with serve() as client:
        page = (await client.get("/")).text
        rows = {name: next(r for r in page.split("<tr>") if ids[name] in r) for name in ids}
        assert f"Analysis {ids['damaged']}" in rows["damaged"]
        assert UNREADABLE in rows["damaged"]
        assert UNREADABLE not in rows["first"] + rows["present"]
        assert str(Status.PRELIMINARY) in rows["first"]
        kept = await client.get(f"/analyses/{ids['damaged']}/report.json")
    assert (kept.status_code, kept.text) == (200, OLD["damaged"])
