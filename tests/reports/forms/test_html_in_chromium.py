from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from reports.forms.html import to_html
from tests.builders import a_worded_report
from tests.serving import CHROMIUM_FLAGS, require_chromium

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """The report page from a file, in a browser with JavaScript off."""
    chromium = require_chromium()
    file = tmp_path / "report.html"
    file.write_text(to_html(a_worded_report(), PIXEL), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        page = browser.new_context(java_script_enabled=False).new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(file.as_uri())
        yield page
        browser.close()
    assert complaints == []


def opacity(page: Page, evidence_id: str) -> float:
    return float(
        page.locator(f"#overlay-{evidence_id}").evaluate("node => getComputedStyle(node).opacity")
    )


def test_hovering_or_focussing_a_statement_lights_its_evidence_without_a_script(
    page: Page,
) -> None:
    def light(statement: str) -> list[str]:
        lit = page.locator(f"#{statement}").get_attribute("data-lights") or ""
        page.wait_for_timeout(300)
        return [item for item in lit.split() if opacity(page, item) == 1]

    assert opacity(page, "e1") == opacity(page, "e4") == 1
    page.hover("#m1")
    assert light("m1") == ["e4", "e2"]
    assert opacity(page, "e1") < 1
    page.mouse.move(0, 0)
    page.focus("#f1")
    assert light("f1") == ["e1", "e2"]
    assert opacity(page, "e4") < 1


def test_overlays_are_toggled_by_kind_without_a_script(page: Page) -> None:
    page.uncheck("#show-mask")
    assert not page.is_visible("#overlay-e2")
    assert page.is_visible("#overlay-e1")
    page.check("#show-mask")
    assert page.is_visible("#overlay-e2")


def test_the_page_is_no_wider_than_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    box = page.locator("article").bounding_box()
    assert box is not None
    assert box["width"] <= 390
