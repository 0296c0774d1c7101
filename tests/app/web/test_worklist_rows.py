"""The worklist in a real browser: pages, the way back, rows that change, and no connection."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from specialists.phantom.draw import png_bytes
from tests.app.web.test_viewer_browser import PHANTOM, GatedTools, Watched, assert_quiet, watch
from tests.serving import CHROMIUM_FLAGS, require_chromium, service, truthful_tools

LABELS = ("Case 12", "Case 13", "<b onmouseover=alert(1)>other</b>")


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """No text is looked for, which takes most of the time of an upload and is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USTRI_BLACKEN_TEXT", "false")
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(tmp_path_factory.mktemp("rows"), truthful_tools(PHANTOM)) as url:
        for label in LABELS:
            send(url, label)
        for _ in range(24):
            send(url, "", exam="nerve")
        yield url


def send(address: str, label: str, *, wait: bool = True, exam: str = "breast") -> None:
    headers = {} if wait else {"Prefer": "respond-async"}
    data = {"label": label, "exam": exam}
    files = {"image": png_bytes(PHANTOM)}
    url = f"{address}/analyze"
    answer = httpx.post(url, files=files, data=data, headers=headers, timeout=60)
    assert answer.is_success, answer.text


@contextmanager
def watching(browser: Browser, address: str, **options: bool) -> Iterator[Watched]:
    with browser.new_context(**options) as context:  # type: ignore[arg-type]
        seen = watch(context.new_page(), address)
        seen.page.goto(address)
        yield seen
    assert_quiet(seen)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with watching(browser, address) as seen:
        yield seen.page


def test_search_filters_and_pages_change_list_total_title_and_address(page: Page) -> None:
    total = page.locator("#total")
    expect(total).to_have_text("27 analyses")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#list a.open")).to_have_count(2)
    expect(page.get_by_text("26 to 27 of 27, page 2 of 2")).to_be_visible()
    assert page.url.endswith("/?page=2")
    page.go_back()
    expect(page.locator("#list a.open")).to_have_count(25)
    page.get_by_label("Search", exact=True).fill("onmouseover")
    expect(total).to_have_text("1 of 27 analyses")
    assert page.url.endswith("/?q=onmouseover")
    expect(page).to_have_title("Worklist, “onmouseover” · USTri")
    expect(page.locator("#list bdi.label")).to_have_text(LABELS[2])
    assert page.locator("#list bdi b").count() == 0
    page.get_by_role("link", name="Show all").first.click()
    page.locator("#find-exam").select_option("breast")
    expect(total).to_have_text("3 of 27 analyses")
    page.locator("#find-sort").select_option("label")
    expect(page.locator("#list bdi.label").first).to_have_text(LABELS[2])
    page.get_by_label("Refused").check()
    expect(total).to_have_text("0 of 27 analyses")
    assert page.url.endswith("/?exam=breast&sort=label&refused=1")
    page.reload()
    expect(page.get_by_label("Refused")).to_be_checked()
    expect(total).to_have_text("0 of 27 analyses")


def test_a_row_follows_its_analysis_and_keeps_the_focus(browser: Browser, tmp_path: Path) -> None:
    tools = GatedTools(truthful_tools(PHANTOM))
    with service(tmp_path / "data", tools) as address, watching(browser, address) as seen:
        page = seen.page
        expect(page.get_by_text("No analyses yet")).to_be_visible()
        send(address, "New one", wait=False)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # It asks at once.
        row = page.get_by_role("row").filter(has_text="New one")
        expect(row).to_contain_text("in progress")
        expect(page.locator("#total")).to_have_text("1 analysis")
        page.keyboard.press("j")
        tools.gate.set()
        expect(row).to_contain_text("reported")
        expect(row.get_by_role("link", name="Open report")).to_be_focused()
        expect(row.locator("img")).to_have_attribute("src", re.compile(r"version=1$"))
        asked = len(seen.asked)
        page.wait_for_timeout(300)
        assert len(seen.asked) - asked <= 2


def test_it_says_so_while_the_service_does_not_answer(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        context.set_offline(True)
        page.get_by_label("Search", exact=True).fill("case")
        expect(page.get_by_role("alert")).to_contain_text("does not answer")
        context.set_offline(False)
        page.get_by_label("Search", exact=True).fill("case 1")
        expect(page.locator("#total")).to_have_text("2 of 27 analyses")
        expect(page.get_by_role("alert")).to_be_hidden()


def test_nothing_of_a_list_is_wider_than_the_screen_in_either_theme(page: Page) -> None:
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        for width in (360, 390, 768, 1024, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
