"""Prediction files are the challenge's, and their scores count what is missing as wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from sklearn.metrics import matthews_corrcoef

from specialists.engine import Engine
from specialists.errors import TrainingError
from specialists.load import load_engine
from specialists.manifest import Manifest, Metric
from specialists.runtime.feature_cache import FeatureCache
from specialists.training.evaluation.evaluate import score_task
from specialists.training.evaluation.metrics import mcc
from specialists.training.evaluation.predict import FILES, Predictions, answering, predict_folder
from tests.specialists.dataset import BIRTH, BREAST, read_csv, write_csv
from tests.specialists.nets import KINDS, a_manifest, an_entry, threshold

Rows = list[dict[str, object]]


@pytest.fixture
def engine(tiny: Manifest) -> Engine:
    return load_engine(answering(tiny), "cpu")


def read(out: Path, part: str) -> Rows:
    found: Rows = json.loads((out / FILES[part]).read_text(encoding="utf-8"))
    return found


def score(task: str, predictions: Path, data: Path, split: str | None = None) -> dict[str, Metric]:
    entry = a_manifest(data).specialist(task)
    found = score_task(entry, predictions, data, split)
    return {metric.name: metric for metric in found.metrics}


@pytest.fixture
def out(engine: Engine, data: Path, tmp_path: Path) -> Path:
    found = predict_folder(engine, data, tmp_path / "out")
    assert found.problems == []
    assert found.rows == found.predicted > 0
    return tmp_path / "out"


def test_every_row_of_every_kind_is_predicted_in_the_challenges_form(out: Path, data: Path) -> None:
    classes = read(out, "classification")
    assert [set(row) for row in classes] == [
        {"image_path", "task_id", "predicted_class", "predicted_probs"}
    ] * len(read_csv(data, "breast_2cls"))
    for row in classes:
        scores = np.array(row["predicted_probs"])
        assert (len(scores), scores.sum()) == (2, pytest.approx(1, abs=1e-12))
        assert row["predicted_class"] == scores.argmax()
    paths = [row["image_path"] for row in classes]
    assert paths == [row["image_path"] for row in read_csv(data, "breast_2cls")]
    boxes, points = read(out, "detection"), read(out, "regression")
    assert {(r["task_id"], len(r)) for r in boxes} == {
        ("breast_lesion_det", 6),  # it has learned absence, and says whether the box is there
        ("intrapartum_head_det", 4),
    }
    assert len(boxes) == BREAST + BIRTH
    assert len(points) == BIRTH
    for row in points:
        shares = np.array(row["predicted_points_normalized"], float).reshape(3, 2)
        pixels = np.array(row["predicted_points_pixels"], float).reshape(3, 2)
        assert pixels == pytest.approx(shares * [160, 128], abs=0.01)


def test_boxes_are_given_in_pixels_and_as_shares_of_the_image(out: Path, data: Path) -> None:
    sizes = {
        r["image_path"]: image_size(data, r["image_path"])
        for r in read_csv(data, "breast_lesion_det")
    }
    for row in read(out, "detection"):
        if row["task_id"] == "breast_lesion_det":
            size = np.tile(sizes[str(row["image_path"])], 2)
            shares = np.array(row["bbox_normalized"], float)
            assert np.array(row["bbox_pixels"], float) == pytest.approx(shares * size)


def image_size(data: Path, relative: str) -> tuple[int, int]:
    with PILImage.open(data / "csv_files" / relative) as image:
        return image.size


def test_masks_are_grey_label_maps_of_the_images_size(out: Path, data: Path) -> None:
    for task, classes in (("breast_lesion", 2), ("head_symphysis_multi", 3)):
        for row in read_csv(data, task):
            with PILImage.open(out / row["mask_path"].removeprefix("../")) as mask:
                assert (mask.format, mask.mode) == ("PNG", "L")
                assert mask.size == image_size(data, row["image_path"])
                assert np.asarray(mask).max() < classes


def test_labels_are_never_read(engine: Engine, data: Path, out: Path, tmp_path: Path) -> None:
    for task in KINDS.values():
        kept = {"image_path", "task_id"} | (
            {"mask_path"} if "mask_path" in read_csv(data, task)[0] else set()
        )
        write_csv(
            data, task, [{k: v for k, v in r.items() if k in kept} for r in read_csv(data, task)]
        )
    shutil.rmtree(data / "Segmentation" / "Two" / "drawn" / "MASKS")
    shutil.rmtree(data / "Segmentation" / "Three" / "drawn" / "MASKS")
    assert predict_folder(engine, data, tmp_path / "blind").problems == []
    for name in FILES.values():
        assert (tmp_path / "blind" / name).read_bytes() == (out / name).read_bytes()


def test_an_image_that_cannot_be_read_is_reported_and_counts_as_wrong(
    engine: Engine, data: Path, tmp_path: Path
) -> None:
    tasks = ("breast_2cls", "breast_lesion", "breast_lesion_det")
    lost, broken = (
        data / "csv_files" / read_csv(data, "breast_2cls")[i]["image_path"] for i in (0, 1)
    )
    lost.unlink()
    broken.write_bytes(broken.read_bytes()[:100])
    found = predict_folder(engine, data, tmp_path / "out", tasks=tasks)
    assert len(found.problems) == found.rows - found.predicted == 2 * len(tasks)
    assert all(lost.name in p or broken.name in p for p in found.problems)
    assert len(found.classification) == len(read_csv(data, "breast_2cls")) - 2
    metrics = score("breast_2cls", tmp_path / "out", data)
    assert metrics["accuracy"].n == len(read_csv(data, "breast_2cls"))
    write_perfect(data, tmp_path / "out", skip={str(lost.name), str(broken.name)})
    assert score("breast_2cls", tmp_path / "out", data)["accuracy"].value == pytest.approx(6 / 8)
    assert score("breast_lesion", tmp_path / "out", data)["dice lesion"].value == pytest.approx(
        6 / 8
    )
    assert score("breast_lesion_det", tmp_path / "out", data)["iou"].value == pytest.approx(6 / 8)


def test_a_folder_without_csv_is_an_error(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no CSV"):
        predict_folder(engine, tmp_path / "nothing", tmp_path / "out")


def one_csv_of(data: Path, *tasks: str) -> list[str]:
    """Put the rows of those tasks into one CSV of another name; return its image paths by row."""
    rows: Rows = [dict(row) for task in tasks for row in read_csv(data, task)]
    shutil.rmtree(data / "csv_files")
    columns = dict.fromkeys(column for row in rows for column in row)
    write_csv(data, "all_rows", [{**dict.fromkeys(columns, ""), **row} for row in rows])
    return [str(row["image_path"]) for row in rows]


def test_the_task_id_of_a_row_names_its_specialist_whatever_the_file_is_called(
    engine: Engine, data: Path, out: Path, tmp_path: Path
) -> None:
    one_csv_of(data, *KINDS.values())
    found = predict_folder(engine, data, tmp_path / "again")
    assert (found.problems, found.tasks) == ([], len(KINDS))
    written = {path.relative_to(out): path.read_bytes() for path in out.rglob("*.*")}
    assert written
    for name, content in written.items():
        if name.suffix == ".json":
            rows, again = json.loads(content), json.loads((tmp_path / "again" / name).read_bytes())
            assert sorted(rows, key=str) == sorted(again, key=str)
        else:
            assert (tmp_path / "again" / name).read_bytes() == content


def test_a_task_without_a_specialist_is_one_line_and_the_others_go_on(
    tiny: Manifest, data: Path, tmp_path: Path
) -> None:
    for task in ("unheard_of", "fetal_head"):
        write_csv(data, task, [{"image_path": "../x.png", "split": "val"}] * 3)
    (data / "csv_files" / "broken.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    entries = {**tiny.specialists, "fetal_head": an_entry("fetal_head", data)}
    manifest = answering(tiny.model_copy(update={"specialists": entries}))
    found = predict_folder(load_engine(manifest, "cpu"), data, tmp_path / "out")
    broken, uninstalled, unknown = found.problems
    assert "the header lacks the columns task_id, image_path" in broken
    assert "fetal_head is not installed. Its 3 rows were not predicted." in uninstalled
    assert "'unheard_of'. Its 3 rows were not predicted." in unknown
    assert (found.rows - found.predicted, found.tasks) == (6, len(KINDS))
    assert len(found.regression) == BIRTH


def test_a_task_that_is_asked_for_and_in_no_csv_is_a_line(
    engine: Engine, data: Path, tmp_path: Path
) -> None:
    found = predict_folder(engine, data, tmp_path, tasks=["breast_2cls", "liver"])
    assert found.problems == ["No row of a CSV names the task 'liver'."]
    assert found.predicted == len(read_csv(data, "breast_2cls"))


@pytest.mark.parametrize(
    ("path", "words"),
    [("", "no mask_path"), ("../../../a.png", "leads out"), ("/tmp/a.png", "leads out")],
)
def test_a_mask_is_never_written_outside_the_folder(
    engine: Engine, data: Path, tmp_path: Path, path: str, words: str
) -> None:
    rows: Rows = [dict(row) for row in read_csv(data, "breast_lesion")]
    rows[0]["mask_path"] = path
    write_csv(data, "breast_lesion", rows)
    found = predict_folder(engine, data, tmp_path / "out", tasks=["breast_lesion"])
    (problem,) = found.problems
    assert words in problem
    assert str(rows[0]["image_path"]) in problem


def test_all_tasks_of_an_image_share_its_pass(engine: Engine, data: Path, tmp_path: Path) -> None:
    engine.cache = FeatureCache(limit=1)
    predict_folder(engine, data, tmp_path)
    assert engine.cache.passes == BREAST + BIRTH


def test_only_the_split_that_is_asked_for_is_predicted(
    engine: Engine, data: Path, tmp_path: Path
) -> None:
    found = predict_folder(engine, data, tmp_path / "out", tasks=["breast_2cls"], split="val")
    expected = [r["image_path"] for r in read_csv(data, "breast_2cls") if r["split"] == "val"]
    assert [row["image_path"] for row in found.classification] == expected


def test_a_threshold_that_lets_a_report_decline_does_not_silence_a_prediction(
    tiny: Manifest, data: Path, tmp_path: Path
) -> None:
    strict = {"peak": threshold(0.99), "presence": threshold(0.999999)}
    entries = {
        name: entry.model_copy(update={"thresholds": {**entry.thresholds, **strict}})
        for name, entry in tiny.specialists.items()
    }
    manifest = tiny.model_copy(update={"specialists": entries})
    tasks = ["aop_landmarks", "breast_lesion_det"]
    found = predict_folder(load_engine(answering(manifest), "cpu"), data, tmp_path, tasks=tasks)
    assert all(None not in row["predicted_points_pixels"] for row in found.regression)  # type: ignore[operator]
    assert [row["present"] for row in found.detection] == [False] * BREAST  # an answer
    assert all(len(row["bbox_pixels"]) == 4 for row in found.detection)  # type: ignore[arg-type]


def write_perfect(data: Path, out: Path, skip: frozenset[str] | set[str] = frozenset()) -> None:
    """The labels of the folder as predictions, without the images named in `skip`."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    found = Predictions()
    for task in KINDS.values():
        for row in read_csv(data, task):
            if Path(row["image_path"]).name in skip and "Two" in row["image_path"]:
                continue
            common = {"image_path": row["image_path"], "task_id": task}
            if "mask_path" in row:
                target = out / row["mask_path"].removeprefix("../")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(data / "csv_files" / row["mask_path"], target)
            elif "mask" in row:
                probs = [float(row["mask"] == "0"), float(row["mask"] == "1")]
                found.classification.append({**common, "predicted_probs": probs})
            elif "x_min" in row:
                box = [float(row[k]) for k in ("x_min", "y_min", "x_max", "y_max") if row[k]]
                found.detection.append({**common, "bbox_pixels": box or None})
            else:
                marks = [json.loads(row[f"point_{n}_xy"] or "[0, 0]") for n in (1, 2, 3)]
                found.regression.append({**common, "predicted_points_pixels": sum(marks, [])})
    for part, name in FILES.items():
        (out / name).write_text(json.dumps(getattr(found, part)), encoding="utf-8")


