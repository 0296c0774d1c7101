"""The way of one image through the HTTP interface."""

import asyncio
import io
import json
import threading
from pathlib import Path

import httpx
import numpy as np
import PIL.Image
import pytest

from app.settings import Settings
from app.storage.store import Store
from reports.model import ExamCode, Report
from tests.app.conftest import Serve, a_png, encoded
from tests.app.images.test_ingest import a_doppler_image
from tests.app.stand_in import DECLINED, INSTALLED, StandInTools
from tests.builders import an_exam_result


def files(data: bytes | None = None) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("image", ("scan.png", a_png() if data is None else data, "image/png"))]


async def ended(client: httpx.AsyncClient, path: str) -> dict[str, object]:
    for _ in range(600):
        standing: dict[str, object] = (await client.get(path)).json()
        if standing["state"] in ("done", "failed"):
            return standing
        await asyncio.sleep(0.02)
    raise TimeoutError(path)


async def test_an_image_becomes_a_report(client: httpx.AsyncClient, tools: StandInTools) -> None:
    response = await client.post("/analyze", files=files(), data={"question": "", "exam": ""})
    assert response.status_code == 200
    report = Report.model_validate_json(response.content)
    assert report.outcome == "reported"
    assert report.exam.code == "breast"
    assert not report.request.question_given
    assert tuple(tools.calls) == INSTALLED
    assert response.headers["content-location"] == f"/analyses/{report.analysis_id}/report.json"


async def test_the_report_comes_in_the_form_that_is_asked_for(client: httpx.AsyncClient) -> None:
    first = await client.post("/analyze", files=files())
    here = f"/analyses/{first.json()['analysis_id']}"
    for accept, suffix in (
        ("application/json", "json"),
        ("text/html;q=0.9, text/plain;q=0.1", "html"),
        ("text/*;q=0.1, text/plain", "txt"),
    ):
        negotiated = await client.get(f"{here}/report", headers={"Accept": accept})
        named = await client.get(f"{here}/report.{suffix}")
        assert negotiated.status_code == named.status_code == 200
        assert negotiated.content == named.content
        assert negotiated.headers["content-type"] == named.headers["content-type"]
    refused = await client.get(f"{here}/report", headers={"Accept": "image/png"})
    assert refused.status_code == 406
    assert (await client.get(f"{here}/report.docx")).status_code == 404


async def test_a_browser_may_show_the_report_page_under_its_policy(
    client: httpx.AsyncClient,
) -> None:
    first = await client.post("/analyze", files=files(), headers={"Accept": "text/html"})
    policy = first.headers["content-security-policy"]
    assert first.headers["content-type"].startswith("text/html")
    assert "'unsafe-inline'" not in policy
    assert "default-src 'none'" in policy
    assert "<style" not in first.text or "'sha256-" in policy


