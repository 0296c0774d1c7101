import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from planner.run import Tools
from reports.model import Box
from specialists.image import Image
from specialists.manifest import Manifest
from specialists.result import Result
from tests.app.dicom_files import a_dicom, a_region
from tests.one_by_one import OneByOne
from tests.planner.stand_ins import StandInTools
from tests.serving import (
    CHROMIUM_FLAGS,
    a_phantom,
    phantom_file,
    require_chromium,
    service,
    truthful_tools,
)

PHANTOM = a_phantom()
expect.set_options(timeout=20_000)


@dataclass
class GatedTools(OneByOne):
    """Truthful specialists; all but the router wait until the gate is open."""

    inner: StandInTools
    gate: threading.Event = field(default_factory=threading.Event)
    runtime: str = "stand-in"

    @property
    def manifest(self) -> Manifest:
        return self.inner.manifest

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        if specialist_id != "exam_cls":
            self.gate.wait(30)
        return self.inner.run(specialist_id, image, roi)


@dataclass
class Watched:
    """A page with what it complained about and whom it asked."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def upload(self, path: Path, **choices: str) -> None:
        self.page.goto(self.address)
        self.page.get_by_label("Image (PNG, JPEG or DICOM)").set_input_files(path)
        if "exam" in choices:
            self.page.locator("#exam").select_option(choices["exam"])
        self.page.get_by_label("Question").fill(choices.get("question", ""))
        self.page.get_by_role("button", name="Analyse").click()
        self.page.wait_for_url("**/view")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(tmp_path_factory.mktemp("browser"), truthful_tools(PHANTOM)) as url:
        yield url


@pytest.fixture
def png(tmp_path: Path) -> Path:
    return phantom_file(tmp_path, PHANTOM)


@pytest.fixture
def watched(browser: Browser, address: str) -> Iterator[Watched]:
    """Fails its test for any console message, script error, policy violation or foreign request."""
    with browser.new_context() as context:
        seen = watch(context.new_page(), address)
        yield seen
    assert_quiet(seen)


def watch(page: Page, address: str) -> Watched:
    seen = Watched(page=page, address=address)
    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.asked.append(request.url))
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error(e.violatedDirective))"
    )
    return seen


def assert_quiet(seen: Watched) -> None:
    assert seen.complaints == []
    assert [url for url in seen.asked if not url.startswith((seen.address, "data:"))] == []


def test_an_upload_becomes_a_report_page(watched: Watched, png: Path) -> None:
    watched.upload(png, exam="breast", question="How large is the lesion?")
    page = watched.page
    expect(page.get_by_role("heading", name="Breast ultrasound", level=1)).to_be_visible()
    expect(
        page.get_by_text("Synthetic test image: it shows no patient", exact=True)
    ).to_be_visible()
    expect(page.locator(".overlay")).not_to_have_count(0)
    expect(page.locator(".made table.steps")).to_be_hidden()
    page.get_by_text("How this was made").click()
    expect(page.locator(".made table.steps")).to_be_visible()


def test_the_outline_lies_where_the_lesion_was_drawn(watched: Watched, png: Path) -> None:
    watched.upload(png)
    page = watched.page
    # Without the stroke, whose width on the screen is the same at every size.
    on_screen = """one => {
      const box = one.getBBox(), to = one.getScreenCTM();
      return [box.x * to.a + to.e, box.y * to.d + to.f, box.width * to.a, box.height * to.d];
    }"""
    x, y, width, height = page.locator("svg.frame image").evaluate(on_screen)
    outline = page.locator(".overlay-mask .edge").evaluate(on_screen)
    left, top, right, bottom = PHANTOM.truth.structures[0].box
    scale = width / PHANTOM.truth.width_px
    assert height / PHANTOM.truth.height_px == pytest.approx(scale)
    assert outline == pytest.approx(
        [x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale], abs=0.1
    )


@pytest.mark.parametrize("way", ["hover", "focus"])
def test_a_statement_lights_its_evidence_and_nothing_else(
    watched: Watched, png: Path, way: str
) -> None:
    watched.upload(png)
    page = watched.page
    page.locator('.overlay[tabindex="0"]').first.wait_for()
    statement = page.locator(".statement[data-lights]").first
    ids = (statement.get_attribute("data-lights") or "").split()
    getattr(statement, way)()
    lit = page.locator(".overlay.lit")
    drawn = page.locator(".overlay").evaluate_all("all => all.map(one => one.dataset.evidence)")
    expect(lit).to_have_count(len(set(ids) & set(drawn)))
    assert set(lit.evaluate_all("all => all.map(one => one.dataset.evidence)")) <= set(ids)
    expect(page.locator(".overlay:not(.lit)").first).to_have_css("opacity", "0.2")
    expect(page.locator(".statement.lit")).to_have_count(1)
    page.mouse.move(1, 1)
    statement.blur()
    expect(lit).to_have_count(0)


@pytest.mark.parametrize("way", ["hover", "focus"])
def test_evidence_lights_the_statements_that_rest_on_it(
    watched: Watched, png: Path, way: str
) -> None:
    watched.upload(png)
    page = watched.page
    page.locator('.overlay[tabindex="0"]').first.wait_for()
    outline = page.locator(".overlay-mask").first
    evidence_id = outline.get_attribute("data-evidence")
    if way == "hover":
        path = outline.locator(".edge")
        size = path.bounding_box()
        assert size is not None
        # inside the outline, but beside the axes that are drawn over its middle
        path.hover(force=True, position={"x": 0.32 * size["width"], "y": 0.32 * size["height"]})
    else:
        page.locator('.overlay[tabindex="0"]').focus()
    # The tab stop of a structure lights all that is said of it; the pointer, what rests on one.
    one = f'.statement[data-lights~="{evidence_id}"]'
    drawn = page.locator(".overlay").evaluate_all("all => all.map(one => one.dataset.evidence)")
    every = ", ".join(f'.statement[data-lights~="{name}"]' for name in drawn)
    resting = page.locator(one if way == "hover" else every)
    expect(page.locator(".statement.lit")).to_have_count(resting.count())
    assert resting.count() > 0


def test_a_link_to_evidence_marks_it_on_the_image(watched: Watched, png: Path) -> None:
    watched.upload(png)
    page = watched.page
    page.get_by_role("link", name="area").first.click()
    expect(page.locator(".overlay-mask:target .edge")).to_have_css("stroke-width", "4px")


def test_the_keyboard_reaches_statements_and_overlays(watched: Watched, png: Path) -> None:
    watched.upload(png)
    page = watched.page
    page.locator("svg.frame").wait_for()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached |= set(
            page.evaluate("[...document.activeElement.classList, document.activeElement.tagName]")
        )
    assert {"overlay", "statement", "INPUT", "A", "SUMMARY"} <= reached


def test_each_overlay_can_be_hidden_and_shown_by_itself(watched: Watched, png: Path) -> None:
    watched.upload(png)
    page = watched.page
    page.locator("input[data-shows]").first.wait_for()
    overlays = page.locator(".overlay")
    for box in page.locator("input[data-shows]").all():
        mine = page.locator(f'.overlay[data-evidence="{box.get_attribute("data-shows")}"]')
        expect(mine).to_be_visible()
        box.uncheck()
        expect(mine).to_be_hidden()
        expect(page.locator(".overlay.off")).to_have_count(1)
        box.check()
        expect(mine).to_be_visible()
    page.get_by_label("All").uncheck()
    expect(page.locator(".overlay.off")).to_have_count(overlays.count())
    page.get_by_label("All").check()
    expect(page.locator(".overlay.off")).to_have_count(0)


def test_every_control_has_a_name(watched: Watched, png: Path) -> None:
    watched.upload(png)
    page = watched.page
    page.locator("svg.frame").wait_for()
    for url in (page.url, watched.address):
        page.goto(url)
        for control in page.locator("a, button, input, select, summary").all():
            if control.get_attribute("aria-hidden") != "true":
                name = control.evaluate(
                    "one => one.getAttribute('aria-label') || one.textContent.trim()"
                    " || [...(one.labels || [])].map(label => label.textContent).join('')"
                )
                assert name.strip(), control.evaluate("one => one.outerHTML")


def test_other_forms_and_the_api_page_obey_the_policy(watched: Watched, png: Path) -> None:
    watched.upload(png)
    page = watched.page
    page.locator("svg.frame").wait_for()
    view = page.url
    for form in ("HTML", "TXT", "JSON"):
        page.get_by_role("link", name=form, exact=True).click()
        page.goto(view)
    page.get_by_role("link", name="API").click()
    page.goto(f"{watched.address}/login")
    page.goto(watched.address)
    expect(page.get_by_role("link", name="Open report").first).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (768, 1024), (390, 844)])
def test_the_first_screen_shows_the_image_and_the_headline(
    watched: Watched, png: Path, width: int, height: int
) -> None:
    watched.page.set_viewport_size({"width": width, "height": height})
    watched.upload(png)
    for part in ("svg.frame", ".headline"):
        watched.page.locator(part).wait_for()
        box = watched.page.locator(part).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height


@pytest.mark.parametrize("width", [360, 390, 768, 1280, 1440])
def test_nothing_is_wider_than_the_screen(watched: Watched, png: Path, width: int) -> None:
    watched.page.set_viewport_size({"width": width, "height": 800})
    watched.upload(png)
    watched.page.locator("svg.frame").wait_for()
    for url in (watched.page.url, watched.address):
        watched.page.goto(url)
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width


def test_progress_is_followed_until_the_report_is_there(
    browser: Browser, tmp_path: Path, png: Path
) -> None:
    tools = GatedTools(truthful_tools(PHANTOM))
    with service(tmp_path / "data", tools) as address, browser.new_context() as context:
        seen = watch(context.new_page(), address)
        seen.upload(png)
        page = seen.page
        expect(page.get_by_role("heading", name="Analysing")).to_be_visible()
        expect(page.locator("[data-progress] li")).to_have_count(1)
        expect(page.locator("[data-progress] li")).to_contain_text("exam_cls")
        with page.expect_response("**/events"):
            page.reload()  # The page already has the step that the stream sends again.
        page.wait_for_timeout(300)
        expect(page.locator("[data-progress] li")).to_have_count(1)
        tools.gate.set()
        expect(page.get_by_role("heading", name="Breast ultrasound")).to_be_visible()
        assert_quiet(seen)


def test_without_javascript_the_page_refreshes_itself_and_shows_everything(
    browser: Browser, tmp_path: Path, png: Path
) -> None:
    tools = GatedTools(truthful_tools(PHANTOM))
    with (
        service(tmp_path / "data", tools) as address,
        browser.new_context(java_script_enabled=False) as context,
    ):
        seen = watch(context.new_page(), address)
        seen.upload(png)
        expect(seen.page.get_by_role("heading", name="Analysing")).to_be_visible()
        tools.gate.set()
        expect(seen.page.get_by_role("heading", name="Breast ultrasound")).to_be_visible(
            timeout=15_000
        )
        expect(seen.page.locator(".overlay-mask .edge")).to_be_visible()
        expect(seen.page.get_by_role("group", name="Show")).to_be_hidden()
        assert_quiet(seen)


def test_a_broken_specialist_is_told_loudly(browser: Browser, tmp_path: Path, png: Path) -> None:
    tools: Tools = StandInTools(answers={})
    with service(tmp_path / "data", tools) as address, browser.new_context() as context:
        seen = watch(context.new_page(), address)
        seen.upload(png)
        expect(seen.page.get_by_role("alert")).to_contain_text(
            "This analysis failed", timeout=30_000
        )
        assert_quiet(seen)


def a_cine_file(folder: Path, count: int = 5) -> Path:
    """A calibrated cine of the phantom, each frame moved a little."""
    drawn = np.stack([np.roll(PHANTOM.pixels, 8 * index, axis=1) for index in range(count)])
    region = a_region(
        RegionLocationMinX0=4,
        RegionLocationMinY0=4,
        RegionLocationMaxX1=PHANTOM.truth.width_px - 1,
        RegionLocationMaxY1=PHANTOM.truth.height_px - 1,
        PhysicalDeltaX=0.02,
        PhysicalDeltaY=0.01,
    )
    path = folder / "cine.dcm"
    path.write_bytes(a_dicom(drawn, SequenceOfUltrasoundRegions=[region]))
    return path


def test_a_cine_shows_calibration_frame_and_region_and_can_be_stepped(
    watched: Watched, tmp_path: Path
) -> None:
    watched.upload(a_cine_file(tmp_path))
    page = watched.page
    expect(page.get_by_text("Frame 1 of 5: of its 5 frames")).to_be_visible()
    on_image = "one => { const box = one.getBBox(); return [box.x, box.y, box.width, box.height]; }"
    assert page.locator("rect.region").evaluate(on_image) == [4, 4, 316, 236]
    # Ten millimetres: 50 px across at 0.2 mm, 100 px down at 0.1 mm.
    assert page.locator("path.rule").evaluate(on_image)[2:] == pytest.approx([50, 100], abs=0.1)
    expect(page.locator(".scale text")).to_have_text("10 mm")
    page.get_by_role("link", name="Play or step through the frames").click()
    expect(page.get_by_role("heading", name="Frame 1 of 5")).to_be_visible()
    expect(page.get_by_text("frame of the report", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Previous")).to_be_hidden()
    page.wait_for_load_state()  # The script has run.
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Frame 2 of 5")).to_be_visible()
    expect(page.get_by_role("link", name="Next")).to_have_attribute("href", re.compile("/2$"))
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("heading", name="Frame 3 of 5")).to_be_visible()
    assert page.url.endswith("/frames/2")
    picture = page.locator("img[data-frame]")
    expect(picture).to_have_attribute("src", re.compile(r"/frames/2\.png$"))
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("one => one.naturalWidth") == PHANTOM.truth.width_px
    page.get_by_label("Frame", exact=True).fill("4")
    expect(page.get_by_role("heading", name="Frame 5 of 5")).to_be_visible()
    expect(page.get_by_role("link", name="Next")).to_be_hidden()
    page.locator(".bar-of").nth(1).click()
    expect(page.get_by_role("heading", name="Frame 2 of 5")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Frame 2 of 5")).to_be_visible()
