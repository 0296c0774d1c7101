"""Text that would be markup or script elsewhere is text on every page, whoever sent it."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright

from app.storage.details import LONGEST
from specialists.phantom.draw import png_bytes
from tests.app import hostile_archives as hostile
from tests.app.dicom_files import a_dicom
from tests.app.web.test_viewer_browser import Watched, watch
from tests.serving import CHROMIUM_FLAGS, a_phantom, require_chromium, service, truthful_tools

PHANTOM = a_phantom()
PNG = png_bytes(PHANTOM)
CORPUS = (
    "<script>hit()</script>",
    "<img src=x onerror=hit()>",
    '"><svg onload=hit()>',
    "' autofocus onfocus=hit() x='",
    "javascript:hit()",
    "</title><script>hit()</script>",
    "{{ hit() }}",
    "${hit()}",
    "<a href=javascript:hit()>x</a>",
    "&lt;script&gt;hit()&lt;/script&gt;",
    "<iframe srcdoc='<script>hit()</script>'>",
    "--><script>hit()</script>",
)
DICOM_TEXT = ("ManufacturerModelName", "StudyDescription", "SeriesDescription", "PatientName")
MADE = (
    "script:not([src]), iframe, [onerror], [onload], [onfocus], a[href^='javascript:'], "
    "img[src='x']"
)
FOUND = "made => [window.wasHit === true, document.querySelectorAll(made).length]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USTRI_BLACKEN_TEXT", "false")
        with service(tmp_path_factory.mktemp("text"), truthful_tools(PHANTOM)) as url:
            yield url


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[Watched]:
    with browser.new_context() as context:
        seen = watch(context.new_page(), address)
        seen.page.add_init_script("window.hit = () => { window.wasHit = true; }")
        yield seen
    foreign = [text for text in seen.complaints if "Failed to load resource" not in text]
    assert foreign == []


def check(page: Page) -> None:
    page.wait_for_load_state()
    assert page.evaluate(FOUND, MADE) == [False, 0], page.url


def test_hostile_words_of_a_request_are_text_on_every_page(watched: Watched) -> None:
    ids = []
    for text in CORPUS:
        words = {name: text[:length] for name, length in LONGEST.items()}
        fields = words | {"question": text, "exam": "breast"}
        answer = httpx.post(
            f"{watched.address}/analyze", files={"image": (text, PNG)}, data=fields, timeout=60
        )
        assert answer.status_code == 200, answer.text
        ids.append(answer.json()["analysis_id"])
    watched.page.goto(watched.address)
    check(watched.page)
    for analysis_id in ids:
        for path in ("view", "report.html"):
            watched.page.goto(f"{watched.address}/analyses/{analysis_id}/{path}")
            check(watched.page)


def test_hostile_text_of_a_dicom_file_is_text(watched: Watched) -> None:
    pixels = np.ascontiguousarray(PHANTOM.pixels)
    for text in CORPUS[:3]:
        data = a_dicom(pixels, **dict.fromkeys(DICOM_TEXT, text))
        answer = httpx.post(f"{watched.address}/analyze", files={"image": data}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert "hit()" not in answer.text
        watched.page.goto(f"{watched.address}/analyses/{answer.json()['analysis_id']}/view")
        check(watched.page)


def test_hostile_names_of_files_are_text_with_and_without_a_script(
    browser: Browser, watched: Watched
) -> None:
    packed = hostile.packed({f"{text.replace('/', ' ')}.png": b"x" for text in CORPUS})
    files = [
        FilePayload(name=text.replace("/", " "), mimeType="image/png", buffer=b"GIF89a")
        for text in CORPUS
    ]
    files.append(FilePayload(name="<b>.zip", mimeType="application/zip", buffer=packed))
    page = watched.page
    page.goto(watched.address)
    page.get_by_label("Image (PNG, JPEG or DICOM)").set_input_files(files)
    page.get_by_role("button", name="Analyse").click()
    expect(page.locator("[data-total]")).to_contain_text("24 of 24 files done: 24 refused")
    check(page)
    with browser.new_context(java_script_enabled=False) as context:
        plain = context.new_page()
        plain.goto(watched.address)
        plain.get_by_label("Image (PNG, JPEG or DICOM)").set_input_files(files)
        plain.get_by_label("Question").fill(CORPUS[2])
        plain.get_by_role("button", name="Analyse").click()
        expect(
            plain.get_by_role("heading", name="24 files: 0 accepted, 24 refused")
        ).to_be_visible()
        expect(plain.get_by_label("Question")).to_have_value(CORPUS[2])
        expect(plain.locator("main iframe, main script, main img, main svg")).to_have_count(0)


def test_hostile_words_of_a_form_are_kept_as_text(watched: Watched) -> None:
    for text in CORPUS:
        data = {"label": text, "question": text, "gestational_age": text}
        answer = httpx.post(watched.address, files={"image": PNG}, data=data)
        assert answer.status_code == 422
        watched.page.goto(f"{watched.address}/docs")
        kept = watched.page.evaluate(
            """([text, made]) => {
              const page = new DOMParser().parseFromString(text, "text/html");
              return [page.querySelector("#label").value, page.querySelectorAll(made).length];
            }""",
            [answer.text, MADE],
        )
        assert kept == [text, 0]
