"""The command line of training and evaluation: `ustri train`, `evaluate`, `predict`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from app.cli.terminal import (
    BlackenText,
    DataDir,
    Exit,
    err,
    errors_as_exits,
    out,
    settings_with,
    text_blackened,
)
from specialists.manifest import MeasuredInterval, Metric

if TYPE_CHECKING:
    from specialists.training.evaluation.evaluate import Score
    from specialists.training.evaluation.predict import Predictions
    from specialists.training.evaluation.scores import EvaluationOptions

train = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train the backbone (Stage I) or one specialist on it (Stage II), and install the result.",
)

DataRoot = Annotated[
    Path, typer.Option("--data", help="A data root: csv_files/*.csv and what they name.")
]

Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Steps of the optimiser; else by the number of images of a new task."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the CPU; else one per core.")]
Arithmetic = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(
        "--precision",
        help="Of the passes; auto asks the device, and times a step on a CPU with bf16.",
    ),
]
Labels = Annotated[
    str | None, typer.Option(help="New task: names of classes or points, by commas.")
]
Flip = Annotated[
    bool | None,
    typer.Option("--flip/--no-flip", help="New task: whether mirrored images are still right."),
]
RotateDeg = Annotated[
    float | None, typer.Option(min=0, max=180, help="New task: largest turn in training.")
]


@train.command(epilog="[bold]Example[/]  ustri train generalist --data data --out runs/one")
def generalist(
    data: DataRoot,
    folder: Annotated[Path, typer.Option("--out", help="Folder of checkpoints and weights.")],
    config: Annotated[
        Path | None, typer.Option(help="TOML (`compute.precision` too); else the shipped one.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A data set, or device=NAME, that it must not see; repeatable."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    blacken_text: BlackenText = False,
) -> None:
    """Train one backbone over every task whose CSV is there (Stage I)."""
    with errors_as_exits(), text_blackened(blacken_text):
        from specialists.training import commands

        unseen = [name if "=" in name else f"dataset={name}" for name in without or ()]
        written = commands.train_generalist(data, folder, config, unseen, resume=resume)
    out.print(f"Wrote {written}.", highlight=False)


@train.command(
    epilog="[bold]Examples[/]\n\nustri train specialist breast_lesion breast_2cls --data data\n\n"
    'ustri train specialist thyroid --data mine --title "Thyroid nodule" --labels background,nodule'
)
def specialist(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="See `ustri specialists`.")],
    data: DataRoot,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the weights; else where USTri uses them."),
    ] = None,
    steps: Steps = None,
    seed: Annotated[int, typer.Option(min=0, help="All randomness follows from it.")] = 0,
    threads: Threads = None,
    precision: Arithmetic = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was cut short.")] = False,
    title: Annotated[str | None, typer.Option(help="New task: what people call it.")] = None,
    labels: Labels = None,
    flip: Flip = None,
    rotate_deg: RotateDeg = None,
    source: Annotated[str | None, typer.Option(help="New task: where the images are from.")] = None,
    licence: Annotated[str | None, typer.Option(help="New task: licence of the images.")] = None,
    blacken_text: BlackenText = False,
) -> None:
    """Train specialists on the frozen backbone and calibrate them (Stage II).

    An ID that `ustri specialists` does not list is a new task of your own: its CSV says what kind
    it is, and the options "New task" say more. See docs/your-own-data.md.
    """
    with errors_as_exits(), text_blackened(blacken_text):
        from specialists.training import commands
        from specialists.training.new_task import Declared
        from specialists.training.precision import ComputeOptions, Precision
        from specialists.training.specialist import SpecialistConfig

        folder = folder or settings_with().specialists_dir
        declared = Declared(
            title=title,
            labels=None if labels is None else tuple(name.strip() for name in labels.split(",")),
            hflip=flip,
            rotate_deg=rotate_deg,
            source=source,
            licence=licence,
        )
        prepared = commands.prepare(ids, data, folder, declared)
        for note in prepared.notes:
            out.print(note, highlight=False, markup=False, soft_wrap=True)
        options = ComputeOptions(precision=Precision(precision), device=settings_with().device)
        config = SpecialistConfig(seed=seed, compute=options)
        config = replace(config, steps=steps or prepared.steps or config.steps)
        config = replace(config, threads=threads or config.threads)
        trained = commands.train_prepared(prepared, data, folder, config, resume=resume)
    table = _figures_table({entry.id: list(entry.metrics) for entry in trained})
    out.print(table, f"\nWrote {folder}.", highlight=False)


@train.command(epilog="[bold]Example[/]  ustri train calibrate breast_lesion --data data")
def calibrate(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Trained specialists.")],
    data: DataRoot,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the result; else where USTri uses specialists."),
    ] = None,
    left_out: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of `ustri evaluate transfer`, whose sources it keeps to too."),
    ] = None,
    blacken_text: BlackenText = False,
) -> None:
    """Calibrate trained specialists anew on val: thresholds, temperature, intervals, label sets."""
    with errors_as_exits(), text_blackened(blacken_text):
        from specialists.training import commands

        user_dir = settings_with().specialists_dir
        folder = folder or user_dir
        done = commands.calibrate_specialists(ids, data, folder, user_dir, left_out=left_out or ())
    out.print(_figures_table({entry.id: list(entry.metrics) for entry in done}))
    if any(entry.intervals for entry in done):
        out.print(_intervals_table({entry.id: entry.intervals for entry in done}))
    out.print(f"\nWrote {folder}.", highlight=False)


@train.command(epilog="[bold]Example[/]  ustri train novelty --data data --out runs/one")
def novelty(
    data: DataRoot,
    folder: Annotated[Path, typer.Option("--out", help="Folder of a Stage I run, else a new one.")],
    blacken_text: BlackenText = False,
) -> None:
    """Fit a backbone's novelty statistics and quality limits anew; nothing is trained."""
    with errors_as_exits(), text_blackened(blacken_text):
        from specialists.training import commands

        fitted = commands.train_novelty(data, folder)
    for name, limit in fitted.thresholds.items():
        out.print(f"{name} {limit.value:g}: {limit.source}.", highlight=False, soft_wrap=True)
    out.print(f"Wrote {folder}.", highlight=False)


