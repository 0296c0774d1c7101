"""The worker pool of one process.

Its threads share the specialists: each worker runs one analysis at a time, and one more thread
answers inference requests.
"""

import logging
import time

from app.errors import NotReady
from app.jobs.inference_requests import InferenceRequests
from app.jobs.pubsub import Publisher, Work
from app.observability.instrumentation import InstrumentedTools, watch_networks
from app.observability.metrics import show_models
from app.settings import Settings
from app.storage.store import Store
from app.worker.loading import load_planning
from app.worker.responder import Responder
from app.worker.shared import Gate, SharedResources
from app.worker.wakeup import Wakeup
from app.worker.worker import Worker
from planner.run import Tools
from reports.model import Box
from specialists.deadline import Deadline
from specialists.image import Image
from specialists.result import Result

log = logging.getLogger(__name__)


class WorkerPool:
    """A pool of `settings.worker_threads` workers, at least one, and a responder."""

    def __init__(
        self, settings: Settings, store: Store, tools: Tools, publisher: Publisher
    ) -> None:
        self._tools = tools
        self._gate = Gate()
        policy = load_planning(settings, tools).policy
        watch_networks(tools)  # After the planner's vision check, which is not to be counted.
        show_models(tools.manifest, tools.runtime, policy.ref)
        threads = max(settings.worker_threads, 1)
        self._wakeup = Wakeup(threads)
        resources = SharedResources(
            gate=self._gate, publisher=publisher, policy=policy, wakeup=self._wakeup
        )
        self._workers = tuple(
            Worker(settings, store, self._tools, resources) for _ in range(threads)
        )
        requests = InferenceRequests(store, settings.lease_s)
        self._responder = Responder(requests, tools, self._gate, publisher, settings.lease_s / 3)

    def start(self, *, responder: bool) -> None:
        """Start the workers and, with `responder`, the thread that answers inference requests."""
        for worker in self._workers:
            worker.start()
        if responder:
            self._responder.start()

    def wake(self, work: Work) -> None:
        """Make an idle thread that does such work poll the store now."""
        match work:
            case Work.ANALYSIS:
                self._wakeup.call_one()
            case Work.INFERENCE:
                self._responder.wake()

    def infer(
        self, specialist_id: str, image: Image, roi: Box | None, deadline: Deadline
    ) -> Result:
        """Return one specialist's result, computed beside the running analyses.

        If analyses wait for the same network, the request shares a forward pass with them.

        Raises:
            Declined: the specialist cannot answer for this image.
            Rejected: the specialist or the region does not exist or does not fit.
            Unavailable: the specialist is not installed, too many requests wait for its network, or
                `deadline` has passed.
        """
        tools = InstrumentedTools(self._tools.with_deadline(deadline))
        return tools.run(specialist_id, image, roi)

    def check(self) -> None:
        """Check that all workers run.

        Raises:
            NotReady: a worker ended without being stopped; this process should be restarted.
        """
        if any(worker.ident is not None and not worker.is_alive() for worker in self._workers):
            raise NotReady("A worker broke; the log says why. Start this process again.")

    def stop(self, wait_s: float) -> None:
        """Stop the pool and wait for running steps.

        Running analyses go back to the queue after their step, and the threads end.

        Raises:
            NotReady: a step did not end within `wait_s`; its lease expires by itself.
        """
        until = time.monotonic() + wait_s
        threads: tuple[Worker | Responder, ...] = (*self._workers, self._responder)
        for thread in threads:
            thread.ask_to_stop()
        late = False
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(until - time.monotonic(), 0.0))
                late = late or thread.is_alive()
        if late:
            raise NotReady("A worker is still in a step; its analysis is finished later.")
