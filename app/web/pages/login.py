"""The log-in page, which asks a person for the API key, and the session that follows."""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.errors import KeyRequired
from app.web.dependencies import Served
from app.web.pages.templating import templates
from app.web.problems import OK, SEE_OTHER, page, problem_of
from app.web.security import COOKIE, SESSION_S, key_fits, new_session

router = APIRouter(include_in_schema=False)

_TEMPLATES = templates()


@router.get("/login")
def ask_for_key(next: str = "/") -> HTMLResponse:
    """Show the form that asks a person for the API key."""
    return _login(next, None)


@router.post("/login")
async def sign_in(request: Request, served: Served) -> Response:
    """Set a session cookie for the right API key and redirect to the requested page."""
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
    """Return `target` if it is a path of this service, else the start page: no open redirect."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if plain and not parts.scheme and not parts.netloc else "/"
