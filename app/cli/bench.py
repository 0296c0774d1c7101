"""`ustri bench`: what an analysis costs, as ratios."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from app.bench.markdown import NO_CUDA, rows_of, write_pages
from app.bench.results import Document, read_document
from app.cli.terminal import DataDir, errors_as_exits, out, settings_with

BENCH_EXAMPLE = (
    "[bold]Examples[/]\n\nustri bench --json bench.json\n\n"
    "ustri bench --short\n\n"
    "ustri bench --from docs/performance.json --pages docs"
)


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
