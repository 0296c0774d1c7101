"""The FastAPI application: routes behind an access guard, a store, and workers beside them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from fastapi import FastAPI

from app.images.burned_in.finder import text_finder
from app.jobs.pubsub import Channel, LocalPublisher, publisher_of
from app.pacs.instances import Filing
from app.pacs.outbox import outbox_of
from app.pacs.patient_links import LinkKeys, link_keys_of
from app.pacs.sender import SenderThread
from app.pacs.server import Destination
from app.settings import Settings, code_version
from app.storage.connect import open_store
from app.storage.store import Store
from app.web.access_log import AccessLog
from app.web.dependencies import InferenceClient, Services
from app.web.inference_client import LocalInferenceClient, RemoteInferenceClient, limits_of
from app.web.pages import actions, api_docs, login, upload, viewer
from app.web.problems import install_handlers
from app.web.routes import analyses, calibration, health, metrics, push, specialists, studies
from app.web.security import Guard
from app.worker.loading import load_tools
from app.worker.pool import WorkerPool
from planner.run import Tools
from specialists.manifest import read_manifest

STEP_S = 12.0
"""Seconds that a running step may still take once requests have been drained.

Together with `app.web.server.REQUESTS_S` this is less than the 30 s after which an impatient
supervisor kills the process.
"""


def create_app(settings: Settings, tools: Tools | None = None) -> FastAPI:
    """Build the service with these settings.

    `tools` are the specialists. Unless given, they are loaded from the settings where this process
    has workers of its own.

    Raises:
        WeightsError: a weights file is missing, truncated or altered; the message names the file.
        SettingsError: the planner that the settings name may not be used, a file of keys or
            credentials cannot be read, or what finds burned-in text is not installed.
        StoreUnavailable: the store cannot be opened.
    """
    text_finder(settings.blacken_text)
    if tools is None and settings.worker_threads:
        tools = load_tools(settings)
    served, pool, post = _parts(settings, tools)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as ending:
            for part in (served.store, served.publisher):
                ending.callback(part.close)
            if pool is not None:
                ending.callback(pool.stop, STEP_S)
                ending.enter_context(served.publisher.working(pool.wake))
                pool.start(responder=True)
            ending.enter_context(_sending(post))
            yield

    app = FastAPI(
        title="USTri",
        version=code_version(),
        summary="An ultrasound image in, a structured report out. "
        "Not for clinical use without review.",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
    )
    app.state.services = served
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(AccessLog)
    install_handlers(app)
    app.include_router(analyses.router)
    app.include_router(calibration.router)
    app.include_router(studies.router)
    app.include_router(specialists.router)
    app.include_router(health.router)
    app.include_router(push.router)
    app.include_router(metrics.router)
    app.include_router(api_docs.router)
    app.include_router(login.router)
    app.include_router(upload.router)
    app.include_router(actions.router)
    viewer.install(app)
    return app


def _parts(
    settings: Settings, tools: Tools | None
) -> tuple[Services, WorkerPool | None, SenderThread | None]:
    """Build what the routes work with, and the worker pool and sender thread beside them.

    There is no pool where the settings leave the work to workers elsewhere.
    """
    store = open_store(settings)
    store.sweep()
    publisher = publisher_of(settings, tuple(Channel))
    link_keys = link_keys_of(settings)
    post = _post(settings, store, link_keys)
    pool = None
    if tools is not None and settings.worker_threads:
        pool = WorkerPool(settings, store, tools, publisher)
    served = Services(
        settings=settings,
        store=store,
        manifest=read_manifest(settings.specialists_dir) if tools is None else tools.manifest,
        inference=_inference_client(settings, store, pool, publisher),
        publisher=publisher,
        link_keys=link_keys,
        post=post,
    )
    return served, pool, post


def _inference_client(
    settings: Settings, store: Store, pool: WorkerPool | None, publisher: LocalPublisher
) -> InferenceClient:
    """Return a client of this process's workers, or of workers elsewhere where it has none."""
    if pool is None:
        return RemoteInferenceClient(settings, store, publisher)
    return LocalInferenceClient(pool.infer, limits_of(settings))


def _post(settings: Settings, store: Store, link_keys: LinkKeys | None) -> SenderThread | None:
    """Return the thread that sends reports to a DICOMweb server; None where none is configured."""
    destination = Destination.of(settings)
    if destination is None:
        return None
    outbox = outbox_of(settings, store)
    filing = Filing(store, link_keys, research_accepted=settings.research_accepted)
    return SenderThread(outbox, filing, destination)


@contextmanager
def _sending(post: SenderThread | None) -> Iterator[None]:
    """Empty the outbox in a thread while inside, where there is a destination to send to."""
    if post is None:
        yield
        return
    post.start()
    try:
        yield
    finally:
        post.stop()
