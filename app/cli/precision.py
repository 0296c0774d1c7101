"""`ustri precision`: what bf16 and int8 lose and gain; `ustri train quantize`: makes int8."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.terminal import (
    BlackenText,
    DataDir,
    Exit,
    errors_as_exits,
    out,
    settings_with,
    text_blackened,
)
from app.cli.training import DataRoot, Threads, train
from app.settings import Settings
from specialists.manifest import Manifest

if TYPE_CHECKING:
    from specialists.engine import Engine
    from specialists.runtime.runner import Precision
    from specialists.training.evaluation.precisions import Figures

PRECISION_EXAMPLE = "[bold]Example[/]  ustri precision --data-root data --split val"


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
    images: Annotated[
        int | None, typer.Option(min=1, help="At most so many images of a task; else all.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Predict with fp32, bf16 and int8, side by side: what every figure loses, and the times.

    A loss of more than 0.5 % of a judged figure (Dice, IoU, AUC, distances of points, errors of
    measurements, images admitted) keeps an arithmetic from being the default; the other figures are
    shown. bf16 is compared where the processor has it, int8 where networks have such a form. With
    --heads, the specialists that lose nothing are listed with the hash of their weights, as
    `bf16_sha256` of the manifest needs it.
    """
    with errors_as_exits():
        settings = settings_with(data_dir)
        selection = _Selection(data_root=data_root, split=split, tasks=task, images=images)
        plain, *others = _compare(settings, selection, heads=heads)
    if not others:
        out.print(
            f"{plain.runtime} has neither bf16 of that kind nor int8 on this machine: "
            "nothing was compared."
        )
        raise typer.Exit(Exit.SETUP)
    out.print(f"{' against '.join(one.runtime for one in (plain, *others))}, {split}")
    out.print(_figures(plain, others), _times(plain, others))
    losing = {one.name: _losing(plain, one) for one in others}
    if heads and "bf16" in losing:
        for name in sorted({name for name, _ in plain.figures} - losing["bf16"].keys()):
            if name in plain.manifest.specialists:
                sha256 = plain.manifest.specialists[name].sha256
                out.print(f'{name}: bf16_sha256 = "{sha256}"', highlight=False, soft_wrap=True)
    for name, lost in losing.items():
        if lost:
            out.print(f"{name} loses for {', '.join(sorted(lost))}.", soft_wrap=True)
        else:
            out.print(f"{name} loses no more than 0.5 % of any judged figure.")
    if any(losing.values()):
        raise typer.Exit(Exit.INCOMPLETE)


@train.command(epilog="[bold]Example[/]  ustri train quantize --data data --out runs/one")
def quantize(
    data: DataRoot,
    folder: Annotated[
        Path,
        typer.Option("--out", help="Folder of trained weights, else a new one for those in use."),
    ],
    images: Annotated[
        int, typer.Option(min=1, help="Training images of each task that choose the scales.")
    ] = 24,
    judged: Annotated[
        int | None, typer.Option(min=1, help="Images of val of each task that judge; else all.")
    ] = None,
    threads: Threads = None,
    blacken_text: BlackenText = False,
) -> None:
    """Bring networks to int8 where no judged figure loses more than 0.5 % on val.

    First the backbone, which must hold for every specialist: the whole of it, else with its
    first layers, its transformer, both or its trunk in fp32. Then each decoder with its head.
    The networks are those in the folder, or else the installed ones; `ustri train ship` takes
    them from there.
    """
    with errors_as_exits(), text_blackened(blacken_text):
        from specialists.training.int8.quantize import Wish, networks_in, quantize

        wish = Wish(
            data=data,
            out=folder,
            images=images,
            judged=judged,
            threads=threads,
            say=lambda line: out.print(line, highlight=False, markup=False, soft_wrap=True),
        )
        kept = quantize(networks_in(folder, settings_with().specialists_dir), wish)
    names = ", ".join(entry.id for entry in kept) or "none"
    out.print(f"In int8: {names}. Wrote {folder}.", highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class _Selection:
    """Which rows are predicted and scored."""

    data_root: Path
    split: str
    tasks: list[str] | None
    images: int | None


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """One arithmetic: the figures by task and name, and each network's time in ms."""

    name: str
    runtime: str
    manifest: Manifest
    figures: "Figures"
    times_ms: dict[str, float]


def _compare(settings: Settings, selection: _Selection, *, heads: bool) -> list[_Scored]:
    """Predict in fp32 and in each other arithmetic that this machine and the networks have."""
    from specialists.manifest import read_manifest
    from specialists.training.evaluation import precisions

    manifest = read_manifest(settings.specialists_dir)
    engines = dict(_engines(settings, manifest, heads=heads))
    rows = precisions.judging(
        manifest, selection.data_root, selection.split, selection.tasks, most=selection.images
    )
    times = precisions.times_ms({name: one.runner for name, one in engines.items()}, manifest)
    return [
        _Scored(
            name=name,
            runtime=engine.runtime,
            manifest=manifest,
            figures=precisions.figures_of(engine, rows),
            times_ms={network: ms for (network, key), ms in times.items() if key == name},
        )
        for name, engine in engines.items()
    ]


def _engines(
    settings: Settings, manifest: Manifest, *, heads: bool
) -> Iterator[tuple[str, "Engine"]]:
    """Load the engine of each arithmetic, fp32 first, without those that run as fp32 here."""
    from specialists.load import load_engine
    from specialists.runtime.runner import RuntimeOptions

    wanted: dict[str, Precision] = {"fp32": "fp32", "bf16": "heads" if heads else "bf16"}
    plain = None
    for name, arithmetic in {**wanted, "int8": "int8"}.items():
        options = RuntimeOptions(
            runtime=settings.runtime,
            precision=arithmetic,
            threads=settings.threads,
            cache_dir=settings.cache_dir,
        )
        engine = load_engine(manifest, settings.device, options)
        plain = plain or engine
        if engine is plain or engine.runtime != plain.runtime:
            yield name, engine


def _losing(plain: _Scored, other: _Scored) -> dict[str, float]:
    from specialists.training.evaluation.precisions import losers

    return losers(plain.figures, other.figures)


def _figures(plain: _Scored, others: list[_Scored]) -> Table:
    from specialists.training.evaluation.precisions import judged, loss

    headings = [heading for one in others for heading in (one.name, "loss")]
    table = Table("task", "figure", "judged", "fp32", *headings, box=None, pad_edge=False)
    for (task, name), value in plain.figures.items():
        cells = []
        for one in others:
            after = one.figures.get((task, name))
            lost = "" if after is None else f"{100 * loss(name, value, after):.2f} %"
            cells += ["none" if after is None else f"{after:.4f}", lost]
        table.add_row(task, name, "yes" if judged(name) else "", f"{value:.4f}", *cells)
    return table


def _times(plain: _Scored, others: list[_Scored]) -> Table:
    headings = [f"ms in {one.name}" for one in (plain, *others)]
    table = Table("network", *headings, box=None, pad_edge=False)
    for network in plain.times_ms:
        table.add_row(network, *(f"{one.times_ms[network]:.1f}" for one in (plain, *others)))
    return table
