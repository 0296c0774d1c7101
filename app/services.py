"""What every route works with, carried by the application's state."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import HTTPConnection

from app.ingest import Ingested
from app.link import LinkKeys
from app.news import LocalNews
from app.outbox import Item, Wish
from app.settings import Settings
from app.store import Store
from app.wake import Doorbell
from reports.model import Box
from specialists.manifest import Manifest
from specialists.result import Result


class Reach(Protocol):
    """The way to the specialists, in this process or elsewhere."""

    def wake(self, item_id: str) -> None:
        """Nothing; workers look for that analysis now instead of at their next round."""

    async def ask(
        self,
        specialist_id: str,
        ingested: Ingested,
        roi: Box | None,
        gone: Callable[[], Awaitable[bool]],
    ) -> Result:
        """One specialist's answer, beside the running analyses."""


class Post(Protocol):
    """A sender in this process: what is put into the outbox is sent to `url`, and nowhere else."""

    @property
    def url(self) -> str:
        """The DICOMweb server of the settings."""

    def push(self, wish: Wish) -> tuple[Item, ...]:
        """The instances that are sent for that wish, or were before."""

    def items(self, analysis_id: str) -> tuple[Item, ...]:
        """The instances of that analysis, and how far they have come."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The settings, the store, the closed tool set, and the way to the workers.

    `link_keys` are there where links to originals are kept, `post` where reports may be sent somewhere.
    """

    settings: Settings
    store: Store
    manifest: Manifest
    reach: Reach
    doorbell: Doorbell
    news: LocalNews
    link_keys: LinkKeys | None = None
    post: Post | None = None


def services(connection: HTTPConnection) -> Services:
    """The services of the application that this request came to."""
    found = connection.app.state.services
    if not isinstance(found, Services):
        raise TypeError("The application was not made by app.main.create_app.")
    return found
