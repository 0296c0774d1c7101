"""`--blacken-text` of `ustri train`, `predict` and `evaluate`, and `ustri evaluate text`."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from app.cli.terminal import Exit, text_blackened
from app.errors import ImageUnreadable, SettingsError
from app.images.burned_in.finder import Blackener
from specialists.errors import TrainingError
from specialists.manifest import read_manifest
from specialists.training.data.pack import build_pack
from specialists.training.data.readable import (
    blackening,
    read_grey,
    read_mask,
    reading_options,
)
from specialists.training.data.tables import read_samples
from tests.app.cli.test_cli_training import data, drawn, user_dir, ustri
from tests.app.images.test_burned_in_text import Pixels, phantom, written

__all__ = ["data", "drawn", "user_dir"]


@pytest.fixture
def screen(tmp_path: Path) -> Path:
    path = tmp_path / "screen.png"
    PIL.Image.fromarray(written(phantom(), "MARIA GONZALEZ", (40, 8), 16)[0]).save(path)
    return path


def test_images_are_taken_as_they_are_unless_told_and_masks_always(screen: Path) -> None:
    pixels, ink = written(phantom(), "MARIA GONZALEZ", (40, 8), 16)
    assert (read_grey(screen) == pixels).all()
    with text_blackened(True):
        assert not read_grey(screen)[ink].any()
        assert (read_mask(screen) == pixels).all()
        assert reading_options() == ["--blacken-text"]
    with text_blackened(False):
        assert (read_grey(screen) == pixels).all()
    assert reading_options() == []


def test_each_image_is_searched_once_however_often_it_is_read(screen: Path) -> None:
    searched = []

    def find(pixels: Pixels) -> tuple[tuple[int, int, int, int], ...]:
        searched.append(pixels.shape)
        return ((0, 0, 10, 10),)

    with blackening(Blackener(find)):
        first, second = read_grey(screen), read_grey(screen)
    assert (first == second).all()
    assert not first[:10, :10].any()
    assert searched == [(600, 800)]


def test_an_image_whose_search_is_given_up_is_named(screen: Path) -> None:
    def find(_: Pixels) -> tuple[tuple[int, int, int, int], ...]:
        raise ImageUnreadable("The search failed.")

    with (
        blackening(Blackener(find)),
        pytest.raises(TrainingError, match=r"screen.png cannot be read: The search failed."),
    ):
        read_grey(screen)


def test_a_training_packs_images_without_their_text_and_masks_as_they_are(data: Path) -> None:
    samples = read_samples(data, [read_manifest().specialists["breast_lesion"]], "train")
    plain = build_pack(samples, 64)
    with blackening(lambda pixels: np.zeros_like(pixels)):
        black = build_pack(samples, 64)
    assert plain.images.any()
    assert not black.images.any()
    for task, masks in plain.masks.items():
        for index, mask in masks.items():
            assert (black.masks[task][index] == mask).all()


def test_predictions_are_made_on_blackened_images_where_it_is_asked_for(
    data: Path, tmp_path: Path
) -> None:
    only = ("--data-root", data, "--task", "breast_2cls", "--split", "val")
    answer = ustri("predict", *only, "--out", tmp_path / "out", "--blacken-text")
    assert answer.exit_code == Exit.OK, answer.output
    answer = ustri("evaluate", "--predictions", tmp_path / "out", *only, "--blacken-text")
    assert answer.exit_code == Exit.OK, answer.output


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "--data-root", "d", "--out", "o"),
        ("evaluate", "--data-root", "d", "--predictions", "o"),
        ("train", "specialist", "breast_2cls", "--data", "d"),
        ("train", "generalist", "--data", "d", "--out", "o"),
        ("train", "calibrate", "breast_2cls", "--data", "d"),
        ("train", "novelty", "--data", "d", "--out", "o"),
    ],
    ids=" ".join,
)
def test_what_is_not_installed_is_named_before_anything_is_read(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    answer = ustri(*words, "--blacken-text")
    assert answer.exit_code == Exit.SETUP
    assert "pip install 'ustri[ocr]'" in answer.stderr


def test_nothing_is_read_without_text_where_its_finder_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SettingsError), text_blackened(True):
        pytest.fail("read all the same")


def test_what_blackening_takes_from_a_folder_is_counted_and_shown(
    screen: Path, tmp_path: Path
) -> None:
    folder, look, figures = tmp_path / "images", tmp_path / "look", tmp_path / "text.json"
    folder.mkdir()
    shutil.copyfile(screen, folder / "a.png")
    PIL.Image.fromarray(phantom()).save(folder / "b.png")
    answer = ustri("evaluate", "text", folder, "--look", look, "--json", figures)
    assert answer.exit_code == Exit.OK, answer.output
    [row] = json.loads(figures.read_text(encoding="utf-8"))
    assert (row["images"], row["touched"], row["places"]) == (2, 1, 1)
    assert 0 < row["share"] < 0.03
    assert [path.name for path in look.iterdir()] == ["a.png"]


def test_images_of_patients_are_not_shown_in_a_git_checkout(screen: Path, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    answer = ustri("evaluate", "text", tmp_path, "--look", tmp_path)
    assert answer.exit_code == Exit.INPUT
    assert "images of patients" in answer.stderr


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    answer = ustri("evaluate", "text", tmp_path / "none")
    assert answer.exit_code == Exit.INPUT
    assert "holds no PNG or JPEG file" in answer.stderr
