"""Sending reports over HTTP: only to the DICOMweb server of the settings, never to an address of the request."""

from typing import Annotated, Self

from fastapi import APIRouter, Body, Depends
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from app.errors import NotFound
from app.outbox import Item, PushForm, Wish
from app.responses import ACCEPTED
from app.schema import PROBLEMS
from app.services import Post, Services, services
from app.tables import PushState

router = APIRouter(responses=PROBLEMS)
Served = Annotated[Services, Depends(services)]


class Asked(BaseModel):
    """What to send; nothing said: every form that there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forms: tuple[PushForm, ...] = ()
    force: bool = False
    unlinked: bool = False


class Sent(BaseModel):
    """One instance on its way, and why it is not there yet."""

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
        """That instance as it is shown."""
        return cls.model_validate({name: getattr(item, name) for name in cls.model_fields})


class Pushed(BaseModel):
    """What is being sent of one analysis, and where to."""

    model_config = ConfigDict(frozen=True)

    destination: str
    instances: tuple[Sent, ...]


@router.post("/analyses/{analysis_id}/push", status_code=ACCEPTED)
def push(
    analysis_id: str, served: Served, asked: Annotated[Asked | None, Body()] = None
) -> Response:
    """Sends the newest report to the configured DICOMweb server; asked again, what is there is not sent again."""
    post, asked = _post(served), asked or Asked()
    wish = Wish(
        analysis_id=analysis_id, forms=asked.forms, force=asked.force, unlinked=asked.unlinked
    )
    body = Pushed(destination=post.url, instances=tuple(map(Sent.of, post.push(wish))))
    here = f"/analyses/{analysis_id}/push"
    return JSONResponse(body.model_dump(mode="json"), ACCEPTED, {"Location": here})


@router.get("/analyses/{analysis_id}/push")
def pushed(analysis_id: str, served: Served) -> Pushed:
    """How far the instances of that analysis have come."""
    post = _post(served)
    served.store.analysis(analysis_id)
    return Pushed(destination=post.url, instances=tuple(map(Sent.of, post.items(analysis_id))))


def _post(served: Services) -> Post:
    if served.post is None:
        raise NotFound("Reports are sent nowhere from here: USTRI_DICOMWEB_URL is not set.")
    return served.post