@train.command(epilog="[bold]Example[/]  ustri train ship breast_lesion --from runs/one")
def ship(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="What to ship.")],
    source: Annotated[Path, typer.Option("--from", help="The folder that training wrote.")],
) -> None:
    """Copy trained specialists into the package; for those who release it."""
    with errors_as_exits():
        from specialists.training import commands

        for path in commands.ship(ids, source):
            out.print(f"Wrote {path}.", highlight=False)


Namespace = Annotated[str | None, typer.Option(help="`fmc` for the challenge's own tasks.")]
Tasks = Annotated[list[str] | None, typer.Option("--task", help="Only this task; repeatable.")]

Split = Annotated[str | None, typer.Option(help="train, val or test; else all rows.")]

First = Annotated[
    bool, typer.Option("--tta", help="First predict into that folder, as `predict --tta`.")
]
MOST_LINES = 20
"""Problems of one task that are printed; the JSON holds them all."""

EVALUATE_EXAMPLE = (
    "[bold]Examples[/]\n\nustri evaluate --predictions out --data-root data --split val\n\n"
    "ustri evaluate --predictions out --data-root data --html ~/evaluation.html\n\n"
    "ustri evaluate --tta --predictions new --data-root data --split val\n\n"
    "ustri evaluate --predictions out --data-root data --task breast_lesion && jq . out/scores.json"
)
PREDICT_EXAMPLE = (
    "[bold]Examples[/]\n\nustri predict --data-root data --out predictions --split val\n\n"
    "ustri predict --data-root fmc/val --namespace fmc --out submission --tta"
)


def evaluate(
    predictions: Annotated[Path, typer.Option(help="A folder of FMC-UIA prediction files.")],
    data_root: Annotated[Path, typer.Option(help="csv_files/*.csv and what they name.")],
    split: Split = None,
    namespace: Namespace = None,
    task: Tasks = None,
    json: Annotated[
        Path | None, typer.Option(help="Where the scores go; else scores.json beside them.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Also a page of plots and the worst images; outside any git checkout."),
    ] = None,
    tta: First = False,
    worst: Annotated[int, typer.Option(min=0, help="Images of each task on that page.")] = 12,
    blacken_text: BlackenText = False,
    data_dir: DataDir = None,
) -> None:
    """Score prediction files as the FMC-UIA challenge does, and by clinical figures.

    What is missing or cannot be read is named and counts as wrong. A task is scored when there is
    any prediction of it, or when --task names it. Each figure has its 95 % interval; where rows
    come from several data sets, each data set has its own figures too. The page shows patients:
    keep it to yourself.
    """
    with errors_as_exits(), text_blackened(blacken_text):
        from specialists.manifest import read_manifest
        from specialists.training.evaluation import scores

        if html is not None:
            from specialists.training.evaluation import page

            page.check_outside_git(html)
        folders = {"predictions": predictions, "data_root": data_root}
        options = scores.EvaluationOptions(**folders, split=split, namespace=namespace, tasks=task)
        user_dir = settings_with(data_dir).specialists_dir
        if tta:
            _predict_for(options, user_dir)
        found = scores.evaluate(read_manifest(user_dir), options)
        written = [scores.write_scores(found, json)]
        if html is not None:
            page.write_page(found, html, worst=worst)
            written.append(html)
    _say(found.problems)
    for name, score in found.scores.items():
        _say([f"{name}: {problem}" for problem in score.problems[:MOST_LINES]])
        if len(score.problems) > MOST_LINES:
            _say([f"{name}: and {len(score.problems) - MOST_LINES} more, all in {written[0]}."])
    out.print(_figures_table(_by_dataset(found.scores)))
    for name, score in found.scores.items():
        wrong = f"; {score.missing} without a prediction count as wrong" if score.missing else ""
        out.print(f"{name}: {score.rows} rows{wrong}.", highlight=False)
    for path in written:
        out.print(f"Wrote {path}.", highlight=False, soft_wrap=True)


