"""From a user's CSV to a specialist that the service serves, by the command alone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from app.application import create_app
from app.cli.main import app
from app.cli.terminal import Exit
from app.settings import Settings
from specialists.checkpoints import half, save_tensors, sha256_of
from specialists.image import Image, image_of
from specialists.load import load_engine
from specialists.manifest import PACKAGE_MANIFEST, PACKAGE_WEIGHTS, read_manifest
from specialists.model import build_backbone
from specialists.phantom.draw import draw, png_bytes
from specialists.training.commands import BACKBONE
from specialists.training.registry import write_entries
from specialists.training.specialist import SpecialistConfig
from tests.app.conftest import client_of
from tests.specialists.dataset import write_dataset
from tests.specialists.nets import IN_FP32, a_model, train_specialist
from tests.specialists.own_dataset import TASKS, write_own_data

OTHERS = ["aop_landmarks", "breast_2cls", "breast_lesion", "breast_lesion_det"]
OPTIONS = ("--steps", "2", "--threads", "1", "--precision", "fp32")
NAMES = {
    "my_outline": "cyst",
    "my_classes": "plain,dark,bright",
    "my_box": "cyst",
    "my_points": "upper left,lower right",
}


class Home:
    """A data folder with a tiny backbone and other specialists, before and after training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.specialists = folder / "home" / "specialists"
        self.data = write_own_data(folder / "own")
        self.says: dict[str, Result] = {}
        _install_backbone(self.specialists)
        config = SpecialistConfig(
            seed=1,
            pack_px=80,
            warmup_steps=1,
            steps=2,
            batch=8,
            threads=1,
            compute=IN_FP32,
        )
        train_specialist(OTHERS, write_dataset(folder / "drawn"), self.specialists, config)
        self.before = self.state()

    def state(self) -> dict[str, object]:
        """Everything of the other specialists: files, entries, answers; and of the package."""
        manifest = read_manifest(self.specialists)
        engine = load_engine(manifest.only(OTHERS), "cpu")
        package = [PACKAGE_MANIFEST, *PACKAGE_WEIGHTS.iterdir()]
        files = [self.specialists / f"{name}.safetensors" for name in (*OTHERS, BACKBONE)]
        return {
            "files": {path.name: sha256_of(path) for path in (*files, *package)},
            "entries": {n: e for n, e in manifest.specialists.items() if n not in TASKS},
            "answers": {name: engine.run(name, _image()) for name in OTHERS},
        }

    def ustri(self, *words: object) -> Result:
        environment = {"USTRI_DATA_DIR": str(self.folder / "home"), "COLUMNS": "160"}
        return CliRunner().invoke(app, [str(word) for word in words], env=environment)


def _install_backbone(folder: Path) -> None:
    torch.manual_seed(0)
    model = a_model(folder, id=BACKBONE)
    digest = save_tensors(folder / "usgen.safetensors", half(build_backbone(model)), {})
    trained = model.model_copy(update={"weights": "usgen.safetensors", "sha256": digest})
    write_entries(folder / "manifest.toml", [trained], [])