@pytest.mark.parametrize("split", [None, "train"])
def test_perfect_predictions_score_perfectly(data: Path, tmp_path: Path, split: str | None) -> None:
    write_perfect(data, tmp_path / "out")
    best = {
        "dice lesion": 1.0,
        "dice pubic symphysis": 1.0,
        "dice fetal head": 1.0,
        **{
            f"{distance} {label}": 0.0
            for distance in ("hausdorff_px", "hd95_px")
            for label in ("lesion", "pubic symphysis", "fetal head")
        },
        "share of images without lesion left empty": 1.0,
        "dice lesion, empty masks too": 1.0,
        "hausdorff_px lesion, empty masks too": 0.0,
        "iou, 0 where none was said": 1.0,
        "share of images without it answered none": 1.0,
        "share of images with it answered none": 0.0,
        **dict.fromkeys(("auc", "f1", "mcc", "accuracy", "iou", "sensitivity"), 1.0),
        "mre_px": 0.0,
        **{
            f"aop {what} deg{source}": 0.0
            for what in ("error", "error, 95th percentile,", "bias")
            for source in ("", " (from masks, against the label mask)")
        },
    }
    drawn = "from masks, against aop_deg"  # of a raster, which is not the drawing itself
    seen: set[str] = set()
    for task in KINDS.values():
        for name, metric in score(task, tmp_path / "out", data, split).items():
            if drawn in name:
                assert abs(metric.value) < 4
                continue
            assert metric.value == pytest.approx(best[name], abs=0.01), (task, name)
            seen.add(name)
    assert seen == set(best)


