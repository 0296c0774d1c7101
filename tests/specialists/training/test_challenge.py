"""`ustri predict` writes what the challenge's own evaluator reads, and scores as we do."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from specialists.engine import Engine
from specialists.load import load_engine
from specialists.manifest import Kind, Manifest
from specialists.training.evaluation.evaluate import score_task
from specialists.training.evaluation.predict import FILES, answering, predict_folder
from tests.processes import finished
from tests.specialists.dataset import BREAST, read_csv, write_csv
from tests.specialists.nets import KINDS, an_entry

THEIRS = {
    "breast_2cls": "fmc_breast_2cls",
    "breast_lesion": "fmc_breast_lesion",
    "head_symphysis_multi": "fmc_head_symphysis_multi",
    "aop_landmarks": "fmc_iugc",
}
"""The challenge's tasks that a drawn folder of ours has labels of."""
KEYS = {
    "classification": {"predicted_class", "predicted_probs"},
    "detection": {"bbox_normalized", "bbox_pixels"},
    "regression": {"predicted_points_normalized", "predicted_points_pixels"},
}
PRESENCE = {"present", "present_score"}


@pytest.fixture
def engine(tiny: Manifest, tmp_path: Path) -> Engine:
    """Our drawn tasks with weights, and those of the challenge without."""
    ids = [*THEIRS.values(), "fmc_cervix", "fmc_thyroid_nodule_det"]
    entries = {name: an_entry(name, tmp_path) for name in [*ids, "thyroid_nodule_det"]}
    listed = tiny.model_copy(update={"specialists": {**tiny.specialists, **entries}})
    return load_engine(answering(listed), "cpu")


@pytest.fixture
def folder(data: Path) -> Path:
    """The drawn folder as the challenge would name its tasks, two of which nobody answers."""
    for ours, theirs in THEIRS.items():
        rows = [dict(row) for row in read_csv(data, ours)]
        (data / "csv_files" / f"{ours}.csv").unlink()
        task = theirs.removeprefix("fmc_")
        task = task.upper() if task == "iugc" else task
        write_csv(data, task, [{**row, "task_id": task} for row in rows])
    for task in ("breast_lesion_det", "intrapartum_head_det"):
        (data / "csv_files" / f"{task}.csv").unlink()
    for task in ("cervix", "thyroid_nodule_det"):
        write_csv(data, task, [{"image_path": "../x.png", "split": "val"}] * 3)
    return data


