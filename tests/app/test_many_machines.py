"""Web processes without networks, workers elsewhere: they meet in the store, and nothing else is needed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.app.conftest import a_png
from tests.app.deployment import ROOT, Deployment, deployed
from tests.app.stacks import until

PROBE = """
import asyncio, json, sys
import httpx
from app.main import create_app
from app.settings import Settings

async def main():
    app = create_app(Settings())
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            files = {"image": ("scan.png", sys.stdin.buffer.read())}
            answer = await client.post("/analyze", files=files, headers={"Prefer": "respond-async"})
            page = await client.get("/")
    loaded = sorted(name for name in ("torch", "monai", "transformers", "openvino") if name in sys.modules)
    print(json.dumps([answer.status_code, page.status_code, loaded]))

asyncio.run(main())
"""


def environment_of(settings: Settings) -> dict[str, str]:
    names = {"database_url": settings.database_url, "redis_url": settings.redis_url}
    return {f"USTRI_{name.upper()}": value for name, value in names.items() if value}


def ask(deployment: Deployment, timeout_s: float = 30) -> httpx.Response:
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
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        env=os.environ | environment,
        input=a_png(),
        capture_output=True,
        check=True,
        timeout=240,
    )
    assert json.loads(done.stdout) == [202, 200, []]


def test_analyses_and_direct_questions_are_answered_by_a_worker_elsewhere(
    tmp_path: Path, either: Settings
) -> None:
    with deployed(tmp_path, environment_of(either), delay_s=0.0) as deployment:
        deployment.start_web()
        nobody = ask(deployment)
        assert (nobody.status_code, "retry-after" in nobody.headers) == (503, True)
        here = deployment.send("key")
        deployment.start("one", "work")
        deployment.start("two", "work")
        until(lambda: ready(deployment), "No worker comes up.")
        answer = ask(deployment)
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
        first = threading.Thread(target=lambda: answers.append(ask(deployment).status_code))
        first.start()
        until(lambda: deployment.rows("SELECT count(*) FROM asks") == [(1,)], "It is not asked.")
        second = ask(deployment)
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) > 0
        first.join(60)
        assert answers == [200]
        with pytest.raises(httpx.ReadTimeout):
            ask(deployment, timeout_s=0.5)
        until(
            lambda: deployment.rows("SELECT count(*) FROM asks") == [(0,)],
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
