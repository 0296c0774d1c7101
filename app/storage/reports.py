"""Reports as they are stored: the body as it is served, with its row of the worklist."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.storage.tables import ReportRow, SummaryRow
from app.storage.worklist import summary_row, worklist_update
from reports.canonical import to_json
from reports.model import Report


@dataclass(frozen=True, kw_only=True)
class ReportRows:
    """The rows of one report, made before the transaction that writes them begins."""

    report: ReportRow
    summary: SummaryRow

    @classmethod
    def of(cls, report: Report) -> "ReportRows":
        """Return the rows of a worded report."""
        body = ReportRow(
            id=report.report_id,
            analysis_id=report.analysis_id,
            version=report.version,
            outcome=report.outcome,
            content_sha256=report.provenance.content_sha256,
            body=to_json(report).decode(),
            created_at=report.created_at,
        )
        return cls(report=body, summary=summary_row(report))

    def add(self, session: Session) -> None:
        """Add the rows, and let the worklist find the analysis by them."""
        session.add(self.report)
        session.flush()  # The summary refers to it.
        session.add(self.summary)
        session.execute(worklist_update(self.report.analysis_id, self.report.outcome, self.summary))
