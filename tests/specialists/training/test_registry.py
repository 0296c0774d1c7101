"""A training writes its entries into a manifest and leaves every other line alone."""

import tomllib
from pathlib import Path

import pytest

from specialists.errors import TrainingError
from specialists.manifest import Metric, read_manifest
from specialists.training.registry import ship, write_entries
from specialists.training.transfer.requirement import informative
from tests.specialists.nets import a_model, threshold

TEXT = """# Mine, by hand.

[[model]]
id = "other"  # kept
family = "transunet"
config = { widths = [8, 8, 8, 8] }
input_px = 64
mean = 0.2
std = 0.2

# The specialists.
[[specialist]]
id = "breast_2cls"
kind = "classify"
title = "Written by hand"  # so is this
model = "other"
task_id = "breast_2cls"
exams = ["breast"]
labels = ["benign", "malignant"]
units = "probability"
provides = ["scores:malignancy"]
features = ["stem"]
roi = "none"
geometry = { hflip = true, vflip = false, rotate_deg = 0.0, x_scale = 1.0 }
not_installed = "untrained"

[[specialist]]
id = "kept"  # as it is
kind = "detect"
"""


def test_trained_keys_are_written_and_all_other_lines_kept(tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(TEXT, encoding="utf-8")
    trained = (
        read_manifest()
        .specialist("breast_2cls")
        .model_copy(
            update={
                "weights": "breast_2cls.safetensors",
                "sha256": "1" * 64,
                "backbone_sha256": "2" * 64,
                "temperature": 1.5,
                "thresholds": {"accept": threshold(0.25)},
                "metrics": (Metric(name="auc", value=0.9, low=0.8, high=1.0, n=9, split="val"),),
            }
        )
    )
    write_entries(path, [], [trained])
    text = path.read_text(encoding="utf-8")
    assert [line for line in TEXT.splitlines() if line not in text.splitlines()] == [
        'not_installed = "untrained"'
    ]
    document = tomllib.loads(text)
    written = document["specialist"][0]
    assert written["weights"] == "breast_2cls.safetensors"
    assert written["temperature"] == 1.5
    assert written["thresholds"]["accept"] == {"value": 0.25, "source": "this test"}
    assert written["metrics"][0]["high"] == 1.0
    assert document["specialist"][1] == {"id": "kept", "kind": "detect"}


def test_training_again_replaces_what_was_trained_before(tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    entry = read_manifest().specialist("breast_2cls")
    for sha256 in ("1" * 64, "2" * 64):
        update = {"weights": "w.safetensors", "sha256": sha256, "not_installed": None}
        write_entries(path, [a_model(tmp_path)], [entry.model_copy(update=update)])
    text = path.read_text(encoding="utf-8")
    assert text.count("breast_2cls") == 2  # id and task
    assert ("1" * 64 in text, "2" * 64 in text) == (False, True)


def test_a_new_file_is_a_manifest_that_reads_back_the_same(tmp_path: Path) -> None:
    shipped = read_manifest()
    entry = shipped.specialist("breast_2cls").model_copy(
        update={"weights": "w", "sha256": "1" * 64, "not_installed": None, "directory": tmp_path}
    )
    write_entries(tmp_path / "manifest.toml", [a_model(tmp_path)], [entry])
    found = read_manifest(tmp_path)
    assert found.specialist("breast_2cls") == entry
    assert found.models["tiny"] == a_model(tmp_path)


def test_what_was_never_trained_is_not_shipped(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="breast_2cls"):
        ship(tmp_path, ["breast_2cls"])


@pytest.mark.parametrize(("low", "installed"), [(0.51, True), (0.5, False), (0.12, False)])
def test_a_classifier_that_may_be_chance_is_not_installed_and_says_so(
    low: float, installed: bool, tmp_path: Path
) -> None:
    area = Metric(name="auc", value=0.6, low=low, high=0.7, n=31, split="val")
    update = {"weights": "w", "sha256": "1" * 64, "not_installed": None, "metrics": (area,)}
    trained = read_manifest().specialist("thyroid_tirads_2cls").model_copy(update=update)
    found = informative(trained)
    assert (found.not_installed is None, found.weights is not None) == (installed, installed)
    if installed:
        assert found == trained
    else:
        assert f"on 31 labelled images kept aside its AUC is 0.60 ({low:.2f} to 0.70)" in str(
            found.not_installed
        )
        assert found.metrics == ()
