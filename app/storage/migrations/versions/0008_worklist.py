"""What the worklist shows of each report, and the order in which it shows analyses."""

import logging

import sqlalchemy as sa
from alembic import op

from app.storage.worklist import Summary, summary_of
from reports.upgrade import read_report

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

log = logging.getLogger(__name__)


def upgrade() -> None:
    summaries = op.create_table(
        "summaries",
        sa.Column(
            "report_id",
            sa.String(32),
            sa.ForeignKey("reports.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("exam", sa.String(32)),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("headline", sa.Text, nullable=False),
        sa.Column("number_name", sa.Text),
        sa.Column("number", sa.Float),
        sa.Column("number_unit", sa.String(16)),
        sa.Column("flagged", sa.Boolean, nullable=False),
        sa.Column("findings", sa.Text, nullable=False),
    )
    op.create_index("ix_analyses_created_at_id", "analyses", ["created_at", "id"])
    op.drop_index("ix_analyses_created_at", "analyses")
    connection = op.get_bind()
    reports = sa.table("reports", sa.column("id"), sa.column("body"))
    for report_id in connection.scalars(sa.select(reports.c.id)).all():
        body = connection.scalar(sa.select(reports.c.body).where(reports.c.id == report_id))
        if (summary := _summary(report_id, body)) is not None:
            names = [column.name for column in summaries.columns if column.name != "report_id"]
            values = {name: getattr(summary, name) for name in names}
            connection.execute(summaries.insert().values(report_id=report_id, **values))


def downgrade() -> None:
    op.create_index("ix_analyses_created_at", "analyses", ["created_at"])
    op.drop_index("ix_analyses_created_at_id", "analyses")
    op.drop_table("summaries")


def _summary(report_id: str, body: str) -> Summary | None:
    """Return what the worklist shows of a stored report; None where it cannot be read."""
    try:
        return summary_of(read_report(body))
    except Exception as error:  # noqa: BLE001 - one damaged report must not stop the service.
        log.warning(
            "Report %s is kept as it is and cannot be read (%s); the worklist shows its analysis "
            "by its id.",
            report_id,
            type(error).__name__,
        )
        return None
