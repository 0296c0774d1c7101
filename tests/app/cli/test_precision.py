"""`ustri precision`: what bf16 and int8 lose, and which specialists may therefore run in them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import precision
from app.cli.main import app
from app.cli.terminal import Exit
from specialists.manifest import read_manifest

TASK, OTHER = "fetal_head", "breast_lesion"
PLAIN = {(TASK, "dice"): 0.9, (TASK, "bias_mm"): 0.01, (OTHER, "dice"): 0.8}
Figures = dict[tuple[str, str], float]


def ustri(monkeypatch: pytest.MonkeyPatch, others: dict[str, Figures], *words: str) -> Result:
    """The command, where the networks gave those figures in each other arithmetic."""

    def compared(_settings: object, _asked: object, *, heads: bool) -> list[precision._Scored]:
        return [
            precision._Scored(
                name=name,
                runtime=f"openvino-cpu-{name}",
                manifest=read_manifest(None),
                figures=PLAIN | figures,
                times_ms={"usgen": 10.0, TASK: 2.0},
            )
            for name, figures in {"fp32": {}, **others}.items()
        ]

    monkeypatch.setattr(precision, "_compare", compared)
    return CliRunner().invoke(app, ["precision", "--data-root", str(Path.cwd()), *words])


def test_a_loss_of_a_judged_figure_counts_beyond_half_a_percent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ustri(monkeypatch, {"bf16": {(TASK, "dice"): 0.9 * 0.994}, "int8": {}})
    assert result.exit_code == Exit.INCOMPLETE
    assert f"bf16 loses for {TASK}." in result.output
    assert "int8 loses no more than 0.5 % of any judged figure." in result.output


def test_a_gain_a_smaller_loss_and_any_change_of_a_bias_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in (0.9 * 0.996, 0.9 * 1.02):
        figures = {(TASK, "dice"): value, (TASK, "bias_mm"): 0.5}
        assert ustri(monkeypatch, {"int8": figures}).exit_code == Exit.OK


def test_figures_and_times_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ustri(monkeypatch, {"bf16": {(TASK, "dice"): 0.891}, "int8": {(TASK, "dice"): 0.882}})
    line = next(line for line in result.output.splitlines() if line.startswith(TASK))
    assert line.split()[-5:] == ["0.8910", "1.00", "%", "0.8820", "2.00", "%"][-5:]
    assert "ms in fp32" in result.output
    assert "ms in int8" in result.output


def test_heads_that_lose_nothing_are_named_by_their_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ustri(monkeypatch, {"bf16": {(TASK, "dice"): 0.8}}, "--heads")
    assert result.exit_code == Exit.INCOMPLETE
    sha256 = read_manifest(None).specialists[OTHER].sha256
    assert f'{OTHER}: bf16_sha256 = "{sha256}"' in result.output
    assert f"{TASK}: bf16_sha256" not in result.output
    assert f"bf16 loses for {TASK}." in result.output


def test_nothing_is_compared_where_the_machine_has_only_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = ustri(monkeypatch, {})
    assert result.exit_code == Exit.SETUP
    assert "nothing was compared" in result.output
