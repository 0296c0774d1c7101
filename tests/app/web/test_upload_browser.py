"""Uploads in a real browser: many files at once, errors at their fields, cancel, keyboard."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from specialists.phantom.draw import png_bytes
from tests.app import hostile_archives as hostile
from tests.app.web.test_viewer_browser import GatedTools, Watched, assert_quiet, watch
from tests.serving import CHROMIUM_FLAGS, a_phantom, require_chromium, service, truthful_tools

PHANTOM = a_phantom()
TWELVE = {f"scan {number}.png": png_bytes(a_phantom(seed=number)) for number in range(12)}
BROKEN = {"broken.png": TWELVE["scan 0.png"][:500]}
CHOOSE = "Image (PNG, JPEG or DICOM)"
PLEASE_OPEN = "Failed to load resource"
"""What Chromium's console says of every answer that is an error."""


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
    with service(tmp_path_factory.mktemp("uploads"), truthful_tools(PHANTOM)) as url:
        yield url


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[Watched]:
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        seen = watch(context.new_page(), address)
        seen.page.goto(address)
        yield seen
    seen.complaints = [text for text in seen.complaints if PLEASE_OPEN not in text]
    assert_quiet(seen)


def choose(page: Page, files: dict[str, bytes]) -> None:
    chosen = [
        FilePayload(name=name, mimeType="application/octet-stream", buffer=data)
        for name, data in files.items()
    ]
    page.get_by_label(CHOOSE).set_input_files(chosen)


def drop(page: Page, files: dict[str, bytes]) -> None:
    """Drop files on the page, as a file manager does."""
    page.evaluate(
        """files => {
          const transfer = new DataTransfer();
          for (const [name, bytes] of files) {
            transfer.items.add(new File([new Uint8Array(bytes)], name));
          }
          for (const kind of ["dragenter", "dragover", "drop"]) {
            document.querySelector("footer").dispatchEvent(
              new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
          }
        }""",
        [[name, list(data)] for name, data in files.items()],
    )


def test_twelve_dropped_files_and_a_broken_one_each_have_their_result(watched: Watched) -> None:
    page = watched.page
    page.locator("#exam").select_option("breast")
    page.get_by_text("More about this image").click()
    page.get_by_label("Study", exact=True).fill("Visit of twelve")
    drop(page, TWELVE | BROKEN | {".DS_Store": b"x"})
    expect(page.locator("[data-chosen]")).to_have_text(
        "13 files are chosen. 1 system file is left out."
    )
    expect(page.get_by_role("button", name="Analyse")).to_be_focused()
    page.keyboard.press("Enter")
    done = "13 of 13 files done: 12 with a report, 1 refused."
    expect(page.locator("[data-total]")).to_have_text(done, timeout=60_000)
    expect(page.locator(".files li")).to_have_count(13)
    broken = page.locator(".files li", has_text="broken.png")
    expect(broken.locator(".state")).to_contain_text("Image not readable")
    for name in TWELVE:
        own = page.locator(".files li").filter(has=page.get_by_text(name, exact=True))
        expect(own.locator(".state")).to_have_text("Reported")
    expect(page.locator("#exam")).to_have_value("breast")
    expect(page.get_by_role("button", name="Cancel all")).to_be_hidden()
    page.get_by_role("link", name="Open: scan 7.png").click()
    expect(page.get_by_role("heading", name="Breast ultrasound", level=1)).to_be_visible()
    page.get_by_role("link", name="study Visit of twelve").click()
    expect(page.get_by_role("heading", name="Study Visit of twelve", level=1)).to_be_visible()
    film = page.get_by_role("list", name="Images of the study").get_by_role("listitem")
    expect(film).to_have_count(12)
    summed = json.loads(page.request.get(f"{page.url}/report.json").text())
    assert len(summed["images"]) == 12


