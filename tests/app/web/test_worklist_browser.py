"""The worklist in a real browser: search, keys, live rows; and axe on every page."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from specialists.phantom.draw import png_bytes
from tests.app.web.test_viewer_browser import Watched, assert_quiet, watch
from tests.serving import CHROMIUM_FLAGS, a_phantom, require_chromium, service, truthful_tools

PHANTOM = a_phantom()
AXE = Path(__file__).parents[2] / "vendor" / "axe-core" / "axe.min.js"
LABELS = ("Alpha", "Beta", "<img src=x onerror=alert(1)>")
SIZES: dict[tuple[int, int], Literal["light", "dark"]] = {
    (1280, 800): "light",
    (390, 844): "dark",
}
PLACES = (
    "/", "/?q=nobody", "/studies", "/specialists", "/specialists/breast_lesion/card", "/login",
    "/none", "/docs",
)  # fmt: skip


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
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    """A service that has reported three images."""
    with service(tmp_path_factory.mktemp("worklist"), truthful_tools(PHANTOM)) as url:
        with browser.new_context() as context:
            for seed, label in enumerate(LABELS):
                send(context.new_page(), url, seed, label)
        yield url


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[Watched]:
    """Fails its test for any console message, script error, policy violation or foreign request."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        seen = watch(context.new_page(), address)
        yield seen
    assert_quiet(seen)


def send(page: Page, address: str, seed: int, label: str) -> str:
    """Sends an image with that label, and returns the id of its analysis once it is reported."""
    answer = page.request.post(
        f"{address}/analyze",
        multipart={
            "image": {
                "name": "image.png",
                "mimeType": "image/png",
                "buffer": png_bytes(a_phantom(seed=seed)),
            },
            "label": label,
        },
    )
    assert answer.ok, answer.text()
    return str(answer.json()["analysis_id"])


def rows(page: Page) -> Any:
    return page.locator("#list tbody tr")


def test_search_as_you_type_narrows_the_rows_and_stands_in_the_address(watched: Watched) -> None:
    page = watched.page
    page.goto(watched.address)
    expect(rows(page)).to_have_count(3)
    page.get_by_role("searchbox", name="Search").press_sequentially("alph")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("Alpha")
    expect(page.locator("#total")).to_have_text("1 of 3 analyses")
    expect(page).to_have_url(re.compile(r"[?]q=alph$"))
    expect(page).to_have_title(re.compile("alph"))
    page.get_by_role("searchbox", name="Search").fill("nobody")
    expect(page.get_by_text("No analysis is like that.")).to_be_visible()
    page.locator("#find-exam").select_option("breast")
    page.get_by_role("searchbox", name="Search").fill("lesion")
    expect(rows(page)).to_have_count(3)
    page.reload()
    expect(page.locator("#find-exam")).to_have_value("breast")
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("lesion")


def test_the_list_is_read_by_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    page.goto(watched.address)
    links = page.locator("#list a.open")
    page.keyboard.press("j")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    page.keyboard.type("beta")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(1)
    expect(links.nth(0)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/view")
    expect(page.get_by_role("heading", name="Breast ultrasound", level=1)).to_be_visible()


def test_a_row_appears_without_a_reload_and_a_label_is_no_markup(watched: Watched) -> None:
    page = watched.page
    page.goto(watched.address)
    page.evaluate("window.kept = true")
    here = rows(page).count()
    send(page, watched.address, 9, "Newcomer")
    expect(rows(page)).to_have_count(here + 1, timeout=15_000)
    expect(rows(page).first).to_contain_text("Newcomer")
    assert page.evaluate("window.kept")
    expect(page.locator("#list").get_by_text(LABELS[2]).first).to_be_attached()
    assert page.locator("#list img[src=x]").count() == 0


def test_the_list_is_searched_without_a_script(browser: Browser, address: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        page.get_by_role("searchbox", name="Search").fill("alpha")
        page.get_by_role("button", name="Search").click()
        expect(rows(page)).to_have_count(1)
        expect(rows(page).first).to_contain_text("Alpha")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size[0]))
def test_axe_finds_nothing_serious_on_any_page(
    browser: Browser, address: str, size: tuple[int, int]
) -> None:
    with browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=SIZES[size],
        bypass_csp=True,
    ) as context:
        page = context.new_page()
        page.goto(address)
        report = page.locator("#list a.open").first.get_attribute("href")
        found = {place: serious(page, f"{address}{place}") for place in (str(report), *PLACES)}
    assert found == dict.fromkeys(found, [])


def serious(page: Page, url: str) -> list[str]:
    """What axe calls serious or critical on that page, a line each.

    Names drawn on the picture are left out of the contrast: each has a dark outline, and axe takes
    the page for their background.
    """
    page.goto(url)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
        if not (rule["id"] == "color-contrast" and node["html"].startswith('<text class="tag"'))
    ]


@pytest.mark.parametrize(
    ("path", "sha256"),
    [
        (
            "app/web/pages/static/vendor/htmx/htmx.min.js",
            "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
        ),
        (
            "tests/vendor/axe-core/axe.min.js",
            "fb83a4378d978ecb7d2dae48a3a3778a84c971ac692f3afd45d714fba89c0f0d",
        ),
    ],
)
def test_a_vendored_library_is_whole_and_unaltered(path: str, sha256: str) -> None:
    root = Path(__file__).parents[3]
    assert hashlib.sha256((root / path).read_bytes()).hexdigest() == sha256
    assert sha256 in (root / "NOTICE").read_text(encoding="utf-8")
