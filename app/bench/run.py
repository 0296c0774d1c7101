"""One run of the bench: everything measured in turn, in one temporary folder, as one document."""

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from app.bench.gpu_ceiling import ceiling_of
from app.bench.latency import Passes
from app.bench.machine import this_machine
from app.bench.results import Document, Run
from app.bench.sample_image import TOOLS
from app.bench.storage_use import ServerKept
from app.bench.throughput import Load, Over, Served
from app.errors import SettingsError
from app.settings import Settings
from app.worker.loading import load_planning, load_tools
from specialists.engine import Engine
from specialists.runtime.runner import threads_here


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    warm_up: int
    """Rounds of the cases in this process before the first that counts."""
    passes: int
    """Rounds of the cases in this process within each round."""
    planned: bool
    """Whether the vision-language planner is measured too, where one ships."""
    load: Load


FULL = Effort(
    rounds=5,
    warm_up=3,
    passes=8,
    planned=True,
    load=Load(requests={1: 8, 4: 16, 16: 32, 64: 64}, one_by_one=5, core=24, web=64, starts=5),
)
SHORT = Effort(
    rounds=2,
    warm_up=1,
    passes=2,
    planned=False,
    load=Load(requests={1: 2, 4: 4}, one_by_one=2, core=2, web=4, starts=1),
)


@dataclass(frozen=True, kw_only=True)
class _Before:
    """When a run began, and the system's count of busy processes at that time."""

    at_s: float
    load: float


def measure(settings: Settings, effort: Effort, over: Over) -> Document:
    """Measure every figure of the networks that these settings choose.

    Nothing is written but compiled networks.

    Raises:
        SettingsError: the given database or Redis holds something, or cannot be reached.
        NotReady: a process did not start, or one gave another answer than it should.
        WeightsError: a weights file is missing, truncated or altered.
    """
    _check(over)
    before = _Before(at_s=time.monotonic(), load=os.getloadavg()[0])
    with _ending_on_sigterm(), tempfile.TemporaryDirectory(prefix="ustri-bench-") as name:
        here = _here(settings, Path(name))
        passes = _passes(here, settings if effort.planned else here)
        for _ in range(effort.warm_up):
            passes.round(counts=False)
        with Served(passes, here, effort.load, over) as served:
            for _ in range(effort.rounds):
                with served.still():
                    for _ in range(effort.passes):
                        passes.round(counts=True)
                served.round()
            memory, sizing = served.memory(), served.sizing()
        model = passes.engine.manifest.specialist(TOOLS[0]).model
        ceiling = ceiling_of(passes.engine, model)
        around = passes.found()
    return Document(
        machine=this_machine(),
        run=_run_of(passes, effort, over, before),
        heads_over_backbone=around.heads_over_backbone,
        images_over_ceiling=None if ceiling is None else ceiling.share,
        images_per_s=None if ceiling is None else ceiling.images_per_s,
        memory_mb=memory,
        sizing=sizing,
        **around.ratios,
        **served.ratios(),
        **served.by_clients(),
    )


def _check(over: Over) -> None:
    """Check that the database and the Redis to measure over hold nothing.

    Raises:
        SettingsError: one of them holds something or cannot be reached, or a Redis is given without
            a database.
    """
    if over.database_url is not None:
        ServerKept(over.database_url, over.redis_url).check_empty()
    elif over.redis_url is not None:
        raise SettingsError("--redis is measured beside a database: give --postgresql too.")


def _run_of(passes: Passes, effort: Effort, over: Over, before: _Before) -> Run:
    """Return how the figures were measured."""
    return Run(
        runtime=passes.engine.runtime,
        threads=passes.settings.threads,
        torch_threads=passes.settings.threads or threads_here(),
        short=effort is SHORT,
        rounds=effort.rounds,
        passes_per_round=effort.passes,
        requests={str(count): images for count, images in effort.load.requests.items()},
        specialists=passes.subject.specialists,
        postgresql=over.database_url is not None,
        redis=over.redis_url is not None,
        seconds=round(time.monotonic() - before.at_s, 1),
        load_before=round(before.load, 2),
    )


def _here(settings: Settings, folder: Path) -> Settings:
    """Return settings for the same networks, with the shipped specialists and the rules.

    The store is one of their own in that folder.
    """
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    (folder / "cache").symlink_to(settings.cache_dir.resolve())
    changed = {
        "data_dir": folder,
        "database_url": None,
        "redis_url": None,
        "planner": "rules",
        "worker_threads": 1,
        "dicomweb_url": None,
        "link_key_file": None,
    }
    return settings.model_copy(update=changed)


def _passes(here: Settings, planning: Settings) -> Passes:
    """Build the cases, with the planner that the settings `planning` name.

    Whether that planner looks at the image is taken from the result that is kept in their data
    folder, if there is one.
    """
    tools = load_tools(here)
    if not isinstance(tools, Engine):
        raise TypeError("The settings gave no engine.")
    return Passes(tools, here, load_planning(planning, tools).policy)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exit while inside, so that the processes started here end too."""

    def end(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may set handlers.
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
