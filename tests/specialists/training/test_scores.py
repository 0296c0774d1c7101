"""An evaluation has figures per task and data set and names what it could not read.

It is kept as JSON.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from specialists.manifest import Metric
from specialists.training.data.tables import rows_by_task
from specialists.training.evaluation.evaluate import score_rows, share_columns
from specialists.training.evaluation.predict import FILES
from specialists.training.evaluation.scores import (
    Evaluation,
    EvaluationOptions,
    evaluate,
    write_scores,
)
from tests.specialists.dataset import read_csv, write_csv
from tests.specialists.ellipses import HEADS, ellipse_mask, head, perimeter, write_heads
from tests.specialists.nets import a_manifest

TASKS = ("fetal_head", "fetal_head_axes", "muscle_thickness", "exam_cls", "breast_2cls")


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return write_heads(tmp_path / "heads")


def scored(data: Path, predictions: Path, *tasks: str) -> Evaluation:
    options = EvaluationOptions(predictions=predictions, data_root=data, tasks=list(tasks) or None)
    return evaluate(a_manifest(data, TASKS), options)


def write_masks(data: Path, out: Path, grown: float) -> None:
    """Every head's mask as its ellipse with both semi-axes longer by `grown` px."""
    for index, row in enumerate(read_csv(data, "fetal_head")):
        long, short, deg = head(index)
        path = out / row["mask_path"].removeprefix("../")
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(ellipse_mask(long + grown, short + grown, deg)).save(path)


def write_points(data: Path, out: Path, moved: float) -> list[dict[str, object]]:
    """Every axis end moved to the right, as a prediction file."""
    records: list[dict[str, object]] = []
    for row in read_csv(data, "fetal_head_axes"):
        points = np.array([json.loads(row[f"point_{n}_xy"]) for n in (1, 2, 3, 4)])
        points[:, 0] += moved
        records.append(
            {
                "image_path": row["image_path"],
                "task_id": "fetal_head_axes",
                "predicted_points_pixels": points.ravel().tolist(),
            }
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / FILES["regression"]).write_text(json.dumps(records), encoding="utf-8")
    return records


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def test_each_data_set_has_its_own_figures_and_all_have_intervals(
    heads: Path, tmp_path: Path
) -> None:
    write_masks(heads, tmp_path / "out", grown=2.0)
    score = scored(heads, tmp_path / "out").scores["fetal_head"]
    assert list(score.by_dataset) == ["far", "near"]
    name = "hc error mm (against hc_mm)"
    found = {key: by_name(metrics)[name] for key, metrics in score.by_dataset.items()}
    for key, heads_of, mm in (("near", range(10), 0.5), ("far", range(10, 20), 1.25)):
        axes = [head(n)[:2] for n in heads_of]
        grown = [perimeter(long + 2, short + 2) - perimeter(long, short) for long, short in axes]
        expected = np.mean(grown) * mm
        assert found[key].value == pytest.approx(expected, rel=0.05)
        assert found[key].n == 10
    whole = by_name(score.metrics)[name]
    assert whole.n == HEADS
    assert whole.value == pytest.approx(np.mean([m.value for m in found.values()]), abs=1e-3)
    assert all(m.low is not None and m.low <= m.value <= (m.high or 0) for m in found.values())


def test_radial_errors_are_in_px_and_where_the_spacing_is_known_in_mm(
    heads: Path, tmp_path: Path
) -> None:
    write_points(heads, tmp_path / "out", moved=4.0)
    found = by_name(scored(heads, tmp_path / "out").scores["fetal_head_axes"].metrics)
    assert found["mre_px"].value == pytest.approx(4)
    assert found["mre_mm"].value == pytest.approx(4 * (0.5 + 1.25) / 2)
    assert found["ofd error mm"].value == pytest.approx(0, abs=1e-3)