def _image() -> Image:
    return image_of(draw("breast", seed=7, height_px=96, width_px=128).pixels)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The folder after all four tasks were trained by the command."""
    threads = torch.get_num_threads()
    made = Home(tmp_path_factory.mktemp("home"))
    for task, names in NAMES.items():
        words = ("train", "specialist", task, "--data", made.data, *OPTIONS, "--labels", names)
        made.says[task] = made.ustri(*words)
    yield made
    torch.set_num_threads(threads)


@pytest.mark.parametrize("task", TASKS)
def test_one_command_trains_calibrates_and_installs_a_task_of_any_kind(
    home: Home, task: str
) -> None:
    said = home.says[task]
    assert said.exit_code == Exit.OK, said.output
    assert "a fifth was set aside as val (whole groups" in said.stdout
    entry = read_manifest(home.specialists).specialist(task)
    assert entry.installed
    assert entry.metrics
    assert entry.sha256 == sha256_of(home.specialists / f"{task}.safetensors")
    card = json.loads((home.specialists / f"{task}.json").read_text(encoding="utf-8"))
    assert card["sha256"] == entry.sha256
    assert card["config"]["steps"] == 2
    assert f"ustri train specialist {task} --data own --labels" in card["command"]
    assert {source.name for source in entry.training_data} == {task}
    assert not any(source.licence_verified for source in entry.training_data)
    assert not (home.specialists / f"stage2-{task}").exists()


def test_no_other_specialist_is_changed_by_a_bit(home: Home) -> None:
    assert home.state() == home.before


async def test_the_service_lists_and_asks_each_of_them(home: Home) -> None:
    png = png_bytes(draw("breast", seed=7, height_px=96, width_px=128))
    async with client_of(create_app(Settings(data_dir=home.folder / "home"))) as client:
        listed = {entry["id"]: entry for entry in (await client.get("/specialists")).json()}
        for task, names in NAMES.items():
            assert listed[task]["installed"]
            assert listed[task]["exams"] == []
            answer = await client.post(f"/specialists/{task}", files={"image": png})
            assert answer.status_code == 200, answer.text
            result = answer.json()["result"]
            assert result["specialist"] == task
            assert result["kind"] == listed[task]["kind"]
            _check_names(result, names.split(","))
        report = await client.post("/analyze", files={"image": png}, data={"exam": "breast"})
        assert report.status_code == 200
        steps = {step["action"] for step in report.json()["steps"]}
        assert not steps & set(TASKS)  # no protocol reads them


def _check_names(result: dict[str, Any], names: list[str]) -> None:
    match result["kind"]:
        case "classify":
            assert list(result["scores"]) == names
            assert sum(result["scores"].values()) == pytest.approx(1, abs=1e-3)
        case "segment":
            assert result["labels"] == names
        case "regress":
            assert {p["name"] for p in result["points"]} | set(result["missing"]) == set(names)
        case "detect":
            assert 0 <= result["score"] <= 1


def test_predict_and_evaluate_know_them_and_agree_with_the_manifest(
    home: Home, tmp_path: Path
) -> None:
    roots = ("--data-root", home.data)
    answer = home.ustri("predict", *roots, "--out", tmp_path)
    assert answer.exit_code == Exit.OK, answer.output
    answer = home.ustri("evaluate", *roots, "--predictions", tmp_path, "--split", "val")
    assert answer.exit_code == Exit.OK, answer.output
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    manifest = read_manifest(home.specialists)
    for task in TASKS:
        assert scores[task]["missing"] == 0
        measured = {metric.name: metric.value for metric in manifest.specialist(task).metrics}
        found = {metric["name"]: metric["value"] for metric in scores[task]["metrics"]}
        assert found.items() <= measured.items()


def test_training_again_keeps_what_is_not_said_again_and_replaces_the_rest(home: Home) -> None:
    words = (
        "train",
        "specialist",
        "my_box",
        "--data",
        home.data,
        "--steps",
        "3",
        "--title",
        "Cyst",
    )
    manifest = read_manifest(home.specialists)
    answer = home.ustri(*words, "--seed", "5")
    assert answer.exit_code == Exit.OK, answer.output
    before, after = (
        manifest.specialist("my_box"),
        read_manifest(home.specialists).specialist("my_box"),
    )
    assert (after.title, after.labels) == ("Cyst", before.labels)
    assert after.sha256 != before.sha256
    text = (home.specialists / "manifest.toml").read_text(encoding="utf-8")
    assert len(re.findall(r'^id = "my_box"$', text, flags=re.MULTILINE)) == 1
    assert home.state() == home.before
    others = {name: manifest.specialist(name) for name in TASKS if name != "my_box"}
    assert {name: read_manifest(home.specialists).specialist(name) for name in others} == others


def test_a_table_that_cannot_be_trained_on_is_bad_input_and_changes_nothing(home: Home) -> None:
    path = home.data / "csv_files" / "my_other.csv"
    text = (home.data / "csv_files" / "my_box.csv").read_text(encoding="utf-8")
    path.write_text(
        text.replace("my_box", "my_other").replace("000.png", "none.png"), encoding="utf-8"
    )
    manifest = (home.specialists / "manifest.toml").read_bytes()
    answer = home.ustri("train", "specialist", "my_other", "--data", home.data)
    path.unlink()
    assert answer.exit_code == Exit.INPUT
    assert "my_other.csv, line 2: the image" in answer.stderr
    assert (home.specialists / "manifest.toml").read_bytes() == manifest
