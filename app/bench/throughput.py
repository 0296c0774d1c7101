"""Measure the service as real processes beside the peer, `app.bench.baseline`.

The figures are what HTTP and the queue add, and how many images a second pass. Everything is
started once and then used in turn, round by round: this process, the queue in it, `ustri serve`,
the peer, a worker with one core, and a web process whose specialists answer at once, alone and with
another over the same store.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from app.bench.latency import Passes, Rounds
from app.bench.machine import memory_of, processor_s
from app.bench.processes import SERVE, WORK, Clients, Command, Fleet, Started
from app.bench.replay import write_records
from app.bench.results import Memory, Ratio, Sizing, ratio_of
from app.bench.storage_use import Counts, Kept, ServerKept, SqliteKept
from app.errors import NotReady
from app.images.burned_in.finder import text_finder
from app.images.ingest import ingest
from app.jobs.pubsub import LocalPublisher, Work
from app.settings import Settings
from app.standalone import analyze
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from app.web.progress import wait_for_end
from app.worker.pool import WorkerPool
from planner.case import Request
from reports.canonical import to_json
from reports.model import ExamCode

FORM = {"exam": "breast"}
WORKER, REPLAYS = "worker", ("replay", "second replay")
"""Names of processes that work for the same web process in turn.

The first has one core; the other two answer at once.
"""

CORE_CLIENTS = 4
WEB_CLIENTS = 16
WAIT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much a round sends."""

    requests: dict[int, int]
    """Number of images by the number of clients that send them."""
    one_by_one: int
    """Images that go each way one at a time: in process, through the queue, over HTTP."""
    core: int
    web: int
    starts: int


@dataclass(frozen=True, kw_only=True)
class Over:
    """The database and the Redis that the measured web processes and workers share.

    None: SQLite instead of PostgreSQL, and polling of the store instead of Redis.
    """

    database_url: str | None = None
    redis_url: str | None = None

    def settings(self) -> dict[str, str]:
        """Return the addresses as USTRI_ settings."""
        named = {"USTRI_DATABASE_URL": self.database_url, "USTRI_REDIS_URL": self.redis_url}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(kw_only=True)
class _Tally:
    """Rates of one service, one for each round, and what they took."""

    rates: list[float] = field(default_factory=list)
    images: int = 0
    processor_s: float = 0.0
    kept: Counts | None = None


@dataclass(kw_only=True)
class _Processes:
    """The running services, and the processes whose memory or processor time is read."""

    ours: Clients
    peer: Clients
    web: Clients
    two_webs: Clients
    core_pid: int
    web_pid: int
    ready_s: list[float]
    kept: Kept


