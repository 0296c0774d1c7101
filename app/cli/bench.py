"""`ustri bench`: what an analysis costs, as ratios; `ustri precision`: what bf16 loses."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from app.bench.markdown import NO_CUDA, rows_of, write_pages
from app.bench.results import Document, read_document
from app.cli.terminal import DataDir, Exit, errors_as_exits, out, settings_with
from app.settings import Settings
from specialists.manifest import Manifest

BENCH_EXAMPLE = (
    "[bold]Examples[/]\n\nustri bench --json bench.json\n\n"
    "ustri bench --short\n\n"
    "ustri bench --from docs/performance.json --pages docs"
)
PRECISION_EXAMPLE = "[bold]Example[/]  ustri precision --data-root data --split val"

LOSS_MAX = 0.005
"""Largest relative difference of a metric with which bf16 may become the default."""


def bench(
    json: Annotated[Path | None, typer.Option(help="Where the figures go as JSON.")] = None,
    short: Annotated[bool, typer.Option("--short", help="Seconds instead of minutes.")] = False,
    pages: Annotated[
        Path | None,
        typer.Option(help="Folder whose performance.md and deployment.md get the figures."),
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option("--from", help="Figures of an earlier run; nothing is measured."),
    ] = None,
    postgresql: Annotated[
        str | None,
        typer.Option(help="Address of an empty database to measure over; rows are left in it."),
    ] = None,
    redis: Annotated[str | None, typer.Option(help="Address of a Redis beside it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Measure an analysis beside one network pass and a plain service of the same networks.

    Start the service, a worker and the plain service as processes on free ports, over a temporary
    folder. Run everything in turn, round by round, and print ratios: the median, and the range that
    holds the middle 80 % of the rounds. Runtime, precision and threads are those of the settings.
    """
    with errors_as_exits():
        if known is None:
            from app.bench.run import FULL, SHORT, measure
            from app.bench.throughput import Over

            over = Over(database_url=postgresql, redis_url=redis)
            found = measure(settings_with(data_dir), SHORT if short else FULL, over)
        else:
            found = read_document(known)
        _show(found)
        if json is not None:
            json.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
            out.print(f"Wrote {json}.", highlight=False, soft_wrap=True)
        if pages is not None:
            for path in write_pages(found, pages):
                out.print(f"Wrote {path}.", highlight=False, soft_wrap=True)


def _show(found: Document) -> None:
    table = Table("figure", "median", "low", "high", box=None, pad_edge=False)
    for name, one in rows_of(found):
        table.add_row(name, *(f"{value:.3f}" for value in (one.median, one.low, one.high)))
    out.print(f"{found.run.runtime}, {found.run.rounds} rounds, {found.run.seconds:.0f} s")
    out.print(table)
    for name, memory in found.memory_mb.items():
        out.print(f"Memory, {name}: {memory.resident:.0f} MB, at most {memory.peak:.0f} MB.")
    if found.images_over_ceiling is None:
        out.print(NO_CUDA)


def precision(
    data_root: Annotated[Path, typer.Option(help="csv_files/*.csv and what they name.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task; repeatable.")
    ] = None,
    heads: Annotated[
        bool,
        typer.Option("--heads", help="bf16 in decoders and heads only, over an fp32 backbone."),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Predict with fp32 and with bf16, and list metrics that differ by more than 0.5 %.

    A difference counts in either direction. Bias, which is near zero, is printed but not judged.
    With --heads, the specialists that lose nothing are listed with the hash of their weights, as
    `bf16_sha256` of the manifest needs it.
    """
    with errors_as_exits():
        settings = settings_with(data_dir)
        asked = _Asked(data_root=data_root, split=split, tasks=task)
        plain = _scored(settings, "fp32", asked)
        half = _scored(settings, "heads" if heads else "bf16", asked)
    if plain.runtime == half.runtime:
        out.print(
            f"{plain.runtime} has no bf16 of that kind on this machine: nothing was compared."
        )
        raise typer.Exit(Exit.SETUP)
    out.print(f"{plain.runtime} against {half.runtime}, {split}")
    table = Table("task", "metric", "fp32", "bf16", "difference", box=None, pad_edge=False)
    lost, losing = 0, set[str]()
    for (name, metric), value in plain.values.items():
        other = half.values[name, metric]
        share = abs(other - value) / max(abs(value), 1e-9)
        if "bias" not in metric and share > LOSS_MAX:
            lost += 1
            losing.add(name)
        table.add_row(name, metric, f"{value:.4f}", f"{other:.4f}", f"{100 * share:.2f} %")
    out.print(table)
    if heads:
        for name in sorted({name for name, _ in plain.values} - losing):
            sha256 = half.manifest.specialists[name].sha256
            out.print(f'{name}: bf16_sha256 = "{sha256}"', highlight=False, soft_wrap=True)
    if lost:
        where = f" for {', '.join(sorted(losing))}" if heads else ""
        out.print(
            f"{lost} metrics differ by more than {100 * LOSS_MAX} %: keep fp32{where}.",
            soft_wrap=True,
        )
        raise typer.Exit(Exit.INCOMPLETE)
    out.print(f"No metric differs by more than {100 * LOSS_MAX} %.")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The rows that are predicted and scored."""

    data_root: Path
    split: str
    tasks: list[str] | None


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """The metrics by task and name, with the runtime and the manifest they came from."""

    runtime: str
    manifest: Manifest
    values: dict[tuple[str, str], float]


def _scored(
    settings: Settings, precision: Literal["fp32", "heads", "bf16"], asked: _Asked
) -> _Scored:
    """Predict with that precision and the runtime of the settings, and return the metrics."""
    from specialists.load import load_engine
    from specialists.manifest import read_manifest
    from specialists.runtime.runner import RuntimeOptions
    from specialists.training.evaluation import scores
    from specialists.training.evaluation.predict import answering, predict_folder

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
    return _Scored(runtime=engine.runtime, manifest=manifest, values=values)
