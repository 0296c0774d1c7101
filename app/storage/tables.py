"""Tables of the store, created by the migrations in `app/storage/migrations`.

`app.storage`, `app.jobs` and `app.pacs` read and write them. Times are in UTC: ISO 8601 text where
a person reads them, seconds since the epoch where they are compared.
"""

from enum import StrEnum

from sqlalchemy import (
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class JobState(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class PushState(StrEnum):
    """State of an instance in the outbox."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"


class Base(DeclarativeBase):
    """Declarative base of every table."""


class LeasedRow(Base):
    """A row that one process at a time may work on (`app.jobs.leases`); `id` is its key.

    `fencing_token` grows with every claim, and only the holder of the newest one may write.
    `attempts` counts the claims since the last progress.
    """

    __abstract__ = True

    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_expires_at: Mapped[float | None] = mapped_column(Float)
    fencing_token: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)


class ImageRow(Base):
    """One stored image; uploads with the same pixels share it.

    The PNG itself is stored by `app.storage.image_blobs`.
    """

    __tablename__ = "images"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[str] = mapped_column(String(32))


class PictureRow(Base):
    """The PNG of an image, in a database that several machines use; with SQLite it is a file."""

    __tablename__ = "pictures"

    key: Mapped[str] = mapped_column(ForeignKey("images.key", ondelete="CASCADE"), primary_key=True)
    png: Mapped[bytes] = mapped_column(LargeBinary)


class KeyRow(Base):
    """A key that all machines must share, in a database that several of them use."""

    __tablename__ = "keys"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class InferenceRequestRow(LeasedRow):
    """One inference request to one specialist, on its way to a worker and back.

    The row is erased once the request is answered, abandoned or overdue. `reply` is an
    `app.jobs.inference_requests.Reply` as JSON, null until a worker has answered.
    """

    __tablename__ = "inference_requests"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    specialist: Mapped[str] = mapped_column(String(64))
    image_info: Mapped[str] = mapped_column(Text)
    png: Mapped[bytes] = mapped_column(LargeBinary)
    roi: Mapped[str | None] = mapped_column(Text)
    deadline_at: Mapped[float] = mapped_column(Float)
    created_at: Mapped[float] = mapped_column(Float, index=True)
    reply: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(String(64))


class AnalysisRow(Base):
    """One image and one request; `image_info` is an `ImageInfo` as JSON.

    `scope` is null in rows that are older than it, which stand for `protocol`. `study` is the
    sender's name for the study; `study_id` and `patient_key` are keyed hashes.
    """

    __tablename__ = "analyses"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.key"), index=True)
    image_info: Mapped[str] = mapped_column(Text)
    exam: Mapped[str | None] = mapped_column(String(32))
    question_given: Mapped[bool]
    frame: Mapped[int | None] = mapped_column(Integer)
    external_id: Mapped[str | None] = mapped_column(String(64))
    scope: Mapped[str | None] = mapped_column(String(16))
    label: Mapped[str | None] = mapped_column(String(64))
    study: Mapped[str | None] = mapped_column(String(64))
    study_id: Mapped[str | None] = mapped_column(String(32), index=True)
    patient_key: Mapped[str | None] = mapped_column(String(64), index=True)
    laterality: Mapped[str | None] = mapped_column(String(16))
    site: Mapped[str | None] = mapped_column(String(64))
    indication: Mapped[str | None] = mapped_column(String(256))
    gestational_age: Mapped[str | None] = mapped_column(String(8))
    operator: Mapped[str | None] = mapped_column(String(64))
    idempotency_sha256: Mapped[str | None] = mapped_column(String(64), unique=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[str] = mapped_column(String(32))


class FrameRow(Base):
    """One frame of a multi-frame file, stored so that one can be chosen.

    `scores` are the router's, null before the frame is screened.
    """

    __tablename__ = "frames"

    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"), primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    image_key: Mapped[str] = mapped_column(ForeignKey("images.key"))
    image_info: Mapped[str] = mapped_column(Text)
    scores: Mapped[str | None] = mapped_column(Text)


class JobRow(LeasedRow):
    """The work on one version of a report.

    `queued_at` and `request_id` state when and by which HTTP request the job was created; null in
    rows that are older than these columns.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("analysis_id", "version"),
        Index("ix_jobs_state_id", "state", "id"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"))
    version: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    question: Mapped[str | None] = mapped_column(Text)
    deadline_at: Mapped[float | None] = mapped_column(Float)
    problem: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[str | None] = mapped_column(String(32))
    request_id: Mapped[str | None] = mapped_column(String(64))
    queued_at: Mapped[float | None] = mapped_column(Float)


class RecordRow(Base):
    """One step of a case; `record` is a `planner.case.Record` as JSON."""

    __tablename__ = "records"

    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    index: Mapped[int] = mapped_column(Integer, primary_key=True)
    record: Mapped[str] = mapped_column(Text)


class ReportRow(Base):
    """One version of a report; `body` is its JSON form, served unchanged."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("analysis_id", "version"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id"))
    version: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str] = mapped_column(String(16))
    content_sha256: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(String(32))


class SummaryRow(Base):
    """What the worklist shows and searches of a report; a `app.storage.worklist.Summary`.

    It is apart from the report, whose long body would lie before these columns.
    """

    __tablename__ = "summaries"

    report_id: Mapped[str] = mapped_column(
        ForeignKey("reports.id", ondelete="CASCADE"), primary_key=True
    )
    exam: Mapped[str | None] = mapped_column(String(32))
    title: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    headline: Mapped[str] = mapped_column(Text)
    number_name: Mapped[str | None] = mapped_column(Text)
    number: Mapped[float | None] = mapped_column(Float)
    number_unit: Mapped[str | None] = mapped_column(String(16))
    flagged: Mapped[bool]
    findings: Mapped[str] = mapped_column(Text)
    value: Mapped[str | None] = mapped_column(Text)


class WorklistRow(Base):
    """What the worklist filters and sorts an analysis by, narrow so that all can be searched.

    Texts are folded (`app.storage.worklist_search`). `exam` is that of the newest report, before it
    the requested one; `outcome` and `status` are null before there is a report.
    """

    __tablename__ = "worklist"
    __table_args__ = (Index("ix_worklist_created_at_analysis_id", "created_at", "analysis_id"),)

    analysis_id: Mapped[str] = mapped_column(
        ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[str] = mapped_column(String(32))
    exam: Mapped[str | None] = mapped_column(String(32))
    label: Mapped[str | None] = mapped_column(Text)
    words: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str | None] = mapped_column(String(16))
    status: Mapped[str | None] = mapped_column(String(16))
    flagged: Mapped[bool] = mapped_column(default=False)
    report_words: Mapped[str] = mapped_column(Text, default="")


class WorkerRow(Base):
    """A worker that is or was alive; readiness depends on the age of its heartbeat."""

    __tablename__ = "workers"

    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    heartbeat_at: Mapped[float] = mapped_column(Float)


class LinkRow(Base):
    """The encrypted link from an analysis to the original DICOM instance.

    Links are stored only where the deployment asks for them.
    """

    __tablename__ = "links"

    analysis_id: Mapped[str] = mapped_column(
        ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=True
    )
    key_id: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[str] = mapped_column(String(32))


class OutboxRow(LeasedRow):
    """One DICOM instance to send to a DICOMweb server; it is built from the report when it is sent.

    `linked` is true if the instance refers to the original. No column identifies a patient: the UID
    is generated by this service, and `problem` is a sentence of this service.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("destination", "sop_instance_uid"),
        Index("ix_outbox_state_due_at", "state", "due_at"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    analysis_id: Mapped[str] = mapped_column(ForeignKey("analyses.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    form: Mapped[str] = mapped_column(String(8))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    destination: Mapped[str] = mapped_column(String(500))
    linked: Mapped[bool]
    state: Mapped[str] = mapped_column(String(16))
    due_at: Mapped[float] = mapped_column(Float)
    problem: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(String(32))
    sent_at: Mapped[str | None] = mapped_column(String(32))
