"""The worker: takes jobs, runs the planner over the specialists, and keeps every step and the report."""

import logging
import threading
import uuid
from functools import partial

from app import metrics
from app.analysis import Analysis
from app.cine import KeptFrame, chosen, screen
from app.errors import DeadlinePassed, Draining, LeaseLost, NotReady, StoreUnavailable
from app.ingest import load_image
from app.jobs import EXPIRED, Jobs, Lease, new_owner
from app.logs import about
from app.news import LocalNews, News
from app.planning import load_planning
from app.settings import Settings, code_version
from app.shop import Gate, Shop
from app.store import Store, utc_now
from app.watched import WatchedTools
from planner.case import STOP, Record, Request
from planner.conclude import Identity, conclude
from planner.protocols import read_protocols
from planner.run import Tools, run, within
from reports.model import Report
from specialists.batching import Patience
from specialists.errors import Cancelled, Overdue
from specialists.image import Image
from specialists.manifest import read_manifest

log = logging.getLogger(__name__)

POLL_S = 0.5
"""Time between looks for jobs that nobody woke this worker for: another process's, or an expired lease."""


def load_tools(settings: Settings) -> Tools:
    """The specialists with their networks, weights checked; loads torch.

    Raises:
        WeightsError: a manifest or a weights file is missing, truncated or altered.
    """
    from specialists.load import load_engine  # Here, so that the web process never loads torch.
    from specialists.runtime import RuntimeOptions

    options = RuntimeOptions(
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
        cache_dir=settings.cache_dir,
    )
    return load_engine(read_manifest(settings.specialists_dir), settings.device, options)


class Worker(threading.Thread):
    """A thread that works through the queue; those of one process share `tools` and `shop` (`app.crew`)."""

    def __init__(
        self, settings: Settings, store: Store, tools: Tools, shop: Shop | None = None
    ) -> None:
        super().__init__(name="worker", daemon=True)
        self._store = store
        self._tools = tools
        shop = shop or Shop(
            gate=Gate(), news=LocalNews(), chooser=load_planning(settings, tools).chooser
        )
        self._gate = shop.gate
        self._news = shop.news
        self._chooser = shop.chooser
        self._router = read_protocols().router.specialist
        self._released = settings.releases
        self._jobs = Jobs(store, new_owner(), settings.lease_s, settings.attempts_limit)
        self._pulse_s = settings.lease_s / 3
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._lease: Lease | None = None
        self._left: Lease | None = None
        self._residue = True
        self._patience = Patience()

    def wake(self) -> None:
        """Nothing; the worker looks for jobs now."""
        self._bell.set()

    def ask_to_stop(self) -> None:
        """Nothing; the running analysis goes back to the queue after its step, and the thread ends."""
        self._stopping.set()
        self._bell.set()

    def stop(self, wait_s: float | None = None) -> None:
        """Nothing; the running analysis goes back to the queue after its step, and the thread ends.

        Raises:
            NotReady: the step did not end within `wait_s`; its lease ends by itself.
        """
        self.ask_to_stop()
        if self.ident is not None and self is not threading.current_thread():
            self.join(wait_s)
            if self.is_alive():
                raise NotReady("The worker is still in a step; its analysis is finished later.")

    def run(self) -> None:
        """Nothing; works until `stop`."""
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
            self._stopping.set()  # A worker that broke must not go on looking alive.
            pulse.join()
            self._leave()

    def _forget(self) -> None:
        """Lets erased questions go from the database's log as well, once there is nothing to do."""
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
        """Whether there was a job.

        One that an attempt before did not end may be what ended it: it has the process for itself, so that
        it takes no other analysis along, and none is blamed for it.
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
        """Hands back what was left open when the store went away; the absence was not the job's fault."""
        if (lease := self._left) is not None:
            try:
                self._jobs.hand_back(lease, attempted=False)
            except LeaseLost as error:
                log.info("%s", error)
            self._left = None

    def _claimed(self, *, suspect: bool) -> bool:
        """Whether there was such a job; it is worked on before this returns."""
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
            self._news.tell(lease.analysis_id)
            self._work(lease)
            self._news.tell(lease.analysis_id, ended=True)
        except LeaseLost as error:
            log.warning("%s", error)
        except StoreUnavailable:
            self._left = lease
            raise
        finally:
            self._lease = None

    def _work(self, lease: Lease) -> None:
        tools = WatchedTools(within(self._tools, self._patience_of(lease)))
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
                Request(exam=analysis.exam, question=lease.question, frame=analysis.frame),
                tools,
                self._chooser,
                _LeasedJournal(self._jobs, lease, self._stopping, self._news),
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
                released=self._released,
            ),
        )

    def _patience_of(self, lease: Lease) -> Patience:
        """Until the deadline, or until the lease is lost."""
        self._patience = Patience(lease.left_s)
        return self._patience

    def _with_a_frame(self, lease: Lease, analysis: Analysis) -> Analysis:
        """That analysis once one of its frames is chosen; frames that were scored before are not asked again.

        Raises:
            LeaseLost: another worker took it over, or it was cancelled.
            DeadlinePassed: it is too late for it.
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
        """Shows that this worker lives, and keeps its lease through a step that takes long."""
        while True:
            try:
                self._jobs.beat()
                if (lease := self._lease) is not None:
                    self._jobs.renew(lease)
            except LeaseLost as error:
                self._patience.cancel()
                log.warning("%s", error)
            except StoreUnavailable as error:
                log.warning("%s", error)
            if self._stopping.wait(self._pulse_s):
                return


def _go_on(lease: Lease, stopping: threading.Event) -> None:
    """Nothing, while more may be done under that lease.

    Raises:
        DeadlinePassed: it is too late for it.
        Draining: the worker is stopping.
    """
    if lease.late:
        raise DeadlinePassed(EXPIRED)
    if stopping.is_set():
        raise Draining("The worker is stopping.")


class _LeasedJournal:
    """A journal whose records are kept under a lease; it ends the run when the worker is stopping."""

    def __init__(self, jobs: Jobs, lease: Lease, stopping: threading.Event, news: News) -> None:
        self._jobs = jobs
        self._news = news
        self._lease = lease
        self._stopping = stopping

    def append(self, record: Record) -> None:
        self._jobs.append(self._lease, record)
        metrics.count_step(record)
        self._news.tell(self._lease.analysis_id)
        if record.step.action != STOP:
            _go_on(self._lease, self._stopping)
