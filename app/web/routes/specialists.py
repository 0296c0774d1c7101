"""Routes of specialists: list them, show their cards, run one directly."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from app.errors import NotFound
from app.observability.metrics import REFUSALS, Refusal, question
from app.web.dependencies import Served, Services
from app.web.negotiation import wants_page
from app.web.openapi import PROBLEMS, SPECIALIST_BODY, SPECIALIST_LINKS
from app.web.pages.cards import card_page, list_page
from app.web.problems import OK
from app.web.uploads import SPECIALIST_FIELDS, read_form, read_image, region
from planner.exam import COLOUR_REFUSED
from reports.model import Colour, ExamCode, ImageInfo
from specialists.cards.card import Card, card_of
from specialists.cards.licence import research_only_of
from specialists.errors import Declined, Unavailable
from specialists.manifest import DataSource, Kind, Manifest, Metric, Roi, SpecialistEntry, Threshold
from specialists.result import Result

router = APIRouter(responses=PROBLEMS)
Accept = Annotated[str | None, Header(alias="accept", include_in_schema=False)]
"""OpenAPI takes it from the media types of responses, and ignores it as a parameter."""


_PAGE: dict[str, Any] = {"content": {"text/html": {}}}


class Listed(BaseModel):
    """A specialist, and whether it can run; `not_installed` states why not.

    `research_only` states why its weights and those of its backbone are for research use only.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str
    installed: bool
    not_installed: str | None
    kind: Kind
    title: str
    exams: tuple[ExamCode, ...]
    task_id: str
    labels: tuple[str, ...]
    landmarks: tuple[str, ...]
    units: str
    requires: tuple[str, ...]
    provides: tuple[str, ...]
    roi: Roi
    absence_known: bool
    thresholds: dict[str, Threshold]
    training_data: tuple[DataSource, ...]
    research_only: str | None = None
    metrics: tuple[Metric, ...]
    model: str
    sha256: str | None


class Answer(BaseModel):
    """One specialist's result, or why it is not assessed; `image` states what was converted."""

    model_config = ConfigDict(frozen=True)

    specialist: str
    image: ImageInfo
    result: Result | None
    not_assessed: str | None


@router.get("/specialists", response_model=list[Listed], responses={200: _PAGE | SPECIALIST_LINKS})
def list_specialists(served: Served, accept_header: Accept = None) -> Response:
    """List the closed tool set: which specialists are installed, and why the others are not.

    The response is an HTML page if Accept prefers one.
    """
    if wants_page(accept_header):
        return _varying(list_page(served.manifest))
    listed = [_entry(entry, served.manifest) for entry in served.manifest.specialists.values()]
    return _varying(JSONResponse([entry.model_dump(mode="json") for entry in listed], OK))


@router.get("/specialists/{specialist_id}/card", response_model=Card, responses={200: _PAGE})
def show_card(
    specialist_id: str,
    served: Served,
    accept_header: Accept = None,
) -> Response:
    """Return a specialist's model card: use, data, figures, limits, thresholds and provenance.

    The response is an HTML page if Accept prefers one.
    """
    entry = _find_entry(served, specialist_id)
    card = card_of(entry, served.manifest)
    if wants_page(accept_header):
        return _varying(card_page(card))
    return _varying(JSONResponse(card.model_dump(mode="json"), OK))


@router.post("/specialists/{specialist_id}", openapi_extra=SPECIALIST_BODY)
async def ask_specialist(specialist_id: str, request: Request, served: Served) -> Answer:
    """Run one specialist on one image, without the planner; nothing is stored."""
    entry = _find_entry(served, specialist_id)
    form = await read_form(request, SPECIALIST_FIELDS)
    ingested = await read_image(request, form)
    roi = region(form, entry, ingested)
    if not entry.installed:
        why = (entry.not_installed or "no weights").rstrip(".")
        raise Unavailable(f"{entry.id} is not installed: {why}.")
    info, result, reason = ingested.image.info, None, None
    if info.colour is Colour.COLOUR:
        reason = COLOUR_REFUSED
        REFUSALS.labels(Refusal.COLOUR).inc()
    else:
        try:
            with question(entry.id):
                result = await served.inference.infer(
                    entry.id, ingested, roi, request.is_disconnected
                )
        except Declined as error:
            reason = str(error)
    return Answer(specialist=entry.id, image=info, result=result, not_assessed=reason)


def _find_entry(served: Services, specialist_id: str) -> SpecialistEntry:
    entry = served.manifest.specialists.get(specialist_id)
    if entry is None:
        raise NotFound(
            f"There is no specialist {specialist_id[:60]!r}; GET /specialists lists them."
        )
    return entry


def _varying(response: Response) -> Response:
    response.headers["Vary"] = "Accept"
    return response


def _entry(entry: SpecialistEntry, manifest: Manifest) -> Listed:
    research_only = research_only_of(entry, manifest)
    return Listed.model_validate(entry).model_copy(update={"research_only": research_only})
