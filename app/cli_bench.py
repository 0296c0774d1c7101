"""`ustri bench`: what an analysis costs, as ratios; `ustri precision`: whether bf16 loses anything."""

import json as jsons
import os
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from app.settings import Settings
from app.terminal import DataDir, Exit, errors_as_exits, out, settings_with

BENCH_EXAMPLE = "[bold]Example[/]  ustri bench --json bench.json"
PRECISION_EXAMPLE = "[bold]Example[/]  ustri precision --data-root data --split val"

LOSS_MAX = 0.005
"""Largest relative difference of a metric with which bf16 may become the default."""


def bench(
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of every case.")] = 15,
    data_dir: DataDir = None,
) -> None:
    """Measure, in this process, what surrounds the one backbone pass of an analysis.

    Everything is done in turn, round by round, and printed as ratios: the median, and the range that holds
    the middle 80 % of the rounds. Runtime, precision and threads are those of the settings.
    """
    with errors_as_exits():
        from app.bench import Bench
        from app.worker import load_tools
        from specialists.engine import Engine

        tools = load_tools(settings_with(data_dir))
        if not isinstance(tools, Engine):
            raise TypeError("The settings gave no engine.")
        device = "cuda" if "cuda" in tools.runtime else "cpu"
        found = Bench(tools, device).measure(rounds)
    machine = {"cpu": _cpu(), "python": platform.python_version(), "system": platform.platform()}
    document = {"machine": machine, "in_process": asdict(found)}
    table = Table("figure", "median", "low", "high", box=None, pad_edge=False)
    rows = {
        **found.ratios,
        **{f"head {name} / backbone": one for name, one in found.heads_over_backbone.items()},
        "overhead_ms": found.overhead_ms,
        "backbone_ms (of this machine, now)": found.backbone_ms,
    }
    for name, one in rows.items():
        table.add_row(name, *(f"{value:.3f}" for value in (one.median, one.low, one.high)))
    out.print(f"{found.runtime}, {found.rounds} rounds, {', '.join(found.specialists)}")
    out.print(table)
    out.print(f"Memory: {found.memory_mb['resident']} MB, at most {found.memory_mb['peak']} MB.")
    if json is not None:
        json.write_text(jsons.dumps(document, indent=1) + "\n", encoding="utf-8")
        out.print(f"Wrote {json}.", highlight=False, soft_wrap=True)


def precision(
    data_root: Annotated[Path, typer.Option(help="csv_files/*.csv and what they name.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task; repeatable.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Predict with fp32 and with bf16, score both, and say which metrics differ by more than 0.5 %.

    A difference counts in either direction. Bias, which lies about zero, is printed and not judged.
    """
    with errors_as_exits():
        settings = settings_with(data_dir)
        asked = _Asked(data_root=data_root, split=split, tasks=task)
        plain = _scored(settings, "fp32", asked)
        half = _scored(settings, "bf16", asked)
    out.print(f"{plain.runtime} against {half.runtime}, {split}")
    table = Table("task", "metric", "fp32", "bf16", "difference", box=None, pad_edge=False)
    lost = 0
    for (name, metric), value in plain.values.items():
        other = half.values[name, metric]
        share = abs(other - value) / max(abs(value), 1e-9)
        lost += "bias" not in metric and share > LOSS_MAX
        table.add_row(name, metric, f"{value:.4f}", f"{other:.4f}", f"{100 * share:.2f} %")
    out.print(table)
    if lost:
        out.print(f"{lost} metrics differ by more than {100 * LOSS_MAX} %: keep fp32.")
        raise typer.Exit(Exit.INCOMPLETE)
    out.print(f"No metric differs by more than {100 * LOSS_MAX} %.")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Whose rows are predicted and scored."""

    data_root: Path
    split: str
    tasks: list[str] | None


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """The metrics by task and name, and what ran."""

    runtime: str
    values: dict[tuple[str, str], float]


def _scored(settings: Settings, precision: Literal["fp32", "bf16"], asked: _Asked) -> _Scored:
    """The metrics with that precision and the runtime of the settings."""
    from specialists.load import load_engine
    from specialists.manifest import read_manifest
    from specialists.runtime import RuntimeOptions
    from specialists.training import scores
    from specialists.training.predict import answering, predict_folder

    options = RuntimeOptions(
        runtime=settings.runtime,
        precision=precision,
        threads=settings.threads,
        cache_dir=settings.cache_dir,
    )
    manifest = read_manifest(settings.specialists_dir)
    engine = load_engine(answering(manifest), settings.device, options)
    rows = {"data_root": asked.data_root, "split": asked.split, "tasks": asked.tasks}
    with tempfile.TemporaryDirectory() as name:
        predict_folder(engine, asked.data_root, Path(name), tasks=asked.tasks, split=asked.split)
        found = scores.evaluate(manifest, scores.Asked(predictions=Path(name), **rows))  # type: ignore[arg-type]
    values = {
        (task, metric.name): metric.value
        for task, score in found.scores.items()
        for metric in score.metrics
    }
    return _Scored(runtime=engine.runtime, values=values)


def _cpu() -> str:
    """The name of this machine's CPU and how many of its cores are here."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} threads"