def test_every_record_mask_and_image_that_cannot_be_read_is_named(
    heads: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_masks(heads, out, grown=0)
    rows = read_csv(heads, "fetal_head")
    masks = [out / row["mask_path"].removeprefix("../") for row in rows]
    masks[0].unlink()
    masks[1].write_bytes(b"no image")
    PILImage.new("L", (7, 7)).save(masks[2])
    (heads / "csv_files" / rows[3]["image_path"]).unlink()
    (heads / "csv_files" / rows[0]["image_path"]).write_bytes(b"no image either")
    records: list[object] = [*write_points(heads, out, moved=0)]
    for index, value in ((4, [1.0]), (5, "many"), (6, None)):
        records[index]["predicted_points_pixels"] = value  # type: ignore[index]
    del records[7]["predicted_points_pixels"]  # type: ignore[attr-defined]
    del records[8]["image_path"]  # type: ignore[attr-defined]
    records += [records[9], "not a record"]
    (out / FILES["regression"]).write_text(json.dumps(records), encoding="utf-8")
    found = scored(heads, out).scores
    lost, broken, small, gone = found["fetal_head"].problems
    assert f"{rows[0]['image_path']}: there is no mask; the image is missing or unread" in lost
    assert f"{rows[1]['image_path']}: the mask cannot be read" in broken
    assert "7×7 (height × width) where the label is 120×160" in small
    assert gone == f"{rows[3]['image_path']}: the image is missing or unreadable"
    assert found["fetal_head"].missing == 3
    assert by_name(found["fetal_head"].metrics)["dice head"].value == pytest.approx(17 / 20)
    points = found["fetal_head_axes"]
    assert points.missing == 5
    for number, why in (
        (4, "8 numbers"),
        (5, "cannot be used"),
        (6, "8 numbers"),
        (7, "no predicted_"),
    ):
        path = rows[number]["image_path"]
        assert any(line.startswith(path) and why in line for line in points.problems)
    rest = " ".join(points.problems[-3:])
    assert "Record 8 names no image_path" in rest
    assert f"{rows[9]['image_path']} is predicted more than once" in rest
    assert "Record 21 of regression_predictions.json is none" in rest


def test_the_json_holds_tasks_data_sets_intervals_and_problems(heads: Path, tmp_path: Path) -> None:
    write_masks(heads, tmp_path / "out", grown=0)
    path = write_scores(scored(heads, tmp_path / "out"), tmp_path / "kept" / "all.json")
    kept = json.loads(path.read_text(encoding="utf-8"))["fetal_head"]
    assert (kept["rows"], kept["missing"], kept["problems"]) == (HEADS, 0, [])
    assert set(kept["datasets"]) == {"near", "far"}
    dice, *_ = kept["metrics"]
    assert (dice["name"], dice["value"], dice["low"], dice["high"]) == ("dice head", 1, 1, 1)
    assert write_scores(scored(heads, tmp_path / "out"), None) == tmp_path / "out" / "scores.json"


def test_what_one_csv_states_of_an_image_holds_for_the_others(heads: Path) -> None:
    rows = [dict(row) for row in read_csv(heads, "fetal_head_axes")]
    for row in rows:
        row["mm_per_px"] = ""
    write_csv(heads, "fetal_head_axes", [dict(row) for row in rows])
    found, _ = rows_by_task(heads, ("image_path",))
    share_columns(found)
    assert [float(str(row["mm_per_px"])) for row in found["fetal_head_axes"]] == [0.5] * 10 + [
        1.25
    ] * 10
    hc = [row["hc_mm"] for row in found["fetal_head_axes"]]
    assert hc == [row["hc_mm"] for row in found["fetal_head"]]


def test_a_data_set_of_one_class_has_an_accuracy_and_no_area(tmp_path: Path) -> None:
    rows = [
        {"image_path": f"{n}.png", "dataset": "one" if n < 9 else "both", "mask": int(n > 14)}
        for n in range(20)
    ]
    write_csv(tmp_path, "breast_2cls", [dict(row) for row in rows])
    records = [
        {
            "image_path": row["image_path"],
            "task_id": "breast_2cls",
            "predicted_probs": [0.8, 0.2] if row["mask"] == 0 else [0.3, 0.7],
        }
        for row in rows
    ]
    (tmp_path / FILES["classification"]).write_text(json.dumps(records), encoding="utf-8")
    score = scored(tmp_path, tmp_path).scores["breast_2cls"]
    assert [m.name for m in score.by_dataset["one"]] == ["accuracy"]
    assert [m.name for m in score.by_dataset["both"]] == ["auc", "f1", "mcc", "accuracy"]
    assert {m.value for m in score.metrics} == {1.0}


def test_the_observers_differences_stand_beside_the_error_at_source_scale(tmp_path: Path) -> None:
    PILImage.new("L", (50, 100)).save(tmp_path / "muscle.png")
    row: dict[str, object] = {
        "image_path": "../muscle.png",
        "point_1_xy": "[5, 20]",
        "point_2_xy": "[5, 62]",
        "source_height": 300,
        "thickness_px_obs1": 40,
        "thickness_px_obs2": 44,
        "thickness_px_obs3": "",
    }
    write_csv(tmp_path, "muscle_thickness", [row])
    record = {
        "image_path": "../muscle.png",
        "task_id": "muscle_thickness",
        "predicted_points_pixels": [5, 20, 5, 65],
    }
    (tmp_path / FILES["regression"]).write_text(json.dumps([record]), encoding="utf-8")
    found, _ = rows_by_task(tmp_path, ("image_path",))
    entry = a_manifest(tmp_path, TASKS).specialist("muscle_thickness")
    score = score_rows(entry, found["muscle_thickness"], tmp_path, tmp_path)
    values = {m.name: m.value for m in score.metrics}
    assert values["thickness error px (at source scale)"] == 9
    assert values["difference between two observers px (at source scale)"] == 12
    assert all(m.low is None for m in score.metrics)  # one group is no sample
