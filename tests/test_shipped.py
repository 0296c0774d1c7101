"""The shipped weights do what the README says, on phantoms, foreign images and real ones.

The real ones are used where they are present.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as PILImage
from PIL import ImageDraw
from sklearn.datasets import load_sample_image

from app import standalone
from app.settings import Settings
from planner.case import Request
from reports.measure.geometry import box_iou
from reports.model import FindingState, Outcome
from specialists.engine import Engine
from specialists.image import image_of
from specialists.load import load_engine
from specialists.manifest import PACKAGE_WEIGHTS, read_manifest
from specialists.phantom.draw import Options, draw
from specialists.phantom.tissue import Lesion
from specialists.result import ClassifyResult, DetectResult, SegmentResult
from tests.shared_data import data_of, known_rows, needs_data

BREAST = {"exam_cls", "breast_lesion_det", "breast_lesion", "breast_2cls", "breast_3cls"}
FLOORS = {
    ("breast_lesion", "dice lesion"): 0.58,
    ("breast_2cls", "auc"): 0.78,
    ("breast_lesion_det", "iou"): 0.50,
    ("exam_cls", "accuracy with randomised aspect, crop and padding"): 0.95,
}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(read_manifest(), "cpu")


def noise() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (480, 640), dtype=np.uint8)


def screenshot() -> npt.NDArray[np.uint8]:
    page = PILImage.new("L", (800, 600), 245)
    pen = ImageDraw.Draw(page)
    for row in range(40):
        pen.text(
            (30, 12 + row * 14), f"{row}: the quick brown fox jumps over the lazy dog " * 2, fill=20
        )
    return np.asarray(page)


def photograph(name: str) -> npt.NDArray[np.uint8]:
    return np.asarray(PILImage.fromarray(load_sample_image(name)).convert("L"))


def blurred(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    small = PILImage.fromarray(pixels).resize((80, 60))
    return np.asarray(small.resize((640, 480)))


def blank() -> npt.NDArray[np.uint8]:
    return np.full((400, 600), 128, np.uint8)


FOREIGN: dict[str, Callable[[], npt.NDArray[np.uint8]]] = {
    "noise": noise,
    "screenshot": screenshot,
    "temple": lambda: photograph("china.jpg"),
    "blurred temple": lambda: blurred(photograph("china.jpg")),
    "blank": blank,
    "gradient": lambda: np.tile(np.linspace(0, 255, 640).astype(np.uint8), (480, 1)),
}


def test_the_breast_exam_and_the_router_are_installed(engine: Engine) -> None:
    assert {entry.id for entry in engine.manifest.installed()} >= BREAST


@pytest.mark.parametrize("name", FOREIGN)
def test_an_image_that_is_no_ultrasound_is_refused(
    engine: Engine, name: str, tmp_path: Path
) -> None:
    coded = io.BytesIO()
    PILImage.fromarray(FOREIGN[name]()).save(coded, "PNG")
    settings = Settings(data_dir=tmp_path, planner="rules")
    report = standalone.analyze(coded.getvalue(), Request(), settings, engine).report
    assert report.outcome is Outcome.REFUSED
    assert {finding.state for finding in report.findings} <= {FindingState.NOT_ASSESSED}
    assert not report.measurements


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_breast_is_routed_and_its_lesion_is_found_where_it_was_drawn(
    engine: Engine, seed: int
) -> None:
    phantom = draw("breast", seed=seed, options=Options(lesion=Lesion.BENIGN))
    image = image_of(phantom.pixels)
    exam = engine.run("exam_cls", image)
    assert isinstance(exam, ClassifyResult)
    assert max(exam.scores, key=lambda label: exam.scores[label]) == "breast"
    found = engine.run("breast_lesion_det", image)
    assert isinstance(found, DetectResult)
    assert found.box is not None
    (lesion,) = phantom.truth.structures
    assert box_iou(found.box, lesion.box) > 0.4
    outlined = engine.run("breast_lesion", image, found.box)
    assert isinstance(outlined, SegmentResult)
    assert outlined.components


@pytest.mark.parametrize(("specialist", "metric"), FLOORS)
def test_the_manifest_states_figures_above_the_floors(specialist: str, metric: str) -> None:
    entry = read_manifest().specialist(specialist)
    values = {found.name: found for found in entry.metrics}
    assert values[metric].value >= FLOORS[specialist, metric]
    assert values[metric].split == "val"


def test_every_shipped_file_has_a_card_with_its_hash_and_the_licences_of_its_data() -> None:
    manifest = read_manifest()
    for entry in manifest.installed():
        card = json.loads((PACKAGE_WEIGHTS / f"{entry.id}.json").read_text(encoding="utf-8"))
        assert card["sha256"] == entry.sha256
        named = {source.name for source in entry.training_data}
        assert named == {source["name"] for source in card["training_data"]}
        assert set(card.get("trained_on", named)) == named
        assert all(source["licence"] for source in card["training_data"])
        assert "cannot be separated" in card["note"]
    for model in manifest.models.values():
        card = json.loads((PACKAGE_WEIGHTS / f"{model.id}.json").read_text(encoding="utf-8"))
        assert card["sha256"] == model.sha256


def test_the_shipped_weights_stay_within_their_size() -> None:
    sizes = [path.stat().st_size for path in PACKAGE_WEIGHTS.glob("*.safetensors")]
    assert sizes
    assert max(sizes) <= 45 * 2**20
    assert sum(sizes) <= 80 * 2**20


@needs_data
@pytest.mark.parametrize("part", [4, pytest.param(1, marks=pytest.mark.soak)])
def test_the_stated_lesion_dice_is_found_again_on_real_val_images(
    tmp_path: Path, part: int
) -> None:
    """Of a quarter of the images the figure spreads twice as far as its interval says."""
    from specialists.training.evaluation.evaluate import score_task
    from specialists.training.evaluation.predict import answering, predict_folder

    entry = read_manifest().specialist("breast_lesion")
    rows = [row for row in known_rows(entry) if row["split"] == "val"][::part]
    data = data_of(tmp_path / "data", entry.task_id, rows)
    always = load_engine(answering(read_manifest()), "cpu")
    predict_folder(always, data, tmp_path / "out", tasks=[entry.task_id], split="val")
    found, *_ = score_task(entry, tmp_path / "out", data, "val").metrics
    stated = next(metric for metric in entry.metrics if metric.name == found.name)
    if part == 1:
        assert found.n == stated.n
        assert found.value == pytest.approx(stated.value, abs=0.02)
    else:
        assert stated.low is not None
        assert found.value == pytest.approx(stated.value, abs=3 * (stated.value - stated.low))
