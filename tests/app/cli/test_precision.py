"""`ustri precision`: which metrics bf16 changes, and which specialists may therefore run in it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import bench
from app.cli.main import app
from app.cli.terminal import Exit
from specialists.manifest import read_manifest

TASK, OTHER = "fetal_head", "breast_lesion"
PLAIN = {(TASK, "dice"): 0.9, (TASK, "bias_mm"): 0.01, (OTHER, "dice"): 0.8}


def ustri(
    monkeypatch: pytest.MonkeyPatch, half: dict[tuple[str, str], float], *words: str
) -> Result:
    """The command, where the networks gave those metrics in bf16."""

    def scored(_settings: object, precision: str, _asked: object) -> bench._Scored:
        values = PLAIN if precision == "fp32" else PLAIN | half
        return bench._Scored(runtime=precision, manifest=read_manifest(None), values=values)

    monkeypatch.setattr(bench, "_scored", scored)
    return CliRunner().invoke(app, ["precision", "--data-root", str(Path.cwd()), *words])


def test_a_difference_in_either_direction_counts_beyond_half_a_percent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in (0.9 * 1.006, 0.9 * 0.994):
        result = ustri(monkeypatch, {(TASK, "dice"): value})
        assert result.exit_code == Exit.INCOMPLETE
        assert "1 metrics differ by more than 0.5 %: keep fp32." in result.output


def test_a_smaller_difference_and_any_of_a_bias_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ustri(monkeypatch, {(TASK, "dice"): 0.9 * 1.004, (TASK, "bias_mm"): 0.5})
    assert result.exit_code == Exit.OK
    assert "No metric differs by more than 0.5 %." in result.output


def test_heads_that_lose_nothing_are_named_by_their_weights_and_the_others_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ustri(monkeypatch, {(TASK, "dice"): 0.8}, "--heads")
    assert result.exit_code == Exit.INCOMPLETE
    sha256 = read_manifest(None).specialists[OTHER].sha256
    assert f'{OTHER}: bf16_sha256 = "{sha256}"' in result.output
    assert f"{TASK}: bf16_sha256" not in result.output
    assert f"keep fp32 for {TASK}." in result.output


def test_nothing_is_compared_where_the_machine_has_no_bf16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scored(_settings: object, _precision: str, _asked: object) -> bench._Scored:
        return bench._Scored(runtime="fp32", manifest=read_manifest(None), values=PLAIN)

    monkeypatch.setattr(bench, "_scored", scored)
    result = CliRunner().invoke(app, ["precision", "--data-root", str(Path.cwd())])
    assert result.exit_code == Exit.SETUP
    assert "nothing was compared" in result.output
