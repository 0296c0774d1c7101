"""The command line: `ustri serve`, `analyze`, `specialists`, `train`, `evaluate`, `predict`, `phantom`, `demo`."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.errors import (
    ImageRejected,
    RequestRejected,
    ServiceError,
    SettingsError,
    StoreUnavailable,
)
from app.settings import Settings, read_settings
from reports.content import to_json
from reports.model import ExamCode, Outcome
from reports.text import to_text
from specialists.errors import (
    Rejected,
    SpecialistError,
    TrainingError,
    Unavailable,
    WeightsError,
)
from specialists.manifest import Manifest, Metric, read_manifest
from specialists.phantom_field import FieldShape


class Drawing(StrEnum):
    """What `phantom` draws."""

    BREAST = "breast"
    INTRAPARTUM = "intrapartum"


class Exit(IntEnum):
    """What an exit code says; the table in the help is made from this."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INPUT = 3
    SETUP = 4
    REFUSED = 5


_MEANING = {
    Exit.OK: "done",
    Exit.FAILED: "something failed that is not your input",
    Exit.USAGE: "wrong command or option",
    Exit.INPUT: "the image or the data cannot be read or used",
    Exit.SETUP: "weights, settings or an extra are missing or not right",
    Exit.REFUSED: "analyze: there is a report, and its outcome is refused",
}
_EXIT_CODES = "\n\n".join(f"[bold]{code.value}[/]  {text}" for code, text in _MEANING.items())

app = typer.Typer(
    name="ustri",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Ultrasound image in, structured report out; every statement opens onto its evidence.\n\n"
    "Research software: not for clinical use without review.",
    epilog=f"[bold]Exit codes[/]\n\n{_EXIT_CODES}",
)
train = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Train the backbone (Stage I) or one specialist on it (Stage II), and install the result.",
)
app.add_typer(train, name="train")

out = Console()
err = Console(stderr=True)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the store; over USTRI_DATA_DIR.")
]


def main() -> None:
    """Runs the command line; the entry point `ustri`."""
    app(prog_name="ustri")


def _settings(data_dir: Path | None = None, **changes: object) -> Settings:
    given = {name: value for name, value in changes.items() if value is not None}
    return read_settings(**given, **({} if data_dir is None else {"data_dir": data_dir}))


@contextlib.contextmanager
def _errors_as_exits() -> Iterator[None]:
    """Ends the process with one line and the exit code that fits, for every error that is named."""
    try:
        yield
    except (ImageRejected, RequestRejected, Rejected, TrainingError) as error:
        _end(error, Exit.INPUT)
    except (SettingsError, StoreUnavailable, WeightsError, Unavailable) as error:
        _end(error, Exit.SETUP)
    except ModuleNotFoundError as error:
        _end(error, Exit.SETUP, f"{error.name} is not installed: pip install 'ustri[ml]'.")
    except (ServiceError, SpecialistError) as error:
        _end(error, Exit.FAILED)
    except OSError as error:
        what = error.filename or "The file"
        _end(error, Exit.INPUT, f"{what}: {error.strerror or error}.")