class Served:
    """All of these processes, from entering the context to leaving it."""

    def __init__(self, passes: Passes, settings: Settings, load: Load, over: Over) -> None:
        self._passes = passes
        self._settings = settings
        self._load = load
        self._over = over
        self._folder = settings.data_dir
        self._fleet = Fleet(self._folder, _shared_settings(settings))
        self._ending = ExitStack()
        self.one_by_one = Rounds()
        self._lone: list[float] = []
        self._ours: dict[int, list[float]] = {count: [] for count in load.requests}
        self._peers: dict[int, list[float]] = {count: [] for count in load.requests}
        self._core, self._web = _Tally(), _Tally()
        self._two_webs: list[float] = []
        self._turn = 0

    def __enter__(self) -> Self:
        self._ending.enter_context(self._fleet)
        try:
            self._started = self._start()
            self._check(self._started.ours)
            for others in (REPLAYS, (WORKER,)):
                with self._paused(*others):
                    self._check(self._started.web)
            with self._started.peer.open() as client:
                answers = self._started.peer.send(client, self._passes.subject.png()).json()
            if len(answers) != len(self._passes.subject.specialists):
                raise NotReady("The peer does not answer with all specialists.")
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def round(self) -> None:
        """Measure everything once, beginning with another service and number of clients."""
        self._each_way()
        self._turn += 1
        subject, started = self._passes.subject, self._started
        fewest = min(self._load.requests)
        self._lone.append(started.ours.per_s(subject.pngs(self._load.requests[fewest]), 1))
        counts = list(self._load.requests)
        turn = self._turn % len(counts)
        for count in counts[turn:] + counts[:turn]:
            images = subject.pngs(self._load.requests[count])
            sides = [(started.ours, self._ours), (started.peer, self._peers)]
            for clients, rates in sides[:: 1 if self._turn % 2 else -1]:
                rates[count].append(clients.per_s(images, count))
        with self._paused(*REPLAYS):
            self._count(self._core, started.web, started.core_pid, self._load.core)
        webs = (self._two, self._one)
        with self._paused(WORKER):
            for measure in webs[:: 1 if self._turn % 2 else -1]:
                measure()

    def still(self) -> AbstractContextManager[None]:
        """Suspend all of the processes while inside.

        While they poll for work, they would take cores and caches now and then.
        """
        return self._paused(*self._fleet.pids)

    def _paused(self, *names: str) -> AbstractContextManager[None]:
        """Suspend the named processes while inside, when none of them holds the shared store."""
        return self._fleet.paused(*names, held=self._started.kept.held)

    def _two(self) -> None:
        """Measure two web processes over one store."""
        images = self._passes.subject.pngs(self._load.web + WEB_CLIENTS)
        rate = self._started.two_webs.per_s(images, WEB_CLIENTS, lead=WEB_CLIENTS)
        self._two_webs.append(rate)

    def _one(self) -> None:
        """Measure one of the web processes, and what the store keeps of it."""
        started = self._started
        before = started.kept.now()
        self._count(self._web, started.web, started.web_pid, self._load.web)
        moved = started.kept.now() - before
        self._web.kept = moved if self._web.kept is None else self._web.kept + moved

    def ratios(self) -> dict[str, Ratio]:
        """Return the figures by their names in a `Document`."""
        over = self.one_by_one.over
        return {
            "http_over_inprocess": over("http", "inprocess"),
            "queue_over_inprocess": over("queue", "inprocess"),
            "inprocess_ms": self.one_by_one.ms("inprocess"),
            "start_to_ready_s": ratio_of(self._started.ready_s),
        }

    def by_clients(self) -> dict[str, dict[str, Ratio]]:
        """Return the figures by their names in a `Document` and by the number of clients."""
        found: dict[str, dict[str, Ratio]] = {}
        for count, rates in self._ours.items():
            peers = self._peers[count]
            figures = {
                "batched_over_single": [a / b for a, b in zip(rates, self._lone, strict=True)],
                "peer_over_ours": [a / b for a, b in zip(rates, peers, strict=True)],
                "analyses_per_s": rates,
                "peer_analyses_per_s": peers,
            }
            for name, values in figures.items():
                found.setdefault(name, {})[str(count)] = ratio_of(values)
        return found

    def memory(self) -> dict[str, Memory]:
        """Return the memory of each process of a deployment, of the peer, and of this one."""
        pids = self._fleet.pids
        named = {name: memory_of(pids[name]) for name in ("service", "web", "worker", "peer")}
        return named | {"bench": memory_of(os.getpid())}

    def sizing(self) -> Sizing:
        """Return the figures that a deployment is sized from."""
        best = max(self._ours.values(), key=lambda rates: ratio_of(rates).median)
        whole = ratio_of(best)
        if self._web.kept is None:
            raise NotReady("No round was measured.")
        each = self._web.kept.per(self._web.images)
        return Sizing(
            per_core=ratio_of(self._core.rates),
            per_machine=whole,
            per_gpu=whole if "cuda" in self._passes.engine.runtime else None,
            web_per_s=ratio_of(self._web.rates),
            two_webs_per_s=ratio_of(self._two_webs),
            web_cpu_ms=round(1000 * self._web.processor_s / self._web.images, 2),
            worker_cpu_ms=round(1000 * self._core.processor_s / self._core.images, 2),
            store=self._started.kept.name,
            picture_bytes=each.picture_bytes,
            row_bytes=each.row_bytes,
            log_bytes=each.log_bytes,
            writes=each.writes,
            redis_bytes=each.redis_bytes,
            redis_commands=each.redis_commands,
        )

    def _start(self) -> _Processes:
        """Start the processes and return once they are ready.

        The caches of compiled networks are warm, because this process has loaded the networks.
        """
        cores = sorted(os.sched_getaffinity(0))
        records = self._folder / "records.json"
        write_records(self._passes.subject.case.records, records)
        replay = Command(
            words=("-m", "app.bench.replay", str(records)),
            settings=self._at("replayed") | self._over.settings() | {"USTRI_WORKER_THREADS": "2"},
        )
        alone = {"USTRI_DEVICE": "cpu", "USTRI_THREADS": "1", "USTRI_WORKER_THREADS": "1"}
        worker = Command(words=WORK, settings=dict(replay.settings) | alone, core=cores[-1])
        peer = Command(
            words=("-m", "app.bench.baseline", "{port}", *self._passes.subject.specialists),
            settings={},
        )
        here = self._at("service")
        service = [self._serve("service", here) for _ in range(self._load.starts)]
        for name in REPLAYS:
            self._fleet.start(name, replay)
        self._fleet.start(WORKER, worker)
        no_workers = {"USTRI_WORKER_THREADS": "0"}
        web = self._serve("web", dict(replay.settings) | no_workers)
        second = self._serve("second web", dict(replay.settings) | no_workers)
        database = self._over.database_url
        return _Processes(
            ours=Clients(service[-1].address, FORM),
            peer=Clients(self._fleet.serve("peer", peer, ready="/healthz").address, {}),
            web=Clients(web.address, FORM),
            two_webs=Clients(web.address, FORM, second.address),
            core_pid=self._fleet.pids[WORKER],
            web_pid=web.pid,
            ready_s=[one.ready_s for one in service],
            kept=SqliteKept(self._folder / "replayed")
            if database is None
            else ServerKept(database, self._over.redis_url),
        )

    def _serve(self, name: str, settings: dict[str, str]) -> Started:
        """Start `ustri serve` with these settings, in place of the process of that name."""
        if name in self._fleet.pids:
            self._fleet.stop(name)
        return self._fleet.serve(
            name, Command(words=(*SERVE, "--port", "{port}"), settings=settings)
        )

    def _at(self, name: str) -> dict[str, str]:
        """Make a data folder that links to the shared compiled networks; return it as a setting."""
        folder = self._folder / name
        folder.mkdir()
        (folder / "cache").symlink_to(self._settings.cache_dir.resolve())
        return {"USTRI_DATA_DIR": str(folder)}

    def _check(self, clients: Clients) -> None:
        """Check that the service runs the same specialists as this process.

        Raises:
            NotReady: it does not.
        """
        with clients.open() as client:
            report = clients.send(client, self._passes.subject.png()).json()
        asked = {step["action"] for step in report["steps"]}
        if not asked >= set(self._passes.subject.specialists):
            raise NotReady(f"The service at {clients.address} asked other specialists: {asked}.")

    def _count(self, tally: _Tally, clients: Clients, pid: int, images: int) -> None:
        """Measure one more round of that service.

        The first answers fill its queue and do not count.
        """
        together = CORE_CLIENTS if tally is self._core else WEB_CLIENTS
        sent = self._passes.subject.pngs(images + together)
        before = processor_s(pid)
        tally.rates.append(clients.per_s(sent, together, lead=together))
        tally.processor_s += processor_s(pid) - before
        tally.images += len(sent)

    def _each_way(self) -> None:
        """Analyse single images in process, through this process's queue and over HTTP, in turn."""
        ours, subject = self._started.ours, self._passes.subject
        pngs = subject.pngs(3 * self._load.one_by_one)
        with _queue(self._settings, self._passes) as queued, ours.open() as client:
            for _ in range(self._load.one_by_one):
                cases = {
                    "inprocess": partial(self._in_process, pngs.pop()),
                    "queue": partial(queued, pngs.pop()),
                    "http": partial(_run, partial(ours.send, client, pngs.pop())),
                }
                self.one_by_one.take(cases, self._passes.timed)

    def _in_process(self, png: bytes) -> None:
        request = Request(exam=ExamCode.BREAST)
        to_json(analyze(png, request, self._settings, self._passes.engine).report)


