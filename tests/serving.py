"""The service on a free port, for tests over real HTTP, with specialists that know phantoms.

They answer with a phantom's truth.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.application import create_app
from app.cli.demo import loopback_socket, serving
from app.settings import Settings
from planner.run import Tools
from specialists.phantom.draw import Options, Phantom, draw, png_bytes
from specialists.phantom.tissue import Lesion
from tests.builders import a_component, a_detect_result, a_segment_result
from tests.planner.stand_ins import StandInTools, breast_answers, no_lesion_answers

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
)


def a_phantom(lesion: Lesion = Lesion.BENIGN, seed: int = 3) -> Phantom:
    """A small drawn breast image with that lesion."""
    return draw("breast", seed=seed, height_px=240, width_px=320, options=Options(lesion=lesion))


def truthful_tools(phantom: Phantom) -> StandInTools:
    """Specialists that answer with what was drawn."""
    if not phantom.truth.structures:
        return StandInTools(answers=no_lesion_answers())
    lesion = phantom.truth.structures[0]
    return StandInTools(
        answers=breast_answers(
            breast_lesion_det=a_detect_result(box=lesion.box),
            breast_lesion=a_segment_result(components=(a_component(polygons=(lesion.polygon,)),)),
        )
    )


@contextmanager
def service(data_dir: Path, tools: Tools) -> Iterator[str]:
    """The address of a service over that folder, while it runs."""
    settings = Settings(data_dir=data_dir)
    with serving(create_app(settings, tools), loopback_socket(0)) as address:
        yield address


def require_chromium() -> str:
    """Return Chromium's path; without it, skip the test, or fail it where tools are promised."""
    path = shutil.which("chromium") or CHROMIUM
    if Path(path).exists():
        return path
    reason = "Chromium is not installed (apt-get install chromium)."
    if os.environ.get("USTRI_REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def phantom_file(folder: Path, phantom: Phantom) -> Path:
    """That phantom as a PNG file in the folder."""
    path = folder / "phantom.png"
    path.write_bytes(png_bytes(phantom))
    return path
