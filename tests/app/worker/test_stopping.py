"""Analyses that are cancelled or too late, and direct questions of which too many wait."""

import asyncio

import httpx
import pytest

from app.jobs.queue import CANCELLED, EXPIRED
from tests.app.conftest import Serve, a_png
from tests.app.stand_in import StandInTools

ASYNC = {"Prefer": "respond-async"}


async def send(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    files = {"image": ("scan.png", a_png(), "image/png")}
    return await client.post("/analyze", files=files, data=fields, headers=ASYNC)


async def ended(client: httpx.AsyncClient, here: str) -> dict[str, object]:
    for _ in range(600):
        standing: dict[str, object] = (await client.get(here)).json()
        if standing["state"] in ("done", "failed"):
            return standing
        await asyncio.sleep(0.05)
    raise TimeoutError(here)


async def test_a_cancelled_analysis_begins_no_further_step_and_says_so(
    serve_either: Serve, tools: StandInTools
) -> None:
    tools.gate.clear()
    async with serve_either() as client:
        here = (await send(client)).headers["location"]
        while not tools.calls:
            await asyncio.sleep(0.01)
        answer = await client.post(f"{here}/cancel")
        assert (answer.json()["state"], answer.json()["problem"]) == ("failed", CANCELLED)
        tools.gate.set()
        after = (await send(client)).headers["location"]
        assert (await ended(client, after))["state"] == "done"
        report = await client.get(f"{here}/report")
        assert (report.status_code, report.json()["detail"]) == (409, CANCELLED)
        assert (await client.post(f"{after}/cancel")).status_code == 409
        assert (await client.get(here)).json()["steps"] == 0


async def test_an_analysis_that_is_late_is_given_up_between_two_steps(
    serve_either: Serve, tools: StandInTools
) -> None:
    tools.delay_s = 0.6
    async with serve_either() as client:
        here = (await send(client, deadline_s="0.9")).headers["location"]
        standing = await ended(client, here)
        assert (standing["state"], standing["problem"]) == ("failed", EXPIRED)
        assert len(tools.calls) < len(tools.answers)
        assert (await client.get(f"{here}/report")).status_code == 409


async def test_what_waits_and_is_late_or_cancelled_is_never_begun(
    serve_either: Serve, tools: StandInTools
) -> None:
    tools.gate.clear()
    async with serve_either(worker_threads=1, lease_s=0.6) as client:
        first = (await send(client)).headers["location"]
        while not tools.calls:
            await asyncio.sleep(0.01)
        late = (await send(client, deadline_s="0.2")).headers["location"]
        unwanted = (await send(client)).headers["location"]
        cancelled = (await client.post(f"{unwanted}/cancel")).json()
        assert (cancelled["state"], cancelled["problem"]) == ("failed", CANCELLED)
        # Told while all workers are busy, not when its turn has come.
        assert (await ended(client, late))["problem"] == EXPIRED
        tools.gate.set()
        assert (await ended(client, first))["state"] == "done"
        assert sorted(tools.calls) == sorted(tools.answers)


@pytest.mark.parametrize("deadline", ["soon", "0", "-1", "nan", "1e9"])
async def test_a_deadline_is_a_number_of_seconds(client: httpx.AsyncClient, deadline: str) -> None:
    answer = await send(client, deadline_s=deadline)
    assert answer.status_code == 422
    assert "deadline_s" in answer.json()["detail"]


async def test_a_zero_byte_in_a_field_is_refused(client: httpx.AsyncClient) -> None:
    answer = await send(client, question="why\0")
    assert answer.status_code == 422
    assert "question" in answer.json()["detail"]


async def test_direct_questions_beyond_the_limit_are_answered_with_429(
    serve_either: Serve, tools: StandInTools
) -> None:
    tools.gate.clear()
    async with serve_either(asks_limit=1) as client:
        files = {"image": ("scan.png", a_png(), "image/png")}
        first = asyncio.create_task(client.post("/specialists/exam_cls", files=files))
        while not tools.calls:
            await asyncio.sleep(0.01)
        second = await client.post("/specialists/exam_cls", files=files)
        assert (second.status_code, "retry-after" in second.headers) == (429, True)
        tools.gate.set()
        assert (await first).status_code == 200
