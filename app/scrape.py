"""What a Prometheus server reads: the counts of this process, and from the web process the queue as the store has it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from app.errors import SettingsError, StoreUnavailable
from app.settings import Settings
from app.store import Store
from app.tables import AskRow, JobRow, JobState


class QueueCollector(Collector):
    """The queue of a store at the moment that it is asked; where the store cannot be used, only that."""

    def __init__(self, store: Store, silent_s: float) -> None:
        self._store = store
        self._silent_s = silent_s

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        try:
            found = list(self._seen())
        except StoreUnavailable:
            yield _gauge("ustri_store_up", "Whether the store could be used.", 0)
            return
        yield _gauge("ustri_store_up", "Whether the store could be used.", 1)
        yield from found

    def _seen(self) -> Iterator[Metric]:
        now = time.time()
        jobs = (
            select(JobRow.state, func.count(), func.min(JobRow.queued_at))
            .where(JobRow.state.in_((JobState.QUEUED, JobState.RUNNING)))
            .group_by(JobRow.state)
        )
        asks = select(func.count()).where(AskRow.reply.is_(None), AskRow.deadline_at > now)
        with self._store.read() as session:
            rows = {state: (count, oldest) for state, count, oldest in session.execute(jobs).all()}
            questions = session.scalar(asks) or 0
        depth = GaugeMetricFamily(
            "ustri_queue_analyses", "Analyses that are accepted and not ended.", labels=["state"]
        )
        for state in (JobState.QUEUED, JobState.RUNNING):
            depth.add_metric([state], rows.get(state, (0, None))[0])
        yield depth
        oldest_at = rows.get(JobState.QUEUED, (0, None))[1]
        age_s = 0.0 if oldest_at is None else max(now - oldest_at, 0.0)
        yield _gauge("ustri_queue_oldest_seconds", "Age of the oldest analysis that waits.", age_s)
        yield _gauge(
            "ustri_queue_questions", "Direct questions that wait for a worker's answer.", questions
        )
        alive = self._store.workers_alive(now - self._silent_s)
        yield _gauge("ustri_workers_alive", "Worker threads with a heartbeat of late.", alive)


class Together(Collector):
    """Several collectors as one."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """The metrics of each in turn."""
        for collector in self._collectors:
            yield from collector.collect()


def scraped(store: Store, settings: Settings, accept: str | None) -> tuple[bytes, str]:
    """Everything that the web process shows, and its media type, as the `Accept` header wants it."""
    encode, media_type = choose_encoder(accept or "")
    queue = QueueCollector(store, max(settings.lease_s, 1.0))
    return encode(Together(REGISTRY, queue)), media_type


@contextmanager
def exposed(settings: Settings) -> Iterator[None]:
    """Nothing; meanwhile the counts of this process can be read at the settings' port, if they name one.

    Raises:
        SettingsError: the port cannot be listened on.
    """
    if settings.metrics_port is None:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        raise SettingsError(
            f"USTRI_METRICS_HOST {settings.metrics_host} and USTRI_METRICS_PORT "
            f"{settings.metrics_port} cannot be listened on: {(error.strerror or str(error)).lower()}."
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)
