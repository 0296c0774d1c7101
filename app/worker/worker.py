"""The worker: it claims jobs, runs planner and specialists, and stores steps and reports."""

import logging
import threading
import uuid
from functools import partial

from app.errors import DeadlinePassed, Draining, LeaseLost, NotReady, StoreUnavailable
from app.images.ingest import load_image
from app.jobs.owner import new_owner
from app.jobs.pubsub import LocalPublisher, Publisher
from app.jobs.queue import EXPIRED, Jobs, Lease
from app.observability import metrics
from app.observability.instrumentation import InstrumentedTools
from app.observability.logs import about
from app.settings import Settings, code_version
from app.storage.analysis import Analysis
from app.storage.frames import KeptFrame
from app.storage.store import Store, utc_now
from app.worker.frame_selection import chosen, screen
from app.worker.loading import load_planning
from app.worker.shared import Gate, SharedResources
from planner.case import STOP, Record
from planner.conclusion.report import Identity, conclude
from planner.protocols import read_protocols
from planner.run import Tools, run
from reports.model import Report
from specialists.deadline import Deadline
from specialists.errors import Cancelled, Overdue
from specialists.image import Image

log = logging.getLogger(__name__)

POLL_S = 0.5
"""Time between polls for jobs that do not wake this worker: other processes', or expired leases."""