def _end(error: Exception, code: Exit, message: str | None = None) -> None:
    err.print(
        f"ustri: {message or error}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(code) from error


@app.command(epilog="[bold]Example[/]  ustri serve --port 9000")
def serve(
    host: Annotated[str | None, typer.Option(help="Address; over USTRI_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; over USTRI_PORT.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the service, viewer and worker until Ctrl-C."""
    with _errors_as_exits():
        from app import main as service

        settings = _settings(data_dir, host=host, port=port)
        out.print(f"USTri on http://{settings.host}:{settings.port}/ — Ctrl-C stops it.")
        service.serve(settings)


@app.command(
    epilog="[bold]Examples[/]\n\nustri analyze scan.png --exam breast --out report/\n\n"
    "ustri analyze scan.png --json | jq .outcome"
)
def analyze(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or DICOM ultrasound image.")],
    exam: Annotated[ExamCode | None, typer.Option(help="The exam; else the router says.")] = None,
    question: Annotated[str | None, typer.Option(help="A question in your words.")] = None,
    frame: Annotated[
        int | None, typer.Option(min=0, help="The frame of a multi-frame DICOM file, from 0.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the report in every form, and evidence/."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Report one image in this process; nothing is stored."""
    with _errors_as_exits():
        from app import offline
        from planner.case import Request

        request = Request(exam=exam, question=(question or "").strip() or None, frame=frame)
        reported = offline.analyze(image.read_bytes(), request, _settings(data_dir))
        if folder is not None:
            for line in offline.write_all(reported, folder):
                typer.echo(line, err=True)
        report = reported.report
        typer.echo(to_json(report).decode() if as_json else to_text(report))
    if report.outcome is Outcome.REFUSED:
        raise typer.Exit(Exit.REFUSED)


@app.command(epilog="[bold]Example[/]  ustri specialists --json | jq '.[].id'")
def specialists(
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the closed set of specialists, installed or not."""
    with _errors_as_exits():
        manifest = read_manifest(_settings(data_dir).specialists_dir)
    if as_json:
        entries = [
            entry.model_dump(mode="json") | {"installed": entry.installed}
            for entry in manifest.specialists.values()
        ]
        typer.echo(json.dumps(entries, indent=2, ensure_ascii=False))
    else:
        out.print(_specialists_table(manifest))


def _specialists_table(manifest: Manifest) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    for name in ("kind", "state", "exams", "figure"):
        table.add_column(name, overflow="fold")
    for entry in manifest.specialists.values():
        figure = entry.metrics[0] if entry.metrics else None
        table.add_row(
            entry.id,
            entry.kind,
            "[green]installed[/]" if entry.installed else "[dim]not installed[/]",
            ", ".join(entry.exams) or "none",
            f"{figure.name} {figure.value:.3f} ({figure.split}, n={figure.n})" if figure else "",
        )
    return table


@app.command(
    epilog="[bold]Examples[/]\n\nustri phantom breast --out phantom.png\n\n"
    "ustri phantom intrapartum --seed 7 --width 1024 --height 768 --geometry sector --out a.png"
)
def phantom(
    kind: Annotated[Drawing, typer.Argument(help="What to draw.")],
    to: Annotated[Path, typer.Option("--out", help="The PNG to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another image.")] = 0,
    width: Annotated[int, typer.Option(min=64, max=8192, help="Pixels.")] = 800,
    height: Annotated[int, typer.Option(min=64, max=8192, help="Pixels.")] = 600,
    geometry: Annotated[FieldShape | None, typer.Option(help="The field; else by lot.")] = None,
) -> None:
    """Draw a synthetic B-mode image with known answers, kept in the PNG itself."""
    with _errors_as_exits():
        from specialists.phantom import Options, draw, write_png

        drawn = draw(
            kind.value, seed=seed, height_px=height, width_px=width, options=Options(field=geometry)
        )
        write_png(drawn, to)
    out.print(f"Wrote {to} ({width} × {height} px, {drawn.truth.field} field).", highlight=False)


DataRoot = Annotated[
    Path, typer.Option("--data", help="A data root: csv_files/*.csv and what they name.")
]


@train.command(epilog="[bold]Example[/]  ustri train generalist --data data --out runs/one")
def generalist(
    data: DataRoot,
    folder: Annotated[Path, typer.Option("--out", help="Folder of checkpoints and weights.")],
    config: Annotated[Path | None, typer.Option(help="TOML; else the shipped one.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
) -> None:
    """Stage I: one backbone over every task whose CSV is there."""
    with _errors_as_exits():
        from specialists.training import commands

        written = commands.train_generalist(data, folder, config, resume=resume)
    out.print(f"Wrote {written}.", highlight=False)


@train.command(
    epilog="[bold]Example[/]  ustri train specialist breast_lesion breast_2cls --data data"
)
def specialist(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="See `ustri specialists`.")],
    data: DataRoot,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the weights; else where USTri uses them."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="All randomness follows from it.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Stage II: specialists on the frozen backbone, calibrated."""
    with _errors_as_exits():
        from specialists.training import commands
        from specialists.training.specialist import SpecialistConfig

        folder = folder or _settings(data_dir).specialists_dir
        config = SpecialistConfig(steps=steps, seed=seed)
        trained = commands.train_specialist(ids, data, folder, config)
    figures = {entry.id: list(entry.metrics) for entry in trained}
    out.print(_figures_table(figures), f"\nWrote {folder}.", highlight=False)


@train.command(epilog="[bold]Example[/]  ustri train ship breast_lesion --from runs/one")
def ship(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="What to ship.")],
    source: Annotated[Path, typer.Option("--from", help="The folder that training wrote.")],
) -> None:
    """Copy trained specialists into the package; for those who release it."""
    with _errors_as_exits():
        from specialists.training import commands

        for path in commands.ship(ids, source):
            out.print(f"Wrote {path}.", highlight=False)


Namespace = Annotated[str | None, typer.Option(help="`fmc` for the challenge's own tasks.")]


@app.command(
    epilog="[bold]Example[/]  ustri evaluate --predictions out --data-root data --split test"
)
def evaluate(
    predictions: Annotated[Path, typer.Option(help="The folder that `predict` wrote.")],
    data_root: Annotated[Path, typer.Option(help="csv_files/*.csv and what they name.")],
    split: Annotated[str | None, typer.Option(help="train, val or test; else all rows.")] = None,
    namespace: Namespace = None,
    data_dir: DataDir = None,
) -> None:
    """Score prediction files as the FMC-UIA challenge does; what is missing counts as wrong."""
    with _errors_as_exits():
        from specialists.training import commands

        user_dir = _settings(data_dir).specialists_dir
        figures = commands.evaluate(
            predictions, data_root, split=split, namespace=namespace, user_dir=user_dir
        )
    out.print(_figures_table(figures))


def _figures_table(figures: Mapping[str, Sequence[Metric]]) -> Table:
    table = Table("task", "figure", "value", "95 % interval", "n", box=None, pad_edge=False)
    for task, metrics in figures.items():
        for metric in metrics:
            known = metric.low is not None and metric.high is not None
            interval = f"{metric.low:.3f} to {metric.high:.3f}" if known else ""
            table.add_row(task, metric.name, f"{metric.value:.3f}", interval, str(metric.n))
    return table


@app.command(epilog="[bold]Example[/]  ustri predict --data-root data --out predictions")
def predict(
    data_root: Annotated[Path, typer.Option(help="csv_files/*.csv and the images they name.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the prediction files.")],
    namespace: Namespace = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; repeatable.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Predict every row of every task's CSV, in the files of the FMC-UIA challenge."""
    with _errors_as_exits():
        from specialists.training import commands

        user_dir = _settings(data_dir).specialists_dir
        predictions = commands.predict(
            data_root, folder, namespace=namespace, tasks=task, user_dir=user_dir
        )
    for problem in predictions.problems:
        err.print(f"ustri: {problem}", markup=False, highlight=False, soft_wrap=True)
    if predictions.problems:
        raise typer.Exit(Exit.INPUT)


@app.command(
    epilog="[bold]Examples[/]\n\nustri demo\n\nustri demo scan.png\n\nustri demo --once --seed 3"
)
def demo(
    image: Annotated[
        Path | None, typer.Argument(help="An ultrasound image; without it, one is drawn.")
    ] = None,
    exam: Annotated[ExamCode | None, typer.Option(help="The exam; else the router says.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn image.")] = 1,
    port: Annotated[int, typer.Option(help="Port; a free one where it is taken.")] = 8000,
    once: Annotated[bool, typer.Option("--once", help="End after the report is printed.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Start the service, send it one image, print the report, and keep serving."""
    with _errors_as_exits():
        from app import demo as shown
        from app.main import create_app
        from specialists.phantom import draw, png_bytes
        from specialists.phantom_truth import read_truth

        settings = _settings(data_dir)
        if image is None:
            data, name = png_bytes(draw("breast", seed=seed)), "phantom.png"
        else:
            data, name = image.read_bytes(), image.name
        truth = read_truth(data) if data.startswith(b"\x89PNG") else None
        key = settings.api_key.get_secret_value() if settings.api_key else None
        out.print("Starting the service …")
        with shown.serving(create_app(settings), shown.loopback_socket(port)) as address:
            asked = shown.Asked(name=name, data=data, truth=truth, exam=exam)
            report = shown.show(address, asked, key, out)
            page = f"{address}/analyses/{report.analysis_id}/view"
            out.print(f"\nThe report with its evidence: {page}", soft_wrap=True)
            if not once:
                out.print(f"The worklist: {address}/   Ctrl-C stops the service.")
                shown.wait_for_interrupt()
