"""The OpenAPI description says what the service does."""

import json
import re
from typing import Any

import httpx
import pytest

from app.web.openapi import DEADLINE_MAX_S, QUESTION_LIMIT
from tests.app.conftest import a_png


async def described(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


async def test_a_method_that_an_address_lacks_is_refused_with_all_that_it_has(
    client: httpx.AsyncClient,
) -> None:
    paths = (await described(client))["paths"]
    for path, operations in {**paths, "/static/app.js": {"get": {}}}.items():
        methods = {method.upper() for method in operations}
        expected = methods | {"HEAD"} if "GET" in methods else methods
        for method in ("OPTIONS", "DELETE"):
            answer = await client.request(method, path.replace("{index}", "0"))
            assert answer.status_code == 405, path
            assert set(answer.headers["allow"].split(", ")) == expected, path


async def test_an_address_that_is_not_there_has_no_methods(client: httpx.AsyncClient) -> None:
    answer = await client.options("/nowhere")
    assert (answer.status_code, "allow" in answer.headers) == (404, False)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("deadline_s", "0", 422),
        ("deadline_s", "0.5", 202),
        ("deadline_s", str(DEADLINE_MAX_S), 202),
        ("deadline_s", str(DEADLINE_MAX_S + 1), 422),
        ("question", "x" * QUESTION_LIMIT, 202),
        ("question", "x" * (QUESTION_LIMIT + 1), 422),
        ("external_id", "a:b-1", 202),
        ("external_id", "", 202),
        ("external_id", "a b", 422),
        ("external_id", "a" * 65, 422),
        ("frame", "1000000000", 422),
        ("label", "Fall 12, Łódź", 202),
        ("label", "x" * 65, 422),
        ("study", "Visit 7", 202),
        ("study", "x" * 65, 422),
        ("site", "3 o'clock", 202),
        ("site", "a\tb", 422),
        ("indication", "x" * 256, 202),
        ("indication", "x" * 257, 422),
        ("operator", "J\u202eD", 422),
        ("laterality", "bilateral", 202),
        ("laterality", "", 202),
        ("laterality", "middle", 422),
        ("scope", "question", 202),
        ("scope", "all", 422),
        ("gestational_age", "19w6d", 202),
        ("gestational_age", "19+6", 202),
        ("gestational_age", " 4W0D ", 202),
        ("gestational_age", "44w7d", 422),
        ("gestational_age", "3w6d", 422),
        ("gestational_age", "45w0d", 422),
        ("gestational_age", "139 days", 422),
    ],
)
async def test_a_value_is_accepted_where_its_description_allows_it(
    client: httpx.AsyncClient, name: str, value: str, status: int
) -> None:
    body = (await described(client))["paths"]["/analyze"]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]["properties"][name]
    typed = json.loads(value) if schema["type"] in ("number", "integer") else value
    answer = await client.post(
        "/analyze",
        files={"image": a_png()},
        data={name: value},
        headers={"Prefer": "respond-async"},
    )
    assert answer.status_code == status, answer.text
    assert _allows(schema, typed) == (status == 202)


def _allows(schema: dict[str, Any], value: Any) -> bool:
    """Whether the few keywords that these schemas use allow a value."""
    if "enum" in schema:
        return value in schema["enum"]
    if isinstance(value, str):
        fits = re.search(schema.get("pattern", ""), value) is not None
        return fits and len(value) <= schema.get("maxLength", len(value))
    above = value > schema.get("exclusiveMinimum", -1) and value >= schema.get("minimum", 0)
    return bool(above and value <= schema["maximum"])


async def test_accept_is_described_by_the_media_types_of_responses(
    client: httpx.AsyncClient,
) -> None:
    for operations in (await described(client))["paths"].values():
        for operation in operations.values():
            names = {parameter["name"].lower() for parameter in operation.get("parameters", ())}
            assert not names & {"accept", "content-type", "authorization"}  # OpenAPI 3.1, 4.8.12


async def test_links_lead_from_a_report_to_all_that_can_be_asked_of_it(
    client: httpx.AsyncClient,
) -> None:
    paths = (await described(client))["paths"]
    operations = {
        operation["operationId"]: (method, path, operation)
        for path, of_path in paths.items()
        for method, operation in of_path.items()
    }
    report = (await client.post("/analyze", files={"image": a_png()})).json()
    links = operations["analyze"][2]["responses"]["200"]["links"]
    later = operations["analyze"][2]["responses"]["202"]["links"]
    about = {name for name, (_, path, _) in operations.items() if "{analysis_id}" in path}
    assert links.keys() == about
    assert later.keys() == about - {"show_evidence"}
    for name, link in links.items():
        method, path, _ = operations[link["operationId"]]
        for parameter, value in link["parameters"].items():
            path = path.replace(f"{{{parameter}}}", _pointed(report, value))
        if name not in ("push", "pushed", "follow", "calibrate"):
            # No server is configured; a stream; a body
            answer = await client.request(method, path)
            ended = 409 if name in ("stop", "retry") else 200
            assert answer.status_code == ended, (path, answer.text)


def _pointed(body: Any, value: str) -> str:
    if not value.startswith("$response.body#/"):
        return value
    for key in value.partition("#/")[2].split("/"):
        body = body[int(key)] if isinstance(body, list) else body[key]
    return str(body)
