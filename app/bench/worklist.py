"""Time that one page of a long worklist takes.

`python -m app.bench.worklist STORE N REPORT.json …` fills a new store, a folder or the URL of an
empty PostgreSQL database, with N analyses that have copies of these reports, and times the page.
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
from app.web.dependencies import Services
from app.web.pages.viewer import ROWS, worklist
from reports.model import Report
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
            _add(session, report, (_FIRST + timedelta(minutes=minute)).isoformat())


def _add(session: Session, report: Report, at: str) -> None:
    ids = {"analysis_id": uuid.uuid4().hex, "report_id": uuid.uuid4().hex, "version": 1}
    copy = report.model_copy(update=ids)
    session.add(
        AnalysisRow(
            id=copy.analysis_id,
            image_key=_KEY,
            image_info=copy.image.model_dump_json(),
            question_given=False,
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


def page_ms(store: Store, settings: Settings, page: int) -> float:
    """Return the median time of making that page, as its route does."""
    manifest = read_manifest(settings.specialists_dir)
    served = cast(Services, SimpleNamespace(store=store, settings=settings, manifest=manifest))
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        worklist(served, page)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> None:
    """Fill the store that the command line names, and write the time of its first and last page."""
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
        for page in (1, -(-int(analyses) // ROWS)):
            sys.stdout.write(f"page {page}: {page_ms(store, settings, page):.1f} ms\n")
        store.close()


if __name__ == "__main__":
    main()
