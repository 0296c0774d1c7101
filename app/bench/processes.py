"""The processes that a bench starts and drives: services on free ports, their logs and clients."""

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

SERVE = ("-c", "from app.cli.main import main; main()", "serve")
WORK = ("-c", "from app.cli.main import main; main()", "worker")
"""Python arguments of `ustri serve` and `ustri worker`, from the source that runs here."""

START_S = 300.0
"""Seconds that a process may take to become ready: it may compile all networks."""

STOP_S = 40.0
ANSWER_S = 600.0
LOOK_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is started: arguments of Python, and USTRI_ settings beside those of all processes."""

    words: tuple[str, ...]
    settings: Mapping[str, str]
    core: int | None = None
    """The one core that the process may use; None: any."""


@dataclass(kw_only=True)
class Started:
    """A running process, the address where it answers, and the time until it was ready."""

    pid: int
    address: str
    ready_s: float


class Fleet:
    """Processes by name, all of which are stopped on leaving the context."""

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
        """The process ids of the running processes, by name."""
        return {name: process.pid for name, process in self._processes.items()}

    def start(self, name: str, command: Command) -> float:
        """Start a process and return the monotonic time of its start; it becomes ready later."""
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
        """Start a service and return once it answers on the path `ready`.

        `{port}` in the arguments of the command stands for a free port.

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
        """Suspend those processes while inside, at a moment when `held` is false.

        `held` says whether they hold a lock that others wait for; until they do not, they are
        resumed for a moment and suspended again.

        Raises:
            NotReady: for `START_S` they held it whenever they were suspended.
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
        """Return the last lines of the log of that process."""
        text = (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return " ".join(text.split("\n")[-12:])[-1200:]

    def stop(self, name: str) -> None:
        """End the process: let it drain, and kill it where it takes too long."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


@contextmanager
def _bound_to(core: int | None) -> Iterator[None]:
    """Restrict processes that this thread starts while inside to one core; None: to no core."""
    before = os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
    return number


class Clients:
    """Clients of one service, each of which sends its next image when it has an answer.

    Where the service has several addresses, images go to them in turn.
    """

    def __init__(self, address: str, form: Mapping[str, str], *further: str) -> None:
        self.address = address
        self._form = dict(form)
        self._addresses = itertools.cycle([address, *further])
        self.refused = 0
        """How often the service asked for another attempt later."""

    def per_s(self, images: Sequence[bytes], clients: int, lead: int = 0) -> float:
        """Send the images and return how many were answered a second.

        Args:
            images: PNG files, each of which is sent once.
            clients: how many requests wait for an answer at any time.
            lead: answers before the clock starts, where the beginning is not to count.

        Raises:
            NotReady: an answer was neither a report nor a request to try again later.
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
        """Open an HTTP client with the first address of the service as its base address."""
        return httpx.Client(
            base_url=self.address,
            trust_env=False,
            timeout=ANSWER_S,
            limits=limits or httpx.Limits(max_connections=1),
        )

    def send(self, client: httpx.Client, png: bytes) -> httpx.Response:
        """Send an image, again for as long as the service asks for a retry; return the answer.

        Raises:
            NotReady: an answer was neither a report nor a request to try again later.
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
