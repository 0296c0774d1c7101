"""The worker: takes jobs, runs the planner over the specialists, and keeps every step and the report."""

import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from app.cine import KeptFrame, chosen, screen
from app.errors import DeadlinePassed, Draining, LeaseLost, NotReady, StoreUnavailable
from app.ingest import load_image
from app.jobs import EXPIRED, Jobs, Lease, new_owner
from app.news import LocalNews, News
from app.planning import load_planning
from app.settings import Settings, code_version
from app.store import Analysis, Store, utc_now
from planner.case import STOP, Case, Record, Request
from planner.choose import Action, Choice, Chooser
from planner.conclude import Identity, conclude
from planner.protocols import read_protocols
from planner.run import Tools, run
from reports.model import Box, PlannerRef, Report
from specialists.image import Image
from specialists.manifest import Manifest, read_manifest
from specialists.result import Result

log = logging.getLogger(__name__)

POLL_S = 0.5
"""Time between looks for jobs that nobody woke this worker for: another process's, or an expired lease."""


def load_tools(settings: Settings) -> Tools:
    """The specialists with their networks, weights checked; loads torch.

    Raises:
        WeightsError: a manifest or a weights file is missing, truncated or altered.
    """
    from specialists.load import load_engine  # Here, so that the web process never loads torch.

    return load_engine(read_manifest(settings.specialists_dir), settings.device)


class Worker(threading.Thread):
    """A thread that works through the queue; those of one process share `tools` and `shop` (`app.crew`)."""

    def __init__(
        self, settings: Settings, store: Store, tools: Tools, shop: "Shop | None" = None
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
        self._jobs = Jobs(store, new_owner(), settings.lease_s, settings.attempts_limit)
        self._pulse_s = settings.lease_s / 3
        self._bell = threading.Event()
        self._stopping = threading.Event()
        self._lease: Lease | None = None
        self._left: Lease | None = None
        self._residue = True

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
        if self._residue:
            self._residue = not self._store.forget_erased()

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
            if self._jobs.waiting(suspect=True):
                with self._gate.exclusive():
                    if self._claimed(suspect=True):
                        return True
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
        try:
            self._news.tell(lease.analysis_id)
            self._work(lease)
            self._news.tell(lease.analysis_id)
        except LeaseLost as error:
            log.warning("%s", error)
        except StoreUnavailable:
            self._left = lease
            raise
        finally:
            self._lease = None
        return True

    def _work(self, lease: Lease) -> None:
        try:
            self._jobs.finish(lease, self._report(lease))
            log.info("Analysis %s is done.", lease.analysis_id)
        except Draining:
            self._jobs.hand_back(lease, attempted=False)
        except DeadlinePassed as error:
            self._jobs.fail(lease, str(error))
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception:
            # The boundary of one analysis: whatever is wrong with it must not end the worker.
            log.exception("An attempt at analysis %s failed.", lease.analysis_id)
            self._jobs.hand_back(lease, attempted=True)

    def _report(self, lease: Lease) -> Report:
        analysis = self._with_a_frame(self._store.analysis(lease.analysis_id))
        case = run(
            self._store.image(analysis),
            Request(exam=analysis.exam, question=lease.question, frame=analysis.frame),
            self._tools,
            self._chooser,
            _LeasedJournal(self._jobs, lease, self._stopping, self._news),
            self._store.records(lease.analysis_id, lease.version),
        )
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

    def _with_a_frame(self, analysis: Analysis) -> Analysis:
        """That analysis once one of its frames is chosen; frames that were scored before are not asked again.

        Raises:
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
            if self._stopping.is_set():
                raise Draining("The worker is stopping.")
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
            except (StoreUnavailable, LeaseLost) as error:
                log.warning("%s", error)
            if self._stopping.wait(self._pulse_s):
                return


class Gate:
    """Lets many in, or one alone; who waits to be alone is let in before those who come after."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._alone = threading.Lock()
        self._inside = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Nothing; nobody is alone meanwhile."""
        with self._alone, self._free:
            self._inside += 1
        try:
            yield
        finally:
            with self._free:
                self._inside -= 1
                self._free.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nothing; nobody else is inside meanwhile."""
        with self._alone:
            with self._free:
                self._free.wait_for(lambda: self._inside == 0)
            yield


@dataclass(frozen=True, kw_only=True)
class Shop:
    """What the workers of one process share beside their tools."""

    gate: Gate
    news: News
    chooser: Chooser


class SharedChooser:
    """A planner that several threads may ask, one at a time and while no specialist of theirs runs."""

    def __init__(self, chooser: Chooser, lock: threading.Lock) -> None:
        self._chooser = chooser
        self._lock = lock

    @property
    def ref(self) -> PlannerRef:
        """What the report's provenance says of it."""
        return self._chooser.ref

    @property
    def sees(self) -> bool:
        """Whether it looks at the image."""
        return self._chooser.sees

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """One of the legal actions."""
        with self._lock:
            return self._chooser.choose(image, case, legal)


class Shared:
    """Tools that two threads may use: one pass at a time, for networks and their caches are not made for two."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._lock = threading.Lock()

    def planned_by(self, chooser: Chooser) -> SharedChooser:
        """That planner, which may use the same networks, never at the same time as these tools."""
        return SharedChooser(chooser, self._lock)

    @property
    def manifest(self) -> Manifest:
        """The registry of the tools."""
        return self._tools.manifest

    @property
    def runtime(self) -> str:
        """What the networks run on."""
        return self._tools.runtime

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """That specialist's answer."""
        with self._lock:
            return self._tools.run(specialist_id, image, roi)

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """That specialist's answer for each image."""
        with self._lock:
            return self._tools.screen(specialist_id, images)


class _LeasedJournal:
    """A journal whose records are kept under a lease; it ends the run when the worker is stopping."""

    def __init__(self, jobs: Jobs, lease: Lease, stopping: threading.Event, news: News) -> None:
        self._jobs = jobs
        self._news = news
        self._lease = lease
        self._stopping = stopping

    def append(self, record: Record) -> None:
        self._jobs.append(self._lease, record)
        self._news.tell(self._lease.analysis_id)
        deadline_at = self._lease.deadline_at
        if deadline_at is not None and time.time() > deadline_at and record.step.action != STOP:
            raise DeadlinePassed(EXPIRED)
        if self._stopping.is_set() and record.step.action != STOP:
            raise Draining("The worker is stopping.")