class Worker(threading.Thread):
    """A thread that works through the queue.

    The workers of one process share `tools` and `resources` (see `app.worker.pool`).
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        tools: Tools,
        resources: SharedResources | None = None,
    ) -> None:
        super().__init__(name="worker", daemon=True)
        self._store = store
        self._tools = tools
        resources = resources or SharedResources(
            gate=Gate(), publisher=LocalPublisher(), policy=load_planning(settings, tools).policy
        )
        self._gate = resources.gate
        self._publisher = resources.publisher
        self._policy = resources.policy
        self._router = read_protocols().router.specialist
        self._jobs = Jobs(store, new_owner(), settings.lease_s, settings.attempts_limit)
        self._pulse_s = settings.lease_s / 3
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._lease: Lease | None = None
        self._left: Lease | None = None
        self._residue = True
        self._deadline = Deadline()

    def wake(self) -> None:
        """Make the worker poll for jobs now."""
        self._bell.set()

    def ask_to_stop(self) -> None:
        """Ask the worker to stop, without waiting for it.

        The running analysis goes back to the queue after its step, and the thread ends.
        """
        self._stopping.set()
        self._bell.set()

    def stop(self, wait_s: float | None = None) -> None:
        """Stop the worker and wait for its running step.

        The running analysis goes back to the queue after that step, and the thread ends.

        Raises:
            NotReady: the step did not end within `wait_s`; its lease expires by itself.
        """
        self.ask_to_stop()
        if self.ident is not None and self is not threading.current_thread():
            self.join(wait_s)
            if self.is_alive():
                raise NotReady("The worker is still in a step; its analysis is finished later.")

    def run(self) -> None:
        """Work until `stop` is called."""
        pulse = threading.Thread(target=self._pulse, name="worker-pulse", daemon=True)
        pulse.start()
        try:
            self._take_over()
            while not self._stopping.is_set():
                self._bell.clear()
                if self._work_once():
                    self._residue = True
                    continue
                self._forget()
                self._bell.wait(POLL_S)
        finally:
            self._stopping.set()  # A broken worker must not go on sending heartbeats.
            pulse.join()
            self._leave()

    def _forget(self) -> None:
        """Remove erased questions from the database's log as well, once there is nothing to do."""
        if not self._residue:
            return
        try:
            self._residue = not self._store.forget_erased()
        except StoreUnavailable as error:
            log.warning("%s", error)

    def _leave(self) -> None:
        try:
            self._jobs.leave()
        except StoreUnavailable as error:
            log.warning("The worker's row stays behind: %s", error)

    def _take_over(self) -> None:
        try:
            ended = self._jobs.expire_dead()
        except StoreUnavailable as error:
            log.warning("Left to their leases: jobs of ended processes. %s", error)
        else:
            if ended:
                log.info("%d analyses of an ended process are taken over.", ended)

    def _work_once(self) -> bool:
        """Work on one job and return whether there was one.

        A job that an earlier attempt did not finish may have caused that attempt to fail. It gets
        the process to itself, so that it ends no other analysis, and none is blamed for it.
        """
        try:
            self._give_back()
            waiting = self._jobs.waiting()
            if waiting.suspect:
                with self._gate.exclusive():
                    if self._claimed(suspect=True):
                        return True
            if not waiting.fresh:
                return False
            with self._gate.shared():
                return self._claimed(suspect=False)
        except StoreUnavailable as error:
            log.warning("%s", error)
            return False

    def _give_back(self) -> None:
        """Hand back the job that was left open when the store became unavailable.

        It does not count as an attempt, since the job did not cause it.
        """
        if (lease := self._left) is not None:
            try:
                self._jobs.hand_back(lease, attempted=False)
            except LeaseLost as error:
                log.info("%s", error)
            self._left = None

    def _claimed(self, *, suspect: bool) -> bool:
        """Claim and work on one such job, and return whether there was one."""
        lease = self._lease = self._jobs.claim(suspect)
        if lease is None:
            return False
        if lease.first:
            metrics.count_begun(lease.queued_at)
        with about(request_id=lease.request_id, analysis_id=lease.analysis_id):
            self._follow(lease)
        return True

    def _follow(self, lease: Lease) -> None:
        try:
            self._publisher.publish(lease.analysis_id)
            self._work(lease)
            self._publisher.publish(lease.analysis_id, ended=True)
        except LeaseLost as error:
            log.warning("%s", error)
        except StoreUnavailable:
            self._left = lease
            raise
        finally:
            self._lease = None

    def _work(self, lease: Lease) -> None:
        tools = InstrumentedTools(self._tools.with_deadline(self._deadline_of(lease)))
        try:
            report = self._report(lease, tools)
            self._jobs.finish(lease, report)
            metrics.count_report(report, tools.declined, lease.queued_at)
            log.info("Analysis %s is done: %s.", lease.analysis_id, report.outcome)
        except Draining:
            self._jobs.hand_back(lease, attempted=False)
        except DeadlinePassed as error:
            self._jobs.fail(lease, str(error))
            metrics.count_end(metrics.End.EXPIRED)
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception:
            # The boundary of one analysis: whatever is wrong with it must not end the worker.
            log.exception("An attempt at analysis %s failed.", lease.analysis_id)
            self._jobs.hand_back(lease, attempted=True)

    def _report(self, lease: Lease, tools: Tools) -> Report:
        analysis = self._with_a_frame(lease, self._store.analysis(lease.analysis_id))
        try:
            case = run(
                self._store.image(analysis),
                analysis.request(lease.question),
                tools,
                self._policy,
                _LeasedJournal(self._jobs, lease, self._stopping, self._publisher),
                () if lease.first else self._store.records(lease.analysis_id, lease.version),
            )
        except Overdue as error:
            raise DeadlinePassed(EXPIRED) from error
        except Cancelled as error:
            raise LeaseLost(
                f"Analysis {lease.analysis_id} is not this worker's any more."
            ) from error
        return conclude(
            case,
            Identity(
                report_id=uuid.uuid4().hex,
                analysis_id=analysis.id,
                version=lease.version,
                supersedes=None,
                external_id=analysis.external_id,
                created_at=utc_now(),
                code_version=code_version(),
                runtime=self._tools.runtime,
            ),
        )

    def _deadline_of(self, lease: Lease) -> Deadline:
        """Return a deadline that ends when the job's does, or when the lease is lost."""
        self._deadline = Deadline(lease.left_s)
        return self._deadline

    def _with_a_frame(self, lease: Lease, analysis: Analysis) -> Analysis:
        """Choose a frame if the analysis has several, and return the analysis with it.

        Frames that were scored by an earlier attempt are not screened again.

        Raises:
            LeaseLost: another worker took the analysis over, or it was cancelled.
            DeadlinePassed: its deadline has passed.
            Draining: the worker is stopping.
        """
        cine = self._store.cine
        frames = cine.frames(analysis.id)
        if not frames or analysis.image.frame is not None:
            return analysis
        scores = {frame.key: frame.scores for frame in frames if frame.scores is not None}
        unseen = {frame.key: partial(self._load, frame) for frame in frames}
        for found in screen(
            {key: load for key, load in unseen.items() if key not in scores},
            self._tools,
            self._router,
        ):
            cine.note(analysis.id, found)
            scores |= found
            self._jobs.renew(lease)
            _go_on(lease, self._stopping)
        infos = [frame.info for frame in frames]
        info = chosen(infos, [scores[frame.key] for frame in frames], analysis.exam)
        key = next(frame.key for frame in frames if frame.index == info.frame)
        cine.choose(analysis.id, key, info)
        return self._store.analysis(analysis.id)

    def _load(self, frame: KeptFrame) -> Image:
        return load_image(self._store.png(frame.key), frame.info)

    def _pulse(self) -> None:
        """Send heartbeats, and renew the lease during a step that takes long."""
        while True:
            try:
                self._jobs.beat()
                if (lease := self._lease) is not None:
                    self._jobs.renew(lease)
            except LeaseLost as error:
                self._deadline.cancel()
                log.warning("%s", error)
            except StoreUnavailable as error:
                log.warning("%s", error)
            if self._stopping.wait(self._pulse_s):
                return


def _go_on(lease: Lease, stopping: threading.Event) -> None:
    """Check that work under that lease may go on.

    Raises:
        DeadlinePassed: the deadline of the job has passed.
        Draining: the worker is stopping.
    """
    if lease.late:
        raise DeadlinePassed(EXPIRED)
    if stopping.is_set():
        raise Draining("The worker is stopping.")


class _LeasedJournal:
    """A journal that stores records under a lease and ends the run when the worker is stopping."""

    def __init__(
        self, jobs: Jobs, lease: Lease, stopping: threading.Event, publisher: Publisher
    ) -> None:
        self._jobs = jobs
        self._publisher = publisher
        self._lease = lease
        self._stopping = stopping

    def append(self, record: Record) -> None:
        self._jobs.append(self._lease, record)
        metrics.count_step(record)
        self._publisher.publish(self._lease.analysis_id)
        if record.step.action != STOP:
            _go_on(self._lease, self._stopping)
