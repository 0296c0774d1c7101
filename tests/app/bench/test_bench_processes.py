"""The bench's processes end with it, its clients are patient, and it measures store sizes."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
from typer.testing import CliRunner

from app.bench.machine import memory_of, processor_s
from app.bench.processes import Clients, Command, Fleet
from app.bench.storage_use import Counts, ServerKept, SqliteKept
from app.cli.main import app
from app.cli.terminal import Exit
from app.errors import NotReady, SettingsError
from app.settings import Settings
from app.storage.store import Store
from tests.app.stacks import Postgres, Redis


class _Answers(BaseHTTPRequestHandler):
    """Answers with the statuses of its server, one after the other, the last of them for ever."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Service)
        self.rfile.read(int(self.headers["content-length"]))
        with server.lock:
            server.asked += 1
            status = server.statuses.pop(0) if len(server.statuses) > 1 else server.statuses[0]
        self.send_response(status)
        self.send_header("retry-after", "0")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Suppress the log of each request."""


class _Service(ThreadingHTTPServer):
    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.statuses = list(statuses)
        self.lock = threading.Lock()
        self.asked = 0


@contextmanager
def answering(*statuses: int) -> Iterator[tuple[_Service, Clients]]:
    """A service that answers so, and clients of it."""
    service = _Service(*statuses)
    thread = threading.Thread(target=service.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield service, Clients(f"http://127.0.0.1:{service.server_port}", {"exam": "breast"})
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


def test_every_image_is_sent_once_and_sent_again_where_the_service_is_full() -> None:
    with answering(200, 429, 429, 200) as (service, clients):
        assert clients.per_s([b"png"] * 12, 3, lead=3) > 0
    assert service.asked == 12 + 2
    assert clients.refused == 2


def test_a_service_of_two_addresses_is_sent_an_image_at_each_in_turn() -> None:
    with answering(200) as (first, clients), answering(200) as (second, others):
        both = Clients(clients.address, {"exam": "breast"}, others.address)
        assert both.per_s([b"png"] * 10, 3) > 0
    assert (first.asked, second.asked) == (5, 5)


def test_an_answer_that_is_no_report_ends_the_run() -> None:
    with answering(500) as (_, clients), pytest.raises(NotReady, match="answered 500"):
        clients.per_s([b"png"], 1)


def test_a_process_that_does_not_start_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    command = Command(words=("-c", "raise SystemExit('no weights')"), settings={})
    with Fleet(tmp_path, {}) as fleet, pytest.raises(NotReady, match="no weights"):
        fleet.serve("broken", command)


def test_a_process_gets_only_the_settings_of_the_bench_and_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USTRI_DATABASE_URL", "postgresql+psycopg://real@database/ustri")
    said = tmp_path / "said.txt"
    words = (
        "-c",
        "import os, pathlib, sys, time\n"
        "seen = sorted(name for name in os.environ if name.startswith('USTRI_'))\n"
        f"part = pathlib.Path({str(tmp_path / 'part')!r})\n"
        "part.write_text(f'{seen} {len(os.sched_getaffinity(0))}')\n"
        f"part.rename({str(said)!r})\n"
        "time.sleep(60)",
    )
    with Fleet(tmp_path, {"USTRI_PLANNER": "rules"}) as fleet:
        fleet.start("one", Command(words=words, settings={"USTRI_THREADS": "1"}, core=0))
        pid = fleet.pids["one"]
        while not said.exists():
            threading.Event().wait(0.02)
        assert 0 < memory_of(pid).resident <= memory_of(pid).peak
        assert processor_s(pid) >= 0
    assert said.read_text() == "['USTRI_PLANNER', 'USTRI_THREADS'] 1"
    assert not Path(f"/proc/{pid}").exists()


def test_processes_stand_still_for_a_while_and_go_on_also_after_an_error(tmp_path: Path) -> None:
    def still() -> list[bool]:
        states = [Path(f"/proc/{pid}/status").read_text() for pid in fleet.pids.values()]
        return ["\nState:\tT" in state for state in states]

    def fail() -> None:
        with fleet.paused("one", "third"):
            while still() != [True, False, True]:
                threading.Event().wait(0.02)
            raise KeyError("a bench that fails")

    command = Command(words=("-c", "import time; time.sleep(60)"), settings={})
    with Fleet(tmp_path, {}) as fleet:
        for name in ("one", "other", "third"):
            fleet.start(name, command)
        with pytest.raises(KeyError, match="a bench"):
            fail()
        while any(still()):
            threading.Event().wait(0.02)


def test_processes_stand_still_where_they_keep_nothing_from_others(tmp_path: Path) -> None:
    """The process holds the file half of the time."""
    store = Store.open(Settings(data_dir=tmp_path))
    store.close()
    words = (
        "-c",
        "import pathlib, sqlite3, sys, time\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "while True:\n"
        "    c.execute('BEGIN IMMEDIATE'); pathlib.Path(sys.argv[2]).touch(); time.sleep(0.2)\n"
        "    c.execute('ROLLBACK'); time.sleep(0.2)\n",
        *(str(tmp_path / name) for name in ("ustri.db", "holds")),
    )
    kept = SqliteKept(tmp_path)
    with Fleet(tmp_path, {}) as fleet:
        fleet.start("one", Command(words=words, settings={}))
        while not (tmp_path / "holds").exists():
            threading.Event().wait(0.02)
        for _ in range(3):
            with fleet.paused("one", held=kept.held):
                assert not kept.held()
        with sqlite3.connect(tmp_path / "ustri.db", isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            assert kept.held()
            connection.execute("ROLLBACK")
        connection.close()


def test_an_open_transaction_of_postgresql_is_seen(postgres: Postgres) -> None:
    url = postgres.new_database()
    kept = ServerKept(url, None)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        assert not kept.held()
        connection.execute("SELECT 1")
        assert kept.held()
        connection.rollback()
        assert not kept.held()


def test_what_postgresql_and_redis_take_is_counted(
    postgres: Postgres, redis: Redis, tmp_path: Path
) -> None:
    url = postgres.new_database()
    kept = ServerKept(url, None)
    kept.check_empty()
    Store.open(Settings(data_dir=tmp_path, database_url=url)).close()
    with pytest.raises(SettingsError, match="with tables"):
        kept.check_empty()
    kept = ServerKept(url, redis.url)
    before = kept.now()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for key in "abc":
            connection.execute(
                "WITH one AS (INSERT INTO images VALUES (%s, 0, '') RETURNING key) "
                "SELECT key FROM one",
                [key],
            )
            connection.execute(
                "INSERT INTO pictures SELECT %s, string_agg(decode(md5(i::text), 'hex'), '') "
                "FROM generate_series(1, 20000) AS i",
                [key],
            )
    moved = kept.now() - before
    each = moved.per(3)
    assert each.picture_bytes > 16 * 20_000
    assert each.log_bytes is not None
    assert each.log_bytes > 16 * 20_000
    assert moved.writes is not None
    assert 6 <= moved.writes < 12
    assert moved.redis_commands is not None
    assert moved.redis_commands >= 1


def test_what_cannot_be_counted_stays_uncounted() -> None:
    one, other = Counts(picture_bytes=3.0, row_bytes=1.0), Counts(picture_bytes=1.0, row_bytes=1.0)
    assert (one + other).per(2) == Counts(picture_bytes=2.0, row_bytes=1.0)


def test_a_redis_in_use_or_a_server_out_of_reach_is_never_measured_over(
    postgres: Postgres, redis: Redis, tmp_path: Path
) -> None:
    kept = ServerKept(postgres.new_database(), redis.url)
    with redis_client.Redis.from_url(redis.url) as client:
        client.flushdb()
        kept.check_empty()
        client.set("a", "b")
        with pytest.raises(SettingsError, match="with keys"):
            kept.check_empty()
        client.flushdb()
    away = f"postgresql+psycopg://ustri@/t?host={tmp_path}"
    with pytest.raises(SettingsError, match="--postgresql names no database"):
        ServerKept(away, None).check_empty()
    gone = ServerKept(postgres.new_database(), f"unix://{tmp_path}/none.sock")
    with pytest.raises(SettingsError, match="--redis names no Redis"):
        gone.check_empty()


def test_a_redis_without_its_database_is_refused() -> None:
    done = CliRunner().invoke(app, ["bench", "--short", "--redis", "redis://127.0.0.1:1"])
    assert done.exit_code == Exit.SETUP
    assert "--postgresql too" in done.output
