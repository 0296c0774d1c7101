"""The worklist's page: one address for readers with and without JavaScript."""

import html
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import html5lib
import httpx
import numpy as np
import PIL.Image
import pytest

from app.web.pages.times import age_text
from app.web.pages.worklist import ORDERS, STANDINGS, Asked
from app.web.pages.worklist import ROWS as ROWS_OF_PAGE
from reports.forms.overlay.palette import SKY
from reports.model import ExamCode
from specialists.phantom.draw import png_bytes
from tests.serving import a_phantom, service, truthful_tools

PHANTOM = a_phantom()
XSS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "</title><svg/onload=alert(1)>",
    "{{ 7*7 }}${7*7}",
    "javascript:alert(1)//",
]
ROW = {"tbody", "tr", "td", "img", "a", "span", "bdi", "b", "time"}
"""The elements that a row is made of."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(tmp_path_factory.mktemp("worklist"), truthful_tools(PHANTOM)) as url:
        for label in (*XSS, "Plain case"):
            analyse(url, label)
        yield url


def analyse(address: str, label: str) -> str:
    files = {"image": png_bytes(PHANTOM)}
    answer = httpx.post(f"{address}/analyze", files=files, data={"label": label}, timeout=60)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["analysis_id"])


def asked(address: str, htmx: str = "", **query: str) -> httpx.Response:
    headers = {"HX-Request": "true", "If-None-Match": htmx} if htmx else {}
    answer = httpx.get(address, params=query, headers=headers)
    assert answer.status_code in (200, 304), answer.text
    return answer


@pytest.mark.parametrize("text", XSS)
def test_hostile_text_is_text_in_a_label_a_search_and_the_title(address: str, text: str) -> None:
    for htmx in ("", '"none"'):
        page = asked(address, htmx, q=text).text
        assert "1 of 7 analyses" in page
        assert html.unescape(page).count(text) >= 2
        elements = list(html5lib.parse(page, namespaceHTMLElements=False).iter())
        assert not [one for one in elements for name in one.attrib if name.startswith("on")]
        assert all("src" in one.attrib for one in elements if one.tag == "script")
        (row,) = [one for one in elements if one.tag == "tbody"]
        assert {one.tag for one in row.iter()} <= ROW


def test_htmx_gets_the_list_alone_and_nothing_while_it_is_unchanged(address: str) -> None:
    whole, part = asked(address, q="case"), asked(address, '"none"', q="case")
    assert "<!doctype html>" in whole.text
    assert "<form" not in part.text
    assert part.headers["vary"] == whole.headers["vary"] == "HX-Request"
    tag = part.headers["etag"]
    again = asked(address, tag, q="case")
    assert (again.status_code, again.content) == (304, b"")
    assert asked(address, tag, q="plain").status_code == 200
    assert f'data-etag="{html.escape(tag, quote=True).replace("&quot;", "&#34;")}"' in part.text


def test_a_form_without_javascript_sends_blanks_and_finds_the_same(address: str) -> None:
    blanks = asked(address, q="case", exam="", status="", sort="newest", page="").text
    assert 'data-here="/?q=case"' in blanks
    chosen = asked(address, q="case", exam="breast", status="preliminary", sort="label").text
    for value in ("breast", "preliminary", "label"):
        assert f'<option value="{value}" selected>' in chosen
    assert 'value="case"' in chosen


@pytest.mark.parametrize("query", [{"exam": "x"}, {"sort": "x"}, {"page": "0"}, {"status": "x"}])
def test_what_no_form_sends_is_refused(address: str, query: dict[str, str]) -> None:
    assert httpx.get(address, params=query).status_code == 422


def test_titles_tell_worklists_apart_and_each_has_one_heading(address: str) -> None:
    queries: list[dict[str, str]] = [
        {}, {"q": "a"}, {"q": "b"}, {"exam": "breast"}, {"status": "failed"}, {"flagged": "1"},
        {"refused": "1"}, {"page": "2"},
    ]  # fmt: skip
    pages = [asked(address, **query).text for query in queries]
    titles = {re.findall(r"<title>(.*?)</title>", page)[0] for page in pages}
    assert len(titles) == len(queries)
    assert {page.count("<h1") for page in pages} == {1}


def test_addresses_name_only_what_is_asked_for() -> None:
    assert Asked().address(1) == "/"
    full = Asked(q="a b&c", exam=ExamCode.BREAST, flagged=True, page=3)
    assert full.address(2) == "/?q=a+b%26c&exam=breast&flagged=1&page=2"
    assert set(STANDINGS.values()).isdisjoint(ORDERS.values())


def test_a_page_beyond_the_last_leads_back(address: str) -> None:
    page = asked(address, page="99").text
    assert "Nothing on this page" in page
    assert 'rel="prev" href="/"' in page
    assert ROWS_OF_PAGE > 7


def test_a_row_shows_value_headline_age_and_the_drawn_lesion(address: str) -> None:
    page = html.unescape(asked(address, q="plain").text)
    row = page.partition("<tbody>")[2].partition("</tbody>")[0]
    for part in ("Plain case", "Breast ultrasound", "long axis", "just now", "preliminary"):
        assert part in row
    (thumbnail,) = re.findall(r'src="(/analyses/[0-9a-f]+/thumbnail.png\?version=1)"', row)
    drawn = httpx.get(address + thumbnail)
    assert "immutable" in drawn.headers["cache-control"]
    assert "immutable" not in httpx.get(f"{address}{thumbnail}2").headers["cache-control"]
    plain = httpx.get(address + thumbnail.partition("?")[0])
    with (
        PIL.Image.open(io.BytesIO(drawn.content)) as one,
        PIL.Image.open(io.BytesIO(plain.content)) as other,
    ):
        assert one.size == other.size == (160, 120)
        sky = tuple(bytes.fromhex(SKY[1:]))
        pixels = np.asarray(one.convert("RGB"), dtype=int).reshape(-1, 3)
        assert (np.abs(pixels - sky).sum(axis=1) < 60).sum() > 50
        assert other.mode == "L"


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=59), "just now"), (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=5, minutes=59), "5 hours ago"), (timedelta(days=29), "29 days ago"),
        (timedelta(days=61), "2 months ago"), (timedelta(days=366), "1 year ago"),
        (timedelta(seconds=-5), "just now"),
    ],
)  # fmt: skip
def test_ages_are_told_in_words(passed: timedelta, text: str) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert age_text((now - passed).isoformat(), now) == text
