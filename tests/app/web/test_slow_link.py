"""Pages over a slow link: what is loaded before the first paint is small."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from specialists.phantom.draw import png_bytes
from tests.serving import CHROMIUM_FLAGS, a_phantom, require_chromium, service, truthful_tools

PHANTOM = a_phantom()
LINK_BYTES_S = 400_000
FIRST_PAINT_BYTES = 240_000
"""0.6 s of that link for pages, styles and scripts, of the 2 s until the first paint."""

BLOCKING = """() => performance.getEntriesByType("resource")
  .filter((one) => one.renderBlockingStatus === "blocking" || /\\.(css|js)$/.test(one.name))
  .concat(performance.getEntriesByType("navigation"))
  .reduce((sum, one) => sum + one.transferSize, 0)"""
PAINT = """() => new Promise((done) => {
  const told = () => performance.getEntriesByName("first-contentful-paint")[0];
  if (told()) done(told().startTime);
  else new PerformanceObserver(() => { if (told()) done(told().startTime); })
    .observe({ type: "paint", buffered: true });
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = require_chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
        yield running
        running.close()


def test_little_is_loaded_before_the_first_paint(
    browser: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with service(tmp_path, truthful_tools(PHANTOM)) as address, browser.new_context() as context:
        ids = [
            httpx.post(
                f"{address}/analyze",
                files={"image": png_bytes(PHANTOM)},
                data={"label": f"Case {number}"},
                timeout=60,
            ).json()["analysis_id"]
            for number in range(6)
        ]
        page = context.new_page()
        link = context.new_cdp_session(page)
        link.send("Network.enable")
        link.send("Network.setCacheDisabled", {"cacheDisabled": True})
        link.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": 50,
                "downloadThroughput": LINK_BYTES_S,
                "uploadThroughput": LINK_BYTES_S,
            },
        )
        for path in ("/", f"/analyses/{ids[0]}/view"):
            page.goto(address + path)
            first_paint_ms, loaded = page.evaluate(PAINT), page.evaluate(BLOCKING)
            record_property(path.rpartition("/")[2] or "worklist", (first_paint_ms, loaded))
            assert first_paint_ms > 0
            assert 0 < loaded < FIRST_PAINT_BYTES
