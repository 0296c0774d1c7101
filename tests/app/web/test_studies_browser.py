"""Studies and cines in a real browser, with and without scripts."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.app.web.test_viewer_browser import (
    PHANTOM,
    Watched,
    a_cine_file,
    assert_quiet,
    watch,
)
from tests.serving import CHROMIUM_FLAGS, phantom_file, require_chromium, service, truthful_tools


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(tmp_path_factory.mktemp("studies"), truthful_tools(PHANTOM)) as url:
        yield url


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[Watched]:
    """Fails its test for any console message, script error, policy violation or foreign request."""
    with browser.new_context() as context:
        seen = watch(context.new_page(), address)
        yield seen
    assert_quiet(seen)


def test_images_uploaded_under_one_study_label_are_read_on_one_page(
    watched: Watched, tmp_path: Path
) -> None:
    page, path = watched.page, phantom_file(tmp_path, PHANTOM)
    for side in ("Left", "Left", "Right"):
        page.goto(watched.address)
        page.get_by_label("Image (PNG, JPEG or DICOM)").set_input_files(path)
        page.get_by_text("More about this image").click()
        page.get_by_label("Study", exact=True).fill("Visit 7")
        page.get_by_label("Side").select_option(label=side)
        page.get_by_role("button", name="Analyse").click()
        page.wait_for_url("**/view")
        page.locator("svg.frame").wait_for()
    page.get_by_role("link", name="study Visit 7").click()
    expect(page.get_by_role("heading", name="Study Visit 7", level=1)).to_be_visible()
    film = page.get_by_role("list", name="Images of the study").get_by_role("listitem")
    expect(film).to_have_count(3)
    for image in film.locator("img").all():
        assert image.evaluate("one => one.complete && one.naturalWidth") > 0
    measured = page.locator("section:has(#measured-title)")
    row = measured.get_by_role("row").filter(has_text="Lesion, long axis").first
    expect(row).to_contain_text("listed, none taken")
    expect(row.get_by_role("link")).to_have_text(["Image 1", "Image 2"])
    expect(measured.get_by_text("not assumed to be the same lesion")).to_have_count(1)
    titles = measured.locator("h3").all_text_contents()
    assert titles == ["Breast ultrasound, left", "Breast ultrasound, right"]
    film.first.get_by_role("link").click()
    page.wait_for_url("**/view")
    expect(page.get_by_text("Image 1 of 3 of")).to_be_visible()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Studies").click()
    page.get_by_role("link", name="Visit 7").last.click()
    page.wait_for_url(re.compile("/studies/[0-9a-f]{32}$"))
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_cine_plays_pauses_and_has_the_frame_analysed_that_it_stops_at(
    watched: Watched, tmp_path: Path
) -> None:
    watched.upload(a_cine_file(tmp_path))
    page = watched.page
    page.get_by_role("link", name="Play or step through the frames").click()
    page.wait_for_load_state()
    analyse = page.get_by_role("button", name="Analyse this frame")
    expect(analyse).to_be_hidden()
    page.get_by_label("Frames a second").select_option("20")
    page.get_by_role("button", name="Play").click()
    number = page.locator("h1 [data-number]")
    played = number.evaluate(
        """one => new Promise((done) => {
          const seen = [];
          new MutationObserver((_, self) => {
            if (seen.push(Number(one.textContent)) === 7) { self.disconnect(); done(seen); }
          }).observe(one, { childList: true });
        })"""
    )
    assert [n % 5 for n in played] == [(played[0] + at) % 5 for at in range(7)]
    page.locator("body").press("Space")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    stopped = number.text_content()
    page.wait_for_timeout(200)
    assert number.text_content() == stopped
    page.keyboard.press("End")
    expect(page.get_by_role("heading", name="Frame 5 of 5")).to_be_visible()
    analyse.click()
    page.wait_for_url("**/view")
    expect(page.get_by_text("Frame 5 of 5: named in the request.")).to_be_visible()


def test_a_cine_is_read_and_analysed_without_a_script(
    browser: Browser, address: str, watched: Watched, tmp_path: Path
) -> None:
    watched.upload(a_cine_file(tmp_path))
    watched.page.get_by_role("link", name="Play or step through the frames").wait_for()
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(watched.page.url)
        page.get_by_role("link", name="Play or step through the frames").click()
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("heading", name="Frame 2 of 5")).to_be_visible()
        expect(page.get_by_role("button", name="Play")).to_be_hidden()
        page.get_by_role("button", name="Analyse this frame").click()
        expect(page.get_by_text("Frame 2 of 5: named in the request.")).to_be_visible()
