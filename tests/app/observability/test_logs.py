"""Log lines: one object each, of one request and one analysis, with nothing that was sent."""

import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.errors import NotReady
from app.observability.logs import about, handler_of, request_id_of, set_up_logs
from app.settings import Settings
from planner.errors import ResultMisfit
from tests.app.conftest import Serve, a_png
from tests.app.deployment import ROOT, deployed, free_port
from tests.app.images.test_dicom_privacy_everywhere import found_in, planted_file
from tests.app.scraping import parsed
from tests.app.stacks import until
from tests.app.stand_in import StandInTools
from tests.processes import started

MARK = "ZQXJV"
REQUEST_ID = "0f3c-req.7781_a"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Those of all tests, with time for a database that is slow."""
    return settings.model_copy(update={"busy_s": 10.0})


def files(data: bytes | None = None) -> dict[str, tuple[str, bytes]]:
    return {"image": ("scan.png", a_png() if data is None else data)}


def lines_of(text: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return lines


@pytest.fixture
def written(settings: Settings) -> Iterator[io.StringIO]:
    """What the handler of a service that logs JSON writes of our own loggers and of a library's."""
    stream = io.StringIO()
    handler = handler_of(settings.model_copy(update={"log_format": "json"}), stream)
    loggers = [logging.getLogger(name) for name in ("app", "library")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield stream
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


async def test_a_request_id_goes_with_the_job_into_the_workers_lines(
    client: httpx.AsyncClient, written: io.StringIO
) -> None:
    sent = await client.post("/analyze", files=files(), headers={"X-Request-ID": REQUEST_ID})
    assert sent.headers["x-request-id"] == REQUEST_ID
    analysis_id = sent.json()["analysis_id"]
    until(lambda: "is done" in written.getvalue(), "the worker's line")
    lines = lines_of(written.getvalue())
    (done,) = [line for line in lines if line["logger"] == "app.worker.job"]
    (accepted,) = [line for line in lines if line["logger"] == "app.web.uploads"]
    for line in (done, accepted):
        assert (line["request_id"], line["analysis_id"]) == (REQUEST_ID, analysis_id)
    (access,) = [line for line in lines if line["logger"] == "app.access"]
    assert {name: access[name] for name in ("request_id", "method", "route", "status")} == {
        "request_id": REQUEST_ID,
        "method": "POST",
        "route": "/analyze",
        "status": 200,
    }
    assert float(str(access["duration_ms"])) > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(access["time"]))


