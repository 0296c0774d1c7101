"""The worklist: analyses a page at a time, with what their reports say, and no report parsed.

What a row shows of a report is written with the report. It holds words of this service only: no
value that the sender stated, and no identifier. What a search filters by is kept apart, in a narrow
row for each analysis.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Row, Update, func, select, update
from sqlalchemy.orm import aliased

from app.storage.database import Sessions
from app.storage.tables import AnalysisRow, JobRow, JobState, ReportRow, SummaryRow, WorklistRow
from app.storage.worklist_search import (
    Search,
    conditions,
    folded,
    order_of,
    words_of_report,
    words_of_request,
)
from reports.model import (
    ExamCode,
    FindingState,
    ImageInfo,
    MeasurementState,
    Outcome,
    Report,
    Status,
)
from reports.wording.facts import Facts
from reports.wording.flags import flags_of
from reports.wording.numbers import figure

BETWEEN = "; "
"""What stands between two words of `Summary.findings`."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the worklist shows and searches of one report.

    `number` is the first one that was measured, what the exam is for, and `value` is it in words;
    `findings` are the names of what was found, with qualities and classes. `flagged` says whether a
    reader must review something.
    """

    exam: ExamCode | None
    title: str
    status: Status
    headline: str
    number_name: str | None
    number: float | None
    number_unit: str | None
    flagged: bool
    findings: str
    value: str | None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One analysis of the worklist, at its newest version.

    `summary` is None where there is no report, or where its report could not be read when the
    summaries of older reports were written.
    """

    analysis_id: str
    created_at: str
    label: str | None
    requested_exam: ExamCode | None
    synthetic: bool
    version: int
    state: JobState
    problem: str | None
    outcome: Outcome | None
    summary: Summary | None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some entries in the order that was asked for.

    `total` is how many the search found, `kept` how many analyses there are in all.
    """

    entries: tuple[Entry, ...]
    total: int
    kept: int


class Worklist:
    """The worklist of a store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def page(self, rows: int, skipped: int = 0, search: Search | None = None) -> Page:
        """Return up to `rows` entries of a search after its first `skipped` ones."""
        search = search or Search()
        wanted = tuple(conditions(search))
        # The page is cut from the narrow rows before anything is joined to it.
        cut = select(WorklistRow).where(*wanted).order_by(*order_of(search.order, WorklistRow))
        some = aliased(WorklistRow, cut.limit(rows).offset(skipped).subquery())
        version = (
            select(func.max(JobRow.version))
            .where(JobRow.analysis_id == AnalysisRow.id)
            .correlate(AnalysisRow)
            .scalar_subquery()
        )
        found = (
            select(AnalysisRow, JobRow, ReportRow.outcome, SummaryRow)
            .join(some, some.analysis_id == AnalysisRow.id)
            .join(JobRow, (JobRow.analysis_id == AnalysisRow.id) & (JobRow.version == version))
            .outerjoin(
                ReportRow,
                (ReportRow.analysis_id == AnalysisRow.id) & (ReportRow.version == JobRow.version),
            )
            .outerjoin(SummaryRow, SummaryRow.report_id == ReportRow.id)
            .order_by(*order_of(search.order, some))
        )
        count = select(func.count()).select_from(WorklistRow)
        with self._sessions.read() as session:
            kept = session.scalar(count) or 0
            total = session.scalar(count.where(*wanted)) or 0 if search.narrows else kept
            return Page(
                entries=tuple(map(_entry, session.execute(found))) if skipped < total else (),
                total=total,
                kept=kept,
            )


def summary_of(report: Report) -> Summary:
    """Return what the worklist shows of a worded report."""
    refused = report.outcome is Outcome.REFUSED
    measured = (m for m in report.measurements if m.state is MeasurementState.MEASURED)
    number = next(measured, None)
    return Summary(
        exam=report.exam.code,
        title=report.exam.title,
        status=report.status,
        headline=report.impression[0] if report.impression else report.reason or "",
        number_name=None if number is None else number.name,
        number=None if number is None else number.value,
        number_unit=None if number is None else number.unit,
        flagged=not refused and bool(flags_of(Facts(report=report))),
        findings=BETWEEN.join(dict.fromkeys(_finding_words(report))),
        value=None if number is None else figure(number).short,
    )


def summary_row(report: Report) -> SummaryRow:
    """Return the row to store with a report."""
    return SummaryRow(report_id=report.report_id, **vars(summary_of(report)))


def worklist_row(
    analysis_id: str, created_at: str, exam: ExamCode | None, label: str | None
) -> WorklistRow:
    """Return the row to store with a new analysis."""
    return WorklistRow(
        analysis_id=analysis_id,
        created_at=created_at,
        exam=exam,
        label=None if label is None else folded(label),
        words=words_of_request(exam, created_at),
    )


def worklist_update(analysis_id: str, outcome: str, said: SummaryRow) -> Update:
    """Return the statement that makes an analysis be found by its newest report."""
    exam = ExamCode(said.exam) if said.exam else None
    return (
        update(WorklistRow)
        .where(WorklistRow.analysis_id == analysis_id)
        .values(
            exam=exam or WorklistRow.exam,
            outcome=outcome,
            status=said.status,
            flagged=said.flagged,
            report_words=words_of_report(exam, said.title, said.findings),
        )
    )


def _finding_words(report: Report) -> Iterator[str]:
    for finding in report.findings:
        if finding.state is FindingState.FOUND:
            yield finding.label
            if finding.value is not None:
                yield finding.value
            yield from finding.label_set or ()


def _entry(
    row: Row[AnalysisRow, JobRow, str | None, SummaryRow | None],
) -> Entry:
    analysis, job, outcome, summary = row
    return Entry(
        analysis_id=analysis.id,
        created_at=analysis.created_at,
        label=analysis.label,
        requested_exam=ExamCode(analysis.exam) if analysis.exam else None,
        synthetic=ImageInfo.model_validate_json(analysis.image_info).synthetic,
        version=job.version,
        state=JobState(job.state),
        problem=job.problem,
        outcome=Outcome(outcome) if outcome else None,
        summary=None if summary is None else _summary(summary),
    )


def _summary(row: SummaryRow) -> Summary:
    return Summary(
        exam=ExamCode(row.exam) if row.exam else None,
        title=row.title,
        status=Status(row.status),
        headline=row.headline,
        number_name=row.number_name,
        number=row.number,
        number_unit=row.number_unit,
        flagged=row.flagged,
        findings=row.findings,
        value=row.value,
    )
