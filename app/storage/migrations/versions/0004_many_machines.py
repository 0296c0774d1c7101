"""Support for several machines: shared images and keys, inference requests, job deadlines."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pictures",
        sa.Column(
            "key",
            sa.String(64),
            sa.ForeignKey("images.key", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("png", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "asks",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("specialist", sa.String(64), nullable=False),
        sa.Column("image_info", sa.Text, nullable=False),
        sa.Column("png", sa.LargeBinary, nullable=False),
        sa.Column("roi", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease_expires_at", sa.Float),
        sa.Column("deadline_at", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("reply", sa.Text),
    )
    op.create_index("ix_asks_created_at", "asks", ["created_at"])
    op.add_column("jobs", sa.Column("deadline_at", sa.Float))
    if op.get_bind().dialect.name == "postgresql":
        for table in ("pictures", "asks"):  # A PNG is compressed already.
            op.execute(f"ALTER TABLE {table} ALTER COLUMN png SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_column("jobs", "deadline_at")
    for table in ("asks", "keys", "pictures"):
        op.drop_table(table)
