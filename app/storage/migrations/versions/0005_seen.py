"""Columns for logs and metrics: request ids of jobs and inference requests, queue times of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("request_id", sa.String(64)))
    op.add_column("jobs", sa.Column("queued_at", sa.Float))
    op.add_column("asks", sa.Column("request_id", sa.String(64)))


def downgrade() -> None:
    op.drop_column("asks", "request_id")
    op.drop_column("jobs", "queued_at")
    op.drop_column("jobs", "request_id")
