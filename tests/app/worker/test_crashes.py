"""Processes and servers killed at random moments: each accepted analysis is reported once."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from app.settings import Settings
from tests.app.conftest import a_png
from tests.app.deployment import Deployment, deployed
from tests.app.stacks import Postgres, Redis, a_redis, until
from tests.app.stand_in_process import POISON_PX

ANALYSES = 3
THREADS = 2
MOMENTS = [
    0,
    *(pytest.param(moment, marks=pytest.mark.soak) for moment in range(1, 20)),
]
"""Seeds: one moment in `make test`, nineteen more in `make soak`."""


def moment_s(seed: int, of: str) -> float:
    """When to strike, somewhere in the time that the analyses take."""
    return random.Random(f"{of} {seed}").uniform(0.0, 1.5)


def survive(
    deployment: Deployment, wait_s: float, strike: Callable[[], None], again_max: int
) -> None:
    """Send analyses, strike in the middle, and check that each was reported once."""
    here = [deployment.send(f"key {number}") for number in range(ANALYSES)]
    time.sleep(wait_s)
    strike()
    again = [deployment.send(f"key {number}") for number in range(ANALYSES)]
    assert again == here  # The keys outlived it.
    deployment.wait_for_ends(*here)
    deployment.check(ANALYSES, again_max)


@pytest.mark.parametrize("seed", MOMENTS)
@pytest.mark.parametrize("victim", ["worker", "web"])
def test_a_process_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, postgres: Postgres, redis: Redis, victim: str, seed: int
) -> None:
    urls = {"USTRI_DATABASE_URL": postgres.new_database(), "USTRI_REDIS_URL": redis.url}
    with deployed(tmp_path, urls) as deployment:
        deployment.start_web()
        deployment.start("worker", "work")

        def strike() -> None:
            deployment.kill(victim)
            if victim == "web":
                deployment.start_web()
            else:
                deployment.start("worker", "work")

        # Only a step that was answered and not yet recorded may be run again.
        survive(deployment, moment_s(seed, victim), strike, THREADS)


@pytest.mark.parametrize("seed", MOMENTS)
def test_one_process_killed_at_any_moment_over_sqlite_loses_and_doubles_nothing(
    tmp_path: Path, seed: int
) -> None:
    with deployed(tmp_path) as deployment:
        deployment.start("both", "both")
        wait_s = moment_s(seed, "both")

        def strike() -> None:
            deployment.kill("both")
            deployment.start("both", "both")

        survive(deployment, wait_s, strike, THREADS)


@pytest.mark.parametrize("seed", MOMENTS)
def test_redis_killed_at_any_moment_changes_nothing(
    tmp_path: Path, postgres: Postgres, seed: int
) -> None:
    with a_redis() as own:
        urls = {"USTRI_DATABASE_URL": postgres.new_database(), "USTRI_REDIS_URL": own.url}
        with deployed(tmp_path, urls) as deployment:
            deployment.start_web()
            deployment.start("worker", "work")
            survive(deployment, moment_s(seed, "redis"), own.kill, 0)
            log = (tmp_path / "web.log").read_text(encoding="utf-8")
            assert log.count("Redis is away") == 1
            assert "away" in deployment.client.get("/readyz").json()["redis"]
            own.start()


@pytest.mark.parametrize("seed", MOMENTS)
def test_postgresql_restarted_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, postgres: Postgres, redis: Redis, seed: int
) -> None:
    urls = {"USTRI_DATABASE_URL": postgres.new_database(), "USTRI_REDIS_URL": redis.url}
    with deployed(tmp_path, urls) as deployment:
        deployment.start_web()
        deployment.start("worker", "work")

        def strike() -> None:
            postgres.stop()
            postgres.start()

        survive(deployment, moment_s(seed, "postgres"), strike, THREADS)


def hold_lock(url: str, held_s: float) -> None:
    """Lock the database against other writers for so long, as a repair or a copy would."""
    engine = create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
        else:
            connection.exec_driver_sql("LOCK TABLE jobs, records IN ACCESS EXCLUSIVE MODE")
        time.sleep(held_s)
        connection.rollback()
    engine.dispose()


@pytest.mark.parametrize("seed", MOMENTS)
def test_a_database_locked_at_any_moment_only_delays(
    tmp_path: Path, either: Settings, seed: int
) -> None:
    urls = {"USTRI_DATABASE_URL": either.database_url, "USTRI_REDIS_URL": either.redis_url}
    given = {name: url for name, url in urls.items() if url}
    with deployed(tmp_path, {"USTRI_BUSY_S": "1"} | given) as deployment:
        deployment.start_web()
        deployment.start("worker", "work")
        held_s = random.Random(f"lock {seed}").uniform(0.5, 3.5)
        survive(
            deployment,
            moment_s(seed, "lock"),
            lambda: hold_lock(deployment.database_url, held_s),
            # Each thread may lose a step to the lock, and one more to the crowd after it.
            2 * THREADS,
        )


@pytest.mark.parametrize("seed", MOMENTS)
def test_a_full_disk_refuses_and_what_was_accepted_is_reported_later(
    tmp_path: Path, seed: int
) -> None:
    with deployed(tmp_path, delay_s=0.0) as deployment:
        deployment.start("both", "both")
        until(deployment.answers, "The service does not start.")
        deployment.kill("both")
        largest = max(path.stat().st_size for path in (tmp_path / "data").glob("ustri.db*"))
        limit_bytes = largest + random.Random(f"disk {seed}").randrange(60_000, 200_000)
        deployment.start("both", "both", FILE_LIMIT_BYTES=str(limit_bytes))
        until(deployment.answers, "The service does not start.")
        accepted: dict[str, str] = {}
        for number in range(100):
            key = f"key {number}"
            try:
                accepted[key] = deployment.send(key, a_png(100 + number, 120), limit_s=4.0)
            except TimeoutError:
                break
        else:
            pytest.fail("The disk never got full.")
        assert accepted
        deployment.kill("both")
        deployment.start("both", "both")
        for key, here in accepted.items():
            number = int(key.split()[1])
            assert deployment.send(key, a_png(100 + number, 120)) == here
        deployment.wait_for_ends(*accepted.values())
        assert {deployment.state(here) for here in accepted.values()} == {"done"}
        count = len(accepted)
        assert deployment.rows("SELECT count(*), count(DISTINCT analysis_id) FROM reports") == [
            (count, count)
        ]
        deployment.check_no_orphans()


@pytest.mark.parametrize("seed", MOMENTS)
def test_an_image_that_kills_the_worker_is_given_up_and_takes_no_other_along(
    tmp_path: Path, postgres: Postgres, redis: Redis, seed: int
) -> None:
    urls = {"USTRI_DATABASE_URL": postgres.new_database(), "USTRI_REDIS_URL": redis.url}
    with deployed(tmp_path, urls, delay_s=0.05) as deployment:
        deployment.start_web()
        images = [a_png()] * ANALYSES + [a_png(POISON_PX + 3, POISON_PX)]
        order = random.Random(f"poison {seed}").sample(range(len(images)), len(images))
        here = {number: deployment.send(f"key {number}", images[number]) for number in order}
        deployment.start("worker", "work")
        end = time.monotonic() + 120
        while not all(deployment.state(path) in ("done", "failed") for path in here.values()):
            assert time.monotonic() < end
            if deployment.processes["worker"].poll() is not None:
                deployment.start("worker", "work")  # As a supervisor does.
            time.sleep(0.05)
        states = {number: deployment.state(path) for number, path in here.items()}
        assert states == {**dict.fromkeys(range(ANALYSES), "done"), ANALYSES: "failed"}
        problem = deployment.client.get(here[ANALYSES]).json()["problem"]
        assert "given up" in problem
        deployment.check_no_orphans()