class _Queue:
    """The store and the workers in this process, without HTTP."""

    def __init__(self, settings: Settings, passes: Passes) -> None:
        self._limit_pixels = settings.limit_pixels
        self._queue_limit = settings.queue_limit
        self._find_text = text_finder(settings.blacken_text)
        self._publisher = LocalPublisher()
        self._store = Store.open(settings)
        self._pool = WorkerPool(settings, self._store, passes.engine, self._publisher)
        self._loop = asyncio.Runner()
        self._pool.start(responder=False)

    def __call__(self, png: bytes) -> None:
        """Analyse that image; return once its report is in the store and has been read."""
        new = NewAnalysis(exam=ExamCode.BREAST)
        ingested = ingest(png, self._limit_pixels, find_text=self._find_text)
        accepted = self._store.accept(ingested, new, self._queue_limit).analysis_id
        self._pool.wake(Work.ANALYSIS)
        self._loop.run(wait_for_end(self._store, self._publisher, accepted, WAIT_S))
        if self._store.report_json(accepted) is None:
            raise NotReady("The queue gave no report.")

    def close(self) -> None:
        """End the threads and close the store."""
        self._pool.stop(WAIT_S)
        self._loop.close()
        self._store.close()


@contextmanager
def _queue(settings: Settings, passes: Passes) -> Iterator[_Queue]:
    queue = _Queue(settings, passes)
    try:
        yield queue
    finally:
        queue.close()


def _run(work: Callable[[], object]) -> None:
    """Call `work` and drop its result."""
    work()


def _shared_settings(settings: Settings) -> dict[str, str]:
    """Return what all processes have in common.

    That is how networks run, the rules as the policy, whether text is searched for, and the time to
    wait for a report.
    """
    found = {
        "USTRI_DEVICE": settings.device,
        "USTRI_RUNTIME": settings.runtime,
        "USTRI_PRECISION": settings.precision,
        "USTRI_PLANNER": "rules",
        "USTRI_WAIT_S": str(WAIT_S),
        "USTRI_BLACKEN_TEXT": str(settings.blacken_text),
    }
    if settings.threads is not None:
        found["USTRI_THREADS"] = str(settings.threads)
    return found
