"""A service in this process: its settings, its stand-in specialists, and a client of it."""

import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from fastapi import FastAPI

from app.application import create_app
from app.settings import Settings
from tests.app.stacks import Postgres, Redis, a_postgres, a_redis
from tests.app.stand_in import StandInTools
from tests.builders import HEIGHT_PX, WIDTH_PX

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def some_pixels(height: int = HEIGHT_PX, width: int = WIDTH_PX) -> npt.NDArray[np.uint8]:
    """Speckle, the same each time."""
    echo = np.random.default_rng(7).rayleigh(60.0, (height, width))
    return np.clip(echo, 0, 255).astype(np.uint8)


def encoded(picture: PIL.Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture as a file's bytes."""
    file = io.BytesIO()
    picture.save(file, format=form, **options)
    return file.getvalue()


def a_png(height: int = HEIGHT_PX, width: int = WIDTH_PX) -> bytes:
    """A grey PNG of speckle."""
    return encoded(PIL.Image.fromarray(some_pixels(height, width)))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", lease_s=2.0, busy_s=0.2, wait_s=30.0)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with a_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with a_redis() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """The settings over SQLite and memory, then those over PostgreSQL and Redis."""
    if request.param == "sqlite":
        return settings.model_copy(update={"busy_s": 10.0})
    database, queue = request.getfixturevalue("postgres"), request.getfixturevalue("redis")
    changes = {
        "database_url": database.new_database(),
        "redis_url": queue.url,
        "busy_s": 10.0,
    }
    return Settings.model_validate(settings.model_dump() | changes)


@pytest.fixture
def tools() -> StandInTools:
    return StandInTools()


@asynccontextmanager
async def client_of(app: FastAPI, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a started application."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8000", timeout=60, **options
        ) as client,
    ):
        yield client


def starting(settings: Settings, tools: StandInTools) -> Serve:
    """Starts the service with those settings, or with some of them changed."""

    def start(**changes: Any) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        changed = Settings.model_validate(settings.model_dump() | changes)
        return client_of(create_app(changed, tools))

    return start


@pytest.fixture
def serve(settings: Settings, tools: StandInTools) -> Serve:
    return starting(settings, tools)


@pytest.fixture
def serve_either(either: Settings, tools: StandInTools) -> Serve:
    """The service over SQLite and memory, then over PostgreSQL and Redis."""
    return starting(either, tools)


@pytest.fixture
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as client:
        yield client
