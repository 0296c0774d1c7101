"""The application: the routes with their guard, over a store, with a worker beside them."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress

import uvicorn
from fastapi import FastAPI

from app import pages, routes, routes_metrics, routes_push, viewer
from app.crew import Crew
from app.destination import Destination
from app.errors import NotReady, SettingsError
from app.filing import Filing
from app.link import LinkKeys, link_keys_of
from app.news import news_of
from app.outbox import outbox_of
from app.patience import open_store
from app.reach import LocalReach, RemoteReach, limits_of
from app.responses import install_handlers
from app.security import Guard
from app.sender import SenderThread
from app.services import Reach, Services
from app.settings import Settings, code_version
from app.store import Store
from app.wake import Doorbell, doorbell_of
from app.watch import Watch
from app.worker import load_tools
from planner.run import Tools
from specialists.manifest import read_manifest

BACKLOG = 2048
"""Connections that may wait to be taken; uvicorn's own number."""

REQUESTS_S = 16
"""How long requests that wait for a report may take after SIGTERM."""

STEP_S = 12.0
"""How long the step that runs may take after them; together less than the 30 s of an impatient supervisor."""


def create_app(settings: Settings, tools: Tools | None = None) -> FastAPI:
    """The service with these settings; `tools` are the specialists of these settings unless given.

    Raises:
        WeightsError: a weights file is missing, truncated or altered; the message names the file.
        SettingsError: the planner that the settings name may not be used.
        StoreUnavailable: the store cannot be opened.
        SettingsError: a file of keys or credentials cannot be read.
    """
    if tools is None and settings.worker_threads:
        tools = load_tools(settings)
    served, crew, post = _parts(settings, tools)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as ending:
            for part in (served.store, served.news, served.doorbell):
                ending.callback(part.close)
            if crew is not None:
                ending.callback(crew.stop, STEP_S)
                crew.start(asker=True)
            ending.enter_context(_sending(post))
            yield

    app = FastAPI(
        title="USTri",
        version=code_version(),
        summary="An ultrasound image in, a structured report out. Not for clinical use without review.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.services = served
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Watch)
    install_handlers(app)
    app.include_router(routes.router)
    app.include_router(routes_push.router)
    app.include_router(routes_metrics.router)
    app.include_router(pages.router)
    viewer.install(app)
    return app


def _parts(
    settings: Settings, tools: Tools | None
) -> tuple[Services, Crew | None, SenderThread | None]:
    """What routes work with, and the threads beside them; without workers where the settings leave these elsewhere."""
    store = open_store(settings)
    store.sweep()
    doorbell, news = doorbell_of(settings), news_of(settings, hear=True)
    link_keys = link_keys_of(settings)
    post = _post(settings, store, link_keys)
    crew = None
    if tools is not None and settings.worker_threads:
        crew = Crew(settings, store, tools, news)
    served = Services(
        settings=settings,
        store=store,
        manifest=read_manifest(settings.specialists_dir) if tools is None else tools.manifest,
        reach=_reach(settings, store, crew, doorbell),
        doorbell=doorbell,
        news=news,
        link_keys=link_keys,
        post=post,
    )
    return served, crew, post


def _reach(settings: Settings, store: Store, crew: Crew | None, doorbell: Doorbell) -> Reach:
    """The workers of this process, else those elsewhere."""
    if crew is None:
        return RemoteReach(settings, store, doorbell)
    return LocalReach(crew.ask, crew.wake, limits_of(settings))


def _post(settings: Settings, store: Store, link_keys: LinkKeys | None) -> SenderThread | None:
    """How reports leave this service; None where the settings name no destination."""
    destination = Destination.of(settings)
    if destination is None:
        return None
    outbox = outbox_of(settings, store)
    filing = Filing(store, link_keys, research_accepted=settings.research_accepted)
    return SenderThread(outbox, filing, destination)


@contextmanager
def _sending(post: SenderThread | None) -> Iterator[None]:
    """Nothing; meanwhile the outbox is emptied, where there is somewhere to send to."""
    if post is None:
        yield
        return
    post.start()
    try:
        yield
    finally:
        post.stop()


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections at that address; whoever connects waits until they are served.

    Raises:
        SettingsError: the address is taken, or not one of this machine's.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        listener = socket.socket(family, kind, number)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"USTRI_HOST {host} and USTRI_PORT {port} cannot be listened on: {reason}."
        ) from error
    return listener


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Nothing; answers on that socket until SIGTERM or Ctrl-C, then drains.

    Raises:
        NotReady: the service did not start; its log says why.
    """
    config = uvicorn.Config(
        app,
        log_config=None,  # `app.logs` says how; `app.watch` tells of each request.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=REQUESTS_S,
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise NotReady("The service did not start; the lines above say why.")
