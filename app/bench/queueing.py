"""Figures of the queue; `python -m app.bench.queueing` names them.

`signals REDIS_URL` compares ways to wake an idle thread and needs `pip install dramatiq`, which the
service does not. `steps` measures the write of a step, and `claims N` has N processes claim jobs
and write their steps; both use the store of the settings, which should have a database of its own.
"""

import importlib
import io
import logging
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from typing import Any

import PIL.Image

from app.images.ingest import ingest
from app.jobs.owner import new_owner
from app.jobs.queue import Job, Jobs
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from planner.case import Record
from reports.model import ChosenBy, Step

SIGNALS, JOBS, STEPS = 30, 200, 6


def percentiles(name: str, seconds: list[float]) -> None:
    """Write the median, the 95th percentile and the largest of some times."""
    ms = sorted(1000 * each for each in seconds)
    rare = ms[int(0.95 * len(ms)) - 1]
    median = statistics.median(ms)
    sys.stdout.write(f"{name:44}{median:8.2f} ms, 95 % {rare:8.2f}, at most {ms[-1]:8.2f}\n")
    sys.stdout.flush()


def signals(url: str) -> None:
    """Measure how long a lone message takes to a waiting thread."""
    logging.getLogger("dramatiq").setLevel(logging.CRITICAL)
    dramatiq: Any = importlib.import_module("dramatiq")
    brokers: Any = importlib.import_module("dramatiq.brokers.redis")
    stub: Any = importlib.import_module("dramatiq.brokers.stub")
    _dramatiq(dramatiq, stub.StubBroker(), "Dramatiq in process")
    for timeout_ms in (1000, 100, 10, 4):
        name = f"Dramatiq over Redis, worker_timeout {timeout_ms} ms"
        _dramatiq(dramatiq, brokers.RedisBroker(url=url), name, worker_timeout=timeout_ms)
    _redis(url)


def _dramatiq(dramatiq: Any, broker: Any, name: str, **options: int) -> None:
    arrived = threading.Event()
    actor = dramatiq.actor(arrived.set, broker=broker, actor_name="arrive", queue_name="bench")
    worker = dramatiq.Worker(broker, worker_threads=1, **options)
    worker.start()
    _lone(name, actor.send, arrived)
    worker.stop()


def _redis(url: str) -> None:
    redis: Any = importlib.import_module("redis")
    client = redis.Redis.from_url(url)
    arrived, stopping = threading.Event(), threading.Event()

    def listen() -> None:
        with client.pubsub(ignore_subscribe_messages=True) as heard:
            heard.subscribe("bench")
            while not stopping.is_set():
                if heard.get_message(timeout=0.5):
                    arrived.set()

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.5)
    _lone("Redis publish/subscribe", lambda: client.publish("bench", "x"), arrived)
    stopping.set()
    listener.join()


def _lone(name: str, send: Callable[[], object], arrived: threading.Event) -> None:
    times: list[float] = []
    busy_s, began = time.process_time(), time.monotonic()
    for _ in range(SIGNALS):
        time.sleep(random.uniform(0.2, 0.5))  # So that whoever polls has backed off.
        arrived.clear()
        sent = time.perf_counter()
        send()
        arrived.wait(5.0)
        times.append(time.perf_counter() - sent)
    share = (time.process_time() - busy_s) / (time.monotonic() - began)
    percentiles(f"{name} ({share:.1%} of a core)", times)


def steps() -> None:
    """Measure the write of a step: the renewal of the lease and the record."""
    settings = Settings()
    with closing(Store.open(settings)) as store:
        jobs = _filled(store, settings, 10)
        percentiles("a step", [s for _ in range(10) for s in _worked(jobs)[1]])


def claims(processes: int) -> None:
    """Measure how fast some processes claim jobs, write their steps and end them."""
    settings = Settings()
    with closing(Store.open(settings)) as store:
        _filled(store, settings, JOBS)
    spawn = get_context("spawn")
    start = spawn.Manager().Barrier(processes)
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        found = list(pool.map(_drained, [start] * processes))
    took_s = max(ended for _, ended, _, _ in found) - min(began for began, _, _, _ in found)
    sys.stdout.write(f"{processes} processes: {JOBS / took_s:.1f} jobs a second\n")
    percentiles("  a claim", [s for _, _, times, _ in found for s in times])
    percentiles("  a step", [s for _, _, _, times in found for s in times])


def _drained(start: Any) -> tuple[float, float, list[float], list[float]]:
    """Work off the queue; return when that began and ended, and the times of claims and steps."""
    settings = Settings()
    claimed: list[float] = []
    stepped: list[float] = []
    with closing(Store.open(settings)) as store:
        jobs = Jobs(store, new_owner(), settings.lease_s, settings.attempts_limit)
        start.wait()
        began = time.time()
        while any(jobs.waiting()):
            claim_s, steps_s = _worked(jobs)
            claimed.append(claim_s)
            stepped += steps_s
        return began, time.time(), claimed, stepped


def _filled(store: Store, settings: Settings, count: int) -> Jobs:
    file = io.BytesIO()
    PIL.Image.new("L", (64, 64), 90).save(file, "PNG")
    ingested = ingest(file.getvalue(), settings.limit_pixels)
    for _ in range(count):
        store.accept(ingested, NewAnalysis(), count + 1)
    return Jobs(store, new_owner(), settings.lease_s, settings.attempts_limit)


def _worked(jobs: Jobs) -> tuple[float, list[float]]:
    """Claim a job if there is one, and write its steps; return the time of each."""
    began = time.perf_counter()
    job = jobs.claim()
    claim_s = time.perf_counter() - began
    if job is None:
        return claim_s, []
    times = [_step_s(jobs, job, index) for index in range(STEPS)]
    jobs.fail(job, "A measurement.")
    return claim_s, times


def _step_s(jobs: Jobs, job: Job, index: int) -> float:
    step = Step(index=index, action="x", legal=(), chosen_by=ChosenBy.FORCED, duration_ms=1.0)
    began = time.perf_counter()
    jobs.append(job, Record(step=step))
    return time.perf_counter() - began


def main() -> None:
    """Run the measurement that the command line names."""
    match sys.argv[1:]:
        case ["signals", url]:
            signals(url)
        case ["steps"]:
            steps()
        case ["claims", processes]:
            claims(int(processes))
        case _:
            sys.exit(f"{__doc__}")


if __name__ == "__main__":
    main()
