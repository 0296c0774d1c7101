"""Frames of a multi-frame file, from which the worker chooses one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "frames",
        sa.Column("analysis_id", sa.String(32), sa.ForeignKey("analyses.id"), primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True),
        sa.Column("image_key", sa.String(64), sa.ForeignKey("images.key"), nullable=False),
        sa.Column("image_info", sa.Text, nullable=False),
        sa.Column("scores", sa.Text),
    )


def downgrade() -> None:
    op.drop_table("frames")
