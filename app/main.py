"""The application: the routes with their guard, over a store, with a worker beside them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from app import pages, routes, viewer
from app.responses import install_handlers
from app.security import Guard
from app.services import Services
from app.settings import Settings, code_version
from app.store import Store
from app.worker import Worker, load_tools
from planner.run import Tools

DRAIN_S = 30.0
"""How long requests that wait for a report, then the step that runs, may take after SIGTERM."""


def create_app(settings: Settings, tools: Tools | None = None) -> FastAPI:
    """The service with these settings; `tools` are the specialists of these settings unless given.

    Raises:
        WeightsError: a weights file is missing, truncated or altered; the message names the file.
        StoreUnavailable: the store cannot be opened.
    """
    tools = tools or load_tools(settings)
    store = Store.open(settings)
    store.sweep()
    worker = Worker(settings, store, tools)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        try:
            yield
        finally:
            worker.stop(DRAIN_S)
            store.close()

    app = FastAPI(
        title="USTri",
        version=code_version(),
        summary="An ultrasound image in, a structured report out. Not for clinical use without review.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.services = Services(
        settings=settings, store=store, manifest=tools.manifest, bench=worker
    )
    app.add_middleware(Guard, settings=settings)
    install_handlers(app)
    app.include_router(routes.router)
    app.include_router(pages.router)
    viewer.install(app)
    return app


def serve(settings: Settings) -> None:
    """Nothing; runs the service until SIGTERM or Ctrl-C, then drains it.

    Raises:
        WeightsError: a weights file is missing, truncated or altered; the message names the file.
        StoreUnavailable: the store cannot be opened.
    """
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="info",
        server_header=False,
        timeout_graceful_shutdown=int(DRAIN_S),
    )
