"""The worker: a thread that claims jobs and processes them one by one."""

import logging
import threading

from app.errors import NotReady, StoreUnavailable
from app.jobs.owner import new_owner
from app.jobs.pubsub import LocalPublisher
from app.jobs.queue import Jobs
from app.observability import metrics
from app.observability.logs import about
from app.settings import Settings
from app.storage.store import Store
from app.worker.job import Equipment, HeldJob, process
from app.worker.loading import load_planning
from app.worker.shared import Gate, SharedResources
from app.worker.wakeup import Wakeup
from planner.run import Tools

log = logging.getLogger(__name__)

POLL_S = 0.5
"""Time between polls for jobs that do not wake this worker: other processes', or expired leases."""


class Worker(threading.Thread):
    """A thread that works through the queue, and a second one that keeps its leases.

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
        resources = resources or SharedResources(
            gate=Gate(),
            publisher=LocalPublisher(),
            policy=load_planning(settings, tools).policy,
            wakeup=Wakeup(1),
        )
        self._store = store
        self._gate = resources.gate
        self._wakeup = resources.wakeup
        self._jobs = Jobs(store, new_owner(), settings.lease_s, settings.attempts_limit)
        self._pulse_s = settings.lease_s / 3
        self._stopping = threading.Event()
        self._equipment = Equipment(
            store=store,
            jobs=self._jobs,
            tools=tools,
            policy=resources.policy,
            publisher=resources.publisher,
            stopping=self._stopping,
        )
        self._held: HeldJob | None = None  # Set by the worker's thread, read by its pulse.

    def ask_to_stop(self) -> None:
        """Ask the worker to stop, without waiting for it.

        The running analysis goes back to the queue after its step, and the thread ends.
        """
        self._stopping.set()
        self._wakeup.call_all()

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
        erased = False
        try:
            self._end_dead()
            while not self._stopping.is_set():
                if self._process_next():
                    erased = False
                    continue
                # Erased questions leave the database's log as well, once there is nothing to do.
                erased = erased or self._forget_erased()
                self._wakeup.wait(POLL_S)
        finally:
            self._stopping.set()  # A broken worker must not go on sending heartbeats.
            pulse.join()
            self._leave()

    def _process_next(self) -> bool:
        """Claim and process one job; return whether there was one.

        A job that an earlier attempt did not finish may have caused that attempt to fail. It gets
        the process to itself, so that it ends no other analysis, and none is blamed for it.
        """
        try:
            waiting = self._jobs.waiting()
            if waiting.suspect:
                with self._gate.exclusive():
                    if self._process_claimed(suspect=True):
                        return True
            if not waiting.fresh:
                return False
            with self._gate.shared():
                return self._process_claimed(suspect=False)
        except StoreUnavailable as error:
            log.warning("%s", error)
            return False

    def _process_claimed(self, *, suspect: bool) -> bool:
        job = self._jobs.claim(suspect)
        if job is None:
            return False
        if job.first:
            metrics.count_begun(job.queued_at)
        with about(request_id=job.request_id, analysis_id=job.analysis_id):
            self._held = held = HeldJob(job, self._jobs)
            try:
                process(held, self._equipment)
            finally:
                self._held = None
        return True

    def _pulse(self) -> None:
        """Send heartbeats, take jobs from dead processes, and keep the lease during a long step."""
        while True:
            try:
                self._jobs.beat()
                if (held := self._held) is not None:
                    held.keep()
            except StoreUnavailable as error:
                log.warning("%s", error)
            if self._stopping.wait(self._pulse_s):
                return
            self._end_dead()

    def _end_dead(self) -> None:
        try:
            ended = self._jobs.end_dead()
        except StoreUnavailable as error:
            log.warning("Left to their leases: jobs of ended processes. %s", error)
        else:
            if ended:
                log.info("%d analyses of an ended process are taken over.", ended)

    def _forget_erased(self) -> bool:
        """Remove erased questions from the database's files; return whether they are gone."""
        try:
            return self._store.forget_erased()
        except StoreUnavailable as error:
            log.warning("%s", error)
            return False

    def _leave(self) -> None:
        try:
            self._jobs.leave()
        except StoreUnavailable as error:
            log.warning("The worker's row stays behind: %s", error)
