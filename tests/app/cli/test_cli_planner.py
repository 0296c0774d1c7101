"""`ustri train planner` and `ustri evaluate planner`, as they are typed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli.main import app
from app.cli.terminal import Exit


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("USTRI_DATA_DIR", str(tmp_path / "home"))


def ustri(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_folder_without_a_planner_is_not_judged(tmp_path: Path) -> None:
    answer = ustri("evaluate", "planner", "--data", tmp_path, "--planner", tmp_path)
    assert answer.exit_code == Exit.SETUP
    assert "planner.toml is missing" in " ".join(answer.stderr.split())


def test_data_without_a_known_exam_cannot_be_trained_on(tmp_path: Path) -> None:
    answer = ustri("train", "planner", "--data", tmp_path, "--out", tmp_path / "run")
    assert answer.exit_code == Exit.INPUT
    assert "exam_cls.csv cannot be read" in " ".join(answer.stderr.split())


def test_a_training_that_never_began_is_not_resumed(tmp_path: Path) -> None:
    words = ("--data", tmp_path, "--out", tmp_path / "run", "--resume")
    answer = ustri("train", "planner", *words)
    assert answer.exit_code == Exit.INPUT
    assert "There is no training to resume" in " ".join(answer.stderr.split())
