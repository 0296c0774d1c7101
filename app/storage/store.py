"""The store: analyses, records and reports in a database, images in it or in a folder beside it."""

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Engine, Select, bindparam, func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound, StoreUnavailable
from app.images.ingest import Ingested, Picture, load_image
from app.observability.logs import this_request
from app.settings import Settings
from app.storage.analysis import ENDED, Accepted, Analysis, NewAnalysis, SealedLink
from app.storage.database import (
    Alone,
    Turns,
    alone,
    flush_log,
    migrate,
    open_engine,
    shared,
    translated,
    writer,
)
from app.storage.frames import Cine
from app.storage.image_blobs import FolderPictures, Pictures, TablePictures
from app.storage.image_cache import Arrivals
from app.storage.queue_limit import check_queue
from app.storage.studies import Studies
from app.storage.tables import (
    AnalysisRow,
    FrameRow,
    ImageRow,
    JobRow,
    JobState,
    LinkRow,
    RecordRow,
    ReportRow,
    WorkerRow,
)
from app.storage.worklist import Worklist, worklist_row
from planner.case import Details, Record
from reports.model import ExamCode, ImageInfo, Laterality, Outcome, Report, Scope
from reports.upgrade import read_report
from specialists.image import Image


class Store:
    """Analyses, records, reports and images; every method is one transaction.

    Any method raises StoreUnavailable when the database or the folder cannot be read or written.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._reader = engine
        self._writer = writer(engine)
        self._silent_s = max(settings.lease_s, 1.0)
        self._turn = Turns.of(engine, settings.busy_s)
        self._pictures: Pictures = (
            TablePictures(self) if shared(engine) else FolderPictures(settings.images_dir)
        )
        self._arrivals = Arrivals() if settings.worker_threads else None
        self.cine = Cine(self)
        self.worklist = Worklist(self)
        self.studies = Studies(self)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the store of these settings and bring its tables to the newest schema.

        Raises:
            StoreAway: the database's server is not there.
            StoreUnavailable: a folder or the database cannot be created, read or migrated.
        """
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            settings.images_dir.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreUnavailable(
                f"The folder {settings.images_dir} cannot be made: {error.strerror}."
            ) from error
        engine = open_engine(settings.store_url, settings.busy_s)
        try:
            migrate(engine)
        except StoreUnavailable:
            engine.dispose()
            raise
        return cls(engine, settings)

    @property
    def shared(self) -> bool:
        """Whether other machines may use the store too."""
        return shared(self._reader)

    def close(self) -> None:
        """Close every connection to the database."""
        self._reader.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that sees one state of the database."""
        with translated(), Session(self._reader) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session that alone may write; all of its changes are kept, or none."""
        with self._turn(), translated(), Session(self._writer) as session, session.begin():
            yield session

    def accept(self, ingested: Ingested, new: NewAnalysis, queue_limit: int) -> Accepted:
        """Store a new analysis, or return the one that its idempotency key created before.

        Raises:
            Conflict: the idempotency key belongs to another request.
            QueueFull: `queue_limit` analyses are waiting or running.
        """
        key_sha256 = _sha256(new.idempotency_key) if new.idempotency_key else None
        request_sha256 = _fingerprint(ingested, new)
        with self.write() as session:
            alone(session, Alone.ACCEPT)
            if key_sha256 is not None:
                earlier = session.scalar(
                    select(AnalysisRow).where(AnalysisRow.idempotency_sha256 == key_sha256)
                )
                if earlier is not None:
                    return _replay(earlier, request_sha256)
            check_queue(session, queue_limit)
            analysis_id = uuid.uuid4().hex
            now = utc_now()
            _add_picture(session, ingested.picture, now)
            session.add(
                AnalysisRow(
                    id=analysis_id,
                    image_key=ingested.key,
                    image_info=ingested.image.info.model_dump_json(),
                    exam=new.exam,
                    question_given=new.question is not None,
                    frame=new.frame,
                    external_id=new.external_id,
                    scope=new.scope,
                    **asdict(new.details),
                    study_id=new.study_id,
                    patient_key=ingested.patient_key,
                    idempotency_sha256=key_sha256,
                    request_sha256=request_sha256,
                    created_at=now,
                )
            )
            session.flush()
            session.add(worklist_row(analysis_id, now, new.exam, new.details.label))
            session.add(_job(analysis_id, new))
            session.flush()
            _add_link(session, analysis_id, new.link, now)
            _add_frames(session, analysis_id, ingested, now)
            for picture in (ingested.picture, *ingested.frames):
                self._pictures.add(session, picture)
            if self._arrivals is not None and not ingested.frames:
                # Before the commit, right after which a worker may claim the analysis.
                self._arrivals.keep(ingested.key, ingested.image)
        return Accepted(analysis_id=analysis_id, replayed=False)

    def analysis(self, analysis_id: str) -> Analysis:
        """Return that analysis.

        Raises:
            NotFound: there is no analysis of that id.
        """
        with self.read() as session:
            row = session.execute(_analyses().where(AnalysisRow.id == analysis_id)).first()
            if row is None:
                raise NotFound(f"There is no analysis {analysis_id[:60]!r}.")
            return _analysis(*row)

    def ended(self, analysis_id: str) -> bool:
        """Return whether the newest version of that analysis has ended; False for an unknown id."""
        with self.read() as session:
            return session.scalar(_STATE, {"analysis": analysis_id}) in ENDED

    def records(self, analysis_id: str, version: int = 1, after: int = -1) -> tuple[Record, ...]:
        """Return the recorded steps of that version with an index above `after`, in order."""
        with self.read() as session:
            rows = session.scalars(
                select(RecordRow.record)
                .where(
                    RecordRow.analysis_id == analysis_id,
                    RecordRow.version == version,
                    RecordRow.index > after,
                )
                .order_by(RecordRow.index)
            ).all()
        return tuple(Record.model_validate_json(row) for row in rows)

    def report_json(self, analysis_id: str) -> bytes | None:
        """Return the JSON form of the newest report as it was stored; None while there is none."""
        with self.read() as session:
            body = session.scalar(
                select(ReportRow.body)
                .where(ReportRow.analysis_id == analysis_id)
                .order_by(ReportRow.version.desc())
                .limit(1)
            )
        return None if body is None else body.encode()

    def report(self, analysis_id: str) -> Report | None:
        """Return the newest report; None while there is none."""
        body = self.report_json(analysis_id)
        return None if body is None else read_report(body)

    def png(self, key: str) -> bytes:
        """Return the stored image of that key as a PNG.

        Raises:
            StoreUnavailable: the image is missing or cannot be read.
        """
        return self._pictures.png(key)

    def image(self, analysis: Analysis) -> Image:
        """Return the image of that analysis as specialists read it."""
        if self._arrivals is not None:
            arrived = self._arrivals.take(analysis.image_key, analysis.image)
            if arrived is not None:
                return arrived
        return load_image(self.png(analysis.image_key), analysis.image)

    def forget_erased(self) -> bool:
        """Remove erased data from the database's files too, and return whether it is gone.

        If the result is False, call again later.
        """
        return flush_log(self._reader)

    def alive_workers(self) -> tuple[str, ...]:
        """Return the owners (`app.jobs.owner`) of the workers that are alive.

        A worker is alive if it sent a heartbeat within a lease, which spans three of them, or
        within the last second.
        """
        since = time.time() - self._silent_s
        with self.read() as session:
            return tuple(
                session.scalars(select(WorkerRow.owner).where(WorkerRow.heartbeat_at >= since))
            )

    def sweep(self) -> int:
        """Remove image files without a row, left behind by a crash, and return their number."""
        with self.write() as session:
            return self._pictures.sweep(session)


