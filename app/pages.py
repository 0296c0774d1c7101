"""The pages that need nothing but themselves: the description of the HTTP interface, and signing in."""

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.errors import KeyRequired
from app.responses import OK, SEE_OTHER, page, problem_of
from app.security import COOKIE, SESSION_S, key_fits, new_session
from app.services import Services, services

router = APIRouter(include_in_schema=False)
Served = Annotated[Services, Depends(services)]

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)


@router.get("/docs")
def describe(request: Request) -> HTMLResponse:
    """The HTTP interface for a reader; what Swagger's page shows, without its CDN and its scripts."""
    return page(_TEMPLATES.get_template("docs.html").render(api=request.app.openapi()))


@router.get("/login")
def ask_for_key(next: str = "/") -> HTMLResponse:
    """The form that asks a person for the API key."""
    return _login(next, None)


@router.post("/login")
async def sign_in(request: Request, served: Served) -> Response:
    """A session cookie for the right key, and the page that was asked for."""
    async with request.form(max_files=0, max_fields=4) as form:
        key, target = str(form.get("key", "")), str(form.get("next", "/"))
    digest = served.settings.key_digest
    if digest is not None and not key_fits(key.strip(), digest):
        return _login(target, KeyRequired("This is not the key."))
    response = RedirectResponse(_here(target), SEE_OTHER)
    if digest is not None:
        response.set_cookie(
            COOKIE,
            new_session(digest),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return response


def _login(target: str, error: KeyRequired | None) -> HTMLResponse:
    status = OK if error is None else problem_of(error).status
    html = _TEMPLATES.get_template("login.html").render(
        target=_here(target), error=None if error is None else str(error)
    )
    return page(html, status)


def _here(target: str) -> str:
    """`target` when it is a path of this service, else the start page: no one is sent elsewhere."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if plain and not parts.scheme and not parts.netloc else "/"