@pytest.mark.parametrize("given", [None, "short", "x" * 65, "Roe^Jane 1970", "a\tb-cdefghij"])
async def test_a_request_id_that_makes_no_sense_is_replaced(
    client: httpx.AsyncClient, given: str | None
) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    first = await client.get("/healthz", headers=headers)
    second = await client.get("/nowhere", headers=headers)
    ids = [answer.headers["x-request-id"] for answer in (first, second)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert ids[0] != ids[1]


async def test_refusals_carry_a_request_id_too(serve: Serve) -> None:
    async with serve(api_key="k") as client:
        refused = await client.get("/specialists", headers={"X-Request-ID": REQUEST_ID})
    assert refused.status_code == 401
    assert refused.headers["x-request-id"] == REQUEST_ID


def test_ids_are_those_of_the_innermost_and_end_with_it(written: io.StringIO) -> None:
    log = logging.getLogger("app.test")
    with about(request_id="request-1"), about(analysis_id="a1"):
        log.info("Inside.")
    log.info("Outside.")
    inside, outside = lines_of(written.getvalue())
    assert (inside["request_id"], inside["analysis_id"]) == ("request-1", "a1")
    assert not {"request_id", "analysis_id"} & set(outside)
    assert request_id_of("request-1") == "request-1"


def test_an_exception_is_told_by_place_and_kind_and_its_words_only_where_they_are_ours(
    written: io.StringIO,
) -> None:
    def fail() -> None:
        try:
            raise ValueError(f"{MARK} in the middle")
        except ValueError as error:
            raise ResultMisfit("exam_cls answered what it may not.") from error

    try:
        fail()
    except ResultMisfit:
        logging.getLogger("app.test").exception("An attempt\nfailed.")
    group = ExceptionGroup(MARK, [ValueError(MARK), NotReady("Not now.")])
    logging.getLogger("app.test").error("Two.", exc_info=group)
    one, two = lines_of(written.getvalue())
    assert one["message"] == "An attempt failed."
    trace = one["trace"]
    assert isinstance(trace, list)
    assert trace[-1] == "ResultMisfit: exam_cls answered what it may not."
    assert "ValueError" in trace
    assert any("test_logs.py" in line and line.endswith("fail") for line in trace)
    assert two["trace"] == ["ExceptionGroup of ValueError, NotReady"]
    assert MARK not in written.getvalue()


def test_what_a_library_says_is_told_by_its_place(written: io.StringIO) -> None:
    logging.getLogger("library.part").warning("Invalid value %s", MARK)
    (line,) = lines_of(written.getvalue())
    assert line["logger"] == "library.part"
    assert str(line["message"]).startswith("test_logs.py:")
    assert MARK not in written.getvalue()


def test_a_person_at_a_terminal_reads_text(settings: Settings) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    record = logging.LogRecord("app.x", logging.INFO, "x.py", 1, "It is %s.", ("done",), None)
    for stream, form, is_json in (
        (Terminal(), "auto", False),
        (io.StringIO(), "auto", True),
        (Terminal(), "json", True),
        (io.StringIO(), "text", False),
    ):
        given = Settings.model_validate(settings.model_dump() | {"log_format": form})
        with about(request_id=REQUEST_ID):
            handler_of(given, stream).emit(record)
        said = stream.getvalue()
        assert said.startswith("{") is is_json
        assert "It is done." in said
        assert REQUEST_ID in said
    assert re.match(r"\d\d:\d\d:\d\d INFO    It is done\.  request_id=", said)


def test_levels_are_as_set_and_warnings_of_python_keep_their_words_to_themselves(
    settings: Settings,
) -> None:
    root, ours = logging.getLogger(), logging.getLogger("app")
    before = (root.handlers[:], root.level, ours.level, warnings.showwarning)
    stream = io.StringIO()
    try:
        set_up_logs(settings.model_copy(update={"log_level": "info"}), stream)
        ours.info("One.")
        ours.debug("Two.")
        logging.getLogger("library").info("Three.")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning(UserWarning(MARK), UserWarning, "/some/where.py", 7)
    finally:
        root.handlers[:], warnings.showwarning = before[0], before[3]
        root.setLevel(before[1])
        for name in ("app", "planner", "specialists", "reports", "uvicorn"):
            logging.getLogger(name).setLevel(before[2])
    assert [line["message"] for line in lines_of(stream.getvalue())] == [
        "One.",
        "UserWarning at where.py:7.",
    ]


async def test_a_failure_in_a_specialist_is_logged_without_its_words(
    client: httpx.AsyncClient, tools: StandInTools, written: io.StringIO
) -> None:
    tools.answers["breast_lesion"] = RuntimeError(f"{MARK} is what I read")
    await client.post("/analyze", files=files(), data={"question": f"Is {MARK} ill?"})
    lines = lines_of(written.getvalue())
    failed = [line for line in lines if "trace" in line]
    assert failed
    assert all(str(line["trace"]).endswith("'RuntimeError']") for line in failed)
    assert MARK not in written.getvalue()


def hostile(client: httpx.Client, key: str) -> str:
    """Return the id of an analysis sent with a marker wherever a sender can put one.

    Much else is sent that is refused.
    """
    signed = {"Authorization": f"Bearer {key}"}
    upload = {"image": (f"{MARK}_Roe^Jane.dcm", planted_file(), f"text/{MARK}")}
    words = ("label", "study", "site", "indication", "operator")
    asked = {"question": f"Is a lesion seen in {MARK}?"} | {
        name: f"{MARK} {name}" for name in words
    }
    marked = {"X-Request-ID": f"{MARK}^Roe", "Idempotency-Key": MARK, "User-Agent": MARK}
    answer = client.post(f"/analyze?name={MARK}", files=upload, data=asked, headers=signed | marked)
    assert answer.status_code == 200, answer.text
    for headers in ({}, {"X-API-Key": f"{MARK}wrong"}, {"Cookie": f"ustri_session={MARK}"}):
        assert client.get(f"/{MARK}?{MARK}", headers=headers).status_code == 401
    for path in (f"/{MARK}", f"/specialists/{MARK}", f"/analyses/{MARK}", f"/studies/{MARK}"):
        assert client.get(path, headers=signed, params={MARK: MARK}).status_code in (404, 405)
    client.post("/login", data={"key": f"{MARK}wrong", "next": f"/{MARK}"})
    for body in (planted_file()[:-40_000], MARK.encode() * 99, a_png()[:99]):
        client.post("/analyze", files={"image": (f"{MARK}.png", body)}, headers=signed)
    refused = [{name: f"{MARK}\t{'x' * 300}"} for name in words]
    refused += [{name: MARK} for name in ("scope", "laterality", "gestational_age")]
    for field in ({MARK: MARK}, {"exam": MARK}, {"frame": MARK}, {"deadline_s": MARK}, *refused):
        client.post("/analyze", files=files(), data=field, headers=signed)
    client.post("/specialists/exam_cls", files=upload, data={"frame": "0"}, headers=signed)
    client.request(MARK, "/analyze", headers=signed)
    analysis_id: str = answer.json()["analysis_id"]
    return analysis_id


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_nothing_that_is_sent_to_a_real_process_is_in_its_log_or_metrics(tmp_path: Path) -> None:
    key = f"{MARK}-api-key"
    environment = {
        "USTRI_API_KEY": key,
        "USTRI_LOG_LEVEL": "debug",
        "USTRI_METRICS_OPEN": "true",
    }
    with deployed(tmp_path, environment, delay_s=0.0) as deployment:
        deployment.start("both", "both")
        until(deployment.answers, "The process does not answer.")
        analysis_id = hostile(deployment.client, key)
        shown = deployment.client.get("/metrics").text
        log = tmp_path / "both.log"
        until(lambda: "/metrics" in log.read_text(encoding="utf-8"), "the line of the scrape")
        text = log.read_text(encoding="utf-8")
    assert found_in(text.encode()) == found_in(shown.encode()) == set()
    assert "Jane" not in text
    assert parsed(shown).value("ustri_analyses_total", end="done") >= 1
    lines = lines_of(text)
    assert {"app.access", "app.worker.job", "app.web.uploads", "uvicorn.error"} <= {
        str(line["logger"]) for line in lines
    }
    known = {"time", "level", "logger", "message", "request_id", "analysis_id", "trace"}
    assert {name for line in lines for name in line} <= known | {
        *("method", "route", "status", "duration_ms")
    }
    assert any(
        line.get("analysis_id") == analysis_id and "is done" in str(line["message"])
        for line in lines
    )


def test_serve_logs_each_request_without_being_asked_to(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "USTRI_DATA_DIR": str(tmp_path / "data"),
        "USTRI_WORKER_THREADS": "0",
        "PYTHONPATH": str(ROOT),
    }
    arguments = ("-c", "from app.cli.main import main; main()", "serve", "--port", str(port))
    with (
        (tmp_path / "log").open("wb") as log,
        started(
            [sys.executable, *arguments], env=os.environ | environment, stdout=log, stderr=log
        ) as process,
    ):
        until(lambda: _asked(port), "The service does not answer.")
        process.terminate()
        process.wait(60)
    text = (tmp_path / "log").read_text(encoding="utf-8")
    lines = lines_of("\n".join(line for line in text.splitlines() if line.startswith("{")))
    assert [line["route"] for line in lines if line["logger"] == "app.access"][-1] == "/specialists"
    assert "Application startup complete." in [line["message"] for line in lines]


def _asked(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/specialists").status_code == 200
    except httpx.TransportError:
        return False
