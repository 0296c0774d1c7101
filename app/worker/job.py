"""The processing of one claimed job: from its image to its report."""

import logging
import threading
import uuid
from dataclasses import dataclass
from functools import partial

from app.errors import DeadlinePassed, Draining, LeaseLost, StoreUnavailable
from app.images.ingest import load_image
from app.jobs.pubsub import Publisher
from app.jobs.queue import EXPIRED, Job, Jobs
from app.observability import metrics
from app.observability.instrumentation import InstrumentedTools
from app.settings import code_version
from app.storage.analysis import Analysis
from app.storage.frames import KeptFrame
from app.storage.store import Store, utc_now
from app.worker.frame_selection import chosen, screen
from planner.case import STOP, Record
from planner.conclusion.report import Identity, conclude
from planner.policy import Policy
from planner.protocols import read_protocols
from planner.run import Tools, run
from specialists.deadline import Deadline
from specialists.errors import Cancelled, Overdue
from specialists.image import Image

log = logging.getLogger(__name__)

RETRY_S = 0.5
"""Interval at which a job is handed back while the store is unavailable."""


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """What a worker processes its jobs with; it ends a job when `stopping` is set."""

    store: Store
    jobs: Jobs
    tools: Tools
    policy: Policy
    publisher: Publisher
    stopping: threading.Event


class HeldJob:
    """A job under work; a thread beside the work keeps its lease."""

    def __init__(self, job: Job, jobs: Jobs) -> None:
        self.job = job
        self.deadline = Deadline(job.left_s)
        self._jobs = jobs

    def keep(self) -> None:
        """Renew the lease; if it is lost, cancel the work.

        Raises:
            StoreUnavailable: the lease is not renewed.
        """
        try:
            self._jobs.renew(self.job)
        except LeaseLost as error:
            self.deadline.cancel()
            log.warning("%s", error)


def process(held: HeldJob, given: Equipment) -> None:
    """Analyse the image of a claimed job, and store its report or why there is none.

    The job goes back to the queue if the worker is stopping, if the store is unavailable, or if the
    attempt failed; only the last counts as an attempt. If the lease is lost, nothing is written.
    """
    job, jobs, publisher = held.job, given.jobs, given.publisher
    tools = InstrumentedTools(given.tools.with_deadline(held.deadline))
    try:
        publisher.publish(job.analysis_id)
        try:
            analysis = _with_a_frame(held, given)
            case = run(
                given.store.image(analysis),
                analysis.request(job.question),
                tools,
                given.policy,
                LeasedJournal(job, given),
                () if job.first else given.store.records(job.analysis_id, job.version),
            )
            report = conclude(case, _identity(job, analysis, given.tools.runtime))
            jobs.finish(job, report)
        except (DeadlinePassed, Overdue):
            jobs.fail(job, EXPIRED)
            metrics.count_end(metrics.End.EXPIRED)
        except Draining:
            jobs.hand_back(job, attempted=False)
        except (LeaseLost, Cancelled, StoreUnavailable):
            raise
        except Exception:
            # The boundary of one analysis: whatever is wrong with it must not end the worker.
            log.exception("An attempt at analysis %s failed.", job.analysis_id)
            jobs.hand_back(job, attempted=True)
        else:
            metrics.count_report(report, tools.declined, job.queued_at)
            log.info("Analysis %s is done: %s.", job.analysis_id, report.outcome)
    except (LeaseLost, Cancelled):
        log.warning("Analysis %s is not this worker's any more.", job.analysis_id)
    except StoreUnavailable as error:
        log.warning("%s", error)
        _hand_back_later(job, given)
    else:
        publisher.publish(job.analysis_id, ended=True)


def _hand_back_later(job: Job, given: Equipment) -> None:
    """Hand a job back as soon as the store is available; its lease ends if that is too late.

    It does not count as an attempt, since the job did not cause it.
    """
    while not given.stopping.wait(RETRY_S):
        try:
            given.jobs.hand_back(job, attempted=False)
        except StoreUnavailable as error:
            log.warning("%s", error)
        except LeaseLost as error:
            log.info("%s", error)
            return
        else:
            return


def _identity(job: Job, analysis: Analysis, runtime: str) -> Identity:
    return Identity(
        report_id=uuid.uuid4().hex,
        analysis_id=analysis.id,
        version=job.version,
        supersedes=None,
        external_id=analysis.external_id,
        created_at=utc_now(),
        code_version=code_version(),
        runtime=runtime,
        study_id=analysis.study_id,
    )


def _with_a_frame(held: HeldJob, given: Equipment) -> Analysis:
    """Choose a frame if the analysis has several, and return the analysis with it.

    Frames that were scored by an earlier attempt are not screened again.

    Raises:
        LeaseLost: another worker took the analysis over, or it was cancelled.
        DeadlinePassed: its deadline has passed.
        Draining: the worker is stopping.
    """
    store, cine = given.store, given.store.cine
    analysis = store.analysis(held.job.analysis_id)
    frames = cine.frames(analysis.id)
    if not frames or analysis.image.frame is not None:
        return analysis
    scores = {frame.key: frame.scores for frame in frames if frame.scores is not None}
    unseen = {frame.key: partial(_load, store, frame) for frame in frames}
    for found in screen(
        {key: load for key, load in unseen.items() if key not in scores},
        given.tools,
        read_protocols().router.specialist,
    ):
        cine.note(analysis.id, found)
        scores |= found
        given.jobs.renew(held.job)
        _check(held.job, given.stopping)
    infos = [frame.info for frame in frames]
    info = chosen(infos, [scores[frame.key] for frame in frames], analysis.exam)
    key = next(frame.key for frame in frames if frame.index == info.frame)
    cine.choose(analysis.id, key, info)
    return store.analysis(analysis.id)


def _load(store: Store, frame: KeptFrame) -> Image:
    return load_image(store.png(frame.key), frame.info)


def _check(job: Job, stopping: threading.Event) -> None:
    """Check that work on a job may go on.

    Raises:
        DeadlinePassed: the deadline of the job has passed.
        Draining: the worker is stopping.
    """
    if job.late:
        raise DeadlinePassed(EXPIRED)
    if stopping.is_set():
        raise Draining("The worker is stopping.")


class LeasedJournal:
    """A journal that stores records under a lease and ends the run when the worker is stopping."""

    def __init__(self, job: Job, given: Equipment) -> None:
        self._job = job
        self._given = given

    def append(self, record: Record) -> None:
        """Store the record.

        Raises:
            LeaseLost: another worker holds the job.
            DeadlinePassed: the deadline of the job has passed.
            Draining: the worker is stopping.
        """
        self._given.jobs.append(self._job, record)
        metrics.count_step(record)
        self._given.publisher.publish(self._job.analysis_id)
        if record.step.action != STOP:
            _check(self._job, self._given.stopping)