def test_a_wrong_field_keeps_what_was_entered_and_the_files(watched: Watched) -> None:
    page = watched.page
    page.get_by_text("More about this image").click()
    page.get_by_label("Gestational age").evaluate("one => one.removeAttribute('pattern')")
    page.get_by_label("Gestational age").fill("19 weeks")
    page.get_by_label("Label").fill("Case 12")
    choose(page, {"a.png": TWELVE["scan 0.png"], "b.png": TWELVE["scan 1.png"]})
    page.get_by_role("button", name="Analyse").click()
    note = page.locator("#gestational_age-wrong")
    expect(note).to_contain_text("19w6d or 19+6")
    expect(page.get_by_label("Gestational age")).to_be_focused()
    expect(page.get_by_label("Label")).to_have_value("Case 12")
    expect(page.locator("[data-chosen]")).to_have_text("2 files are chosen.")
    expect(page.locator(".files")).to_be_hidden()
    page.get_by_label("Gestational age").fill("19w6d")
    expect(note).to_have_count(0)
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator("[data-total]")).to_contain_text("2 of 2 files done: 2 with a report")
    expect(page.get_by_label("Label")).to_have_value("Case 12")


def test_a_zip_opens_into_a_row_for_each_file(watched: Watched) -> None:
    page = watched.page
    packed = hostile.packed(
        {"visit/one.png": TWELVE["scan 3.png"], "visit/Thumbs.db": b"x", "../two.png": b"x"}
    )
    choose(page, {"visit.zip": packed})
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator("[data-total]")).to_have_text(
        "3 of 3 files done: 1 with a report, 1 refused, 1 skipped."
    )
    whole = page.locator(".files li", has_text="Archive: 1 accepted, 1 refused, 1 skipped")
    expect(whole).to_have_count(1)
    expect(page.locator(".files li", has_text="../two.png")).to_contain_text("leads out of")


def test_files_are_cancelled_and_tried_again_by_keyboard(browser: Browser, tmp_path: Path) -> None:
    tools = GatedTools(truthful_tools(PHANTOM))
    with service(tmp_path / "data", tools) as address, browser.new_context() as context:
        seen = watch(context.new_page(), address)
        page = seen.page
        page.goto(address)
        choose(page, dict(list(TWELVE.items())[:5]))
        page.get_by_role("button", name="Analyse").focus()
        page.keyboard.press("Enter")
        expect(page.locator(".files li .state", has_text=re.compile("analys", re.I))).to_have_count(
            5
        )
        cancel = page.get_by_role("button", name="Cancel: scan 2.png")
        cancel.focus()
        page.keyboard.press("Enter")
        own = page.locator(".files li", has_text="scan 2.png")
        expect(own.locator(".state")).to_have_text("The analysis was cancelled at your request.")
        expect(page.get_by_role("link", name="Open: scan 2.png")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Try again: scan 2.png")).to_be_focused()
        page.keyboard.press("Enter")
        tools.gate.set()
        expect(page.locator("[data-total]")).to_have_text("5 of 5 files done: 5 with a report.")
        tools.gate.clear()
        choose(page, {"late.png": TWELVE["scan 9.png"], "later.png": TWELVE["scan 10.png"]})
        page.get_by_role("button", name="Analyse").click()
        page.get_by_role("button", name="Cancel all").click()
        expect(page.locator("[data-total]")).to_have_text(
            "7 of 7 files done: 5 with a report, 2 cancelled."
        )
        tools.gate.set()
        assert_quiet(seen)


def test_a_lost_connection_is_said_and_the_file_is_sent_once(watched: Watched) -> None:
    page = watched.page
    page.route("**/analyze", lambda route: route.abort(), times=1)
    choose(page, {"a.png": TWELVE["scan 4.png"], "b.gif": b"GIF89a"})
    page.get_by_role("button", name="Analyse").click()
    again = page.get_by_role("button", name=re.compile("Try again"))
    expect(again).to_have_count(1)
    again.click()
    expect(page.locator("[data-total]")).to_have_text(
        "2 of 2 files done: 1 with a report, 1 refused."
    )


def test_without_a_script_several_files_come_back_as_a_list(browser: Browser, address: str) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        seen = watch(context.new_page(), address)
        page = seen.page
        page.goto(address)
        page.get_by_label("Question").fill("How large is it?")
        choose(page, {"a.png": TWELVE["scan 5.png"]} | BROKEN)
        page.get_by_role("button", name="Analyse").click()
        heading = page.get_by_role("heading", name="2 files: 1 accepted, 1 refused")
        expect(heading).to_be_visible()
        expect(page.get_by_label("Question")).to_have_value("How large is it?")
        page.get_by_role("link", name="Open the analysis of a.png").click()
        expect(page.get_by_role("heading", name="Breast ultrasound", level=1)).to_be_visible()
        assert_quiet(seen)