def test_no_prediction_at_all_scores_nothing(data: Path, tmp_path: Path) -> None:
    names = {Path(row["image_path"]).name for row in read_csv(data, "breast_lesion")}
    write_perfect(data, tmp_path / "out", skip=names)
    assert score("breast_2cls", tmp_path / "out", data)["accuracy"].value == 0
    masks = score("breast_lesion", tmp_path / "out", data)
    assert masks["dice lesion"].value == 0
    assert masks["share of images without lesion left empty"].value == 0
    boxes = score("breast_lesion_det", tmp_path / "out", data)
    assert boxes["iou"].value == 0
    assert boxes["share of images without it answered none"].value == 0


def test_a_mask_of_another_size_counts_as_wrong(data: Path, tmp_path: Path) -> None:
    write_perfect(data, tmp_path / "out")
    row = read_csv(data, "head_symphysis_multi")[0]
    path = tmp_path / "out" / row["mask_path"].removeprefix("../")
    PILImage.fromarray(np.ones((20, 20), np.uint8)).save(path)
    value = score("head_symphysis_multi", tmp_path / "out", data)["dice fetal head"].value
    assert value == pytest.approx((BIRTH - 1) / BIRTH, abs=1e-3)


def test_a_landmark_that_was_not_given_counts_as_wrong(data: Path, tmp_path: Path) -> None:
    write_perfect(data, tmp_path / "out")
    path = tmp_path / "out" / FILES["regression"]
    rows = json.loads(path.read_text(encoding="utf-8"))
    labels = read_csv(data, "aop_landmarks")
    rows[1]["predicted_points_pixels"][:2] = [None, None]
    path.write_text(json.dumps(rows), encoding="utf-8")
    marks = [json.loads(r[f"point_{n}_xy"] or "[0, 0]") for n in (1, 2, 3) for r in labels]
    farthest = max(np.hypot(x, y) for x, y in marks)
    expected = pytest.approx(farthest / 3 / BIRTH, abs=0.01)
    assert score("aop_landmarks", tmp_path / "out", data)["mre_px"].value == expected


