"""Who may ask: host names, other sites' pages, the API key, and what every answer carries."""

import httpx
import pytest

from tests.app.conftest import Serve, a_png
from tests.app.web.test_problems import check_problem

KEY = "a key for this test"
IMAGE = ("image", ("scan.png", a_png(), "image/png"))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""]
)
async def test_a_name_that_was_pointed_here_is_refused(
    client: httpx.AsyncClient, host: str
) -> None:
    check_problem(await client.get("/specialists", headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
async def test_loopback_names_are_served(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


async def test_a_name_from_the_settings_is_served(serve: Serve) -> None:
    async with serve(allowed_hosts=("scans.example",)) as client:
        named = await client.get("/healthz", headers={"Host": "scans.example:8000"})
        other = await client.get("/healthz", headers={"Host": "other.example"})
    assert named.status_code == 200
    check_problem(other, 421)


FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:9999"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8000"},
)
OWN: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "http://127.0.0.1:8000"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    {"Sec-Fetch-Site": "none"},
)


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_sites_page_may_not_post(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    check_problem(await client.post("/analyze", files=[IMAGE], headers=headers), 403)


@pytest.mark.parametrize("headers", OWN)
async def test_our_own_page_and_programs_may_post(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    response = await client.post("/analyze", files=[IMAGE], headers=headers)
    assert response.status_code == 200


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/healthz", "/specialists", "/nowhere", "/static/app.css"):
        headers = (await client.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"


async def test_without_the_key_nothing_but_health_is_shown(serve: Serve) -> None:
    async with serve(api_key=KEY) as client:
        for path in ("/specialists", "/analyses/0", "/docs", "/openapi.json"):
            refused = await client.get(path)
            check_problem(refused, 401)
            assert refused.headers["www-authenticate"].startswith("Bearer")
        check_problem(await client.post("/analyze", files=[IMAGE]), 401)
        wrong = {"Authorization": f"Bearer {KEY}x"}
        check_problem(await client.get("/specialists", headers=wrong), 401)
        for path in ("/healthz", "/login", "/static/app.css"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}])
async def test_with_the_key_everything_is(serve: Serve, headers: dict[str, str]) -> None:
    async with serve(api_key=KEY) as client:
        assert (await client.get("/specialists", headers=headers)).status_code == 200
        here = {"Host": "scans.example"} | headers
        assert (await client.get("/specialists", headers=here)).status_code == 200


async def test_a_browser_signs_in_once_and_comes_back_to_its_page(serve: Serve) -> None:
    async with serve(api_key=KEY) as client:
        client.headers["Accept"] = "text/html"
        sent_on = await client.get("/analyses/0/view")
        assert sent_on.status_code == 303
        assert sent_on.headers["location"] == "/login?next=/analyses/0/view"
        paged = await client.get("/?page=2")
        assert paged.headers["location"] == "/login?next=/%3Fpage%3D2"
        assert 'value="/?page=2"' in (await client.get(paged.headers["location"])).text
        form = await client.get(sent_on.headers["location"])
        assert 'value="/analyses/0/view"' in form.text
        wrong = await client.post("/login", data={"key": "wrong", "next": "/"})
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        right = await client.post("/login", data={"key": KEY, "next": "/analyses/0/view"})
        assert right.status_code == 303
        assert right.headers["location"] == "/analyses/0/view"
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert KEY not in cookie
        assert (await client.get("/specialists")).status_code == 200


@pytest.mark.parametrize("cookie", ["x", "9999999999.", "9999999999.00", "é.é", "."])
async def test_a_made_up_session_is_refused(serve: Serve, cookie: str) -> None:
    async with serve(api_key=KEY) as client:
        headers = [(b"Cookie", b"ustri_session=" + cookie.encode())]
        check_problem(await client.get("/specialists", headers=headers), 401)


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_signing_in_sends_nobody_elsewhere(serve: Serve, target: str) -> None:
    async with serve(api_key=KEY) as client:
        response = await client.post("/login", data={"key": KEY, "next": target})
    assert response.headers["location"] == "/"


async def test_head_gets_the_headers_of_get_and_no_body(client: httpx.AsyncClient) -> None:
    for path in ("/", "/healthz", "/readyz", "/specialists", "/nowhere"):
        shown, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (shown.status_code, b"")
        assert head.headers["content-type"] == shown.headers["content-type"]
