"""What a request may say beside exam and question: its scope, and the sender's details."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = {
    "scope": 16,
    "label": 64,
    "laterality": 16,
    "site": 64,
    "indication": 256,
    "gestational_age": 8,
    "operator": 64,
}


def upgrade() -> None:
    for name, length in COLUMNS.items():
        op.add_column("analyses", sa.Column(name, sa.String(length)))


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("analyses", name)
