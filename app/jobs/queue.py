"""Job queue: which worker may work on which analysis, and all writes of records and reports.

A claim leases a job for a while and raises its fencing token. Every write carries the token and is
refused if a newer one exists, so a worker that was thought dead cannot write beside its successor.
"""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    CursorResult,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.errors import Conflict, LeaseLost
from app.jobs.owner import owner_process, this_process
from app.observability.metrics import End, count_end
from app.storage.store import Store, utc_now
from app.storage.tables import JobRow, JobState, RecordRow, ReportRow, WorkerRow
from app.storage.worklist import summary_row
from planner.case import Record
from reports.canonical import to_json
from reports.model import Report

CANCELLED = "The analysis was cancelled at your request."
EXPIRED = (
    "The analysis was not done within the deadline_s of its request; ask for more time, or again "
    "when fewer wait."
)


# Run at every step: Core statements built once take a third of the time of ORM statements.
_JOBS, _RECORDS = cast("Table", JobRow.__table__), cast("Table", RecordRow.__table__)
_RENEWED = (
    update(_JOBS)
    .where(
        _JOBS.c.id == bindparam("job"),
        _JOBS.c.state == JobState.RUNNING,
        _JOBS.c.fencing_token == bindparam("token"),
    )
    .values(heartbeat_at=bindparam("now"), lease_expires_at=bindparam("until"))
)
_RENEWED_BY_A_STEP = _RENEWED.values(attempts=1)
_RECORD = insert(_RECORDS)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on one version of one analysis, as long as `token` is the newest."""

    job_id: int
    analysis_id: str
    version: int
    token: int
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

    Methods that take a lease raise LeaseLost when another worker holds the job, and all of them
    raise StoreUnavailable when the database cannot be used now; nothing is written then.
    """

    def __init__(self, store: Store, owner: str, lease_s: float, attempts_limit: int) -> None:
        self._store = store
        self._owner = owner
        self._lease_s = lease_s
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

    def expire_dead(self) -> int:
        """End the leases of processes that are known to be gone; return how many there were."""
        ended = 0
        with self._store.write() as session:
            running = select(JobRow).where(JobRow.state == JobState.RUNNING)
            for job in session.scalars(running.with_for_update(skip_locked=True)):
                if job.lease_owner and owner_process(job.lease_owner).known_dead:
                    job.lease_expires_at = 0.0
                    ended += 1
        return ended

    def claim(self, suspect: bool | None = None) -> Lease | None:
        """Claim the oldest job that waits or was abandoned; return None when there is none.

        A job whose attempts at one step are used up, or whose deadline has passed, is given up
        here, with the reason as its problem.

        Args:
            suspect: True for a job that an earlier attempt did not finish, False for one that had
                no attempt, None for either.
        """
        now = time.time()
        given_up: list[End] = []
        lease = None
        with self._store.write() as session:
            # Workers that claim at once each get another job: a row that one of them holds is
            # skipped.
            oldest = self._open(now, suspect).limit(1).with_for_update(skip_locked=True)
            while lease is None and (job := session.scalar(oldest)) is not None:
                if (problem := self._hopeless(job, now)) is not None:
                    _end(job, JobState.FAILED, problem)
                    given_up.append(End.EXPIRED if problem == EXPIRED else End.FAILED)
                    session.flush()
                else:
                    lease = self._take(job, now)
        for end in given_up:  # After the commit; before it, they might be counted twice.
            count_end(end)
        return lease

    def _take(self, job: JobRow, now: float) -> Lease:
        job.state = JobState.RUNNING
        job.lease_owner = self._owner
        job.lease_expires_at = now + self._lease_s
        job.heartbeat_at = now
        job.fencing_token += 1
        job.attempts += 1
        return Lease(
            job_id=job.id,
            analysis_id=job.analysis_id,
            version=job.version,
            token=job.fencing_token,
            question=job.question,
            deadline_at=job.deadline_at,
            queued_at=job.queued_at,
            request_id=job.request_id,
        )

    def waiting(self) -> Waiting:
        """Return which kinds of jobs `claim` may find, without taking a write lock."""
        opened = _open_jobs(time.time()).with_only_columns(JobRow.id).order_by(None)
        suspect, fresh = (
            exists(opened.where(tried)) for tried in (JobRow.attempts > 0, JobRow.attempts == 0)
        )
        with self._store.read() as session:
            return Waiting(*session.execute(select(suspect, fresh)).one())

    def renew(self, lease: Lease) -> None:
        """Extend the lease to its full duration again."""
        with self._store.write() as session:
            self._renew(session, lease)

    def append(self, lease: Lease, record: Record) -> None:
        """Store one more step and reset the count of attempts."""
        row = {
            "analysis_id": lease.analysis_id,
            "version": lease.version,
            "index": record.step.index,
            "record": record.model_dump_json(),
        }
        with self._store.write() as session:
            self._renew(session, lease, _RENEWED_BY_A_STEP)
            session.execute(_RECORD, row)

    def finish(self, lease: Lease, report: Report) -> None:
        """Store the report, with its row of the worklist, and erase the question."""
        summary = summary_row(report)
        with self._store.write() as session:
            job = self._hold(session, lease)
            session.add(
                ReportRow(
                    id=report.report_id,
                    analysis_id=lease.analysis_id,
                    version=lease.version,
                    outcome=report.outcome,
                    content_sha256=report.provenance.content_sha256,
                    body=to_json(report).decode(),
                    created_at=report.created_at,
                )
            )
            session.flush()
            session.add(summary)
            _end(job, JobState.DONE, None)

    def fail(self, lease: Lease, problem: str) -> None:
        """Give the analysis up, with the reason as its problem."""
        with self._store.write() as session:
            _end(self._hold(session, lease), JobState.FAILED, problem)

    def hand_back(self, lease: Lease, *, attempted: bool) -> None:
        """Return the job to the queue; `attempted` is False when the job was not at fault."""
        with self._store.write() as session:
            job = self._hold(session, lease)
            job.state = JobState.QUEUED
            job.lease_owner = None
            job.lease_expires_at = None
            if not attempted:
                job.attempts -= 1

    def _hopeless(self, job: JobRow, now: float) -> str | None:
        """Return why a job is not started again; None when it is."""
        if job.deadline_at is not None and job.deadline_at < now:
            return EXPIRED
        return _given_up(job) if job.attempts >= self._attempts_limit else None

    def _open(self, now: float, suspect: bool | None) -> Select[JobRow]:
        jobs = _open_jobs(now)
        if suspect is None:
            return jobs
        return jobs.where(JobRow.attempts > 0 if suspect else JobRow.attempts == 0)

    def _hold(self, session: Session, lease: Lease) -> JobRow:
        """Return the lease's row, for this transaction to change."""
        self._renew(session, lease)
        return session.get_one(JobRow, lease.job_id)

    def _renew(self, session: Session, lease: Lease, renewed: Update | None = None) -> None:
        """Extend the lease to its full duration again.

        Raises:
            LeaseLost: another worker holds the job.
        """
        now = time.time()
        row = {"job": lease.job_id, "token": lease.token, "now": now, "until": now + self._lease_s}
        held = session.execute(_RENEWED if renewed is None else renewed, row)
        if cast("CursorResult[Any]", held).rowcount != 1:
            raise LeaseLost(f"Another worker took over analysis {lease.analysis_id}.")


