"""The bench measures an analysis against one pass, and prints ratios with their spread."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from app.bench import TimedRunner, ratio_of
from app.cli import app
from specialists.backbones.transunet import Features
from specialists.manifest import read_manifest
from specialists.model import Output

RATIOS = {
    "analysis_over_backbone",
    "repeat_over_backbone",
    "shared_over_unshared",
    "runtime_over_torch",
    "tta_cost",
}


def test_a_spread_is_the_median_and_the_middle_of_the_rounds() -> None:
    found = ratio_of([float(value) for value in range(11)])
    assert (found.median, found.low, found.high) == (5.0, 1.0, 9.0)


class Counting:
    """A runner whose networks answer nothing of use."""

    name = "counting"

    def backbone(self, model_id: str, pixels: torch.Tensor) -> Features:
        return {"vit": pixels}

    def head(
        self,
        specialist_id: str,
        features: Features,
        field: torch.Tensor,
        roi: torch.Tensor | None,
    ) -> Output:
        return field


def test_time_in_networks_is_added_up_until_it_is_taken() -> None:
    timed = TimedRunner(Counting())
    ones = torch.ones(1)
    assert timed.take_s() == 0.0
    assert timed.backbone("m", ones)["vit"] is ones
    first = timed.take_s()
    timed.backbone("m", ones)
    timed.head("s", {}, ones, None)
    assert first > 0.0
    assert timed.take_s() > 0.0
    assert timed.take_s() == 0.0
    assert timed.name == "counting"


def test_the_command_writes_every_ratio_with_its_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"breast_lesion_det", "breast_lesion", "breast_2cls"}
    if not ids <= {entry.id for entry in read_manifest().installed()}:
        pytest.skip("the three specialists are not shipped")
    monkeypatch.setenv("USTRI_RUNTIME", "torch")
    target = tmp_path / "bench.json"
    command = ["bench", "--rounds", "3", "--json", str(target), "--data-dir", str(tmp_path / "d")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(target.read_text(encoding="utf-8"))["in_process"]
    assert set(found["ratios"]) == RATIOS
    assert ids <= set(found["specialists"])
    for ratio in [*found["ratios"].values(), *found["heads_over_backbone"].values()]:
        assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
