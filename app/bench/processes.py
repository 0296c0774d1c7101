"""The processes that a bench starts and drives: services on free ports, their logs, and clients of them."""

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx

from app.errors import NotReady

SERVE = ("-c", "from app.cli import main; main()", "serve")
WORK = ("-c", "from app.cli import main; main()", "worker")
"""`ustri serve` and `ustri worker`, of the source that runs here and under the Python that runs it."""

START_S = 300.0
"""Longest that a process may take to be ready: it may compile all networks."""

STOP_S = 40.0
ANSWER_S = 600.0
LOOK_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is started: words for Python, and USTRI_ settings beside those that all processes get."""

    words: tuple[str, ...]
    settings: Mapping[str, str]
    core: int | None = None
    """The one core that it may use."""


@dataclass(kw_only=True)
class Started:
    """A running process and where it answers."""

    pid: int
    address: str
    ready_s: float


class Fleet:
    """Processes by name; all of them end with it."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = dict(settings)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for name in tuple(self._processes):
            self.stop(name)

    @property
    def pids(self) -> dict[str, int]:
        """The running processes."""
        return {name: process.pid for name, process in self._processes.items()}

    def start(self, name: str, command: Command) -> float:
        """When it was started, by the monotonic clock; it is ready some time later."""
        source = str(Path(__file__).parents[2])
        path = os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("USTRI_")}
        environment = kept | self._settings | dict(command.settings) | {"PYTHONPATH": path}
        started = time.monotonic()
        with (self._folder / f"{name}.log").open("ab") as log, _bound_to(command.core):
            self._processes[name] = subprocess.Popen(
                [sys.executable, *command.words], env=environment, stdout=log, stderr=log
            )
        return started

    def serve(self, name: str, command: Command, *, ready: str = "/readyz") -> Started:
        """That service once it answers `ready`; `{port}` in its words is a free port.

        Raises:
            NotReady: it ended, or did not answer in time; the message holds the end of its log.
        """
        port = free_port()
        words = tuple(word.format(port=port) for word in command.words)
        started = self.start(
            name, Command(words=words, settings=command.settings, core=command.core)
        )
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, trust_env=False, timeout=10.0) as client:
            while not _answers(client, ready):
                ended = self._processes[name].poll() is not None
                if ended or time.monotonic() > started + START_S:
                    raise NotReady(f"{name} did not start. Its log ends: {self.log_of(name)}")
                time.sleep(LOOK_S)
        return Started(
            pid=self._processes[name].pid, address=address, ready_s=time.monotonic() - started
        )

    @contextmanager
    def paused(self, *names: str, held: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """While inside, those processes stand still, and not where they hold what others wait for.

        Raises:
            NotReady: whenever they were stopped they held it.
        """
        until = time.monotonic() + START_S
        try:
            self._tell(names, signal.SIGSTOP)
            while held():
                if time.monotonic() > until:
                    raise NotReady(f"{' and '.join(names)} keep the store from others.")
                self._tell(names, signal.SIGCONT)
                time.sleep(random.uniform(LOOK_S, 10 * LOOK_S))
                self._tell(names, signal.SIGSTOP)
            yield
        finally:
            self._tell(names, signal.SIGCONT)

    def _tell(self, names: Sequence[str], number: signal.Signals) -> None:
        for name in names:
            os.kill(self.pids[name], number)

    def log_of(self, name: str) -> str:
        """The last lines that it wrote."""
        text = (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return " ".join(text.split("\n")[-12:])[-1200:]

    def stop(self, name: str) -> None:
        """Nothing; it drained and ended, or was killed."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


@contextmanager
def _bound_to(core: int | None) -> Iterator[None]:
    """While inside, processes that this thread starts may use that core only."""
    before = os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
    return number


class Clients:
    """As many clients of one service as are wanted, each of which sends its next image when it has an answer.

    A service of several addresses is sent an image at each in turn.
    """

    def __init__(self, address: str, form: Mapping[str, str], *further: str) -> None:
        self.address = address
        self._form = dict(form)
        self._addresses = itertools.cycle([address, *further])
        self.refused = 0
        """How often the service asked to be asked again later."""

    def per_s(self, images: Sequence[bytes], clients: int, lead: int = 0) -> float:
        """Images answered a second.

        Args:
            images: PNG files, each of which is sent once.
            clients: how many wait for an answer at any time.
            lead: answers before the clock starts, where a beginning is not to count.

        Raises:
            NotReady: an answer was neither a report nor a request for patience.
        """
        left = iter(images)
        lock = threading.Lock()
        answered: list[float] = []
        limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)

        def work(client: httpx.Client) -> None:
            for png in _taken(left, lock):
                self.send(client, png)
                with lock:
                    answered.append(time.perf_counter())

        with self.open(limits) as client, ThreadPoolExecutor(clients) as pool:
            started = time.perf_counter()
            for done in [pool.submit(work, client) for _ in range(clients)]:
                done.result()
        begun = answered[lead - 1] if lead else started
        return (len(answered) - lead) / (answered[-1] - begun)

    def open(self, limits: httpx.Limits | None = None) -> httpx.Client:
        """Connections to the service, by itself to its first address."""
        return httpx.Client(
            base_url=self.address,
            trust_env=False,
            timeout=ANSWER_S,
            limits=limits or httpx.Limits(max_connections=1),
        )

    def send(self, client: httpx.Client, png: bytes) -> httpx.Response:
        """The answer to that image.

        Raises:
            NotReady: it was neither a report nor a request for patience.
        """
        while True:
            where = f"{next(self._addresses)}/analyze"
            answer = client.post(where, files={"image": ("a.png", png)}, data=self._form)
            if answer.status_code == httpx.codes.OK:
                return answer
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                raise NotReady(f"{self.address} answered {answer.status_code}: {answer.text[:300]}")
            self.refused += 1
            time.sleep(float(answer.headers.get("retry-after", "1")))


def _taken(images: Iterator[bytes], lock: threading.Lock) -> Iterator[bytes]:
    while True:
        with lock:
            png = next(images, None)
        if png is None:
            return
        yield png


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
