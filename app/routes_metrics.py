"""The address that a Prometheus server reads."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.responses import Response

from app.scrape import scraped
from app.services import Services, services

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def metrics(
    served: Annotated[Services, Depends(services)],
    accept_header: Annotated[str | None, Header(alias="accept")] = None,
) -> Response:
    """What this process counted, and the queue as the store has it now."""
    body, media_type = scraped(served.store, served.settings, accept_header)
    return Response(body, headers={"Content-Type": media_type})
