"""Services that every route uses, carried by the application's state."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from app.images.ingest import Ingested
from app.jobs.pubsub import LocalPublisher
from app.pacs.outbox import Item, PushRequest
from app.pacs.patient_links import LinkKeys
from app.settings import Settings
from app.storage.store import Store
from reports.model import Box
from specialists.manifest import Manifest
from specialists.result import Result


class InferenceClient(Protocol):
    """A client of the specialists, in this process or elsewhere."""

    async def infer(
        self,
        specialist_id: str,
        ingested: Ingested,
        roi: Box | None,
        gone: Callable[[], Awaitable[bool]],
    ) -> Result:
        """Return one specialist's result, computed beside the running analyses.

        `gone` states whether the caller's client has disconnected.
        """


class Post(Protocol):
    """A sender in this process; instances in the outbox go to `url` and nowhere else."""

    @property
    def url(self) -> str:
        """The DICOMweb server of the settings."""

    def push(self, push_request: PushRequest) -> tuple[Item, ...]:
        """Add the instances of that push request to the outbox if they are new; return them all."""

    def items(self, analysis_id: str) -> tuple[Item, ...]:
        """Return the instances of that analysis with their states."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The settings, the store, the closed tool set, and the clients that reach the workers.

    `link_keys` are set where links to originals are kept, `post` where reports may be sent.
    """

    settings: Settings
    store: Store
    manifest: Manifest
    inference: InferenceClient
    publisher: LocalPublisher
    link_keys: LinkKeys | None = None
    post: Post | None = None


def services(connection: HTTPConnection) -> Services:
    """Return the services of the application that received this request."""
    found = connection.app.state.services
    if not isinstance(found, Services):
        raise TypeError("The application was not made by app.application.create_app.")
    return found


Served = Annotated[Services, Depends(services)]
"""The parameter of a route that uses them."""