def predict(
    data_root: Annotated[Path, typer.Option(help="csv_files/*.csv and the images they name.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the prediction files.")],
    namespace: Namespace = None,
    task: Tasks = None,
    split: Split = None,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Average over mirrored and smaller views, where allowed."),
    ] = False,
    blacken_text: BlackenText = False,
    data_dir: DataDir = None,
) -> None:
    """Predict every CSV row with the specialist that its task_id names, into FMC-UIA files.

    Rows whose image is missing or unreadable, and tasks without a specialist, are named and
    counted. The others are predicted, and the command fails only when none could be. With
    --namespace fmc, our specialists answer those tasks of the challenge that they stand in for.
    """
    with errors_as_exits(), text_blackened(blacken_text):
        from specialists.training import commands
        from specialists.training.evaluation.predict import predict_folder

        tools = commands.predictor(settings_with(data_dir).specialists_dir, tta=tta)
        chosen = {"namespace": namespace, "split": split}
        done = predict_folder(tools, data_root, folder, tasks=task, **chosen)
    _say_predicted(done, folder)


def _predict_for(options: "EvaluationOptions", user_dir: Path | None) -> None:
    """Write the predictions that are to be scored, with test-time augmentation.

    Raises:
        TrainingError: the folder already holds files.
    """
    from specialists.errors import TrainingError
    from specialists.training import commands
    from specialists.training.evaluation.predict import predict_folder

    folder = options.predictions
    if folder.exists() and any(folder.iterdir()):
        raise TrainingError(f"{folder} is not empty. With --tta it is written: name a new folder.")
    done = predict_folder(
        commands.predictor(user_dir, tta=True),
        options.data_root,
        folder,
        namespace=options.namespace,
        tasks=options.tasks,
        split=options.split,
    )
    _say_predicted(done, folder)


def _say_predicted(done: "Predictions", folder: Path) -> None:
    """Print what was predicted, and exit with an error where nothing was."""
    _say(done.problems)
    for line in done.stand_ins:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    counted = f"{done.predicted} of {done.rows} rows, {done.tasks} tasks"
    out.print(f"Predicted {counted}. Wrote {folder}.", highlight=False, soft_wrap=True)
    if done.predicted < done.rows:
        lost = done.rows - done.predicted
        out.print(f"{lost} rows have no prediction and will count as wrong.", highlight=False)
    if not done.predicted:
        raise typer.Exit(Exit.INCOMPLETE)


def _by_dataset(scores: Mapping[str, "Score"]) -> dict[str, Sequence[Metric]]:
    """Return the figures of every task, followed by those of its data sets if it has several."""
    return {
        name: metrics
        for task, score in scores.items()
        for name, metrics in [
            (task, score.metrics),
            *((f"{task} · {dataset}", found) for dataset, found in score.by_dataset.items()),
        ]
    }


def _say(problems: Sequence[str]) -> None:
    for problem in problems:
        err.print(f"ustri: {problem}", markup=False, highlight=False, soft_wrap=True)


def _figures_table(figures: Mapping[str, Sequence[Metric]]) -> Table:
    table = Table("task", "figure", "value", "95 % interval", "n", box=None, pad_edge=False)
    for task, metrics in figures.items():
        for metric in metrics:
            known = metric.low is not None and metric.high is not None
            interval = f"{metric.low:.3f} to {metric.high:.3f}" if known else ""
            table.add_row(task, metric.name, f"{metric.value:.3f}", interval, str(metric.n))
    return table


def _intervals_table(found: Mapping[str, Sequence[MeasuredInterval]]) -> Table:
    headings = ("task", "measurement", "interval", "held-out coverage", "images", "groups")
    table = Table(*headings, box=None, pad_edge=False)
    for task, intervals in found.items():
        for item in intervals:
            ends, held = item.reason or "", ""
            if item.low is not None and item.high is not None:
                ends = f"{item.low:+.3f} to {item.high:+.3f} ({item.form})"
                held = f"{item.coverage:.3f} ({item.coverage_low:.3f} to {item.coverage_high:.3f})"
            table.add_row(task, item.measurement, ends, held, str(item.n), str(item.groups))
    return table