def cancel(store: Store, analysis_id: str) -> None:
    """Cancel an analysis: no worker begins another step of it, and none reports it.

    One that failed stays failed.

    Raises:
        NotFound: there is no analysis of that id.
        Conflict: it is done already.
    """
    store.analysis(analysis_id)
    with store.write() as session:
        newest = select(JobRow).where(JobRow.analysis_id == analysis_id)
        job = session.scalars(newest.order_by(JobRow.version.desc()).with_for_update()).first()
        if job is None or job.state == JobState.FAILED:
            return
        if job.state == JobState.DONE:
            raise Conflict("The analysis is done; there is nothing to cancel.")
        job.fencing_token += 1  # The worker that holds it can no longer write.
        _end(job, JobState.FAILED, CANCELLED)
    count_end(End.CANCELLED)


def alive_here(store: Store, within_s: float) -> bool:
    """Return whether a worker on this host (or in this container) had a heartbeat in that time."""
    since, here = time.time() - within_s, this_process().host
    with store.read() as session:
        owners = session.scalars(select(WorkerRow.owner).where(WorkerRow.heartbeat_at >= since))
        return any(owner_process(owner).host == here for owner in owners)


def _open_jobs(now: float) -> Select[JobRow]:
    return (
        select(JobRow)
        .where(
            or_(
                JobRow.state == JobState.QUEUED,
                (JobRow.state == JobState.RUNNING) & (JobRow.lease_expires_at < now),
            )
        )
        .order_by(JobRow.id)
    )


def _end(job: JobRow, state: JobState, problem: str | None) -> None:
    job.state = state
    job.problem = problem
    job.question = None
    job.lease_owner = None
    job.lease_expires_at = None
    job.finished_at = utc_now()


def _given_up(job: JobRow) -> str:
    return (
        f"The analysis was given up: the worker ended {job.attempts} times during the same step. "
        "Nothing is wrong with your request; the service's log says what happened."
    )
