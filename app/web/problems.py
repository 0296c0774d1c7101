"""HTTP responses for errors and pages; the only module that assigns status codes to errors."""

import base64
import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from app import errors
from app.errors import ServiceError
from app.observability.metrics import count_refused
from app.web.pages.templating import templates
from reports.errors import (
    FormNotInstalled,
    NoBiometry,
    NothingOutlined,
    NothingReported,
    PointsUnusable,
    SpacingKnown,
)
from specialists.errors import Rejected, SpecialistError, Unavailable

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 5

OK = HTTPStatus.OK
CREATED = HTTPStatus.CREATED
ACCEPTED = HTTPStatus.ACCEPTED
NO_CONTENT = HTTPStatus.NO_CONTENT
MULTI_STATUS = HTTPStatus.MULTI_STATUS
NOT_MODIFIED = HTTPStatus.NOT_MODIFIED
SEE_OTHER = HTTPStatus.SEE_OTHER

_KNOWN: tuple[tuple[type[Exception], HTTPStatus, str], ...] = (
    (errors.BodyTooLarge, HTTPStatus(413), "Request too large"),
    (errors.ImageTooLarge, HTTPStatus(413), "Image too large"),
    (errors.ImageUnsupported, HTTPStatus(415), "Not an image that is read"),
    (errors.ImageUnreadable, HTTPStatus(422), "Image not readable"),
    (errors.ArchiveRejected, HTTPStatus(422), "Not opened"),
    (errors.RequestRejected, HTTPStatus(422), "Request not valid"),
    (errors.NotAcceptable, HTTPStatus(406), "No such form"),
    (errors.NotFound, HTTPStatus(404), "Not found"),
    (errors.Conflict, HTTPStatus(409), "Idempotency key in use"),
    (errors.AnalysisDone, HTTPStatus(409), "Analysis done"),
    (errors.NotRevised, HTTPStatus(409), "Report not revised"),
    (errors.QueueFull, HTTPStatus(429), "Queue full"),
    (errors.StoreUnavailable, HTTPStatus(503), "Store not available"),
    (errors.NotReady, HTTPStatus(503), "Not ready"),
    (errors.PushRefused, HTTPStatus(409), "Report not sent"),
    (errors.AnalysisStopped, HTTPStatus(409), "Analysis stopped"),
    (errors.DeadlinePassed, HTTPStatus(504), "Deadline passed"),
    (errors.AnalysisFailed, HTTPStatus(500), "Analysis given up"),
    (errors.HostRefused, HTTPStatus(421), "Unknown host name"),
    (errors.OriginRefused, HTTPStatus(403), "Cross-origin request refused"),
    (errors.KeyRequired, HTTPStatus(401), "API key required"),
    (Rejected, HTTPStatus(422), "Request not valid"),
    (Unavailable, HTTPStatus(503), "Specialist not available"),
)
_OF_REPORTS: Mapping[type[Exception], type[ServiceError]] = {
    NothingOutlined: errors.NotFound,
    NoBiometry: errors.NotFound,
    NothingReported: errors.NotFound,
    FormNotInstalled: errors.NotAcceptable,
    SpacingKnown: errors.NotRevised,
    PointsUnusable: errors.RequestRejected,
}
"""The service error that a client gets for a form or a version that cannot be made."""

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_INTERNAL = "Something failed inside the service; its log says what. Your request changed nothing."
_WORDS: Mapping[int, str] = {
    404: "There is nothing at this address; /docs lists the addresses.",
    405: "This address does not take this method; /docs lists the methods.",
}

HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it a browser sends `Origin: null` from our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}
"""Headers of every response, unless its route sets a stricter value."""


class Problem(BaseModel):
    """An error in the form of RFC 9457; `detail` is a sentence that says what to do.

    `field` names the field of the form whose value is not accepted; absent where it is none's.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str
    field: Annotated[str | None, Field(exclude_if=lambda name: name is None)] = None


def problem_of(error: Exception) -> Problem:
    """Return the problem to send for that error; an unknown error reveals no internals."""
    error = _of_service(error)
    for kind, status, title in _KNOWN:
        if isinstance(error, kind):
            problem = _problem(kind.__name__, title, status, str(error))
            at = error.field if isinstance(error, errors.FieldRejected) else None
            return problem.model_copy(update={"field": at})
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        detail = _WORDS.get(status, error.detail or status.description)
        name = status.phrase.title().replace(" ", "")
        return _problem(name, status.phrase.capitalize(), status, detail)
    return _problem("InternalError", "Internal error", HTTPStatus(500), _INTERNAL)


def problem_response(error: Exception) -> Response:
    """Return that error as application/problem+json; a refusal is counted."""
    error = _of_service(error)
    count_refused(error)
    problem = problem_of(error)
    headers = dict(getattr(error, "headers", None) or {})
    if problem.status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="ustri"'
    return Response(
        problem.model_dump_json(indent=2) + "\n",
        status_code=problem.status,
        media_type=PROBLEM_TYPE,
        headers=headers,
    )


def page(html: str, status: int = OK) -> HTMLResponse:
    """Return a page without scripts whose inline style sheets are allowed by their hashes."""
    sheets = re.findall(r"<style[^>]*>(.*?)</style>", html, flags=re.DOTALL)
    hashes = "".join(
        f" 'sha256-{base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()}'"
        for sheet in sheets
    )
    policy = (
        f"default-src 'none'; style-src 'self'{hashes}; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html, status_code=status, headers={"Content-Security-Policy": policy})


def install_handlers(app: FastAPI) -> None:
    """Install the handlers that turn every error of that application into a problem."""
    app.add_exception_handler(ServiceError, _on_error)
    app.add_exception_handler(SpecialistError, _on_error)
    for kind in _OF_REPORTS:
        app.add_exception_handler(kind, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)


def _on_error(request: Request, error: Exception) -> Response:
    response = problem_response(error)
    if response.status_code == HTTPStatus.NOT_FOUND and _is_browser(request):
        html = _PAGES.get_template("problem.html").render(page="problem", problem=problem_of(error))
        return HTMLResponse(html, HTTPStatus.NOT_FOUND)
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(sorted(_allowed(request)))
    return response


def _is_browser(request: Request) -> bool:
    """Return whether a person opens an address, who needs a page and a way back."""
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _allowed(request: Request) -> set[str]:
    """Return the methods of an address: of all its routes, since each method may have its own."""
    root = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    found = {
        method
        for method in _METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "root_path": root, "method": method})[0] is Match.FULL
        and (method == "GET" or not isinstance(route, Mount))  # a folder of files is only read
    }
    return found | {"HEAD"} if "GET" in found else found


def _on_invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        return problem_response(error)
    # Never the input itself: it may be the text of a question.
    lines = [f"{'.'.join(str(part) for part in e['loc'][1:])}: {e['msg']}" for e in error.errors()]
    return problem_response(errors.RequestRejected("; ".join(lines) + "."))


def _of_service(error: Exception) -> Exception:
    known = _OF_REPORTS.get(type(error))
    return error if known is None else known(str(error))


_PAGES = templates()


def _problem(name: str, title: str, status: HTTPStatus, detail: str) -> Problem:
    slug = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
    return Problem(type=f"urn:ustri:problem:{slug}", title=title, status=int(status), detail=detail)