def test_an_image_without_any_marked_landmark_is_left_out(data: Path, tmp_path: Path) -> None:
    rows = read_csv(data, "aop_landmarks")
    rows[2].update(dict.fromkeys(("point_1_xy", "point_2_xy", "point_3_xy"), ""))
    write_csv(data, "aop_landmarks", [dict(row) for row in rows])
    write_perfect(data, tmp_path / "out")
    metric = score("aop_landmarks", tmp_path / "out", data)["mre_px"]
    assert (metric.value, metric.n) == (0, BIRTH - 1)


def test_a_split_without_rows_or_a_file_that_cannot_be_read_is_named(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="'test'"):
        score("breast_2cls", tmp_path, data, "test")
    for content in ("{", "{}"):
        (tmp_path / FILES["classification"]).write_text(content, encoding="utf-8")
        with pytest.raises(TrainingError, match=r"classification_predictions\.json"):
            score("breast_2cls", tmp_path, data)


def test_what_is_missing_or_cannot_be_read_is_counted_and_counts_as_wrong(
    data: Path, tmp_path: Path
) -> None:
    write_perfect(data, tmp_path / "out")
    answers = read(tmp_path / "out", "classification")
    for index, probs in enumerate(([1.0], [0.1, "x"], [None, 1.0], None, {"a": 1})):
        answers[index]["predicted_probs"] = probs
    del answers[5]["predicted_probs"]
    file = tmp_path / "out" / FILES["classification"]
    file.write_text(json.dumps([*answers[:-1], "not a record"]), encoding="utf-8")
    found = score_task(a_manifest(data).specialist("breast_2cls"), tmp_path / "out", data, None)
    assert (found.rows, found.missing) == (8, 7)
    assert {m.name: m.value for m in found.metrics}["accuracy"] == pytest.approx(1 / 8)
    for task in ("breast_lesion", "breast_lesion_det", "aop_landmarks"):
        rows = len(read_csv(data, task))
        entry = a_manifest(data).specialist(task)
        assert score_task(entry, tmp_path / "out", data, None).missing == 0
        assert score_task(entry, tmp_path / "none", data, None).missing == rows


def test_labels_without_groups_or_splits_are_scored_image_by_image(
    data: Path, tmp_path: Path
) -> None:
    write_perfect(data, tmp_path / "out")
    rows = read_csv(data, "breast_2cls")
    bare = [{k: v for k, v in row.items() if k not in ("group_id", "split")} for row in rows]
    write_csv(data, "breast_2cls", [dict(row) for row in bare])
    metric = score("breast_2cls", tmp_path / "out", data)["accuracy"]
    assert (metric.value, metric.n, metric.split) == (1.0, 8, "all")
    assert metric.low == 1.0  # eight images are eight groups


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_correlation_coefficient_is_that_of_the_books(classes: int) -> None:
    rng = np.random.default_rng(classes)
    for _ in range(20):
        scores, truth = rng.random((40, classes)), rng.integers(0, classes, 40)
        assert mcc(scores, truth) == pytest.approx(matthews_corrcoef(truth, scores.argmax(1)))
    assert mcc(np.eye(classes), np.zeros(classes, np.int64)) == 0  # one class alone
