"""The experiments on what is installed: `ustri evaluate gate`, `transfer`, `tta` and more."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from app.cli.terminal import DataDir, err, errors_as_exits, out, settings_with

DataRoot = Annotated[
    Path, typer.Option("--data", help="A data root: csv_files/*.csv and what they name.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")]

DEFAULT = "predictions"
"""The command that `ustri evaluate` runs when none is named."""


class _Judging(TyperGroup):
    """A group that gives options without a command to the default one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, with the default command inserted where none is named."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


judge = typer.Typer(
    cls=_Judging,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Score prediction files (the default), or run an experiment on what is installed.",
)


@judge.command(epilog="[bold]Example[/]  ustri evaluate gate --data data --json gate.json")
def gate(
    data: DataRoot,
    dicom: Annotated[
        Path | None, typer.Option(help="A folder of further DICOM files to tell from known exams.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Keep the images' descriptions here for another run.")
    ] = None,
    to: Json = None,
    data_dir: DataDir = None,
) -> None:
    """Measure which images are taken for their exam, for another one or for none.

    Images of scanners and organs that were left out are measured too.
    """
    with errors_as_exits():
        from app.images.colour import colour_of
        from reports.model import Colour
        from specialists.manifest import read_manifest
        from specialists.training.commands import FOREIGN_VIEWS
        from specialists.training.trials.gate import gate_trial

        found = gate_trial(
            read_manifest(settings_with(data_dir).specialists_dir),
            data,
            FOREIGN_VIEWS,
            lambda rgb: colour_of(rgb) is Colour.COLOUR,
            dicom=dicom,
            cache=cache,
        )
        _write(to, [asdict(row) for row in found])
    table = Table(
        "pictures", "", "n", "its exam", "another", "none", "flagged", "if named", box=None
    )
    for row in found:
        table.add_row(
            row.kind,
            row.group,
            str(row.n),
            _interval(row.right),
            _interval(row.wrong),
            f"{row.refused:.3f}",
            f"{row.flagged:.3f}",
            f"{row.named:.3f}",
        )
    out.print(table)


@judge.command(epilog="[bold]Example[/]  ustri evaluate calipers --data data")
def calipers(data: DataRoot, to: Json = None, data_dir: DataDir = None) -> None:
    """Measure whether the breast classifiers rely on burnt-in marks.

    Images are scored as they are, with their marks removed, and with marks of other images drawn on
    them.
    """
    with errors_as_exits():
        from specialists.manifest import read_manifest
        from specialists.training.trials.calipers import caliper_trial

        manifest = read_manifest(settings_with(data_dir).specialists_dir)
        found = caliper_trial(manifest, data)
        _write(to, asdict(found))
    for name, (marked, count) in found.marked.items():
        out.print(f"{name}: marks found on {marked} of {count} val images.", highlight=False)
    table = Table("classifier", "change", "n", "figure", "value", "difference", box=None)
    for shift in found.shifts:
        for name, value in shift.figures.items():
            apart = _interval(shift.differences.get(name), sign=True)
            table.add_row(
                shift.specialist, shift.change, str(shift.n), name, _interval(value), apart
            )
    out.print(table)
    verdict = "an interval excludes no change" if found.leans else "no interval excludes no change"
    out.print(f"Verdict: {verdict}.", highlight=False)


@judge.command(epilog="[bold]Example[/]  ustri evaluate descriptors --data data")
def descriptors(data: DataRoot, to: Json = None, data_dir: DataDir = None) -> None:
    """Measure how computed descriptors of lesions and nodules relate to malignancy, by source.

    They are taken from the masks of train and val, so that no specialist is needed.
    """
    with errors_as_exits():
        from specialists.manifest import read_manifest
        from specialists.training.trials.descriptors import descriptor_trial

        found = descriptor_trial(read_manifest(settings_with(data_dir).specialists_dir), data)
        _write(to, [asdict(row) for row in found])
    table = Table("source", "descriptor", "n", "median or share, by class", "AUC", box=None)
    for row in found:
        middles = ", ".join(f"{label} {value:.2f}" for label, value in row.middles.items())
        table.add_row(row.source, row.descriptor, str(row.n), middles, _interval(row.auc))
    out.print(table)


