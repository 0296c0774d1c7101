import io
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from reports.forms.html import to_html
from reports.forms.rows import evidence_rows, number_table, step_rows
from reports.layout import lay_out
from reports.model import Report
from reports.wording.phrases import NOT_FOR_CLINICAL_USE
from tests.builders import a_worded_report
from tests.reports.report_forms import frame_png
from tests.serving import CHROMIUM_FLAGS, require_chromium
from tests.tools import module

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


def test_the_first_screen_shows_image_and_headline(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    for part in ("svg.frame", ".headline", ".impression", ".legend"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 800
    large, small = (
        float(
            page.locator(part).first.evaluate("one => parseFloat(getComputedStyle(one).fontSize)")
        )
        for part in (".headline", ".says")
    )
    assert large >= 1.4 * small


def test_what_is_folded_opens_by_the_keyboard_and_by_a_link_into_it(page: Page) -> None:
    row = page.locator("#evidence-e3")
    assert not row.is_visible()
    page.get_by_role("link", name="Show the scores").focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(200)
    assert row.is_visible()


def printed(page: Page) -> list[str]:
    """The text of each page as it is printed, with single spaces."""
    reader = module("pypdf", "pip install pypdf").PdfReader
    data = page.pdf(prefer_css_page_size=True)
    return [" ".join(sheet.extract_text().split()) for sheet in reader(io.BytesIO(data)).pages]


def parts(report: Report) -> list[str]:
    """What a report says, in the order of its layout."""
    laid = lay_out(report)
    said = [laid.title, *(row.text for row in laid.header), *report.impression, "Findings"]
    for part in laid.structures:
        said += [part.name, *(item.statement for item in part.findings)]
        table = number_table(part, report)
        said += [text for row in table.rows for text in (row.value, row.note)]
        said += part.notes
    said += [flag.text for flag in laid.flags]
    limitations = [line for line in report.limitations if line != NOT_FOR_CLINICAL_USE]
    said += ["Technique", *laid.technique, "Limitations", *limitations, "Reviewed by"]
    said += ["How this was made", laid.made.exam, laid.made.planner, *laid.made.classifiers]
    said += [row.why for row in step_rows(report)]
    said += [check.detail for check in laid.made.checks]
    said += [row.text for row in laid.made.methods]
    said += [row.where for row in evidence_rows(report)]
    return said + [row.text for row in laid.made.provenance]


def plain(text: str) -> str:
    """Text without the letters in which two renderers of one sentence differ."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(char for char in folded if not char.isspace())


def test_the_print_of_the_page_says_what_the_pdf_says_in_its_order(page: Page) -> None:
    module("reportlab", "pip install 'ustri[dicom]'")
    from reports.forms.pdf.document import to_pdf

    report = a_worded_report()
    reader = module("pypdf", "pip install pypdf").PdfReader(io.BytesIO(to_pdf(report, frame_png())))
    sheets = printed(page)
    assert all(NOT_FOR_CLINICAL_USE in sheet for sheet in sheets)
    for pages in (sheets, [sheet.extract_text() for sheet in reader.pages]):
        text, place = plain(" ".join(without_furniture(sheet) for sheet in pages)), 0
        for words in parts(report):
            found = text.find(plain(words), place)
            assert found >= 0, words
            place = found


def without_furniture(sheet: str) -> str:
    """The text of a page without what stands on every page."""
    text = " ".join(sheet.split())
    for pattern in (
        r"Page \d+ of \d+",
        re.escape(NOT_FOR_CLINICAL_USE),
        r"USTri ultrasound report Report [0-9a-f]{32}, version \d+",
        r"PRELIMINARY: not reviewed by a clinician",
    ):
        text = re.sub(pattern, "", text)
    return text
