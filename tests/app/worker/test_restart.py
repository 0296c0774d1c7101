"""A server killed or stopped in the middle of an analysis: a new one finishes it, once."""

import os
import signal
import socket
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import httpx
import pytest

from reports.model import Report
from tests.app import stand_in
from tests.app.conftest import a_png
from tests.app.stand_in import INSTALLED
from tests.processes import end, started
from tests.processes import start as start_process

ROOT = Path(__file__).parents[3]
Start = Callable[[float], Popen[bytes]]


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
    return number


@pytest.fixture
def client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


@pytest.fixture
def start(tmp_path: Path, port: int, client: httpx.Client) -> Iterator[Start]:
    begun: list[Popen[bytes]] = []

    def launch(delay_s: float) -> Popen[bytes]:
        with (tmp_path / "log.txt").open("ab") as log:
            process = start_process(
                [
                    sys.executable,
                    stand_in.__file__,
                    str(tmp_path / "data"),
                    str(port),
                    str(delay_s),
                ],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        begun.append(process)
        wait_until(lambda: answers(client), process)
        return process

    yield launch
    for process in begun:
        end(process)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool], process: Popen[bytes], limit_s: float = 60) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        if process.poll() is not None:
            raise ChildProcessError(f"The server ended with {process.returncode}.")
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.02)


def post(client: httpx.Client) -> str:
    response = client.post(
        "/analyze",
        files={"image": ("scan.png", a_png())},
        data={"question": "Where is it?"},
        headers={"Prefer": "respond-async"},
    )
    assert response.status_code == 202
    return response.headers["location"]


def steps(client: httpx.Client, here: str) -> int:
    count: int = client.get(here).json()["steps"]
    return count


def check_reported_once(client: httpx.Client, tmp_path: Path, analyses: int) -> None:
    with sqlite3.connect(tmp_path / "data" / "ustri.db") as database:
        counts = database.execute(
            "select count(*), count(distinct analysis_id) from reports"
        ).fetchone()
        assert counts == (analyses, analyses)
        records = database.execute("select count(*) from records").fetchone()
        assert records == (analyses * (len(INSTALLED) + 1),)
        assert database.execute("select distinct state, question from jobs").fetchall() == [
            ("done", None)
        ]
    database.close()


def test_an_analysis_survives_kill_9_and_its_answered_steps_are_not_run_again(
    tmp_path: Path, client: httpx.Client, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USTRI_WORKER_THREADS", "1")  # so that the second analysis waits
    first = start(0.4)
    here, waiting = post(client), post(client)
    wait_until(lambda: steps(client, here) >= 2, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    second = start(0.05)
    for path in (here, waiting):
        wait_until(lambda path=path: client.get(path).json()["state"] == "done", second)  # type: ignore[misc]
        report = Report.model_validate_json(client.get(f"{path}/report").content)
        assert report.outcome == "reported"
        assert [step.action for step in report.steps] == [*INSTALLED, "stop"]
    ran = Counter((tmp_path / "data" / "diary.txt").read_text(encoding="utf-8").split())
    assert ran["exam_cls"] == ran["breast_lesion_det"] == 2
    # The step that the kill interrupted may have been answered but not yet recorded.
    assert all(2 <= ran[name] <= 3 for name in INSTALLED)
    assert sum(ran.values()) <= 2 * len(INSTALLED) + 1
    check_reported_once(client, tmp_path, 2)


def test_an_analysis_survives_many_kills_as_long_as_it_moves_on(
    tmp_path: Path, client: httpx.Client, start: Start
) -> None:
    process = start(0.15)
    here = post(client)
    for _ in range(4):
        before = steps(client, here)
        wait_until(
            lambda before=before: (
                steps(client, here) > before  # type: ignore[misc]
                or client.get(here).json()["state"] == "done"
            ),
            process,
        )
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process = start(0.15)
    wait_until(lambda: client.get(here).json()["state"] == "done", process)
    check_reported_once(client, tmp_path, 1)


def test_sigterm_ends_after_the_running_step_and_the_rest_is_done_later(
    tmp_path: Path, client: httpx.Client, start: Start
) -> None:
    first = start(0.4)
    here = post(client)
    wait_until(lambda: steps(client, here) >= 1, first)
    first.terminate()
    assert first.wait(20) in (0, -signal.SIGTERM)
    with sqlite3.connect(tmp_path / "data" / "ustri.db") as database:
        assert database.execute("select state, attempts from jobs").fetchall() == [("queued", 0)]
        done = database.execute("select count(*) from records").fetchone()[0]
    database.close()
    assert done >= 1
    second = start(0.0)
    wait_until(lambda: client.get(here).json()["state"] == "done", second)
    ran = (tmp_path / "data" / "diary.txt").read_text(encoding="utf-8").split()
    assert ran == list(INSTALLED)
    check_reported_once(client, tmp_path, 1)


def test_sigterm_lets_a_waiting_request_have_its_report(client: httpx.Client, start: Start) -> None:
    process = start(0.2)
    code = f"import os,time; time.sleep(0.5); os.kill({process.pid}, 15)"
    with started([sys.executable, "-c", code]) as killer:
        response = client.post("/analyze", files={"image": ("scan.png", a_png())})
        assert response.status_code == 200
        assert response.json()["outcome"] == "reported"
        assert killer.wait(60) == 0
    process.wait(20)


def test_sigterm_ends_an_open_event_stream(client: httpx.Client, start: Start) -> None:
    process = start(3.0)
    here = post(client)
    with client.stream("GET", f"{here}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("event")
        process.terminate()
        for _ in lines:
            pass
    assert process.wait(20) in (0, -signal.SIGTERM)
