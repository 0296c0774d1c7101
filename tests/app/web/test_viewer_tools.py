"""Zoom, calipers and calibration of the report page, in a real browser."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.app.dicom_files import a_dicom, a_region
from tests.app.web.test_viewer_browser import PHANTOM, Watched, assert_quiet, watch
from tests.serving import CHROMIUM_FLAGS, phantom_file, require_chromium, service, truthful_tools

ACROSS_MM, DOWN_MM = 0.2, 0.1


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(tmp_path_factory.mktemp("tools"), truthful_tools(PHANTOM)) as url:
        yield url


@contextmanager
def watching(browser: Browser, address: str, **options: bool) -> Iterator[Watched]:
    with browser.new_context(**options) as context:  # type: ignore[arg-type]
        seen = watch(context.new_page(), address)
        yield seen
        assert_quiet(seen)


@pytest.fixture
def opened(browser: Browser, address: str, tmp_path: Path) -> Iterator[Page]:
    """The report of an image without spacing."""
    with watching(browser, address) as seen:
        seen.upload(phantom_file(tmp_path, PHANTOM))
        expect(seen.page.locator("svg.frame > .cross")).to_have_count(1)
        yield seen.page


@pytest.fixture
def calibrated(browser: Browser, address: str, tmp_path: Path) -> Iterator[Page]:
    """The report of a DICOM file with a spacing of its own along each axis."""
    region = a_region(
        RegionLocationMaxX1=PHANTOM.truth.width_px - 1,
        RegionLocationMaxY1=PHANTOM.truth.height_px - 1,
        PhysicalDeltaX=ACROSS_MM / 10,
        PhysicalDeltaY=DOWN_MM / 10,
    )
    path = tmp_path / "one.dcm"
    path.write_bytes(a_dicom(PHANTOM.pixels, SequenceOfUltrasoundRegions=[region]))
    with watching(browser, address) as seen:
        seen.upload(path)
        expect(seen.page.locator("svg.frame > .cross")).to_have_count(1)
        yield seen.page


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a point of the image is displayed, by the image's own place on the screen."""
    left, top, width, height = page.locator("svg.frame > image").last.evaluate(
        "one => { const box = one.getBoundingClientRect();"
        " return [box.x, box.y, box.width, box.height]; }"
    )
    truth = PHANTOM.truth
    return left + x * width / truth.width_px, top + y * height / truth.height_px


def click(page: Page, x: float, y: float) -> None:
    page.mouse.click(*on_screen(page, x, y))


def caliper(page: Page, *moves: str) -> None:
    """Place a distance by keys: the cross starts in the middle of the image."""
    page.get_by_role("button", name="Distance", exact=True).press("Enter")
    page.keyboard.press("Enter")
    for key in moves:
        page.keyboard.press(key)
    page.keyboard.press("Enter")


@pytest.mark.parametrize("presses", [0, 3, 9])
def test_overlays_lie_where_the_report_says_at_every_zoom(opened: Page, presses: int) -> None:
    for _ in range(presses):
        opened.get_by_role("button", name="Zoom in").click()
    report = json.loads(opened.request.get(opened.url.replace("/view", "/report.json")).text())
    (mask,) = [item for item in report["evidence"] if item["kind"] == "mask"]
    shown = opened.locator(".overlay-mask .edge").evaluate(
        """one => {
          const numbers = one.getAttribute("d").match(/-?[\\d.]+/g).map(Number);
          const points = [];
          for (let i = 0; i < numbers.length; i += 2) {
            const at = new DOMPoint(numbers[i], numbers[i + 1]).matrixTransform(one.getScreenCTM());
            points.push([at.x, at.y]);
          }
          return points;
        }"""
    )
    said = [on_screen(opened, x, y) for ring in mask["polygons"] for x, y in ring]
    assert len(shown) == len(said)
    for one, other in zip(shown, said, strict=True):
        assert one == pytest.approx(other, abs=0.5)