_STATE = (
    select(JobRow.state)
    .where(JobRow.analysis_id == bindparam("analysis"))
    .order_by(JobRow.version.desc())
    .limit(1)
)


def utc_now() -> str:
    """Return the current time in UTC as ISO 8601 text with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _analyses() -> Select[AnalysisRow, JobRow, str | None, str | None]:
    """Return the query for the rows that `_analysis` takes, without the bodies of reports."""
    newest = (
        select(func.max(JobRow.version))
        .where(JobRow.analysis_id == AnalysisRow.id)
        .correlate(AnalysisRow)
        .scalar_subquery()
    )
    return (
        select(AnalysisRow, JobRow, ReportRow.id, ReportRow.outcome)
        .join(JobRow, (JobRow.analysis_id == AnalysisRow.id) & (JobRow.version == newest))
        .outerjoin(
            ReportRow,
            (ReportRow.analysis_id == AnalysisRow.id) & (ReportRow.version == JobRow.version),
        )
    )


def _analysis(
    row: AnalysisRow, job: JobRow, report_id: str | None, outcome: str | None
) -> Analysis:
    return Analysis(
        id=row.id,
        created_at=row.created_at,
        exam=ExamCode(row.exam) if row.exam else None,
        question_given=row.question_given,
        scope=Scope(row.scope) if row.scope else Scope.PROTOCOL,
        frame=row.frame,
        details=Details(
            label=row.label,
            study=row.study,
            laterality=Laterality(row.laterality) if row.laterality else None,
            site=row.site,
            indication=row.indication,
            gestational_age=row.gestational_age,
            operator=row.operator,
        ),
        study_id=row.study_id,
        external_id=row.external_id,
        image=ImageInfo.model_validate_json(row.image_info),
        image_key=row.image_key,
        version=job.version,
        state=JobState(job.state),
        attempts=job.attempts,
        problem=job.problem,
        report_id=report_id,
        outcome=Outcome(outcome) if outcome else None,
    )


def _job(analysis_id: str, new: NewAnalysis) -> JobRow:
    now = time.time()
    return JobRow(
        analysis_id=analysis_id,
        version=1,
        state=JobState.QUEUED,
        question=new.question,
        deadline_at=None if new.deadline_s is None else now + new.deadline_s,
        request_id=this_request(),
        queued_at=now,
    )


def _add_picture(session: Session, picture: Picture, now: str) -> None:
    if session.get(ImageRow, picture.key) is None:
        session.add(ImageRow(key=picture.key, size_bytes=len(picture.png), created_at=now))
        session.flush()


def _add_link(session: Session, analysis_id: str, link: SealedLink | None, now: str) -> None:
    if link is not None:
        row = LinkRow(
            analysis_id=analysis_id, key_id=link.key_id, sealed=link.sealed, created_at=now
        )
        session.add(row)


def _add_frames(session: Session, analysis_id: str, ingested: Ingested, now: str) -> None:
    for frame in ingested.frames:
        _add_picture(session, frame, now)
        session.add(
            FrameRow(
                analysis_id=analysis_id,
                index=frame.info.frame,
                image_key=frame.key,
                image_info=frame.info.model_dump_json(),
            )
        )
    session.flush()


def _replay(earlier: AnalysisRow, request_sha256: str) -> Accepted:
    if earlier.request_sha256 != request_sha256:
        raise Conflict(
            "This Idempotency-Key was used for another image or other parameters. "
            "Send a new key with a new request."
        )
    return Accepted(analysis_id=earlier.id, replayed=True)


def _fingerprint(ingested: Ingested, new: NewAnalysis) -> str:
    parts = [
        ingested.image.info.sha256,
        new.exam or "",
        "" if new.frame is None else str(new.frame),
        new.external_id or "",
        new.question or "",
    ]
    if new.scope is not Scope.PROTOCOL or new.details != Details():
        # Only then, so that a key of a request without them stays valid over an upgrade.
        details = asdict(new.details)
        if new.details.study is None:
            del details["study"]  # likewise
        parts += [new.scope, json.dumps(details, sort_keys=True)]
    return _sha256("\x00".join(parts))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
