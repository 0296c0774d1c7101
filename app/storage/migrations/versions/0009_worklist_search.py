"""What the worklist is searched, filtered and sorted by, and the value in words."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from app.storage.worklist import summary_of
from app.storage.worklist_search import folded, words_of_report, words_of_request
from reports.model import ExamCode
from reports.upgrade import read_report

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

AT_ONCE = 500


def upgrade() -> None:
    op.add_column("summaries", sa.Column("value", sa.Text))
    worklist = op.create_table(
        "worklist",
        sa.Column(
            "analysis_id",
            sa.String(32),
            sa.ForeignKey("analyses.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("created_at", sa.String(32), nullable=False),
        sa.Column("exam", sa.String(32)),
        sa.Column("label", sa.Text),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(16)),
        sa.Column("status", sa.String(16)),
        sa.Column("flagged", sa.Boolean, nullable=False),
        sa.Column("report_words", sa.Text, nullable=False),
    )
    op.create_index("ix_worklist_created_at_analysis_id", "worklist", ["created_at", "analysis_id"])
    connection = op.get_bind()
    _write_values(connection)
    rows = list(_rows(connection))
    for first in range(0, len(rows), AT_ONCE):
        connection.execute(worklist.insert(), rows[first : first + AT_ONCE])
    op.drop_index("ix_analyses_created_at_id", "analyses")


def downgrade() -> None:
    op.create_index("ix_analyses_created_at_id", "analyses", ["created_at", "id"])
    op.drop_table("worklist")
    op.drop_column("summaries", "value")


def _write_values(connection: sa.Connection) -> None:
    """Write the value of every summary; its report could be read when the summary was made."""
    reports = sa.table("reports", sa.column("id"), sa.column("body"))
    summaries = sa.table("summaries", sa.column("report_id"), sa.column("value"))
    for report_id in connection.scalars(sa.select(summaries.c.report_id)).all():
        body = connection.scalar(sa.select(reports.c.body).where(reports.c.id == report_id))
        connection.execute(
            sa.update(summaries)
            .where(summaries.c.report_id == report_id)
            .values(value=summary_of(read_report(body)).value)
        )


def _rows(connection: sa.Connection) -> Iterator[dict[str, object]]:
    """Yield the row of each analysis, with what its newest report says."""
    found = connection.execute(
        sa.text(
            "SELECT a.id, a.created_at, a.exam, a.label, r.outcome, s.exam AS seen, s.title, "
            "s.status, s.flagged, s.findings FROM analyses a "
            "LEFT JOIN reports r ON r.analysis_id = a.id AND r.version = "
            "(SELECT max(version) FROM reports WHERE analysis_id = a.id) "
            "LEFT JOIN summaries s ON s.report_id = r.id"
        )
    )
    for row in found.mappings():
        asked = ExamCode(row["exam"]) if row["exam"] else None
        seen = ExamCode(row["seen"]) if row["seen"] else None
        said = row["title"] is not None
        yield {
            "analysis_id": row["id"],
            "created_at": row["created_at"],
            "exam": seen or asked,
            "label": None if row["label"] is None else folded(row["label"]),
            "words": words_of_request(asked, row["created_at"]),
            "outcome": row["outcome"],
            "status": row["status"],
            "flagged": bool(row["flagged"]),
            "report_words": words_of_report(seen, row["title"], row["findings"]) if said else "",
        }