def test_a_caliper_reads_the_known_millimetres_along_each_axis(calibrated: Page) -> None:
    mine = calibrated.locator("[data-mine] li span")
    calibrated.get_by_role("button", name="Distance", exact=True).click()
    click(calibrated, 60, 60)
    click(calibrated, 160, 60)
    value = float(mine.inner_text().partition(": ")[2].removesuffix(" mm"))
    assert value == pytest.approx(100 * ACROSS_MM, abs=1.5 * ACROSS_MM)
    caliper(calibrated, *["Shift+ArrowRight"] * 4)
    expect(mine.nth(1)).to_have_text(f"Distance 2: {40 * ACROSS_MM:.1f} mm")
    caliper(calibrated, *["Shift+ArrowDown"] * 4)
    expect(mine.nth(2)).to_have_text(f"Distance 3: {40 * DOWN_MM:.1f} mm")


def test_an_angle_is_measured_in_square_pixels(calibrated: Page) -> None:
    calibrated.get_by_role("button", name="Angle", exact=True).click()
    for key in ("Shift+ArrowRight", "Enter", "Shift+ArrowLeft", "Enter"):
        calibrated.keyboard.press(key)
    for key in ("Shift+ArrowDown", "Shift+ArrowRight", "Enter"):
        calibrated.keyboard.press(key)
    # 10 px across are 2 mm, 10 px down 1 mm: atan(1 / 2).
    expect(calibrated.locator("[data-mine] li span")).to_have_text("Angle 1: 26.6°")


def test_the_keyboard_alone_zooms_measures_and_deletes(opened: Page) -> None:
    frame = opened.locator("svg.frame")
    frame.focus()
    for key in ("+", "+", "ArrowRight"):
        opened.keyboard.press(key)
    expect(opened.locator("[data-zoom]")).to_have_text("156 %")
    before = frame.get_attribute("viewBox")
    opened.keyboard.press("ArrowLeft")
    assert frame.get_attribute("viewBox") != before
    opened.keyboard.press("0")
    expect(opened.locator("[data-zoom]")).to_have_text("100 %")
    caliper(opened, *["Shift+ArrowRight"] * 3)
    mine = opened.locator("[data-mine] li span")
    expect(mine).to_have_text("Distance 1: 30.0 px")
    expect(opened.locator("[data-said]")).to_have_text("Distance 1: 30.0 px.")
    handle = opened.locator(".mine circle").nth(1)
    handle.focus()
    opened.keyboard.press("ArrowRight")
    expect(mine).to_have_text("Distance 1: 31.0 px")
    expect(handle).to_have_accessible_name(
        "Distance 1, point B at 191, 120: 31.0 px. Arrow keys move it, Delete removes it."
    )
    opened.keyboard.press("Delete")
    expect(mine).to_have_count(0)


def test_wheel_and_two_fingers_zoom_about_the_point_under_them(opened: Page) -> None:
    told = opened.locator("[data-zoom]")
    x, y = on_screen(opened, 60, 40)
    opened.mouse.move(x, y)
    opened.mouse.wheel(0, -100)
    expect(told).to_have_text("125 %")
    assert on_screen(opened, 60, 40) == pytest.approx((x, y), abs=1)
    opened.get_by_role("button", name="Fit").click()
    opened.locator("svg.frame").evaluate(
        """(frame, [x, y]) => {
          const touch = (kind, pointerId, clientX) => frame.dispatchEvent(new PointerEvent(
            kind, { pointerId, clientX, clientY: y, pointerType: "touch", bubbles: true }));
          touch("pointerdown", 1, x - 10);
          touch("pointerdown", 2, x + 10);
          for (const apart of [15, 20]) {
            touch("pointermove", 1, x - apart);
            touch("pointermove", 2, x + apart);
          }
          touch("pointerup", 1, x - 20);
          touch("pointerup", 2, x + 20);
        }""",
        [x, y],
    )
    expect(told).to_have_text("200 %")
    assert on_screen(opened, 60, 40) == pytest.approx((x, y), abs=20)


def test_a_structure_is_one_tab_stop_with_a_name(opened: Page) -> None:
    stops = opened.locator('.overlay[tabindex="0"]')
    expect(stops).to_have_count(1)
    name = stops.get_attribute("aria-label") or ""
    assert name.startswith("lesion: Box around lesion")
    assert "Outline of lesion" in name