async def test_an_asynchronous_request_is_told_where_its_report_will_be(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    tools.gate.clear()
    response = await client.post("/analyze", files=files(), headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    here = response.headers["location"]
    early = await client.get(f"{here}/report")
    assert early.status_code == 404
    assert "no report yet" in early.json()["detail"]
    tools.gate.set()
    assert (await ended(client, here))["outcome"] == "reported"
    assert (await client.get(f"{here}/report")).status_code == 200


async def test_a_request_that_waits_too_long_gets_202(serve: Serve, tools: StandInTools) -> None:
    tools.gate.clear()
    async with serve(wait_s=0.05) as client:
        response = await client.post("/analyze", files=files())
        tools.gate.set()
    assert response.status_code == 202


async def test_the_same_idempotency_key_gives_the_same_analysis(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    one = await client.post("/analyze", files=files(), headers=headers)
    two = await client.post("/analyze", files=files(), headers=headers)
    other = await client.post("/analyze", files=files(), headers=headers, data={"exam": "breast"})
    assert one.content == two.content
    assert other.status_code == 409
    assert other.headers["content-type"] == "application/problem+json"


async def test_two_analyses_of_one_image_say_the_same(client: httpx.AsyncClient) -> None:
    one = (await client.post("/analyze", files=files())).json()
    two = (await client.post("/analyze", files=files())).json()
    assert one["analysis_id"] != two["analysis_id"]
    assert one["provenance"]["content_sha256"] == two["provenance"]["content_sha256"]


def sent_events(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    lines = [[line.partition(": ") for line in block.split("\n")] for block in blocks]
    return [{key: value for key, _, value in block if key} for block in lines]


async def test_events_tell_every_step_and_can_be_resumed(client: httpx.AsyncClient) -> None:
    first = await client.post("/analyze", files=files())
    here = f"/analyses/{first.json()['analysis_id']}/events"
    events = sent_events((await client.get(here)).text)
    steps = [json.loads(event["data"]) for event in events if event["event"] == "step"]
    assert [step["action"] for step in steps] == [*INSTALLED, "stop"]
    assert events[-1]["event"] == "done"
    assert json.loads(events[-1]["data"])["state"] == "done"
    resumed = await client.get(here, headers={"Last-Event-ID": events[2]["id"]})
    assert sent_events(resumed.text) == events[3:]
    over = await client.get(here, headers={"Last-Event-ID": events[-1]["id"]})
    assert over.status_code == 204
    strange = await client.get(here, headers={"Last-Event-ID": "nonsense"})
    assert strange.status_code == 422


async def test_events_follow_a_running_analysis(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    tools.gate.clear()
    response = await client.post("/analyze", files=files(), headers={"Prefer": "respond-async"})
    threading.Timer(0.3, tools.gate.set).start()
    events = sent_events((await client.get(f"{response.headers['location']}/events")).text)
    assert events[0]["event"] == "state"
    assert events[-1]["event"] == "done"


async def test_every_piece_of_evidence_has_a_picture(client: httpx.AsyncClient) -> None:
    report = (await client.post("/analyze", files=files())).json()
    here = f"/analyses/{report['analysis_id']}"
    kinds = set()
    for item in report["evidence"]:
        response = await client.get(f"{here}/evidence/{item['id']}.png")
        assert response.status_code == 200
        picture = PIL.Image.open(io.BytesIO(response.content))
        kinds.add(item["kind"])
        if item["kind"] == "box":
            assert picture.size == (160, 100)
        if item["kind"] in ("mask", "points"):
            assert picture.size == (640, 480)
            pixels = np.asarray(picture, dtype=int)
            assert (pixels[..., 0] != pixels[..., 2]).any()
    assert kinds == {"box", "mask", "points", "scores"}
    assert (await client.get(f"{here}/evidence/e99.png")).status_code == 404
    frame = await client.get(f"{here}/image.png")
    assert PIL.Image.open(io.BytesIO(frame.content)).size == (640, 480)


async def test_the_tool_set_says_what_is_installed_and_why_not(client: httpx.AsyncClient) -> None:
    listed = {entry["id"]: entry for entry in (await client.get("/specialists")).json()}
    assert listed["breast_lesion"]["installed"] is True
    assert listed["fmc_thyroid_nodule"]["installed"] is False
    assert listed["fmc_thyroid_nodule"]["not_installed"]
    assert sum(name.startswith("fmc_") for name in listed) == 27


async def test_one_specialist_answers_without_the_planner(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    roi = {"x_min": "10", "y_min": "20", "x_max": "110.5", "y_max": "90"}
    response = await client.post("/specialists/breast_lesion", files=files(), data=roi)
    assert response.status_code == 200
    assert response.json()["result"]["kind"] == "segment"
    assert tools.regions == [(10.0, 20.0, 110.5, 90.0)]
    tools.answers["breast_lesion"] = DECLINED
    declined = (await client.post("/specialists/breast_lesion", files=files())).json()
    assert declined["result"] is None
    assert declined["not_assessed"] == str(DECLINED)


async def test_colour_is_refused_before_any_specialist_runs(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    doppler = encoded(PIL.Image.fromarray(a_doppler_image()))
    response = await client.post("/analyze", files=files(doppler), data={"exam": "breast"})
    assert response.status_code == 200
    report = response.json()
    assert report["outcome"] == "refused"
    assert report["image"]["colour"] == "colour"
    assert "olour" in report["reason"]
    assert tools.calls == []


async def test_an_exam_without_installed_specialists_is_refused_by_name(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    scores = dict.fromkeys(ExamCode, 0.005) | {ExamCode.NERVE: 0.96}
    tools.answers["exam_cls"] = an_exam_result(scores=scores)
    report = (await client.post("/analyze", files=files())).json()
    assert report["outcome"] == "refused"
    assert report["exam"]["code"] == "nerve"
    assert "nerve_vessel_multi" in report["steps"][-1]["reason"]
    assert "Forearm nerve ultrasound is not served here" in report["reason"]


@pytest.mark.parametrize("exam", ["thyroid", "heart", "ovary", "lung"])
async def test_an_exam_that_is_not_served_is_refused_by_name_before_any_specialist(
    client: httpx.AsyncClient, tools: StandInTools, exam: str
) -> None:
    report = (await client.post("/analyze", files=files(), data={"exam": exam})).json()
    assert (report["outcome"], report["exam"]["code"]) == ("refused", exam)
    assert f"{exam.capitalize()} ultrasound is not served here" in report["reason"]
    assert tools.calls == []


async def test_every_exam_can_be_named_and_no_other(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()["paths"]["/analyze"]["post"]
    (content,) = described["requestBody"]["content"].values()
    assert content["schema"]["properties"]["exam"]["enum"] == [*ExamCode, ""]
    answer = await client.post("/analyze", files=files(), data={"exam": "liver"})
    assert answer.status_code == 422
    assert all(exam.value in answer.json()["detail"] for exam in ExamCode)


async def test_a_declined_specialist_is_a_step_and_not_an_error(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    tools.answers["breast_lesion"] = DECLINED
    response = await client.post("/analyze", files=files())
    assert response.json()["outcome"] == "partial"
    assert str(DECLINED).removesuffix(".") in response.text


async def test_an_analysis_that_keeps_failing_is_given_up_and_the_next_one_is_fine(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    good = tools.answers["breast_lesion"]
    tools.answers["breast_lesion"] = RuntimeError("secret inside")
    failed = await client.post("/analyze", files=files())
    assert failed.status_code == 500
    assert "given up" in failed.json()["detail"]
    assert "secret" not in failed.text
    assert tools.calls.count("breast_lesion") == 3
    assert tools.calls.count("exam_cls") == 1
    tools.answers["breast_lesion"] = good
    assert (await client.post("/analyze", files=files())).status_code == 200


async def test_the_question_is_erased_when_the_analysis_ends(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    question = "Is there a lesion in Jane Roe?"
    report = await client.post("/analyze", files=files(), data={"question": question})
    assert report.json()["request"]["question_given"] is True
    assert "Jane" not in report.text

    def kept() -> bool:
        paths = [path for path in Path(settings.data_dir).rglob("*") if path.is_file()]
        return any(b"Jane Roe" in path.read_bytes() for path in paths)

    for _ in range(300):
        if not kept():
            return
        await asyncio.sleep(0.02)
    assert not kept()


async def test_more_than_the_queue_holds_is_answered_with_429(
    serve: Serve, tools: StandInTools
) -> None:
    tools.gate.clear()
    async with serve(queue_limit=2) as client:
        for _ in range(2):
            taken = await client.post(
                "/analyze", files=files(), headers={"Prefer": "respond-async"}
            )
            assert taken.status_code == 202
        refused = await client.post("/analyze", files=files())
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        tools.gate.set()
        await ended(client, taken.headers["location"])
        assert (await client.post("/analyze", files=files())).status_code == 200


async def test_it_is_alive_and_ready_and_describes_itself(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    for _ in range(50):
        ready = await client.get("/readyz")
        if ready.status_code == 200:
            break
        await asyncio.sleep(0.02)
    assert ready.json()["worker"] == "alive"
    docs = await client.get("/docs")
    assert docs.status_code == 200
    assert "/analyses/{analysis_id}/report" in docs.text
    assert "https://" not in docs.text
    assert "<script" not in docs.text
    assert (await client.get("/openapi.json")).json()["paths"]["/analyze"]["post"]["requestBody"]


async def test_a_store_is_opened_again_with_what_it_held(serve: Serve, settings: Settings) -> None:
    async with serve() as client:
        first = await client.post("/analyze", files=files())
    stray = settings.images_dir / ("0" * 64 + ".png")
    stray.write_bytes(b"left by a crash")
    async with serve() as client:
        again = await client.get(f"/analyses/{first.json()['analysis_id']}/report")
    assert again.content == first.content
    assert not stray.exists()
    store = Store.open(settings)
    assert store.worklist.page(9).total == 1
    store.close()
