import io
import json
import os
import re
import signal
import sys
from pathlib import Path
from subprocess import PIPE, STDOUT

import httpx
import numpy as np
import PIL.Image
import pytest
from rich.console import Console

from app import standalone
from app.cli import demo
from app.settings import Settings
from planner.case import Request
from reports.model import MaskEvidence, Outcome, Report
from specialists.manifest import read_manifest
from specialists.phantom.draw import Options, draw, png_bytes
from specialists.phantom.tissue import Lesion
from tests.processes import finished, started
from tests.serving import a_phantom, service, truthful_tools

SIZES = [(240, 320), (320, 240), (200, 480), (333, 217)]
shipped = pytest.mark.skipif(
    not read_manifest().installed(), reason="this version ships no weights"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the commands' data folder: what the first of them compiles is there for the next."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("size", SIZES)
def test_a_perfect_outline_comes_back_within_a_pixel_at_every_aspect(
    size: tuple[int, int], tmp_path: Path
) -> None:
    drawn = draw(
        "breast",
        seed=3,
        height_px=size[0],
        width_px=size[1],
        options=Options(lesion=Lesion.BENIGN),
    )
    with service(tmp_path, truthful_tools(drawn)) as address:
        answer = httpx.post(f"{address}/analyze", files={"image": png_bytes(drawn)}, timeout=60)
        report = Report.model_validate_json(answer.content)
        picture = httpx.get(f"{address}/analyses/{report.analysis_id}/image.png")
    assert report.outcome is Outcome.REPORTED
    outline = next(item for item in report.evidence if isinstance(item, MaskEvidence))
    assert outline.polygons[0] == pytest.approx(np.array(drawn.truth.structures[0].polygon), abs=1)
    stored = np.asarray(PIL.Image.open(io.BytesIO(picture.content)))
    assert np.array_equal(stored, drawn.pixels)


def test_service_and_command_line_say_the_same_with_the_same_hash(tmp_path: Path) -> None:
    phantom = a_phantom()
    data = png_bytes(phantom)
    with service(tmp_path / "one", truthful_tools(phantom)) as address:
        served = httpx.post(f"{address}/analyze", files={"image": data}, timeout=60)
    here = standalone.analyze(
        data, Request(), Settings(data_dir=tmp_path / "two"), truthful_tools(phantom)
    )
    served_report = Report.model_validate_json(served.content)
    assert served_report.provenance.content_sha256 == here.report.provenance.content_sha256


def test_a_report_is_there_after_a_restart_byte_by_byte(tmp_path: Path) -> None:
    phantom = a_phantom()
    with service(tmp_path, truthful_tools(phantom)) as address:
        files = {"image": png_bytes(phantom)}
        analysis_id = httpx.post(f"{address}/analyze", files=files, timeout=60).json()[
            "analysis_id"
        ]
        before = httpx.get(f"{address}/analyses/{analysis_id}/report.json").content
    with service(tmp_path, truthful_tools(phantom)) as address:
        assert httpx.get(f"{address}/analyses/{analysis_id}/report.json").content == before


def test_the_demo_prints_the_report_and_drawn_beside_measured(tmp_path: Path) -> None:
    phantom = a_phantom()
    image = demo.DemoImage(name="phantom.png", data=png_bytes(phantom), truth=phantom.truth)
    printed = io.StringIO()
    with service(tmp_path, truthful_tools(phantom)) as address:
        demo.show(address, image, None, Console(file=printed, width=120))
    text = printed.getvalue()
    assert "not for clinical use without review" in text.lower()
    assert "Drawn beside measured" in text
    for name in ("long axis", "short axis", "area", "taller-than-wide ratio"):
        assert f"lesion, {name}" in text


@shipped
@pytest.mark.parametrize("runtime", ["torch", pytest.param("auto", marks=pytest.mark.soak)])
def test_the_shipped_specialists_report_a_phantom(tmp_path: Path, home: Path, runtime: str) -> None:
    folder = tmp_path / "out"
    image = tmp_path / "phantom.png"
    image.write_bytes(png_bytes(draw("breast", seed=1, options=Options(lesion=Lesion.BENIGN))))
    command = [sys.executable, "-c", "from app.cli.main import main; main()", "analyze", str(image)]
    ended = finished(
        [*command, "--exam", "breast", "--json", "--out", str(folder)],
        env=os.environ | {"USTRI_DATA_DIR": str(home), "USTRI_RUNTIME": runtime},
    )
    assert ended.returncode in (0, 5), ended.stderr
    report = Report.model_validate(json.loads(ended.stdout))
    assert report.image.synthetic
    assert Report.model_validate_json((folder / "report.json").read_bytes()) == report
    assert {item.specialist for item in report.evidence} <= {
        entry.id for entry in read_manifest().installed()
    }


def test_the_demo_command_serves_until_it_is_interrupted(home: Path) -> None:
    command = [
        sys.executable,
        "-u",
        "-c",
        "from app.cli.main import main; main()",
        "demo",
        "--port",
        "0",
    ]
    settings = {"USTRI_DATA_DIR": str(home), "USTRI_DEVICE": "cpu", "USTRI_RUNTIME": "torch"}
    with started(
        command, env=os.environ | settings, stdout=PIPE, stderr=STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        lines: list[str] = []
        while not (lines and "Ctrl-C" in lines[-1]):
            line = running.stdout.readline()
            assert line, "".join(lines)
            lines.append(line)
        page = re.search(r"http://127\.0\.0\.1:\d+/analyses/[0-9a-f]{32}/view", "".join(lines))
        assert page is not None
        assert httpx.get(page[0]).status_code == 200
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
    assert any("Drawn beside measured" in line for line in lines)
