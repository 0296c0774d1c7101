"""Time that a long worklist takes to be shown, searched, filtered, sorted and paged.

`python -m app.bench.worklist STORE N REPORT.json …` fills a new store, a folder or the URL of an
empty PostgreSQL database, with N analyses that have copies of these reports, and times what its
route does for each of some addresses.
"""

import statistics
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from sqlalchemy.orm import Session

from app.settings import Settings
from app.storage.reports import ReportRows
from app.storage.store import Store
from app.storage.tables import AnalysisRow, ImageRow, JobRow, JobState
from app.storage.worklist import worklist_row
from app.storage.worklist_search import Order, Standing
from app.web.dependencies import Services
from app.web.pages.worklist import ROWS, Asked, worklist
from reports.model import ExamCode, Report
from reports.upgrade import read_report
from specialists.manifest import read_manifest

ROUNDS = 21
_KEY = "0" * 64
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def fill(store: Store, analyses: int, reports: list[Report]) -> None:
    """Add that many analyses, a minute apart, each with a copy of one of the reports in turn."""
    with store.write() as session:
        session.add(ImageRow(key=_KEY, size_bytes=1, created_at=_FIRST.isoformat()))
        session.flush()
        for minute, report in enumerate(islice(cycle(reports), analyses)):
            at = (_FIRST + timedelta(minutes=minute)).isoformat()
            _add(session, report, at, f"Case {minute}")


def _add(session: Session, report: Report, at: str, label: str) -> None:
    ids = {"analysis_id": uuid.uuid4().hex, "report_id": uuid.uuid4().hex, "version": 1}
    copy = report.model_copy(update=ids)
    session.add(
        AnalysisRow(
            id=copy.analysis_id,
            image_key=_KEY,
            image_info=copy.image.model_dump_json(),
            question_given=False,
            label=label,
            request_sha256=_KEY,
            created_at=at,
        )
    )
    session.flush()
    session.add(worklist_row(copy.analysis_id, at, None, label))
    session.add(
        JobRow(analysis_id=copy.analysis_id, version=1, state=JobState.DONE, finished_at=at)
    )
    ReportRows.of(copy).add(session)


def requests(analyses: int) -> dict[str, tuple[Asked, bool]]:
    """Return what is timed: what is asked for, and whether the browser has that list already."""
    last = -(-analyses // ROWS)
    return {
        "first page": (Asked(), False),
        "last page": (Asked(page=last), False),
        "first page, unchanged": (Asked(), True),
        "search for one label": (Asked(q=f"case {analyses - 1}"), False),
        "search for a finding": (Asked(q="lesion"), False),
        "search for three words": (Asked(q="breast lesion 2026-01"), False),
        "search that finds nothing": (Asked(q="nothing-is-called-so"), False),
        "one exam": (Asked(exam=ExamCode.BREAST), False),
        "in progress": (Asked(status=Standing.IN_PROGRESS), False),
        "to review or refused": (Asked(flagged=True, refused=True), False),
        "sorted by exam": (Asked(sort=Order.EXAM), False),
        "sorted by label, last page": (Asked(sort=Order.LABEL, page=last), False),
        "search, exam, sorted, second page": (
            Asked(q="lesion", exam=ExamCode.BREAST, sort=Order.LABEL, page=2),
            False,
        ),
    }


def request_ms(served: Services, asked: Asked, *, known: bool) -> float:
    """Return the median time of the response, as the route makes it."""
    tag = worklist(served, asked, hx_request=True).headers["ETag"] if known else ""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        worklist(served, asked, hx_request=known, if_none_match=tag)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> None:
    """Fill the store that the command line names, and write the time of each request."""
    match sys.argv[1:]:
        case [where, analyses, *files] if files:
            reports = [read_report(Path(file).read_text(encoding="utf-8")) for file in files]
        case _:
            sys.exit(f"{__doc__}")
    with tempfile.TemporaryDirectory() as folder:
        shared = where.startswith("postgresql")
        settings = (
            Settings(database_url=where, data_dir=Path(folder))
            if shared
            else Settings(data_dir=Path(where))
        )
        store = Store.open(settings)
        fill(store, int(analyses), reports)
        manifest = read_manifest(settings.specialists_dir)
        served = cast(Services, SimpleNamespace(store=store, settings=settings, manifest=manifest))
        for name, (asked, known) in requests(int(analyses)).items():
            sys.stdout.write(f"{name}: {request_ms(served, asked, known=known):.1f} ms\n")
        store.close()


if __name__ == "__main__":
    main()
