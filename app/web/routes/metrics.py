"""The route that a Prometheus server scrapes."""

import time
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from app.errors import StoreUnavailable
from app.storage.store import Store
from app.storage.tables import InferenceRequestRow, JobRow, JobState
from app.web.dependencies import Served

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(
    served: Served,
    accept_header: Annotated[str | None, Header(alias="accept")] = None,
) -> Response:
    """Return the counts of this process, and the queue as it stands in the store now."""
    body, media_type = scraped(served.store, accept_header)
    return Response(body, headers={"Content-Type": media_type})


class QueueCollector(Collector):
    """Gauges of a store's queue, read at each scrape; if the store is down, only its state."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
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
        row = InferenceRequestRow
        requests = select(func.count()).where(row.reply.is_(None), row.deadline_at > now)
        with self._store.read() as session:
            rows = {state: (count, oldest) for state, count, oldest in session.execute(jobs).all()}
            questions = session.scalar(requests) or 0
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
        alive = len(self._store.alive_workers())
        yield _gauge("ustri_workers_alive", "Worker threads with a heartbeat of late.", alive)


class Together(Collector):
    """Several collectors as one."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of each collector in turn."""
        for collector in self._collectors:
            yield from collector.collect()


def scraped(store: Store, accept: str | None) -> tuple[bytes, str]:
    """Return all metrics of the web process and their media type, as the `Accept` header asks."""
    encode, media_type = choose_encoder(accept or "")
    return encode(Together(REGISTRY, QueueCollector(store))), media_type


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=value)
