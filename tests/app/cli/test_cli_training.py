"""`ustri train`, `predict` and `evaluate`, as they are typed."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli.main import app
from app.cli.terminal import Exit
from specialists.checkpoints import sha256_of
from specialists.manifest import read_manifest
from specialists.training.evaluation.predict import FILES
from specialists.training.registry import write_entries
from tests.specialists.dataset import BREAST, read_csv, write_csv, write_dataset
from tests.specialists.nets import KINDS, installed

pytestmark = pytest.mark.usefixtures("user_dir")


@pytest.fixture
def user_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tiny specialists of every kind are installed."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("USTRI_DATA_DIR", str(tmp_path / "home"))
    folder = tmp_path / "home" / "specialists"
    manifest = installed(folder)
    write_entries(
        folder / "manifest.toml",
        list(manifest.models.values()),
        list(manifest.specialists.values()),
    )
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def data(drawn: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "data"))


def ustri(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return found


def test_all_rows_predicted_is_done_and_says_so(data: Path, tmp_path: Path) -> None:
    answer = ustri("predict", "--data-root", data, "--out", tmp_path / "out")
    assert answer.exit_code == Exit.OK, answer.output
    rows = sum(len(read_csv(data, task)) for task in KINDS.values())
    assert f"Predicted {rows} of {rows} rows, {len(KINDS)} tasks." in answer.stdout


def test_rows_without_a_prediction_are_named_and_counted_and_the_rest_is_done(
    data: Path, tmp_path: Path
) -> None:
    write_csv(data, "unheard_of", [{"image_path": "../x.png"}] * 4)
    (data / "csv_files" / read_csv(data, "breast_2cls")[0]["image_path"]).unlink()
    only = ("--task", "breast_2cls", "--task", "unheard_of")
    answer = ustri("predict", "--data-root", data, "--out", tmp_path / "out", *only)
    assert answer.exit_code == Exit.OK
    unknown, lost = [line for line in answer.stderr.splitlines() if line.startswith("ustri: ")]
    assert "breast_2cls: ../Segmentation" in lost
    assert "4 rows were not predicted" in unknown
    rows = len(read_csv(data, "breast_2cls"))
    assert f"Predicted {rows - 1} of {rows + 4} rows, 1 tasks." in answer.stdout
    assert "5 rows have no prediction and will count as wrong." in answer.stdout


def test_a_prediction_of_nothing_has_an_exit_code(data: Path, tmp_path: Path) -> None:
    write_csv(data, "unheard_of", [{"image_path": "../x.png"}] * 4)
    only = ("--task", "unheard_of")
    answer = ustri("predict", "--data-root", data, "--out", tmp_path / "out", *only)
    assert answer.exit_code == Exit.INCOMPLETE
    assert "Predicted 0 of 4 rows" in answer.stdout


def test_one_split_can_be_predicted_alone_and_scores_and_page_go_where_they_are_told(
    data: Path, tmp_path: Path
) -> None:
    only = ("--data-root", data, "--split", "val", "--task", "breast_2cls")
    ustri("predict", "--out", tmp_path / "out", *only)
    rows = [row for row in read_csv(data, "breast_2cls") if row["split"] == "val"]
    written = json.loads((tmp_path / "out" / FILES["classification"]).read_text(encoding="utf-8"))
    assert [row["image_path"] for row in written] == [row["image_path"] for row in rows]
    told = ("--json", tmp_path / "kept" / "one.json", "--html", tmp_path / "kept" / "one.html")
    answer = ustri("evaluate", "--predictions", tmp_path / "out", *only, *told)
    assert answer.exit_code == Exit.OK, answer.output
    assert not (tmp_path / "out" / "scores.json").exists()
    kept = json.loads((tmp_path / "kept" / "one.json").read_text(encoding="utf-8"))
    assert kept["breast_2cls"]["rows"] == len(rows)
    assert "images of patients" in (tmp_path / "kept" / "one.html").read_text(encoding="utf-8")


def test_a_page_of_patients_is_refused_inside_a_git_checkout(data: Path, tmp_path: Path) -> None:
    (tmp_path / "checkout" / ".git").mkdir(parents=True)
    page = tmp_path / "checkout" / "docs" / "page.html"
    words = ("--predictions", tmp_path, "--data-root", data, "--html", page)
    answer = ustri("evaluate", *words)
    assert answer.exit_code == Exit.INPUT
    assert "git checkout" in answer.stderr
    assert not page.exists()


def test_predictions_made_elsewhere_are_scored_task_by_task(data: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    rows = read_csv(data, "breast_2cls")
    answers = [
        {
            "image_path": row["image_path"],
            "task_id": "breast_2cls",
            "predicted_class": int(row["mask"]),
            "predicted_probs": [float(row["mask"] == "0"), float(row["mask"] == "1")],
        }
        for row in rows[1:]
    ]
    (elsewhere / FILES["classification"]).write_text(json.dumps(answers), encoding="utf-8")
    words = ("evaluate", "--predictions", elsewhere, "--data-root", data)
    table = ustri(*words)
    assert table.exit_code == Exit.OK, table.output
    assert "breast_2cls: 8 rows; 1 without a prediction count as wrong." in table.stdout
    assert re.search(r"breast_2cls +accuracy +0\.875", table.stdout)
    found = scores(elsewhere)
    assert list(found) == ["breast_2cls"]
    assert (found["breast_2cls"]["rows"], found["breast_2cls"]["missing"]) == (8, 1)
    assert {m["name"] for m in found["breast_2cls"]["metrics"]} >= {"accuracy", "auc"}
    assert ustri(*words, "--task", "breast_lesion").exit_code == Exit.OK
    named = scores(elsewhere)
    assert (named["breast_lesion"]["rows"], named["breast_lesion"]["missing"]) == (BREAST, BREAST)


def test_predictions_that_are_unreadable_throughout_are_still_scored(
    data: Path, tmp_path: Path
) -> None:
    path = read_csv(data, "breast_2cls")[0]["image_path"]
    answers = [{"image_path": path, "task_id": "breast_2cls", "predicted_probs": "many"}]
    (tmp_path / FILES["classification"]).write_text(json.dumps(answers), encoding="utf-8")
    ustri("evaluate", "--predictions", tmp_path, "--data-root", data)
    assert scores(tmp_path)["breast_2cls"]["missing"] == 8


@pytest.mark.parametrize("task", [(), ("--task", "nonsense")])
def test_nothing_to_score_is_bad_input(data: Path, tmp_path: Path, task: tuple[str, ...]) -> None:
    answer = ustri("evaluate", "--predictions", tmp_path / "none", "--data-root", data, *task)
    assert answer.exit_code == Exit.INPUT
    assert "no predictions" in answer.stderr or "'nonsense'" in answer.stderr


def test_what_predict_wrote_is_evaluated(data: Path, tmp_path: Path) -> None:
    ustri("predict", "--data-root", data, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "tasks.json").exists()
    ustri("evaluate", "--predictions", tmp_path / "out", "--data-root", data, "--split", "val")
    found = scores(tmp_path / "out")
    assert set(found) == set(KINDS.values())
    assert all(score["missing"] == 0 for score in found.values())


def test_a_task_that_is_in_no_manifest_and_has_no_csv_is_named(data: Path) -> None:
    answer = ustri("train", "specialist", "my_task", "--data", data)
    assert answer.exit_code == Exit.INPUT
    assert "my_task.csv cannot be read" in answer.stderr


def test_there_must_be_something_to_resume(data: Path, user_dir: Path) -> None:
    words = ("train", "specialist", "breast_2cls", "--data", data, "--out", user_dir)
    answer = ustri(*words, "--resume", "--steps", "1")
    assert answer.exit_code == Exit.INPUT
    assert "no training to resume" in answer.stderr


def test_trained_specialists_are_calibrated_anew_without_a_bit_of_their_weights_changed(
    data: Path, user_dir: Path, tmp_path: Path
) -> None:
    ids, out = ("breast_lesion", "breast_2cls"), tmp_path / "calibrated"
    card = {"command": "ustri train specialist", "config": {"seed": 5}, "metrics": []}
    (user_dir / "breast_2cls.json").write_text(json.dumps(card), encoding="utf-8")
    answer = ustri("train", "calibrate", *ids, "--data", data, "--out", out)
    assert answer.exit_code == Exit.OK, answer.output
    before, after = (
        {e["id"]: e for e in tomllib.loads((f / "manifest.toml").read_text())["specialist"]}
        for f in (user_dir, out)
    )
    assert set(after) == set(ids)
    for name in ids:
        assert (
            after[name]["sha256"]
            == before[name]["sha256"]
            == sha256_of(out / f"{name}.safetensors")
        )
        assert after[name]["metrics"]
    assert after["breast_lesion"]["thresholds"]["mask"]["source"] != "this test"
    lengths = after["breast_lesion"]["intervals"]
    assert {item["measurement"] for item in lengths} >= {"long axis", "area"}
    assert all("at least 9 are needed" in item["reason"] for item in lengths)
    written = json.loads((out / "breast_2cls.json").read_text(encoding="utf-8"))
    assert (written["command"], written["config"]) == (card["command"], card["config"])
    assert written["calibration"]["command"].startswith("ustri train calibrate breast_2cls")
    assert written["metrics"]


def test_what_has_no_weights_cannot_be_calibrated(data: Path) -> None:
    answer = ustri("train", "calibrate", "fmc_lung", "--data", data)
    assert answer.exit_code == Exit.INPUT
    assert "fmc_lung cannot be calibrated: it has no weights." in answer.stderr


def test_predictions_are_made_with_augmentation_where_it_is_asked_for(
    data: Path, tmp_path: Path
) -> None:
    only = ("--data-root", data, "--task", "breast_2cls")
    files = []
    for folder, option in (("plain", ()), ("first", ("--tta",))):
        assert ustri("predict", *only, "--out", tmp_path / folder, *option).exit_code == Exit.OK
        files.append((tmp_path / folder / FILES["classification"]).read_bytes())
    answer = ustri("evaluate", "--tta", "--predictions", tmp_path / "again", *only)
    assert answer.exit_code == Exit.OK, answer.output
    assert "Predicted 8 of 8 rows, 1 tasks." in answer.stdout
    assert scores(tmp_path / "again")["breast_2cls"]["missing"] == 0
    again = (tmp_path / "again" / FILES["classification"]).read_bytes()
    assert again == files[1] != files[0]
    answer = ustri("evaluate", "--tta", "--predictions", tmp_path / "again", *only)
    assert answer.exit_code == Exit.INPUT
    assert "is not empty" in answer.stderr


def test_what_augmentation_gains_and_costs_is_a_table(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "tta.json"
    answer = ustri("evaluate", "tta", "--data", data, "--json", kept)
    assert answer.exit_code == Exit.OK, answer.output
    trials = {t["task"]: t for t in json.loads(kept.read_text(encoding="utf-8"))["trials"]}
    assert trials.keys() == set(KINDS.values())
    assert trials["breast_2cls"]["views"] == 2 * trials["aop_landmarks"]["views"]
    assert "iou" in {gain["figure"] for gain in trials["intrapartum_head_det"]["gains"]}
    assert "breast_lesion_det" in answer.stdout
    only = ("--data", data, "--task", "liver")
    answer = ustri("evaluate", "tta", *only)
    assert answer.exit_code == Exit.INPUT
    assert "no rows to predict of liver" in answer.stderr


@pytest.mark.parametrize("experiment", ["gate", "calipers", "comparison", "tta", "predictions"])
def test_evaluate_lists_its_experiments_and_scores_files_by_default(experiment: str) -> None:
    shown = CliRunner().invoke(app, ["evaluate", "--help"])
    assert shown.exit_code == 0
    assert experiment in shown.output
    asked = CliRunner().invoke(app, ["evaluate", experiment, "--help"])
    assert asked.exit_code == 0


def test_heads_without_a_source_are_judged_on_it(
    data: Path, tmp_path: Path, user_dir: Path
) -> None:
    before = read_manifest(user_dir).specialist("breast_2cls")
    rows: list[dict[str, Any]] = [dict(row) for row in read_csv(data, "intrapartum_head_det")]
    for index, row in enumerate(rows):
        row |= {"dataset": f"set {index % 2}", "group_id": str(index)}
        row["split"] = "val" if index < 2 else "train"
    write_csv(data, "intrapartum_head_det", rows)
    words = ("evaluate", "transfer", "intrapartum_head_det", "--data", data, "--run", user_dir)
    out = tmp_path / "out"
    more = ("--out", out, "--steps", 1, "--threads", 1, "--without", "dataset=set 1", "--write")
    answer = ustri(*words, *more)
    assert answer.exit_code == Exit.OK, answer.output
    assert "the backbone has seen it" in answer.stdout
    (found,) = json.loads((out / "transfer.json").read_text(encoding="utf-8"))["results"]
    assert found["left_out"] == "dataset=set 1"
    assert found["tasks"]["intrapartum_head_det"]["rows"] == 3
    manifest = tomllib.loads((user_dir / "manifest.toml").read_text(encoding="utf-8"))
    written = {entry["id"]: entry.get("transfer") for entry in manifest["specialist"]}
    assert [item["name"] for item in written["intrapartum_head_det"]][:2] == ["iou", "sensitivity"]
    kept = [item.model_dump(exclude_defaults=True) for item in before.transfer]
    assert (written["breast_2cls"] or []) == kept
    refused = ustri(*words, "--out", out, "--without", "split=val")
    assert refused.exit_code == Exit.INPUT
    assert "is no source" in refused.stderr
