"""The same lease columns in all three queues, and inference requests under their own name."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_asks_created_at", "asks")
    op.rename_table("asks", "inference_requests")
    op.create_index("ix_inference_requests_created_at", "inference_requests", ["created_at"])
    op.add_column("inference_requests", sa.Column("lease_owner", sa.String(200)))
    # Attempts were the fencing token of these two tables.
    for table in ("inference_requests", "outbox"):
        token = sa.Column("fencing_token", sa.Integer, nullable=False, server_default="0")
        op.add_column(table, token)
        token_column, attempts = sa.column("fencing_token"), sa.column("attempts")
        rows = sa.table(table, token_column, attempts)
        op.execute(sa.update(rows).values(fencing_token=attempts))
    op.drop_column("jobs", "heartbeat_at")


def downgrade() -> None:
    op.add_column("jobs", sa.Column("heartbeat_at", sa.Float))
    for table in ("outbox", "inference_requests"):
        op.drop_column(table, "fencing_token")
    op.drop_column("inference_requests", "lease_owner")
    op.drop_index("ix_inference_requests_created_at", "inference_requests")
    op.rename_table("inference_requests", "asks")
    op.create_index("ix_asks_created_at", "asks", ["created_at"])