def test_a_resized_window_and_the_picture_beside_keep_the_view(opened: Page) -> None:
    opened.get_by_role("button", name="Side by side").click()
    opened.locator("svg.frame").last.dblclick(position={"x": 30, "y": 30})
    expect(opened.locator("[data-zoom]")).to_have_text("200 %")
    caliper(opened, "Shift+ArrowRight")
    boxes = [one.get_attribute("viewBox") for one in opened.locator("svg.frame").all()]
    assert len(boxes) == 2
    assert boxes[0] == boxes[1]
    opened.set_viewport_size({"width": 700, "height": 600})
    expect(opened.locator("[data-zoom]")).to_have_text("200 %")
    expect(opened.locator("[data-mine] li span")).to_have_text("Distance 1: 10.0 px")
    assert opened.locator("svg.frame").last.get_attribute("viewBox") == boxes[0]


def test_window_level_and_inversion_change_what_is_displayed(opened: Page) -> None:
    image = opened.locator("svg.frame > image")
    assert image.get_attribute("filter") is None
    opened.get_by_role("button", name="Invert").click()
    expect(image).to_have_attribute("filter", "url(#levels)")
    assert opened.locator("feFuncR").get_attribute("slope") == "-1"
    opened.get_by_text("Brightness and opacity").click()
    opened.get_by_label("Window").fill("51")
    assert opened.locator("feFuncR").get_attribute("slope") == "-5"
    opened.get_by_label("Opacity of lesion").fill("40")
    expect(opened.locator(".overlay-mask")).to_have_css("opacity", "0.4")
    opened.get_by_role("button", name="Reset").click()
    expect(image).not_to_have_attribute("filter", "url(#levels)")


def test_labels_can_be_read_on_a_phone_and_keep_their_size(opened: Page) -> None:
    opened.set_viewport_size({"width": 390, "height": 844})
    size = """all => Math.min(
      ...all.map(one => one.getAttribute("font-size") * one.getScreenCTM().a)
    )"""
    for _ in range(2):
        opened.wait_for_timeout(200)  # until the page has seen its new size
        assert opened.locator(".overlay .tag").evaluate_all(size) >= 11.9
        opened.get_by_role("button", name="Zoom in").click()
    assert opened.locator(".overlay .tag").evaluate_all(size) <= 20


def test_two_clicks_calibrate_the_report(opened: Page) -> None:
    assert "px" in opened.locator(".headline").inner_text()
    opened.get_by_text("Calibrate by two points").click()
    opened.get_by_role("button", name="Mark two points").click()
    click(opened, 60, 60)
    click(opened, 260, 60)
    expect(opened.locator(".mine polyline")).to_have_count(1)
    opened.get_by_label("Distance (mm)").fill("40")
    opened.get_by_role("button", name="Calibrate", exact=True).click()
    expect(opened.get_by_text("preliminary, version 2")).to_be_visible()
    assert "mm" in opened.locator(".headline").inner_text()
    report = json.loads(opened.request.get(opened.url.replace("/view", "/report.json")).text())
    assert report["image"]["spacing_mm"]["x"] == pytest.approx(0.2, rel=0.01)
    expect(opened.get_by_text("Calibrate again")).to_be_visible()


def test_what_is_wrong_with_a_calibration_is_said_beside_it(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    with browser.new_context() as context:
        seen = watch(context.new_page(), address)
        seen.upload(phantom_file(tmp_path, PHANTOM))
        page = seen.page
        page.get_by_text("Calibrate by two points").click()
        for name in ("First point, x", "First point, y", "Second point, y"):
            page.get_by_label(name).fill("50")
        page.get_by_label("Second point, x").fill("900")
        page.get_by_label("Distance (mm)").fill("10")
        page.get_by_role("button", name="Calibrate", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("must lie in the image")


def test_without_javascript_a_form_calibrates(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    with watching(browser, address, java_script_enabled=False) as seen:
        seen.upload(phantom_file(tmp_path, PHANTOM))
        page = seen.page
        page.get_by_text("Calibrate by two points").click(timeout=15_000)
        points = {"First point, x": "60", "First point, y": "60"}
        points |= {"Second point, x": "260", "Second point, y": "60", "Distance (mm)": "40"}
        for name, value in points.items():
            page.get_by_label(name).fill(value)
        expect(page.get_by_role("button", name="Distance", exact=True)).to_be_hidden()
        page.get_by_role("button", name="Calibrate", exact=True).click()
        expect(page.get_by_text("preliminary, version 2")).to_be_visible()


def test_an_image_that_states_its_spacing_offers_no_calibration(calibrated: Page) -> None:
    expect(calibrated.get_by_text("Calibrate by two points")).to_have_count(0)
