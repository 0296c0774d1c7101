"""A deployment of real processes with stand-in specialists, for tests to use, kill and check."""

import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import httpx
from sqlalchemy import create_engine, text

from tests.app import stand_in_process
from tests.app.conftest import a_png
from tests.app.stacks import until
from tests.app.stand_in import INSTALLED
from tests.processes import end, start

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
    return number


class Deployment:
    """Web and worker processes over one store; `diary` notes every specialist that answered."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], delay_s: float, key: str | None = None
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.diary = folder / "diary.txt"
        self.database_url = environment.get(
            "USTRI_DATABASE_URL", f"sqlite:///{folder / 'data' / 'ustri.db'}"
        )
        self._delay_s = delay_s
        self._environment = {
            "USTRI_DATA_DIR": str(folder / "data"),
            "USTRI_PORT": str(self.port),
            "USTRI_LEASE_S": "3",
            "USTRI_BUSY_S": "5",
            "USTRI_WORKER_THREADS": "2",
            "PYTHONPATH": str(ROOT),
        } | dict(environment)
        self.processes: dict[str, Popen[bytes]] = {}
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=30,
        )

    def start(self, name: str, role: str, **environment: str) -> Popen[bytes]:
        """That process, begun under that name; it answers or works some time later."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = start(
                [
                    *(sys.executable, stand_in_process.__file__, role),
                    *(str(self._delay_s), str(self.diary)),
                ],
                env=os.environ | self._environment | environment,
                stdout=log,
                stderr=log,
            )
        self.processes[name] = process
        return process

    def start_web(self, **environment: str) -> None:
        """Start a web process without specialists, and wait until it answers."""
        self.start("web", "web", USTRI_WORKER_THREADS="0", **environment)
        until(self.answers, "The web process does not answer.")

    def kill(self, name: str) -> None:
        """Kill the process at once, as a power cut would."""
        end(self.processes[name])

    def check_running(self) -> None:
        """Raise if a process ended by a fault of its own, since waiting for it would be in vain."""
        for name, process in self.processes.items():
            if process.poll() not in (None, 0, -signal.SIGKILL):
                log = (self.folder / f"{name}.log").read_text(encoding="utf-8")
                raise ChildProcessError(f"{name} ended with {process.returncode}:\n{log[-3000:]}")

    def answers(self) -> bool:
        self.check_running()
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def send(self, key: str, png: bytes | None = None, limit_s: float = LIMIT_S) -> str:
        """Send an image until it is accepted, like a patient client, and return its path."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            try:
                response = self.client.post(
                    "/analyze",
                    files={"image": ("scan.png", png or a_png())},
                    headers={"Prefer": "respond-async", "Idempotency-Key": key},
                )
            except httpx.TransportError:
                self.check_running()
                time.sleep(0.1)
                continue
            if response.status_code == 202:
                return response.headers["location"]
            assert response.status_code in (429, 503), response.text
            time.sleep(0.1)
        raise TimeoutError(key)

    def state(self, here: str) -> str:
        """Where that analysis stands; empty while nobody can say."""
        self.check_running()
        try:
            response = self.client.get(here)
        except httpx.TransportError:
            return ""
        return str(response.json()["state"]) if response.status_code == 200 else ""

    def wait_for_ends(self, *paths: str) -> None:
        """Wait until each of the analyses is done or has failed."""
        for here in paths:
            until(
                lambda here=here: self.state(here) in ("done", "failed"),  # type: ignore[misc]
                f"{here} does not end.",
                LIMIT_S,
            )

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What the store holds, read beside the service."""
        engine = create_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(query))]
        finally:
            engine.dispose()

    def check(self, analyses: int, again_max: int) -> None:
        """Check that each analysis has one report and each step once.

        At most `again_max` steps were run again.
        """
        assert self.rows("SELECT state, count(*) FROM jobs GROUP BY state") == [("done", analyses)]
        assert self.rows("SELECT count(*), count(DISTINCT analysis_id) FROM reports") == [
            (analyses, analyses)
        ]
        steps = len(INSTALLED) + 1
        per_analysis = (
            'SELECT DISTINCT count(*), min("index"), max("index") FROM records GROUP BY analysis_id'
        )
        assert self.rows(per_analysis) == [(steps, 0, steps - 1)]
        ran = Counter(self.diary.read_text(encoding="utf-8").split())
        assert all(ran[name] >= analyses for name in INSTALLED)
        assert sum(ran.values()) <= analyses * len(INSTALLED) + again_max
        self.check_no_orphans()

    def check_no_orphans(self) -> None:
        """Check that every stored image has its row, and that no inference request is left."""
        assert self.rows("SELECT count(*) FROM inference_requests") == [(0,)]
        keys = {str(key) for (key,) in self.rows("SELECT key FROM images")}
        if self.database_url.startswith("sqlite"):
            files = {path.name for path in (self.folder / "data" / "images").iterdir()}
            assert files == {f"{key}.png" for key in keys}
        else:
            assert {str(key) for (key,) in self.rows("SELECT key FROM pictures")} == keys

    def close(self) -> None:
        """End every process."""
        self.client.close()
        for process in self.processes.values():
            end(process)


@contextmanager
def deployed(
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    delay_s: float = 0.1,
    key: str | None = None,
) -> Iterator[Deployment]:
    """Yield a deployment of which nothing runs yet, with a client; end what was started."""
    deployment = Deployment(folder, environment or {}, delay_s, key)
    try:
        yield deployment
    finally:
        deployment.close()
