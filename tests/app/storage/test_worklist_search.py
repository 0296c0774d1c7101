"""Searching, filtering and sorting the worklist, over SQLite and PostgreSQL."""

import logging
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from app.errors import StoreUnavailable
from app.images.ingest import ingest
from app.jobs.owner import new_owner
from app.jobs.queue import Jobs
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.reports import ReportRows
from app.storage.store import Store
from app.storage.tables import JobRow, JobState
from app.storage.worklist_search import LONGEST, Order, Search, Standing
from planner.case import Details
from reports.model import CheckOutcome, ExamCode, FindingState, Outcome, Report, Status
from tests.app.conftest import Serve, a_png
from tests.builders import a_check, a_finding, a_report, a_worded_report

FILE = ingest(a_png(64, 64), 10_000)


@pytest.fixture
def store(either: Settings) -> Iterator[Store]:
    opened = Store.open(either)
    yield opened
    opened.close()


class Visits:
    """Analyses by their labels."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ids: dict[str, str] = {}
        self._jobs = Jobs(store, new_owner(), lease_s=60.0, attempts_limit=3)

    def add(self, label: str, exam: ExamCode | None = None) -> None:
        new = NewAnalysis(exam=exam, details=Details(label=label))
        self.ids[label] = self.store.accept(FILE, new, 99).analysis_id

    def report(self, label: str, report: Report) -> None:
        """Reports the analysis that waits, which must be the one of that label."""
        lease = self._jobs.claim()
        assert lease is not None
        assert lease.analysis_id == self.ids[label]
        named = {"report_id": lease.analysis_id, "analysis_id": lease.analysis_id}
        self._jobs.finish(lease, report.model_copy(update=named))

    def fail(self, label: str) -> None:
        lease = self._jobs.claim()
        assert lease is not None
        assert lease.analysis_id == self.ids[label]
        self._jobs.fail(lease, "it broke")

    def found(self, text: str = "", **asked: object) -> list[str]:
        """The labels that a search finds, in order."""
        page = self.store.worklist.page(99, search=Search(text=text, **asked))  # type: ignore[arg-type]
        assert page.total == len(page.entries)
        assert page.kept == len(self.ids)
        return [str(entry.label) for entry in page.entries]


@pytest.fixture
def visits(store: Store) -> Visits:
    """A flagged breast report, a refused image, one that failed, one that waits."""
    made = Visits(store)
    made.add("Beta 7")
    made.report("Beta 7", a_worded_report(checks=(a_check(outcome=CheckOutcome.FLAG),)))
    made.add("alpha 7")
    refused = a_report(outcome=Outcome.REFUSED, reason="it is too dark", impression=(), findings=())
    made.report("alpha 7", refused)
    made.add("Gamma", ExamCode.FETAL_HEAD)
    made.fail("Gamma")
    made.add("Ärzte 100%_\\", ExamCode.NERVE)
    with store.write() as session:  # A minute apart, so that the order is known.
        for minute, analysis_id in enumerate(made.ids.values()):
            session.execute(
                sa.text("UPDATE worklist SET created_at = :at WHERE analysis_id = :id"),
                {"at": f"2026-12-01T12:0{minute}:00.000000Z", "id": analysis_id},
            )
    return made


def test_every_word_is_found_in_label_exam_finding_or_date_in_any_case(visits: Visits) -> None:
    assert visits.found("beta") == ["Beta 7"]
    assert visits.found(" LESION  beta ") == ["Beta 7"]
    assert visits.found("lesion alpha") == []
    assert visits.found("fetal head") == ["Gamma"]
    assert visits.found("ärzte") == visits.found("ÄRZTE") == ["Ärzte 100%_\\"]
    with visits.store.read() as session:
        stamp = session.scalar(sa.text("SELECT created_at FROM analyses"))
    assert stamp is not None
    assert len(visits.found(stamp[:10])) == 4
    assert visits.found("1999-12-31") == []


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("%", True), ("_", True), ("\\", True), ("100%_\\", True), ("0%0", False), ("__", False),
        ("a%7", False), ("/", False), ("/%", False), ("'", False), ("\x00", None), ("*", False),
        ("x" * 10 * LONGEST, False), (" ".join("a" * 500), None),
    ],
)  # fmt: skip
def test_what_a_database_takes_for_a_wildcard_matches_literally(
    visits: Visits, text: str, finds: bool | None
) -> None:
    found = visits.found(text)
    if finds is not None:
        assert found == (["Ärzte 100%_\\"] if finds else [])


def test_filters_narrow_and_orders_sort(visits: Visits) -> None:
    waits, gamma, alpha, beta = "Ärzte 100%_\\", "Gamma", "alpha 7", "Beta 7"
    assert visits.found() == [waits, gamma, alpha, beta]
    assert visits.found(order=Order.OLDEST) == [beta, alpha, gamma, waits]
    assert visits.found(order=Order.LABEL)[:3] == [alpha, beta, gamma]
    assert visits.found(order=Order.EXAM) == [alpha, beta, gamma, waits]
    assert visits.found(order=Order.REVIEW)[0] == beta
    assert visits.found(exam=ExamCode.BREAST) == [alpha, beta]
    assert visits.found(exam=ExamCode.NERVE) == [waits]
    assert visits.found(standing=Standing.IN_PROGRESS) == [waits]
    assert visits.found(standing=Standing.FAILED) == [gamma]
    assert visits.found(standing=Standing.PRELIMINARY) == [alpha, beta]
    assert visits.found(standing=Standing.FINAL) == []
    assert visits.found(flagged=True) == [beta]
    assert visits.found(refused=True) == [alpha]
    assert visits.found(flagged=True, refused=True) == [alpha, beta]
    assert visits.found("7", exam=ExamCode.BREAST, order=Order.LABEL) == [alpha, beta]


def test_pages_of_a_search_have_its_total(visits: Visits) -> None:
    search = Search(text="7", order=Order.LABEL)
    pages = [visits.store.worklist.page(1, skipped, search) for skipped in range(3)]
    assert [[entry.label for entry in page.entries] for page in pages] == [
        ["alpha 7"], ["Beta 7"], [],
    ]  # fmt: skip
    assert {(page.total, page.kept) for page in pages} == {(2, 4)}


def test_a_new_version_is_found_by_what_it_says_and_no_more_by_the_old_one(visits: Visits) -> None:
    finding = a_finding(label="cyst", state=FindingState.FOUND)
    changes = {"analysis_id": visits.ids["Beta 7"], "report_id": "f" * 32, "version": 2}
    second = a_worded_report(status=Status.AMENDED).model_copy(
        update={**changes, "findings": (finding,)}
    )
    with visits.store.write() as session:
        session.add(JobRow(analysis_id=second.analysis_id, version=2, state=JobState.DONE))
        ReportRows.of(second).add(session)
    assert visits.found("cyst") == ["Beta 7"]
    assert visits.found("lesion") == []
    assert visits.found(standing=Standing.AMENDED) == ["Beta 7"]
    assert visits.found(flagged=True) == []
    [entry] = visits.store.worklist.page(9, search=Search(text="cyst")).entries
    assert entry.version == 2


async def test_a_search_is_never_logged(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve() as client:
        answer = await client.get("/", params={"q": "sought-after", "exam": "breast"})
        assert answer.status_code == 200
        wrong = await client.get("/", params={"q": "sought-after", "exam": "sought-after"})
        assert wrong.status_code == 422
    assert "sought-after" not in wrong.text
    said = "".join(
        f"{line.getMessage()} {vars(line)}"
        for line in caplog.records
        if line.name.startswith("app")
    )
    assert "GET / was answered with 200" in said
    assert "sought-after" not in said


def test_a_search_that_fails_quotes_no_term(settings: Settings) -> None:
    store = Store.open(settings)
    with store.write() as session:
        session.execute(sa.text("DROP TABLE worklist"))
    with pytest.raises(StoreUnavailable) as failed:
        store.worklist.page(9, search=Search(text="sought-after"))
    assert "sought-after" not in f"{failed.value} {failed.value.__cause__}"
    store.close()
