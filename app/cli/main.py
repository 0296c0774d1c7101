"""The command line: `ustri serve`, `worker`, `analyze`, `train`, `evaluate`, `push` and more."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from app.cli.analyze import ANALYZE_EXAMPLE, analyze
from app.cli.bench import BENCH_EXAMPLE, bench
from app.cli.burned_in import TEXT_EXAMPLE, text
from app.cli.experiments import judge
from app.cli.planner import EXAMPLE as PLANNER_EXAMPLE
from app.cli.planner import evaluate_planner
from app.cli.precision import PRECISION_EXAMPLE, precision
from app.cli.push import PUSH_EXAMPLE, push
from app.cli.terminal import MEANING, DataDir, Exit, errors_as_exits, out, settings_with
from app.cli.training import EVALUATE_EXAMPLE, PREDICT_EXAMPLE, evaluate, predict, train
from app.cli.worker import WORKER_EXAMPLE, worker
from app.startup import uncollected
from reports.model import ExamCode
from specialists.cards.licence import research_only_of
from specialists.manifest import Manifest, read_manifest
from specialists.phantom.field import FieldShape


class Drawing(StrEnum):
    """What `ustri phantom` can draw."""

    BREAST = "breast"
    INTRAPARTUM = "intrapartum"


_EXIT_CODES = "\n\n".join(f"[bold]{code.value}[/]  {text}" for code, text in MEANING.items())

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
app.add_typer(train, name="train")
judge.command("predictions", epilog=EVALUATE_EXAMPLE)(evaluate)
judge.command("planner", epilog=PLANNER_EXAMPLE)(evaluate_planner)
judge.command("text", epilog=TEXT_EXAMPLE)(text)
app.add_typer(judge, name="evaluate")
app.command(epilog=ANALYZE_EXAMPLE)(analyze)
app.command(epilog=PREDICT_EXAMPLE)(predict)
app.command(epilog=PUSH_EXAMPLE)(push)
app.command(epilog=BENCH_EXAMPLE)(bench)
app.command(epilog=PRECISION_EXAMPLE)(precision)
app.command(epilog=WORKER_EXAMPLE)(worker)


def main() -> None:
    """Run the command line; this is the entry point of `ustri`."""
    app(prog_name="ustri")


@app.command(epilog="[bold]Example[/]  ustri serve --port 9000")
def serve(
    host: Annotated[str | None, typer.Option(help="Address; over USTRI_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; over USTRI_PORT.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the service, viewer and workers until Ctrl-C."""
    with errors_as_exits():
        with uncollected():
            from app import application
            from app.observability.logs import set_up_logs
            from app.startup import end_when_told
            from app.web import server

        end_when_told()
        settings = settings_with(data_dir, host=host, port=port)
        set_up_logs(settings)
        with server.listening(settings.host, settings.port) as listener:
            with uncollected():
                served = application.create_app(settings)
            host = f"[{settings.host}]" if ":" in settings.host else settings.host
            address = f"http://{host}:{listener.getsockname()[1]}/"
            out.print(f"USTri on {address} — Ctrl-C stops it.", soft_wrap=True)
            server.serve(served, listener)


@app.command(
    epilog="[bold]Examples[/]\n\nustri specialists --json | jq '.[].id'\n\n"
    "ustri specialists --cards cards/"
)
def specialists(
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries as JSON.")] = False,
    cards: Annotated[
        Path | None,
        typer.Option(help="Write a model card of each, and an index, into this folder."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """List the closed set of specialists, installed or not."""
    with errors_as_exits():
        manifest = read_manifest(settings_with(data_dir).specialists_dir)
        if cards is not None:
            from app.web.pages.cards import write_cards

            written = write_cards(manifest, cards)
            out.print(f"Wrote {len(written)} files to {cards}.", highlight=False, soft_wrap=True)
            return
    if as_json:
        entries = [
            entry.model_dump(mode="json")
            | {"installed": entry.installed, "research_only": research_only_of(entry, manifest)}
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


@app.command(epilog="[bold]Example[/]  USTRI_PLANNER=~/llava-med-v1.5-mistral-7b ustri doctor")
def doctor(data_dir: DataDir = None) -> None:
    """Check the specialists, the device, and whether the configured planner looks at the image."""
    with errors_as_exits():
        from app.cli.doctor import examine

        lines = examine(settings_with(data_dir))
    table = Table(box=None, pad_edge=False, show_header=False)
    for line in lines:
        mark = "[green]right[/]" if line.right else "[red]wrong[/]"
        table.add_row(line.name, mark, Text(line.says))
    out.print(table)
    if not all(line.right for line in lines):
        raise typer.Exit(Exit.SETUP)


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
    geometry: Annotated[
        FieldShape | None,
        typer.Option(help="The field; else what the exam is usually scanned with."),
    ] = None,
) -> None:
    """Draw a synthetic B-mode image whose known answers are stored in the PNG itself."""
    with errors_as_exits():
        from specialists.phantom.draw import Options, draw, write_png

        drawn = draw(
            kind.value, seed=seed, height_px=height, width_px=width, options=Options(field=geometry)
        )
        write_png(drawn, to)
    out.print(f"Wrote {to} ({width} × {height} px, {drawn.truth.field} field).", highlight=False)


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
    with errors_as_exits():
        from app.application import create_app
        from app.cli import demo as shown
        from specialists.phantom.draw import Options, draw, png_bytes
        from specialists.phantom.tissue import Lesion
        from specialists.phantom.truth import read_truth

        settings = settings_with(data_dir)
        if image is None:
            data, name = (
                png_bytes(draw("breast", seed=seed, options=Options(lesion=Lesion.BENIGN))),
                "phantom.png",
            )
        else:
            data, name = image.read_bytes(), image.name
        truth = read_truth(data) if data.startswith(b"\x89PNG") else None
        key = settings.api_key.get_secret_value() if settings.api_key else None
        out.print("Starting the service …")
        with shown.serving(create_app(settings), shown.loopback_socket(port)) as address:
            sent = shown.DemoImage(name=name, data=data, truth=truth, exam=exam)
            report = shown.show(address, sent, key, out)
            if not once:
                page = f"{address}/analyses/{report.analysis_id}/view"
                out.print(f"\nThe report with its evidence: {page}", soft_wrap=True)
                out.print(f"The worklist: {address}/   Ctrl-C stops the service.")
                shown.wait_for_interrupt()