@judge.command(epilog="[bold]Example[/]  ustri evaluate plausibility --data data")
def plausibility(data: DataRoot, to: Json = None, data_dir: DataDir = None) -> None:
    """Fit the ranges of plausible outlines on the train masks, and count the true ones flagged.

    The ranges in use stand in reports/measure/outlines/ranges.py; this changes none of them.
    """
    with errors_as_exits():
        from specialists.manifest import read_manifest
        from specialists.training.trials.plausibility import plausibility_trial

        found = plausibility_trial(read_manifest(settings_with(data_dir).specialists_dir), data)
        _write(to, [asdict(row) for row in found])
    ranges = Table("structure", "feature", "from", "to", box=None)
    flagged = Table("structure", "split", "outlines", "flagged", "by", box=None)
    for row in found:
        for name, (low, high) in row.spans.items():
            ranges.add_row(row.label, name, f"{low:.3f}", f"{high:.3f}")
        faults = ", ".join(f"{name} {count}" for name, count in row.faults.items())
        for split, count in row.outlines.items():
            flagged.add_row(row.label, split, str(count), str(row.flagged[split]), faults)
    out.print(ranges)
    out.print(flagged)


@judge.command(
    epilog="[bold]Example[/]  ustri evaluate comparison --data data --out runs/comparison"
)
def comparison(
    data: DataRoot,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the runs; goes on with them.")],
    images: Annotated[
        int, typer.Option(min=64, help="Images of a task that every arm sees.")
    ] = 4000,
    side: Annotated[int, typer.Option(min=64, help="Side of the networks' input, px.")] = 128,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training.")] = 1,
    to: Json = None,
) -> None:
    """Train single-task networks, Stage I alone and Stage I + II, and compare them on val.

    All three are trained on the same budget of images.
    """
    with errors_as_exits():
        from specialists.manifest import read_manifest
        from specialists.training.trials.arms import difference, estimate, statistics
        from specialists.training.trials.comparison import SINGLE, Budget, compare

        budget = Budget(images=images, side_px=side, threads=threads)
        arms = compare(read_manifest(), data, folder, budget)
        singles = {arm.task: arm for arm in arms if arm.arm == SINGLE}
        rows = []
        for arm in sorted(arms, key=lambda a: a.task):
            for name, statistic in statistics(arm.judged).items():
                value = estimate(arm.judged.groups, statistic)
                apart = None
                if arm.arm != SINGLE:
                    apart = difference(arm.judged, singles[arm.task].judged, name)
                rows.append((arm, name, value, apart))
        _write(
            to,
            [
                {
                    "task": arm.task,
                    "arm": arm.arm,
                    "figure": name,
                    "parameters": arm.parameters,
                    "cpu_s": arm.cpu_s,
                    "value": asdict(value),
                    "against_single_task": None if apart is None else asdict(apart),
                }
                for arm, name, value, apart in rows
            ],
        )
    columns = ("task", "arm", "figure", "value", "against single task", "M parameters", "CPU s")
    table = Table(*columns, box=None)
    for arm, name, value, apart in rows:
        numbers = (f"{arm.parameters / 1e6:.2f}", f"{arm.cpu_s:.0f}")
        apart_text = _interval(apart, sign=True)
        table.add_row(arm.task, arm.arm, name, _interval(value), apart_text, *numbers)
    out.print(table)


