"""Whatever is wrong with a request, it gets one shape of answer, and the next request is fine."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import pytest

from app.application import create_app
from app.errors import StoreUnavailable
from app.settings import Settings
from app.storage.store import Store
from tests.app.conftest import Serve, a_png, client_of, encoded
from tests.app.images.test_ingest import REJECTED
from tests.app.stand_in import StandInTools

IMAGE = ("image", ("scan.png", a_png(), "image/png"))
STATUS = {"ImageUnsupported": 415, "ImageUnreadable": 422, "ImageTooLarge": 413}


def check_problem(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) - {"field"} == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert "default-src 'none'" in response.headers["content-security-policy"]
    detail: str = problem["detail"]
    return detail


async def check_fine(client: httpx.AsyncClient, settings: Settings, stored: int = 0) -> None:
    """Check that the refused request left nothing stored, and that the next one is answered."""
    assert len(list(settings.images_dir.iterdir())) == stored
    assert (await client.post("/analyze", files=[IMAGE])).status_code == 200


@pytest.mark.parametrize("path", ["/analyze", "/specialists/breast_lesion"])
@pytest.mark.parametrize("name", REJECTED)
async def test_bad_bytes_get_a_problem(
    client: httpx.AsyncClient, settings: Settings, name: str, path: str
) -> None:
    data, error = REJECTED[name]
    response = await client.post(path, files=[("image", ("x.png", data, "image/png"))])
    check_problem(response, STATUS[error.__name__])
    await check_fine(client, settings)


REQUESTS: dict[str, tuple[dict[str, Any], int, str]] = {
    "two images": ({"files": [IMAGE, IMAGE]}, 422, "2 images"),
    "no image": ({"files": [("exam", (None, "breast"))]}, 422, "no image"),
    "no body": ({}, 422, "no image"),
    "an image as text": ({"files": [("image", (None, "abc"))]}, 422, "as a file"),
    "a file as exam": ({"files": [IMAGE, ("exam", ("a", b"x"))]}, 422, "'exam' is not a file"),
    "an unknown exam": ({"files": [IMAGE], "data": {"exam": "kidney"}}, 422, "'kidney'"),
    "an unknown field": ({"files": [IMAGE], "data": {"exams": "breast"}}, 422, "'exams'"),
    "a field twice": ({"files": [IMAGE], "data": {"exam": ["breast", "nerve"]}}, 422, "twice"),
    "frame in words": ({"files": [IMAGE], "data": {"frame": "first"}}, 422, "frame"),
    "a frame that is not there": ({"files": [IMAGE], "data": {"frame": "3"}}, 422, "one frame"),
    "a long question": ({"files": [IMAGE], "data": {"question": "x" * 3000}}, 422, "question"),
    "JSON": ({"json": {"image": "x"}}, 415, "multipart/form-data"),
    "a form that is not multipart": ({"data": {"image": "x"}}, 415, "multipart/form-data"),
    "a multipart body without its boundary": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        422,
        "multipart form cannot be read",
    ),
    "a very long question": (
        {"files": [IMAGE], "data": {"question": "x" * 70_000}},
        422,
        "multipart form cannot be read",
    ),
    "no form that exists": ({"files": [IMAGE], "headers": {"accept": "image/png"}}, 406, "text"),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_wrong_request_gets_a_problem(
    client: httpx.AsyncClient, settings: Settings, name: str
) -> None:
    options, status, words = REQUESTS[name]
    assert words in check_problem(await client.post("/analyze", **options), status)
    await check_fine(client, settings)


REGIONS = {
    "half a region": {"x_min": "1"},
    "words": {"x_min": "a", "y_min": "0", "x_max": "9", "y_max": "9"},
    "not a number": {"x_min": "nan", "y_min": "0", "x_max": "9", "y_max": "9"},
    "upside down": {"x_min": "9", "y_min": "0", "x_max": "1", "y_max": "9"},
    "outside": {"x_min": "0", "y_min": "0", "x_max": "9", "y_max": "9999"},
}


@pytest.mark.parametrize("name", REGIONS)
async def test_a_wrong_region_gets_a_problem(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post("/specialists/breast_lesion", files=[IMAGE], data=REGIONS[name])
    check_problem(response, 422)


async def test_specialists_that_cannot_answer_say_why(client: httpx.AsyncClient) -> None:
    region = {"x_min": "0", "y_min": "0", "x_max": "9", "y_max": "9"}
    unknown = await client.post("/specialists/nobody", files=[IMAGE])
    assert "GET /specialists" in check_problem(unknown, 404)
    missing = await client.post("/specialists/fmc_thyroid_nodule", files=[IMAGE])
    reason = check_problem(missing, 503)
    assert "not installed" in reason
    assert ".." not in reason
    no_region = await client.post("/specialists/exam_cls", files=[IMAGE], data=region)
    assert "takes no region" in check_problem(no_region, 422)


async def test_a_specialist_reads_no_colour_image_as_the_planner_does_not(
    client: httpx.AsyncClient, tools: StandInTools
) -> None:
    doppler = PIL.Image.new("RGB", (128, 128), (60, 60, 60))
    doppler.paste((220, 30, 20), (30, 30, 80, 80))
    answer = await client.post(
        "/specialists/breast_2cls", files=[("image", ("d.png", encoded(doppler), "image/png"))]
    )
    assert answer.status_code == 200
    assert answer.json()["result"] is None
    assert "Doppler" in answer.json()["not_assessed"]
    assert tools.calls == []


async def test_what_is_not_there_gets_a_problem(client: httpx.AsyncClient) -> None:
    check_problem(await client.get("/nowhere"), 404)
    check_problem(await client.get("/analyses/0"), 404)
    check_problem(await client.get("/analyses/0/report"), 404)
    check_problem(await client.get("/analyses/0/report.json"), 404)
    check_problem(await client.get("/analyses/0/events"), 404)
    check_problem(await client.get("/analyses/0/evidence/e1.png"), 404)
    assert len(check_problem(await client.get(f"/analyses/{'a' * 5000}"), 404)) < 200
    titles = [(await client.get(path)).json()["title"] for path in ("/nowhere", "/analyses/0")]
    assert titles[0] == titles[1]
    wrong_method = await client.delete("/analyze")
    check_problem(wrong_method, 405)
    assert wrong_method.headers["allow"] == "POST"


async def test_too_many_bytes_are_refused_by_length_and_by_count(
    serve: Serve, settings: Settings
) -> None:
    async with serve(limit_bytes=20_000) as client:
        by_length = await client.post("/analyze", files=[IMAGE])
        assert "20000 bytes" in check_problem(by_length, 413)

        sent = 0

        async def endless() -> Any:
            nonlocal sent
            yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
            while sent < 10_000_000:
                sent += 1000
                yield b"\x89" * 1000

        by_count = await client.post(
            "/analyze",
            content=endless(),
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
        check_problem(by_count, 413)
        assert sent < 40_000
        small = encoded(PIL.Image.new("L", (64, 64), 90))
        fine = await client.post("/analyze", files=[("image", ("s.png", small, "image/png"))])
        assert fine.status_code == 200


async def test_an_inside_error_says_nothing_of_the_inside(
    settings: Settings, tools: StandInTools
) -> None:
    app = create_app(settings, tools)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("password=hunter2")

    async with client_of(app) as client:
        detail = check_problem(await client.get("/broken"), 500)
    assert "hunter2" not in detail


async def test_a_locked_database_gets_503_and_stores_nothing(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    other = sqlite3.connect(settings.data_dir / "ustri.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    response = await client.post("/analyze", files=[IMAGE])
    assert "locked" in check_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0
    other.execute("ROLLBACK")
    other.close()
    await check_fine(client, settings)


async def test_a_database_that_can_only_be_read_gets_503_and_still_shows_reports(
    client: httpx.AsyncClient, settings: Settings, tools: StandInTools
) -> None:
    first = (await client.post("/analyze", files=[IMAGE])).json()
    url = f"sqlite:///file:{settings.data_dir / 'ustri.db'}?mode=ro&uri=true"
    read_only = settings.model_copy(update={"database_url": url})
    async with client_of(create_app(read_only, tools)) as reader:
        here = f"/analyses/{first['analysis_id']}/report"
        assert (await reader.get(here)).json() == first
        refused = await reader.post("/analyze", files=[IMAGE])
        assert "only be read" in check_problem(refused, 503)
    await check_fine(client, settings, stored=1)


async def test_an_image_folder_that_cannot_be_written_gets_503_and_stores_nothing(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    aside = settings.images_dir.with_name("aside")
    settings.images_dir.rename(aside)
    settings.images_dir.write_bytes(b"a file where the folder was")
    response = await client.post("/analyze", files=[IMAGE])
    assert "image folder" in check_problem(response, 503)
    settings.images_dir.unlink()
    aside.rename(settings.images_dir)
    assert (await client.get("/")).text.count("Follow") == 0
    await check_fine(client, settings)


def test_a_store_that_cannot_be_opened_names_the_place(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="file"):
        Store.open(Settings(data_dir=blocked / "data"))
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(os.urandom(4096))
    for url in (f"sqlite:///{garbage}", "nonsense", "nosuch://x", "postgresql+nosuch://x"):
        with pytest.raises(StoreUnavailable, match="USTRI_DATABASE_URL"):
            Store.open(Settings(data_dir=tmp_path, database_url=url))
