"""The HTML page of the HTTP reference."""

import json

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.web.pages.templating import templates
from app.web.problems import page

router = APIRouter(include_in_schema=False)

_TEMPLATES = templates()
_TEMPLATES.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)


@router.get("/docs")
def describe(request: Request) -> HTMLResponse:
    """Show the HTTP reference: what Swagger UI shows, without its CDN and its scripts."""
    return page(_TEMPLATES.get_template("docs.html").render(api=request.app.openapi()))
