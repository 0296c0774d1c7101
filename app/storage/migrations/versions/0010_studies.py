"""Studies: which study an analysis belongs to, what the sender calls it, and the patient's hash."""

import json

import sqlalchemy as sa
from alembic import op

from app.images.dicom.uids import study_id_of

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = {"study": 64, "study_id": 32, "patient_key": 64}
INDEXED = ("study_id", "patient_key")


def upgrade() -> None:
    for name, length in COLUMNS.items():
        op.add_column("analyses", sa.Column(name, sa.String(length)))
    for name in INDEXED:
        op.create_index(f"ix_analyses_{name}", "analyses", [name])
    # What DICOM files said of their study is kept with their images; of their patient nothing is.
    connection = op.get_bind()
    analyses = sa.table("analyses", sa.column("id"), sa.column("image_info"), sa.column("study_id"))
    rows = connection.execute(sa.select(analyses.c.id, analyses.c.image_info)).all()
    for analysis_id, info in rows:
        if (study_uid := (json.loads(info).get("dicom") or {}).get("study_uid")) is not None:
            connection.execute(
                sa.update(analyses)
                .where(analyses.c.id == analysis_id)
                .values(study_id=study_id_of(study_uid))
            )


def downgrade() -> None:
    for name in INDEXED:
        op.drop_index(f"ix_analyses_{name}", "analyses")
    for name in reversed(COLUMNS):
        op.drop_column("analyses", name)