def test_the_challenges_tasks_are_answered_by_stand_ins_and_the_others_named(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = predict_folder(engine, folder, out, namespace="fmc")
    cervix, thyroid = found.problems
    assert cervix == "The specialist fmc_cervix is not installed. Its 3 rows were not predicted."
    assert "fmc_thyroid_nodule_det is not installed, nor is thyroid_nodule_det, which" in thyroid
    assert (found.tasks, found.rows - found.predicted) == (len(THEIRS), 6)
    assert [line.split(", which")[0] for line in found.stand_ins] == [
        "IUGC: answered by aop_landmarks",
        "breast_2cls: answered by breast_2cls",
        "breast_lesion: answered by breast_lesion",
        "head_symphysis_multi: answered by head_symphysis_multi",
    ]
    assert "learnt from busi" in found.stand_ins[1]
    assert "benign, malignant come in this order is assumed" in found.stand_ins[1]
    assert {row["task_id"] for row in found.regression} == {"IUGC"}
    for row in read_csv(folder, "breast_lesion"):
        assert (out / row["mask_path"].removeprefix("../")).exists()


def test_a_stand_in_answers_as_it_does_under_its_own_name(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    theirs = predict_folder(engine, folder, tmp_path / "theirs", namespace="fmc")
    ours = predict_folder(engine, folder, tmp_path / "ours", tasks=["breast_2cls"])
    assert theirs.classification == ours.classification
    assert (len(ours.classification), ours.stand_ins) == (len(read_csv(folder, "breast_2cls")), [])


def test_predictions_of_stand_ins_are_scored_by_the_challenges_task(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    predict_folder(engine, folder, tmp_path / "out", namespace="fmc")
    entry = engine.manifest.specialist("fmc_head_symphysis_multi")
    score = score_task(entry, tmp_path / "out", folder, None)
    assert score.missing == 0
    assert {"dice class 1", "dice class 2"} <= {metric.name for metric in score.metrics}


@pytest.fixture
def out(engine: Engine, data: Path, tmp_path: Path) -> Path:
    found = predict_folder(engine, data, tmp_path / "out")
    assert found.problems == []
    return tmp_path / "out"


def records(out: Path) -> Iterator[tuple[str, dict[str, object]]]:
    for part, name in FILES.items():
        for row in json.loads((out / name).read_text(encoding="utf-8")):
            yield part, row


def test_every_record_has_the_keys_of_the_challenge_and_nothing_is_null(
    engine: Engine, out: Path
) -> None:
    for part, row in records(out):
        known = engine.manifest.specialist(str(row["task_id"])).absence_known
        expected = {"image_path", "task_id"} | KEYS[part] | (PRESENCE if known else set())
        assert row.keys() == expected
        assert None not in row.values()


def test_probabilities_are_one_per_class_in_order_and_sum_to_one(engine: Engine, out: Path) -> None:
    given = [row for part, row in records(out) if part == "classification"]
    assert given
    for row in given:
        labels = engine.manifest.specialist(str(row["task_id"])).labels
        shares = np.array(row["predicted_probs"])
        assert shares.shape == (len(labels),)
        assert shares.sum() == pytest.approx(1, abs=1e-12)
        assert any(round(share, 4) != share for share in shares)  # as they are, not rounded
        assert row["predicted_class"] == shares.argmax()


def test_boxes_and_points_are_numbers_in_the_image_and_shares_of_it(out: Path, data: Path) -> None:
    counts = {"bbox": 4, "predicted_points": 6}
    seen = set()
    for part, row in records(out):
        for name in counts.keys() & {key.removesuffix("_pixels") for key in KEYS[part]}:
            with PILImage.open(data / "csv_files" / str(row["image_path"])) as image:
                size = np.tile(image.size, counts[name] // 2)
            pixels, shares = (np.array(row[f"{name}_{unit}"]) for unit in ("pixels", "normalized"))
            assert pixels.shape == shares.shape == (counts[name],)
            assert pixels.dtype == float
            assert shares * size == pytest.approx(pixels, abs=1e-6)
            seen.add(name)
            if name == "bbox":
                assert (pixels >= 0).all()
                assert (pixels <= size).all()
                assert (pixels[2:] >= pixels[:2]).all()
    assert seen == counts.keys()


def test_a_detector_that_knows_absence_says_it_beside_its_best_box(out: Path) -> None:
    given = [row for _, row in records(out) if row["task_id"] == "breast_lesion_det"]
    assert len(given) == BREAST
    for row in given:
        assert isinstance(row["present"], bool)
        assert 0 <= float(str(row["present_score"])) <= 1


def test_masks_are_grey_label_maps_of_the_masks_size(engine: Engine, out: Path, data: Path) -> None:
    tasks = [e for e in engine.manifest.specialists.values() if e.kind is Kind.SEGMENT]
    shipped = [entry for entry in tasks if entry.installed]
    assert {entry.id for entry in shipped} == {KINDS["segment"], KINDS["segment many"]}
    for entry in shipped:
        for row in read_csv(data, entry.task_id):
            with PILImage.open(data / "csv_files" / row["mask_path"]) as truth:
                size = truth.size
            with PILImage.open(out / row["mask_path"].replace("../", "")) as mask:
                assert (mask.format, mask.mode, mask.size) == ("PNG", "L", size)
                assert np.asarray(mask).max() < len(entry.labels)


EVALUATOR, PYTHON = (os.environ.get(f"FMC_{name}") for name in ("EVALUATOR", "PYTHON"))
"""A checkout of the challenge's repository, and a Python that has what its evaluator imports."""
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from evaluate import Evaluator
json.dump(Evaluator(*sys.argv[2:4]).evaluate_all(), open(sys.argv[4], "w"))
"""
NAMES = {Kind.CLASSIFY: "classification", Kind.DETECT: "detection", Kind.REGRESS: "Regression"}


@pytest.mark.skipif(
    EVALUATOR is None,
    reason="FMC_EVALUATOR names no checkout of the challenge's repository, "
    "which is never kept here",
)
def test_the_challenges_own_evaluator_gives_our_figures_to_the_fourth_digit(
    engine: Engine, out: Path, data: Path, tmp_path: Path
) -> None:
    entries = [entry for entry in engine.manifest.specialists.values() if entry.installed]
    for entry in entries:
        rows: list[dict[str, object]] = [dict(row) for row in read_csv(data, entry.task_id)]
        if entry.kind is Kind.REGRESS:  # a landmark without a label is (0, 0) to the evaluator
            rows = [row for row in rows if row["point_3_xy"]]
        kind = {"task_name": NAMES.get(entry.kind, "segmentation"), "num_classes": len(entry.names)}
        write_csv(data, entry.task_id, [{**row, **kind} for row in rows])
    theirs = tmp_path / "theirs.json"
    words = [PYTHON or sys.executable, "-c", SCRIPT, EVALUATOR, data, out, theirs]
    finished([str(word) for word in words], check=True)
    given = {
        task: figures
        for found in json.loads(theirs.read_text(encoding="utf-8")).values()
        for task, figures in found.items()
    }
    for entry in entries:
        ours = {m.name: m.value for m in score_task(entry, out, data, None).metrics}
        figures = given[entry.task_id]
        expected = {"auc": "AUC", "f1": "F1_macro", "mcc": "MCC", "accuracy": "Accuracy"}
        pairs = {name: figures[key] for name, key in expected.items() if key in figures}
        pairs |= {
            name: figures[key]
            for name, key in (("iou", "IoU"), ("mre_px", "MRE"))
            if key in figures
        }
        for index, label in enumerate(entry.labels[1:], start=1):
            if entry.kind is Kind.SEGMENT:
                found = figures["per_class"][f"class_{index}"]
                tail = ", empty masks too" if f"dice {label}, empty masks too" in ours else ""
                pairs |= {
                    f"dice {label}{tail}": found["DSC"],
                    f"hausdorff_px {label}{tail}": found["HD"],
                }
        assert pairs
        for name, value in pairs.items():
            assert ours[name] == pytest.approx(value, abs=5.1e-5), (entry.id, name)
