"""Job queue: which worker may work on which analysis, and all writes of records and reports."""

import time
from dataclasses import dataclass
from typing import NamedTuple, cast

from sqlalchemy import Select, Table, delete, exists, insert, or_, select
from sqlalchemy.orm import Session

from app.errors import AnalysisDone, FieldRejected, NotFound
from app.jobs.leases import Lease, Leases, abandoned, release
from app.jobs.owner import owner_process, this_process
from app.observability.logs import this_request
from app.observability.metrics import End, count_end
from app.storage.database import Alone, alone
from app.storage.queue_limit import check_queue
from app.storage.reports import ReportRows
from app.storage.store import Store, utc_now
from app.storage.tables import AnalysisRow, JobRow, JobState, RecordRow, WorkerRow
from planner.case import Record
from reports.model import Report

CANCELLED = "The analysis was cancelled at your request."
EXPIRED = (
    "The analysis was not done within the deadline_s of its request; ask for more time, or again "
    "when fewer wait."
)

_ASK_AGAIN = (
    "The question was erased when the analysis ended; send it again to run the analysis again."
)

_RECORD = insert(cast("Table", RecordRow.__table__))
"""Run at every step, as the renewal of a lease is."""


@dataclass(frozen=True, kw_only=True)
class Job(Lease):
    """A claimed job: one version of one analysis, and the lease on it."""

    analysis_id: str
    version: int
    question: str | None
    deadline_at: float | None = None
    queued_at: float | None = None
    request_id: str | None = None

    @property
    def first(self) -> bool:
        """Whether no worker had it before."""
        return self.token == 1

    @property
    def late(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline_at is not None and time.time() > self.deadline_at

    @property
    def left_s(self) -> float | None:
        """Time until its deadline; None without one."""
        return None if self.deadline_at is None else self.deadline_at - time.time()


class Waiting(NamedTuple):
    """Which kinds of jobs may be claimed."""

    suspect: bool
    """A job that an earlier attempt did not finish."""
    fresh: bool
    """A job that had no attempt."""


class Jobs:
    """The queue of one worker.

    Methods that take a job raise LeaseLost when another worker holds it, and all of them raise
    StoreUnavailable when the database cannot be used now; nothing is written then.
    """

    def __init__(self, store: Store, owner: str, lease_s: float, attempts_limit: int) -> None:
        self._store = store
        self._owner = owner
        self._leases = Leases(JobRow, owner, lease_s)
        self._attempts_limit = attempts_limit

    def beat(self) -> None:
        """Record this worker's heartbeat, and remove workers that were silent for a day.

        Jobs that still wait after their deadline are given up here, so that their senders need not
        wait for their turn.
        """
        now = time.time()
        with self._store.write() as session:
            session.merge(WorkerRow(owner=self._owner, heartbeat_at=now))
            session.execute(delete(WorkerRow).where(WorkerRow.heartbeat_at < now - 86_400.0))
            late = select(JobRow).where(JobRow.state == JobState.QUEUED, JobRow.deadline_at < now)
            given_up = session.scalars(late.with_for_update(skip_locked=True)).all()
            for job in given_up:
                _end(job, JobState.FAILED, EXPIRED)
        for _ in given_up:
            count_end(End.EXPIRED)

    def leave(self) -> None:
        """Remove this worker from the store."""
        with self._store.write() as session:
            session.execute(delete(WorkerRow).where(WorkerRow.owner == self._owner))

    def end_dead(self) -> int:
        """End the leases of processes that are known to be dead; return how many there were."""
        return self._leases.end_dead(self._store)

    def claim(self, suspect: bool | None = None) -> Job | None:
        """Claim the oldest job that waits or was abandoned; return None when there is none.

        A job whose attempts at one step are used up, or whose deadline has passed, is given up
        here, with the reason as its problem.

        Args:
            suspect: True for a job that an earlier attempt did not finish, False for one that had
                no attempt, None for either.
        """
        given_up: list[End] = []
        claimed = None
        with self._store.write() as session:
            jobs = _open_jobs(suspect)
            while claimed is None and (row := self._leases.first(session, jobs)) is not None:
                if (problem := self._hopeless(row)) is not None:
                    _end(row, JobState.FAILED, problem)
                    given_up.append(End.EXPIRED if problem == EXPIRED else End.FAILED)
                    session.flush()
                else:
                    claimed = self._begin(row)
        for end in given_up:  # After the commit; before it, they might be counted twice.
            count_end(end)
        return claimed

    def _begin(self, row: JobRow) -> Job:
        row.state = JobState.RUNNING
        return Job(
            row_id=row.id,
            token=self._leases.take(row),
            analysis_id=row.analysis_id,
            version=row.version,
            question=row.question,
            deadline_at=row.deadline_at,
            queued_at=row.queued_at,
            request_id=row.request_id,
        )

    def waiting(self) -> Waiting:
        """Return which kinds of jobs `claim` may find, without taking a write lock."""
        suspect, fresh = (
            exists(_open_jobs(kind).with_only_columns(JobRow.id).order_by(None))
            for kind in (True, False)
        )
        with self._store.read() as session:
            return Waiting(*session.execute(select(suspect, fresh)).one())

    def renew(self, job: Job) -> None:
        """Extend the lease to its full duration again."""
        with self._store.write() as session:
            self._leases.renew(session, job)

    def append(self, job: Job, record: Record) -> None:
        """Store one more step and reset the count of attempts."""
        row = {
            "analysis_id": job.analysis_id,
            "version": job.version,
            "index": record.step.index,
            "record": record.model_dump_json(),
        }
        with self._store.write() as session:
            self._leases.renew(session, job, progressed=True)
            session.execute(_RECORD, row)

    def finish(self, job: Job, report: Report) -> None:
        """Store the report, with its row of the worklist, and erase the question."""
        rows = ReportRows.of(report)
        with self._store.write() as session:
            row = self._leases.hold(session, job)
            rows.add(session)
            _end(row, JobState.DONE, None)

    def fail(self, job: Job, problem: str) -> None:
        """Give the analysis up, with the reason as its problem."""
        with self._store.write() as session:
            _end(self._leases.hold(session, job), JobState.FAILED, problem)

    def hand_back(self, job: Job, *, attempted: bool) -> None:
        """Return the job to the queue; `attempted` is False when the job was not at fault."""
        with self._store.write() as session:
            row = self._leases.hold(session, job)
            row.state = JobState.QUEUED
            release(row)
            if not attempted:
                row.attempts -= 1

    def _hopeless(self, row: JobRow) -> str | None:
        """Return why a job is not started again; None when it is."""
        if row.deadline_at is not None and row.deadline_at < time.time():
            return EXPIRED
        return _given_up(row) if row.attempts >= self._attempts_limit else None


def cancel(store: Store, analysis_id: str) -> None:
    """Cancel an analysis: no worker begins another step of it, and none reports it.

    One that failed stays failed.

    Raises:
        NotFound: there is no analysis of that id.
        AnalysisDone: it is done already.
    """
    with store.write() as session:
        job = _newest(session, analysis_id)
        if job.state == JobState.FAILED:
            return
        if job.state == JobState.DONE:
            raise AnalysisDone("The analysis is done; there is nothing to cancel.")
        job.fencing_token += 1  # The worker that holds it can no longer write.
        _end(job, JobState.FAILED, CANCELLED)
    count_end(End.CANCELLED)


def retry(store: Store, analysis_id: str, question: str | None, queue_limit: int) -> bool:
    """Queue an analysis that failed or was cancelled again; return whether that was needed.

    Its recorded steps are kept, as after a crash. The attempts and the deadline count anew.

    Raises:
        NotFound: there is no analysis of that id.
        AnalysisDone: it is done already.
        FieldRejected: it had a question, which was erased, and none is given; or it had none.
        QueueFull: `queue_limit` analyses are waiting or running.
    """
    with store.write() as session:
        alone(session, Alone.ACCEPT)
        job = _newest(session, analysis_id)
        if job.state == JobState.DONE:
            raise AnalysisDone("The analysis is done; send the image again for another report.")
        if job.state != JobState.FAILED:
            return False
        asked = session.get_one(AnalysisRow, analysis_id).question_given
        if asked and question is None:
            raise FieldRejected("question", _ASK_AGAIN)
        if question is not None and not asked:
            raise FieldRejected("question", "The analysis had no question; leave it out.")
        check_queue(session, queue_limit)
        now = time.time()
        if job.deadline_at is not None and job.queued_at is not None:
            job.deadline_at = now + job.deadline_at - job.queued_at
        job.queued_at = now
        job.state = JobState.QUEUED
        job.attempts = 0
        job.question = question
        job.problem = job.finished_at = None
        job.request_id = this_request()
    return True


def alive_here(store: Store) -> bool:
    """Return whether a worker on this host (or in this container) is alive."""
    here = this_process().host
    return any(owner_process(owner).host == here for owner in store.alive_workers())


def _newest(session: Session, analysis_id: str) -> JobRow:
    """Return the locked job of an analysis' newest version.

    Raises:
        NotFound: there is no analysis of that id.
    """
    jobs = select(JobRow).where(JobRow.analysis_id == analysis_id)
    job = session.scalars(jobs.order_by(JobRow.version.desc()).with_for_update()).first()
    if job is None:
        raise NotFound(f"There is no analysis {analysis_id[:60]!r}.")
    return job


def _open_jobs(suspect: bool | None = None) -> Select[JobRow]:
    """Return the query for the jobs that wait or were abandoned; oldest first, of that kind."""
    waiting = JobRow.state == JobState.QUEUED
    left = (JobRow.state == JobState.RUNNING) & abandoned(JobRow)
    jobs = select(JobRow).where(or_(waiting, left)).order_by(JobRow.id)
    if suspect is None:
        return jobs
    return jobs.where(JobRow.attempts > 0 if suspect else JobRow.attempts == 0)


def _end(row: JobRow, state: JobState, problem: str | None) -> None:
    row.state = state
    row.problem = problem
    row.question = None
    release(row)
    row.finished_at = utc_now()


def _given_up(row: JobRow) -> str:
    return (
        f"The analysis was given up: the worker ended {row.attempts} times during the same step. "
        "Nothing is wrong with your request; the service's log says what happened."
    )
