"""Many images in one request: each file has its own result, and one bad file stops none."""

import asyncio
import html
import re
from typing import Any

import httpx
import numpy as np
import PIL.Image
import pytest

from app.jobs.queue import CANCELLED
from tests.app import hostile_archives as hostile
from tests.app.conftest import Serve, a_png, encoded, some_pixels
from tests.app.stand_in import StandInTools

PNG = a_png()
GIF = encoded(PIL.Image.fromarray(some_pixels()), "GIF")


def images(count: int) -> list[bytes]:
    """Pictures that differ."""
    return [encoded(PIL.Image.fromarray(np.roll(some_pixels(), n, axis=1))) for n in range(count)]


def parts(files: dict[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (name, data)) for name, data in files.items()]


async def send(
    client: httpx.AsyncClient, files: dict[str, bytes], key: str | None = None, **fields: str
) -> dict[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await client.post("/analyses", files=parts(files), data=fields, headers=headers)
    assert answer.status_code == 207, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ended(client: httpx.AsyncClient, analysis_id: str) -> dict[str, Any]:
    for _ in range(600):
        standing: dict[str, Any] = (await client.get(f"/analyses/{analysis_id}")).json()
        if standing["state"] in ("done", "failed"):
            return standing
        await asyncio.sleep(0.05)
    raise TimeoutError(analysis_id)


async def test_each_file_has_its_result_and_a_bad_one_stops_none(client: httpx.AsyncClient) -> None:
    one, two, three = images(3)
    packed = hostile.packed({"visit/two.png": two, "visit/.DS_Store": b"x", "../three.png": three})
    sent = {"one.png": one, "broken.gif": GIF, "visit.zip": packed, "cut.zip": packed[:50]}
    batch = await send(client, sent, exam="breast", label="Case 12")
    assert batch["counts"] == {"accepted": 2, "refused": 3, "skipped": 1}
    told = [(each["name"], each["archive"], each["status"]) for each in batch["entries"]]
    assert told == [
        ("one.png", None, 202),
        ("broken.gif", None, 415),
        ("visit/two.png", "visit.zip", 202),
        ("visit/.DS_Store", "visit.zip", 200),
        ("../three.png", "visit.zip", 422),
        ("cut.zip", None, 422),
    ]
    assert "GIF" in batch["entries"][1]["problem"]["detail"]
    assert batch["entries"][4]["problem"]["type"] == "urn:ustri:problem:archive-rejected"
    for each in batch["entries"]:
        if each["analysis"]:
            standing = await ended(client, each["analysis"]["id"])
            assert standing["state"] == "done"
            report = (await client.get(f"/analyses/{standing['id']}/report")).json()
            assert report["request"]["label"] == "Case 12"
            assert "png" not in str(report["request"])


async def test_a_wrong_field_refuses_all_and_is_named(client: httpx.AsyncClient) -> None:
    for path in ("/analyses", "/analyze"):
        answer = await client.post(path, files={"image": PNG}, data={"gestational_age": "19 weeks"})
        assert answer.status_code == 422
        assert answer.json()["field"] == "gestational_age"
    assert "field" not in (await client.post("/analyses")).json()


async def test_the_same_key_starts_only_what_is_not_started(
    serve: Serve, tools: StandInTools
) -> None:
    tools.gate.clear()
    files = {f"{number}.png": data for number, data in enumerate(images(4))}
    async with serve(queue_limit=2) as client:
        first = await send(client, {"all.zip": hostile.packed(files)}, "k")
        assert [each["status"] for each in first["entries"]] == [202, 202, 429, 429]
        tools.gate.set()
        for each in first["entries"][:2]:
            await ended(client, each["analysis"]["id"])
        second = await send(client, {"all.zip": hostile.packed(files)}, "k")
        assert [each["status"] for each in second["entries"]] == [202] * 4
        ids = [each["analysis"]["id"] for each in second["entries"]]
        assert ids[:2] == [each["analysis"]["id"] for each in first["entries"][:2]]
        assert len(set(ids)) == 4


async def test_limits_of_files_and_bytes_hold(serve: Serve) -> None:
    limits = {"limit_batch_files": 2, "limit_bytes": 100_000, "limit_batch_bytes": 300_000}
    small = a_png(120, 160)
    async with serve(**limits) as client:
        many = await client.post("/analyses", files=parts(dict.fromkeys("abc", small)))
        assert (many.status_code, "Too many files" in many.json()["detail"]) == (422, True)
        large = await send(client, {"large.png": bytes(150_000), "small.png": small})
        assert [each["status"] for each in large["entries"]] == [413, 202]
        entries = await send(client, {"many.zip": hostile.packed(dict.fromkeys("abc", small))})
        assert entries["entries"][0]["problem"]["status"] == 413
        over = await client.post("/analyses", files=parts({"a": bytes(400_000)}))
        assert over.status_code == 413
        assert (await client.post("/analyze", files={"image": bytes(150_000)})).status_code == 413


async def test_the_page_without_a_script_lists_what_became_of_each_file(
    client: httpx.AsyncClient,
) -> None:
    one, two = images(2)
    named = {"one.png": one, "<b>broken</b>.gif": GIF, "visit.zip": hostile.packed({"t.png": two})}
    answer = await client.post("/", files=parts(named), data={"label": "Case <12>"})
    assert answer.status_code == 200
    assert "3 files: 2 accepted, 1 refused" in answer.text
    assert len(re.findall(r'href="/analyses/[0-9a-f]{32}/view"', answer.text)) == 2
    assert "<b>broken" not in answer.text
    assert "This is a GIF" in answer.text
    assert 'value="Case &lt;12&gt;"' in answer.text


async def test_what_was_entered_is_kept_after_an_error_and_the_error_stands_at_its_field(
    client: httpx.AsyncClient,
) -> None:
    entered = {
        "exam": "breast",
        "question": 'How "large"?',
        "laterality": "left",
        "site": "3 o'clock",
        "gestational_age": "19 weeks",
        "label": "Case 12",
        "scope": "question",
    }
    answer = await client.post("/", files={"image": PNG}, data=entered)
    assert answer.status_code == 422
    page = html.unescape(answer.text)
    assert '<option value="breast" selected>' in page
    assert '<option value="left" selected>' in page
    assert "<details open>" in page
    assert 'value="question" checked' in page
    for name in ("question", "site", "gestational_age", "label"):
        assert f'value="{entered[name]}"' in page
    field = page.partition('id="gestational_age"')[2].partition("</div>")[0]
    assert 'aria-invalid="true" aria-describedby="gestational_age-wrong"' in field
    assert "19w6d or 19+6." in field
    unreadable = await client.post("/", files={"image": GIF}, data={"label": "Case 12"})
    assert unreadable.status_code == 415
    assert 'id="image-wrong"' in unreadable.text
    assert 'value="Case 12"' in unreadable.text
    nothing = await client.post("/", files={"label": (None, "Case 12")})
    assert (nothing.status_code, "no image" in nothing.text) == (422, True)
    assert 'value="Case 12"' in nothing.text


async def test_a_page_says_that_an_analysis_was_cancelled_and_runs_it_again(
    serve_either: Serve, tools: StandInTools
) -> None:
    tools.gate.clear()
    async with serve_either() as client:
        batch = await send(client, {"a.png": PNG}, question="How large is it?")
        here = f"/analyses/{batch['entries'][0]['analysis']['id']}"
        while not tools.calls:
            await asyncio.sleep(0.01)
        assert f'action="{here}/view/cancel"' in (await client.get(f"{here}/view")).text
        stopped = await client.post(f"{here}/view/cancel")
        assert (stopped.status_code, stopped.headers["location"]) == (303, f"{here}/view")
        page = (await client.get(f"{here}/view")).text
        assert "Analysis cancelled" in page
        assert CANCELLED in page
        assert f'action="{here}/view/retry"' in page
        silent = await client.post(f"{here}/view/retry")
        assert (silent.status_code, "send it again" in silent.text) == (422, True)
        question = {"question": (None, "How large is it?")}
        again = await client.post(f"{here}/view/retry", files=question)
        assert again.status_code == 303
        assert (await client.post(f"{here}/retry")).json()["state"] in ("queued", "running")
        tools.gate.set()
        assert (await ended(client, here.rpartition("/")[2]))["state"] == "done"
        report = (await client.get(f"{here}/report")).json()
        assert report["version"] == 1
        assert report["asked"]
        late = await client.post(f"{here}/retry")
        assert (late.status_code, late.json()["title"]) == (409, "Analysis done")


@pytest.mark.parametrize("hostile_one", [hostile.overlapping(), hostile.of_empty_entries(100_000)])
async def test_a_hostile_archive_leaves_the_others_alone(
    client: httpx.AsyncClient, hostile_one: bytes
) -> None:
    batch = await send(client, {"bomb.zip": hostile_one, "a.png": PNG})
    assert [each["status"] for each in batch["entries"]][1] == 202
    assert batch["entries"][0]["problem"]["status"] in (413, 422)
