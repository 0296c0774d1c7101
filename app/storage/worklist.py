"""The worklist: analyses a page at a time, with what their reports say, and no report parsed.

What a row shows of a report, and what a search may filter by, is written with the report. It holds
words of this service only: no value that the sender stated, and no identifier.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Row, func, select

from app.storage.database import Sessions
from app.storage.tables import AnalysisRow, JobRow, JobState, ReportRow, SummaryRow
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

BETWEEN = "; "
"""What stands between two words of `Summary.findings`."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the worklist shows and searches of one report.

    `number` is the first one that was measured, what the exam is for; `findings` are the names of
    what was found, with qualities and classes. `flagged` says whether a reader must review
    something.
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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One analysis of the worklist, at its newest version.

    `summary` is None where there is no report, or where its report could not be read when the
    summaries of older reports were written.
    """

    analysis_id: str
    created_at: str
    requested_exam: ExamCode | None
    synthetic: bool
    state: JobState
    problem: str | None
    outcome: Outcome | None
    summary: Summary | None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some entries, newest first, and how many there are in all."""

    entries: tuple[Entry, ...]
    total: int


class Worklist:
    """The worklist of a store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def page(self, rows: int, skipped: int = 0) -> Page:
        """Return up to `rows` entries after the newest `skipped` ones."""
        # The page is cut from the index before anything is joined to it.
        some = (
            select(AnalysisRow.id)
            .order_by(AnalysisRow.created_at.desc(), AnalysisRow.id.desc())
            .limit(rows)
            .offset(skipped)
            .subquery()
        )
        version = (
            select(func.max(JobRow.version))
            .where(JobRow.analysis_id == AnalysisRow.id)
            .correlate(AnalysisRow)
            .scalar_subquery()
        )
        found = (
            select(AnalysisRow, JobRow.state, JobRow.problem, ReportRow.outcome, SummaryRow)
            .join(some, some.c.id == AnalysisRow.id)
            .join(JobRow, (JobRow.analysis_id == AnalysisRow.id) & (JobRow.version == version))
            .outerjoin(
                ReportRow,
                (ReportRow.analysis_id == AnalysisRow.id) & (ReportRow.version == JobRow.version),
            )
            .outerjoin(SummaryRow, SummaryRow.report_id == ReportRow.id)
            .order_by(AnalysisRow.created_at.desc(), AnalysisRow.id.desc())
        )
        with self._sessions.read() as session:
            total = session.scalar(select(func.count()).select_from(AnalysisRow)) or 0
            return Page(entries=tuple(map(_entry, session.execute(found))), total=total)


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
    )


def summary_row(report: Report) -> SummaryRow:
    """Return the row to store with a report."""
    return SummaryRow(report_id=report.report_id, **vars(summary_of(report)))


def _finding_words(report: Report) -> Iterator[str]:
    for finding in report.findings:
        if finding.state is FindingState.FOUND:
            yield finding.label
            if finding.value is not None:
                yield finding.value
            yield from finding.label_set or ()


def _entry(
    row: Row[AnalysisRow, str, str | None, str | None, SummaryRow | None],
) -> Entry:
    analysis, state, problem, outcome, summary = row
    return Entry(
        analysis_id=analysis.id,
        created_at=analysis.created_at,
        requested_exam=ExamCode(analysis.exam) if analysis.exam else None,
        synthetic=ImageInfo.model_validate_json(analysis.image_info).synthetic,
        state=JobState(state),
        problem=problem,
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
    )
