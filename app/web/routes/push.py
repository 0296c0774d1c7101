"""Routes that send reports to a DICOMweb server.

The server is always the one of the settings, never an address in the request.
"""

from typing import Annotated, Self

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from app.errors import NotFound
from app.pacs.outbox import Item, PushForm, PushRequest
from app.storage.tables import PushState
from app.web.dependencies import Post, Served, Services
from app.web.openapi import PROBLEMS
from app.web.problems import ACCEPTED

router = APIRouter(responses=PROBLEMS)


class PushOptions(BaseModel):
    """What to send; without `forms`, every form that there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forms: tuple[PushForm, ...] = ()
    force: bool = False
    unlinked: bool = False


class Sent(BaseModel):
    """One instance in the outbox; `problem` states why it is not sent yet."""

    model_config = ConfigDict(frozen=True)

    form: PushForm
    version: int
    sop_instance_uid: str
    linked: bool
    state: PushState
    attempts: int
    problem: str | None
    sent_at: str | None

    @classmethod
    def of(cls, item: Item) -> Self:
        """Convert an item of the outbox."""
        return cls.model_validate({name: getattr(item, name) for name in cls.model_fields})


class Pushed(BaseModel):
    """The instances of one analysis that are sent, and their destination."""

    model_config = ConfigDict(frozen=True)

    destination: str
    instances: tuple[Sent, ...]


@router.post("/analyses/{analysis_id}/push", status_code=ACCEPTED)
def push(
    analysis_id: str, served: Served, options: Annotated[PushOptions | None, Body()] = None
) -> Response:
    """Send the newest report to the configured DICOMweb server.

    When the request is repeated, instances that were sent already are not sent again.
    """
    post, options = _post(served), options or PushOptions()
    push_request = PushRequest(
        analysis_id=analysis_id, forms=options.forms, force=options.force, unlinked=options.unlinked
    )
    body = Pushed(destination=post.url, instances=tuple(map(Sent.of, post.push(push_request))))
    here = f"/analyses/{analysis_id}/push"
    return JSONResponse(body.model_dump(mode="json"), ACCEPTED, {"Location": here})


@router.get("/analyses/{analysis_id}/push")
def pushed(analysis_id: str, served: Served) -> Pushed:
    """Return the states of the instances of the analysis."""
    post = _post(served)
    served.store.analysis(analysis_id)
    return Pushed(destination=post.url, instances=tuple(map(Sent.of, post.items(analysis_id))))


def _post(served: Services) -> Post:
    if served.post is None:
        raise NotFound("Reports are sent nowhere from here: USTRI_DICOMWEB_URL is not set.")
    return served.post
