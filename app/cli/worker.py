"""`ustri worker`: run analyses and answer inference requests without serving HTTP.

Both come from the store that the worker shares with `ustri serve`.
"""

from typing import Annotated

import typer

from app.cli.terminal import DataDir, errors_as_exits, out, settings_with
from app.errors import NotReady
from app.settings import Settings
from app.startup import uncollected

WORKER_EXAMPLE = (
    "[bold]Example[/]  USTRI_DATABASE_URL=postgresql+psycopg://ustri@db/ustri "
    "USTRI_REDIS_URL=redis://queue ustri worker"
)


def worker(
    threads: Annotated[
        int | None, typer.Option(min=1, help="Analyses at once; over USTRI_WORKER_THREADS.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether a worker of this machine is alive.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Run analyses and answer inference requests from the store until SIGTERM or Ctrl-C."""
    with errors_as_exits():
        if check:
            _check(settings_with(data_dir))
            return
        from app.observability.logs import set_up_logs
        from app.startup import end_when_told
        from app.worker.loading import load_tools
        from app.worker.process import work

        end_when_told()
        settings = settings_with(data_dir, worker_threads=threads)
        set_up_logs(settings)
        with uncollected():
            tools = load_tools(settings)
        out.print("USTri works on what waits — Ctrl-C stops it.", soft_wrap=True)
        work(settings, tools)


def _check(settings: Settings) -> None:
    """Check that a worker on this machine gave a heartbeat recently.

    Raises:
        NotReady: none did.
        StoreUnavailable: the store cannot be read.
    """
    from app.jobs.queue import alive_here
    from app.storage.store import Store

    store = Store.open(settings)
    try:
        if not alive_here(store):
            raise NotReady("No worker of this machine gave a heartbeat of late.")
    finally:
        store.close()
