"""The comparison of single-task networks, Stage I and Stage I + II, on drawn images."""

from pathlib import Path

import numpy as np
import pytest

from specialists.errors import TrainingError
from specialists.training.trials.arms import Judged, difference, estimate, statistics
from specialists.training.trials.comparison import BOTH, FIRST, SINGLE, Budget, compare
from tests.specialists.dataset import write_dataset
from tests.specialists.nets import a_manifest

TINY = Budget(images=48, side_px=64)
COMPARED = {"breast_lesion", "intrapartum_head_det", "aop_landmarks"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("compared"))


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparison")
    arms = compare(a_manifest(out), data, out, TINY)
    assert {(arm.task, arm.arm) for arm in arms} == {
        (task, arm) for task in COMPARED for arm in (SINGLE, FIRST, BOTH)
    }
    return out


def test_every_arm_of_a_task_is_judged_on_the_same_images(data: Path, done: Path) -> None:
    arms = compare(a_manifest(done), data, done, TINY)
    for task in COMPARED:
        groups = [arm.judged.groups for arm in arms if arm.task == task]
        assert len(groups) == 3
        assert groups[0]
        assert all(found == groups[0] for found in groups)


def test_what_is_finished_is_read_and_not_trained_again(data: Path, done: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.is_file()}
    first = compare(a_manifest(done), data, done, TINY)
    second = compare(a_manifest(done), data, done, TINY)
    assert first == second
    assert before == {p: p.stat().st_mtime_ns for p in done.rglob("*") if p.is_file()}


def test_the_last_quarter_of_stage_one_is_not_in_the_backbone_of_stage_two(
    data: Path, done: Path
) -> None:
    arms = compare(a_manifest(done), data, done, TINY)
    spent = {arm.arm: arm.cpu_s for arm in arms if arm.task == "breast_lesion"}
    assert (done / "stage1" / "kept" / "state.safetensors").exists()
    assert spent[BOTH] > 0
    assert spent[FIRST] > 0


def test_a_folder_of_another_budget_is_refused(data: Path, done: Path) -> None:
    with pytest.raises(TrainingError, match="another budget"):
        compare(a_manifest(done), data, done, Budget(images=64, side_px=64))


def test_data_without_a_compared_task_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="none of the compared tasks"):
        compare(a_manifest(tmp_path), tmp_path / "empty", tmp_path / "out", TINY)


def test_a_difference_is_paired_and_has_the_sign_of_the_better() -> None:
    groups = [f"g{i}" for i in range(20)]
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.9, 20)
    worse = Judged(kind="segment", groups=groups, values=[[v] for v in base], truth=[])
    better = Judged(kind="segment", groups=groups, values=[[v + 0.05] for v in base], truth=[])
    found = difference(better, worse, "Dice")
    assert found.value == pytest.approx(0.05)
    assert found.low == pytest.approx(0.05)
    plain = estimate(groups, statistics(worse)["Dice"])
    assert plain.low is not None
    assert plain.low < plain.value
