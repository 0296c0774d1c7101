"""A start waits for a database server that is not up yet, but not for errors that persist."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from app.errors import StoreAway, StoreUnavailable
from app.settings import Settings
from app.storage.connect import open_store
from tests.app import stand_in_process
from tests.app.deployment import ROOT, deployed, free_port
from tests.app.stacks import Postgres, until
from tests.processes import started

NOBODY_THERE = "postgresql+psycopg://ustri@/ustri?host=/nowhere"
WAITS = "The start waits for it"


def test_processes_that_start_while_the_database_server_restarts_wait_and_then_work(
    tmp_path: Path, postgres: Postgres
) -> None:
    with deployed(tmp_path, {"USTRI_DATABASE_URL": postgres.new_database()}, delay_s=0.0) as here:
        logs = [tmp_path / f"{name}.log" for name in ("web", "worker")]
        postgres.stop()
        try:
            here.start("web", "web", USTRI_WORKER_THREADS="0")
            here.start("worker", "work")
            until(
                lambda: all(WAITS in log.read_text(encoding="utf-8") for log in logs),
                "Nobody says that it waits.",
            )
            time.sleep(1.0)  # Long enough for further looks.
        finally:
            postgres.start()
        here.wait_for_ends(here.send("key"))
        here.check(1, 0)
        assert [log.read_text(encoding="utf-8").count(WAITS) for log in logs] == [1, 1]


def test_a_start_gives_up_after_its_time(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    away = settings.model_copy(update={"database_url": NOBODY_THERE, "start_wait_s": 0.5})
    began = time.monotonic()
    with pytest.raises(StoreAway, match="not there"):
        open_store(away)
    assert time.monotonic() - began >= 0.5
    assert caplog.text.count(WAITS) == 1


def test_a_database_that_the_server_does_not_know_is_not_waited_for(
    settings: Settings, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = postgres.new_database().replace("@/t", "@/x")
    with pytest.raises(StoreUnavailable, match="USTRI_DATABASE_URL") as raised:
        open_store(settings.model_copy(update={"database_url": wrong}))
    assert not isinstance(raised.value, StoreAway)
    assert WAITS not in caplog.text


def test_a_file_that_is_no_database_is_not_waited_for(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "ustri.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreUnavailable):
        open_store(settings)
    assert WAITS not in caplog.text


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-c", "from app.cli.main import main; main()", "serve"),
        (sys.executable, stand_in_process.__file__, "work", "0", "diary.txt"),
    ],
    ids=["web", "worker"],
)
def test_a_start_that_waits_ends_when_it_is_told_to_stop(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    log = tmp_path / "log.txt"
    environment = {
        "USTRI_DATA_DIR": str(tmp_path / "data"),
        "USTRI_DATABASE_URL": NOBODY_THERE,
        "USTRI_PORT": str(free_port()),
        "USTRI_WORKER_THREADS": "0",
        "PYTHONPATH": str(ROOT),
    }
    with (
        log.open("wb") as file,
        started([*command], env=os.environ | environment, stdout=file, stderr=file) as process,
    ):
        until(lambda: WAITS in log.read_text(encoding="utf-8"), "It does not say that it waits.")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
