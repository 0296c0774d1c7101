"""Web processes without networks, workers elsewhere: they share nothing but the store."""

import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.app.conftest import a_png
from tests.app.deployment import ROOT, Deployment, deployed
from tests.app.stacks import Postgres, Redis, until
from tests.processes import finished

PROBE = """
import asyncio, json, sys
import httpx
from app.application import create_app
from app.settings import Settings

async def main():
    app = create_app(Settings())
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            files = {"image": ("scan.png", sys.stdin.buffer.read())}
            answer = await client.post("/analyze", files=files, headers={"Prefer": "respond-async"})
            page = await client.get("/")
    loaded = sorted(name for name in ("torch", "transformers", "openvino") \
if name in sys.modules)
    print(json.dumps([answer.status_code, page.status_code, loaded]))

asyncio.run(main())
"""


def environment_of(settings: Settings) -> dict[str, str]:
    names = {"database_url": settings.database_url, "redis_url": settings.redis_url}
    return {f"USTRI_{name.upper()}": value for name, value in names.items() if value}


def infer(deployment: Deployment, timeout_s: float = 30) -> httpx.Response:
    return deployment.client.post(
        "/specialists/exam_cls", files={"image": ("scan.png", a_png())}, timeout=timeout_s
    )


def ready(deployment: Deployment) -> bool:
    return deployment.client.get("/readyz").status_code == 200


def test_a_web_process_answers_and_never_loads_a_network(tmp_path: Path) -> None:
    environment = {
        "USTRI_DATA_DIR": str(tmp_path / "data"),
        "USTRI_WORKER_THREADS": "0",
        "PYTHONPATH": str(ROOT),
    }
    done = finished(
        [sys.executable, "-c", PROBE],
        env=os.environ | environment,
        input=a_png(),
        text=False,
        check=True,
    )
    assert json.loads(done.stdout) == [202, 200, []]


def test_analyses_and_direct_questions_are_answered_by_a_worker_elsewhere(
    tmp_path: Path, either: Settings
) -> None:
    with deployed(tmp_path, environment_of(either), delay_s=0.0) as deployment:
        deployment.start_web()
        nobody = infer(deployment)
        assert (nobody.status_code, "retry-after" in nobody.headers) == (503, True)
        here = deployment.send("key")
        deployment.start("one", "work")
        deployment.start("two", "work")
        until(lambda: ready(deployment), "No worker comes up.")
        answer = infer(deployment)
        assert answer.status_code == 200
        assert answer.json()["result"]["specialist"] == "exam_cls"
        deployment.wait_for_ends(here)
        deployment.check(1, 1)


def test_questions_that_wait_are_bounded_and_erased_when_nobody_waits_for_them(
    tmp_path: Path, either: Settings
) -> None:
    limits = {"USTRI_ASKS_LIMIT": "1", "USTRI_ASK_S": "20"}
    with deployed(tmp_path, environment_of(either) | limits, delay_s=1.5) as deployment:
        deployment.start_web()
        deployment.start("worker", "work")
        until(lambda: ready(deployment), "No worker comes up.")
        answers: list[int] = []
        first = threading.Thread(target=lambda: answers.append(infer(deployment).status_code))
        first.start()
        until(
            lambda: deployment.rows("SELECT count(*) FROM inference_requests") == [(1,)],
            "It is not asked.",
        )
        second = infer(deployment)
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) > 0
        first.join(60)
        assert answers == [200]
        with pytest.raises(httpx.ReadTimeout):
            infer(deployment, timeout_s=0.5)
        until(
            lambda: deployment.rows("SELECT count(*) FROM inference_requests") == [(0,)],
            "The question of a client that went away stays.",
        )


def test_a_worker_that_is_told_to_stop_ends_in_time_and_hands_its_work_back(
    tmp_path: Path, either: Settings
) -> None:
    with deployed(tmp_path, environment_of(either), delay_s=0.4) as deployment:
        deployment.start_web()
        process = deployment.start("worker", "work")
        here = deployment.send("key")
        until(lambda: deployment.state(here) == "running", "It is not begun.")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert time.monotonic() - began < 30
        assert deployment.rows("SELECT state, attempts, question FROM jobs") in (
            [("queued", 0, None)],
            [("queued", 1, None)],
        )
        deployment.start("next", "work")
        deployment.wait_for_ends(here)
        deployment.check(1, 0)


def test_more_senders_at_once_than_the_queue_holds_are_told_to_come_again(
    tmp_path: Path, either: Settings
) -> None:
    environment = environment_of(either) | {"USTRI_QUEUE_LIMIT": "3"}
    with deployed(tmp_path, environment, delay_s=0.0) as deployment:
        deployment.start_web()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: sent(deployment), range(8)))
        assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 5
        refused = [answer for answer in answers if answer.status_code == 429]
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        assert deployment.rows("SELECT count(*) FROM analyses") == [(3,)]
        deployment.start("worker", "work")
        accepted = [a.headers["location"] for a in answers if a.status_code == 202]
        deployment.wait_for_ends(*accepted)
        assert sent(deployment).status_code == 202


def sent(deployment: Deployment) -> httpx.Response:
    return deployment.client.post(
        "/analyze", files={"image": ("scan.png", a_png())}, headers={"Prefer": "respond-async"}
    )


def test_secrets_come_from_files_and_are_shown_to_nobody(
    tmp_path: Path, postgres: Postgres, redis: Redis
) -> None:
    key, url = "a-key-that-only-this-test-knows", postgres.new_database()
    files = {"API_KEY": key, "DATABASE_URL": url, "REDIS_URL": redis.url}
    environment = {"USTRI_HOST": "0.0.0.0", "USTRI_WORKER_THREADS": "1"}
    for name, secret in files.items():
        path = tmp_path / name.lower()
        path.write_text(f"{secret}\n", encoding="utf-8")
        environment[f"USTRI_{name}_FILE"] = str(path)
    with deployed(tmp_path, environment, delay_s=0.0, key=key) as deployment:
        deployment.database_url = url
        deployment.start_web()
        deployment.start("worker", "work")
        for wrong in ({}, {"Authorization": "Bearer another"}, {"X-API-Key": f"{key}x"}):
            answer = httpx.post(f"http://127.0.0.1:{deployment.port}/analyze", headers=wrong)
            assert answer.status_code == 401
            assert key not in answer.text
        deployment.wait_for_ends(deployment.send("key"))
        assert infer(deployment).status_code == 200
        logs = [path.read_text(encoding="utf-8") for path in tmp_path.glob("*.log")]
        assert len(logs) == 2
        assert not any(secret in log for secret in files.values() for log in logs)
        assert not any(key in str(row) for row in deployment.rows("SELECT * FROM analyses"))


def test_a_web_process_that_others_reach_does_not_start_without_a_key(tmp_path: Path) -> None:
    with deployed(tmp_path, {"USTRI_HOST": "0.0.0.0", "USTRI_WORKER_THREADS": "0"}) as deployment:
        assert deployment.start("web", "web").wait(60) != 0
        assert "USTRI_API_KEY" in (tmp_path / "web.log").read_text(encoding="utf-8")