@judge.command(
    epilog="[bold]Examples[/]\n\n"
    "ustri evaluate transfer breast_lesion breast_2cls --data data --out runs/transfer\n\n"
    "ustri evaluate transfer breast_2cls --data data --run runs/one --without dataset=busi "
    "--out runs/transfer --write\n\n"
    "ustri evaluate transfer lung_2cls --data data --run runs/one --by source "
    "--out runs/lung --write"
)
def transfer(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Trained together.")],
    data: DataRoot,
    folder: Annotated[
        Path,
        typer.Option("--out", help="Folder of the results; goes on with what lies there."),
    ],
    run: Annotated[
        Path | None, typer.Option(help="Backbone and manifest of this folder; else the shipped.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="dataset=NAME or device=NAME; repeatable. Else each in turn."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="`source`: leave the values of that column out in parts.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the training.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the figures into the manifest, for the cards.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(help="With --write: the manifest of this folder; else that of --run."),
    ] = None,
) -> None:
    """Train heads on the frozen backbone without a source, and judge them on all of that source.

    All specialists of a source left out are trained in one run; `ustri train calibrate --left-out`
    reads the results. The backbone itself has seen the source, unless `ustri train generalist
    --without` made it.
    """
    with errors_as_exits():
        from specialists.training.specialist import SpecialistConfig
        from specialists.training.transfer import results
        from specialists.training.transfer import trial as trial_of
        from specialists.training.transfer.sources import Source

        config = SpecialistConfig()
        config = replace(config, steps=steps or config.steps, threads=threads or config.threads)
        trial = trial_of.prepare(run, ids, (data, folder), config, by)
        target = results.Target(trial=trial, folder=into or run) if write else None
        sources = [Source.parse(text) for text in without or ()]
        done = results.carry_out(trial, sources, target)
    out.print(done.text, highlight=False, markup=False, soft_wrap=True)
    for sentence in done.barred:
        out.print(f"Not installed: {sentence}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"Wrote {folder}.", highlight=False, soft_wrap=True)


@judge.command(epilog="[bold]Example[/]  ustri evaluate tta --data data --task breast_lesion")
def tta(
    data: DataRoot,
    split: Annotated[str, typer.Option(help="Whose rows are predicted.")] = "val",
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task; repeatable.")
    ] = None,
    to: Json = None,
    data_dir: DataDir = None,
) -> None:
    """Measure what test-time augmentation gains and costs for each task.

    Rows are predicted with and without it.
    """
    with errors_as_exits():
        from specialists.manifest import read_manifest
        from specialists.training.trials.tta import tta_trial

        manifest = read_manifest(settings_with(data_dir).specialists_dir)
        found = tta_trial(manifest, data, split, task)
        _write(to, asdict(found))
    for problem in found.problems:
        err.print(f"ustri: {problem}", markup=False, highlight=False, soft_wrap=True)
    columns = ("task", "figure", "n", "plain", "with it", "difference", "views", "CPU ms an image")
    table = Table(*columns, box=None)
    for trial in found.trials:
        cost = (str(trial.views), f"{trial.plain_cpu_ms:.0f} → {trial.augmented_cpu_ms:.0f}")
        for gain in trial.gains:
            apart = f"{gain.augmented - gain.plain:+.3f}"
            if gain.low is not None and gain.high is not None:
                apart += f" ({gain.low:+.3f} to {gain.high:+.3f})"
            values = (f"{gain.plain:.3f}", f"{gain.augmented:.3f}", apart)
            table.add_row(trial.task, gain.figure, str(gain.n), *values, *cost)
    out.print(table)


def _interval(found: Any, *, sign: bool = False) -> str:
    """Format a figure with its interval, where there is one."""
    if found is None:
        return ""
    form: Callable[[float], str] = (lambda x: f"{x:+.3f}") if sign else (lambda x: f"{x:.3f}")
    if found.low is None:
        return form(found.value)
    return f"{form(found.value)} ({form(found.low)} to {form(found.high)})"


def _write(path: Path | None, figures: object) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1), encoding="utf-8")
