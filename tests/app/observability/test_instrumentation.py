"""The metrics move when something happens, say no more than they should, and are all documented."""

import asyncio
import re
import sqlite3
from pathlib import Path

import httpx
import PIL.Image
import prometheus_client
import pytest

from app.application import create_app
from app.errors import SettingsError
from app.observability.exporter import exposed
from app.observability.instrumentation import InstrumentedTools, watch_networks
from app.observability.metrics import End, QuestionEnd, Refusal, refusal_of
from app.settings import Settings
from app.storage.store import Store
from app.web.routes.metrics import QueueCollector
from planner.run import Tools
from reports.model import ChosenBy, Outcome
from specialists.errors import Declined, Foreign, Illegible
from specialists.image import image_of
from specialists.load import load_engine
from specialists.phantom.draw import draw
from tests.app.conftest import Serve, a_png, client_of, encoded, some_pixels
from tests.app.deployment import free_port
from tests.app.images.test_ingest import a_doppler_image
from tests.app.scraping import Scrape, parsed, scrape, scraped_when
from tests.app.stand_in import INSTALLED, StandInTools
from tests.specialists.nets import MODEL, installed

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Those of all tests, with time for a database that is read in a loop."""
    return settings.model_copy(update={"busy_s": 10.0})


def files(data: bytes | None = None) -> dict[str, tuple[str, bytes]]:
    return {"image": ("scan.png", a_png() if data is None else data)}


async def moved(
    client: httpx.AsyncClient, before: Scrape, name: str, by: float = 1, **labels: str
) -> Scrape:
    """The scrape in which that counter has moved by as much."""
    return await scraped_when(
        client,
        lambda now: now.value(name, **labels) - before.value(name, **labels) == by,
        f"{name} {labels} by {by}",
    )


async def test_an_analysis_moves_what_it_should(client: httpx.AsyncClient) -> None:
    before = await scrape(client)
    assert (await client.post("/analyze", files=files())).status_code == 200
    after = await moved(client, before, "ustri_analyses_total", end="done")
    await moved(client, before, "ustri_reports_total", outcome="reported")
    for name in ("ustri_analysis_wait_seconds_count", "ustri_analysis_seconds_count"):
        assert after.value(name) - before.value(name) == 1
    for specialist in INSTALLED:
        name = "ustri_step_seconds_count"
        assert (
            after.value(name, specialist=specialist) - before.value(name, specialist=specialist)
            == 1
        )
    decisions = "ustri_planner_decisions_total"
    assert after.value(decisions) - before.value(decisions) == len(INSTALLED) + 1
    assert after.labels(decisions, "chosen_by") == {one.value for one in ChosenBy}
    asked = {"method": "POST", "route": "/analyze"}
    assert after.value("ustri_http_requests_total", status="200", **asked) > before.value(
        "ustri_http_requests_total", status="200", **asked
    )
    assert after.value("ustri_http_request_seconds_count", **asked) > before.value(
        "ustri_http_request_seconds_count", **asked
    )
    assert after.value("ustri_model_info", id="breast_lesion", kind="specialist") == 1
    assert after.value("ustri_model_info", kind="planner") >= 1


async def test_the_queue_shows_its_depth_and_the_age_of_the_oldest(
    serve_either: Serve, tools: StandInTools
) -> None:
    async with serve_either(worker_threads=1) as client:
        assert (await scrape(client)).value("ustri_queue_oldest_seconds") == 0
        tools.gate.clear()
        for _ in range(3):
            await client.post("/analyze", files=files(), headers=ASYNC)
        while not tools.calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        now = await scrape(client)
        tools.gate.set()
        assert now.value("ustri_queue_analyses", state="running") == 1
        assert now.value("ustri_queue_analyses", state="queued") == 2
        assert 0.2 <= now.value("ustri_queue_oldest_seconds") < 30
        assert now.value("ustri_workers_alive") == 1
        assert now.value("ustri_store_up") == 1
        await scraped_when(client, lambda s: s.value("ustri_queue_analyses") == 0, "all end")


async def test_an_analysis_that_is_too_late_before_its_turn_is_counted_too(
    serve: Serve, tools: StandInTools
) -> None:
    tools.gate.clear()
    async with serve(worker_threads=1) as client:
        before = await scrape(client)
        await client.post("/analyze", files=files(), headers=ASYNC)
        while not tools.calls:
            await asyncio.sleep(0.01)
        late = {"deadline_s": "0.1"}
        await client.post("/analyze", files=files(), headers=ASYNC, data=late)
        await moved(client, before, "ustri_analyses_total", end="expired")
        tools.gate.set()


@pytest.mark.parametrize("end", [End.CANCELLED, End.EXPIRED, End.FAILED])
async def test_every_other_end_of_an_analysis_is_counted_once(
    serve: Serve, tools: StandInTools, end: End
) -> None:
    async with serve(worker_threads=1, attempts_limit=2) as client:
        before = await scrape(client)
        fields = {}
        if end is End.FAILED:
            tools.answers["breast_lesion"] = RuntimeError("This test.")
        if end is End.EXPIRED:
            tools.delay_s, fields = 0.3, {"deadline_s": "0.4"}
        if end is End.CANCELLED:
            tools.gate.clear()
        sent = await client.post("/analyze", files=files(), headers=ASYNC, data=fields)
        if end is End.CANCELLED:
            assert (await client.post(f"{sent.headers['location']}/cancel")).status_code == 200
            tools.gate.set()
        after = await moved(client, before, "ustri_analyses_total", end=end)
        assert after.value("ustri_analyses_total") - before.value("ustri_analyses_total") == 1


async def test_refused_requests_are_counted_by_reason(serve: Serve, tools: StandInTools) -> None:
    async with serve(worker_threads=1, queue_limit=1) as client:
        before = await scrape(client)
        for body, fields in (
            (b"no image", {}),
            (a_png()[:200], {}),
            (a_png(), {"exam": "knee"}),
        ):
            await client.post("/analyze", files=files(body), data=fields)
        await client.post("/analyze", content=b"x" * 33_600_000, headers={"content-type": "a/b"})
        await client.get("/", headers={"Host": "elsewhere.example"})
        tools.gate.clear()
        for _ in range(2):
            last = await client.post("/analyze", files=files(), headers=ASYNC)
        assert last.status_code == 429
        after = await scrape(client)
        tools.gate.set()
        for reason in ("unsupported", "unreadable", "invalid", "too_large", "site", "queue_full"):
            name = "ustri_refusals_total"
            assert after.value(name, reason=reason) - before.value(name, reason=reason) == 1, reason
        assert after.labels("ustri_refusals_total", "reason") == {one.value for one in Refusal}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Illegible("The image is black."), "quality"),
        (Foreign("The image is unlike all others."), "foreign"),
        (Declined("The image is too narrow."), "declined"),
        (None, "colour"),
    ],
)
async def test_refused_images_are_counted_by_reason(
    client: httpx.AsyncClient, tools: StandInTools, answer: Declined | None, reason: str
) -> None:
    png = a_png()
    if answer is None:
        png = encoded(PIL.Image.fromarray(a_doppler_image()))
    else:
        tools.answers["exam_cls"] = answer
    before = await scrape(client)
    report = (await client.post("/analyze", files=files(png))).json()
    assert report["outcome"] == "refused"
    after = await moved(client, before, "ustri_refusals_total", reason=reason)
    if answer is not None:
        name, labels = "ustri_specialist_declines_total", {"specialist": "exam_cls"}
        assert (
            after.value(name, reason=reason, **labels) - before.value(name, reason=reason, **labels)
            == 1
        )


async def test_direct_questions_are_counted_by_their_end(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    before = await scrape(client)
    for answer, end in (
        (tools.answers["exam_cls"], QuestionEnd.ANSWERED),
        (Foreign("It is unlike all others."), QuestionEnd.DECLINED),
        (RuntimeError("This test."), QuestionEnd.FAILED),
    ):
        tools.answers["exam_cls"] = answer
        await client.post("/specialists/exam_cls", files=files())
        await moved(client, before, "ustri_questions_total", specialist="exam_cls", end=end)
    after = await scrape(client)
    name = "ustri_question_seconds_count"
    assert after.value(name, specialist="exam_cls") - before.value(name, specialist="exam_cls") == 3


def test_passes_and_looks_for_features_are_counted(tmp_path: Path) -> None:
    engine = load_engine(installed(tmp_path), "cpu")
    watch_networks(engine)
    watch_networks(engine)  # A second crew over the same networks must not count twice.
    before = parsed(prometheus_client.generate_latest().decode())
    image = image_of(draw("breast", seed=1, height_px=96, width_px=128).pixels)
    for specialist in ("breast_2cls", "breast_lesion"):
        engine.run(specialist, image)
    engine.screen("breast_2cls", [image, image, image])
    after = parsed(prometheus_client.generate_latest().decode())

    def change(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert change("ustri_backbone_pass_seconds_count", model=MODEL) == 2
    assert change("ustri_backbone_pass_images_sum", model=MODEL) == 4
    assert change("ustri_head_pass_images_sum", specialist="breast_2cls") == 4
    assert change("ustri_head_pass_seconds_count", specialist="breast_lesion") == 1
    assert change("ustri_feature_cache_requests_total", result="miss") == 1
    assert change("ustri_feature_cache_requests_total", result="hit") == 1


def test_watched_specialists_answer_as_they_would(tools: StandInTools) -> None:
    watched: Tools = InstrumentedTools(tools)
    image = image_of(some_pixels())
    assert watched.run("exam_cls", image) == tools.run("exam_cls", image)
    assert watched.screen("exam_cls", [image]) == tools.screen("exam_cls", [image])
    assert (watched.manifest, watched.runtime) == (tools.manifest, tools.runtime)


async def test_metrics_are_behind_the_key_unless_the_settings_open_them(serve: Serve) -> None:
    async with serve(api_key="k") as client:
        before = await client.get("/metrics", headers={"Authorization": "Bearer k"})
        assert before.status_code == 200
        assert (await client.get("/metrics")).status_code == 401
        after = await client.get("/metrics", headers={"X-API-Key": "k"})
        name = "ustri_refusals_total"
        refused = [parsed(one.text).value(name, reason="key") for one in (before, after)]
        assert refused[1] - refused[0] == 1
    async with serve(api_key="k", metrics_open=True) as client:
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/specialists")).status_code == 401
        assert (await client.post("/metrics")).status_code == 405


async def test_open_metrics_are_given_where_they_are_asked_for(client: httpx.AsyncClient) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    answer = await client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_labels_come_from_closed_sets_whatever_is_asked_for(
    client: httpx.AsyncClient,
) -> None:
    shown = await client.post("/analyze", files=files())
    here = f"/analyses/{shown.json()['analysis_id']}"
    for path in (here, f"{here}/report.json", "/ZQXJV", "/static/ZQXJV", "/specialists/ZQXJV/card"):
        await client.get(path)
    await client.head(here)
    await client.request("ZQXJV", "/analyze?ZQXJV=1")
    after = await scrape(client)
    assert "ZQXJV" not in after.text
    assert shown.json()["analysis_id"] not in after.text
    routes = after.labels("ustri_http_requests_total", "route")
    assert {"/analyses/{analysis_id}", "/static", "other", "/specialists/{specialist_id}/card"} <= (
        routes
    )
    assert after.value("ustri_http_requests_total", method="HEAD", route="/analyses/{analysis_id}")
    assert after.value("ustri_http_requests_total", method="other")


async def test_a_store_that_cannot_be_used_leaves_the_other_metrics(
    settings: Settings,
) -> None:
    async with client_of(create_app(settings.model_copy(update={"worker_threads": 0}))) as client:
        with sqlite3.connect(settings.data_dir / "ustri.db") as database:
            database.execute("ALTER TABLE jobs RENAME TO gone")
        database.close()
        seen = await scrape(client)
        assert seen.value("ustri_store_up") == 0
        assert "ustri_queue_analyses" not in seen.kinds
        assert "ustri_analyses" in seen.kinds


def test_a_worker_shows_its_metrics_at_the_port_of_the_settings(settings: Settings) -> None:
    port = free_port()
    open_settings = settings.model_copy(update={"metrics_port": port})
    with exposed(open_settings):
        seen = parsed(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
        with pytest.raises(SettingsError, match="USTRI_METRICS_PORT"), exposed(open_settings):
            pass
    assert "ustri_backbone_pass_seconds" in seen.kinds
    assert "ustri_queue_analyses" not in seen.kinds
    with exposed(settings), pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_an_error_that_refuses_nothing_is_no_refusal() -> None:
    assert refusal_of(ValueError("This test.")) is None


def test_every_metric_is_documented_with_its_kind_and_labels(settings: Settings) -> None:
    rows = re.findall(
        r"^\| `(ustri_\w+)` \| (\w+) \|(.*?)\| .+ \|$",
        OPERATIONS.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    table = {name: kind for name, kind, _ in rows}
    store = Store.open(settings)
    families = [
        *prometheus_client.REGISTRY.collect(),
        *QueueCollector(store).collect(),
    ]
    store.close()
    known = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in families
        if family.name.startswith("ustri_")
    }
    assert table == known
    assert all(family.documentation for family in families)
    text = OPERATIONS.read_text(encoding="utf-8")
    for names in (Refusal, End, QuestionEnd, ChosenBy, Outcome):
        assert [name for name in names if f"`{name}`" not in text] == []
