"""The guard before every route: host names, cross-site requests, API key, byte limit, headers."""

import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import BodyTooLarge, HostRefused, KeyRequired, OriginRefused
from app.settings import Settings, is_loopback
from app.web.problems import HEADERS, SEE_OTHER, problem_response

log = logging.getLogger(__name__)

COOKIE = "ustri_session"
SESSION_S = 43_200
"""A working day of 12 h, after which the API key must be entered again."""

_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login"})
_METRICS = "/metrics"
_MANY_IMAGES = frozenset({"/", "/analyses"})
"""Paths of routes that take several images or an archive of them."""

_OPEN_FOLDER = "/static/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware that lets only legitimate requests through and adds headers to responses.

    A request must name one of this service's hosts, come from its own pages or from none, carry the
    API key if one is set, and keep within the byte limit.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit_bytes = settings.limit_bytes
        self._limit_batch_bytes = max(settings.limit_bytes, settings.limit_batch_bytes)
        self._key_digest = settings.key_digest
        self._hosts = {name.lower() for name in settings.allowed_hosts}
        self._own_host = settings.host
        self._open_paths = _OPEN_PATHS | ({_METRICS} if settings.metrics_open else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, bodiless=scope["method"] == "HEAD")
        inner = scope
        if scope["method"] == "HEAD":
            # RFC 9110, section 9.3.2: the response to HEAD is that to GET without its body.
            inner = {**scope, "method": "GET"}
        try:
            early = self._early_response(inner)
            if early is None:
                limited = _limited(receive, self._limit_of(inner))
                await self._app(inner, limited, answer)
                return
        except ClientDisconnect:
            return
        except Exception as error:
            # The outermost boundary: whatever a route raises, the client gets a problem that
            # reveals no internals.
            if answer.started:
                raise
            early = problem_response(error)
            if early.status_code == 500:
                log.exception("A request failed.")
        finally:
            scope.update(route=inner.get("route"), path_params=inner.get("path_params", {}))
        await early(inner, receive, answer)

    def _early_response(self, scope: Scope) -> Response | None:
        """Return the response to a request that must not reach its route; None for one that may."""
        headers = Headers(scope=scope)
        self._check_host(headers)
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers)
        length = headers.get("content-length", "0")
        limit_bytes = self._limit_of(scope)
        if length.isdigit() and int(length) > limit_bytes:
            raise _too_large(limit_bytes)
        path = scope["path"]
        if self._key_digest is None or path in self._open_paths or path.startswith(_OPEN_FOLDER):
            return None
        if is_allowed(headers, self._key_digest):
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            here = f"{path}?{query}" if query else path
            return RedirectResponse(f"/login?next={quote(here)}", SEE_OTHER)
        raise KeyRequired(
            "Send the API key as `Authorization: Bearer …`; in a browser, sign in at /login."
        )

    def _limit_of(self, scope: Scope) -> int:
        """Return the most bytes that the body of a request to this route may have."""
        many = scope["method"] == "POST" and scope["path"] in _MANY_IMAGES
        return self._limit_batch_bytes if many else self._limit_bytes

    def _check_host(self, headers: Headers) -> None:
        """Refuse foreign host names: a page could make its own name resolve to this address."""
        given = headers.get("host", "").lower()
        name = urlsplit(f"//{given}").hostname or ""
        if is_loopback(name) or name == self._own_host or name in self._hosts:
            return
        if self._key_digest is not None and not self._hosts:
            # With a key, a foreign name gives nothing away: browsers send neither key nor cookie.
            return
        raise HostRefused(
            "This host name is not served here; use 127.0.0.1, or add the name to "
            "USTRI_ALLOWED_HOSTS."
        )


class _Answer:
    """`send` that adds the headers and omits the body for HEAD.

    `started` is true once the response has started.
    """

    def __init__(self, send: Send, *, bodiless: bool) -> None:
        self._send = send
        self._bodiless = bodiless
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        elif self._bodiless and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)


def is_allowed(headers: Headers, key_digest: bytes) -> bool:
    """Return whether the request carries the API key in a header, or a valid session cookie."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if given and key_fits(given.strip(), key_digest):
        return True
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return morsel is not None and _session_holds(morsel.value, key_digest)


def key_fits(key: str, key_digest: bytes) -> bool:
    """Return whether that is the API key; the comparison takes constant time."""
    return hmac.compare_digest(hashlib.sha256(key.encode()).digest(), key_digest)


def new_session(key_digest: bytes) -> str:
    """Return a cookie value that stands for the API key until it expires.

    Any process that has the key can check it.
    """
    expires = str(int(time.time()) + SESSION_S)
    return f"{expires}.{_signature(expires, key_digest)}"


def _session_holds(value: str, key_digest: bytes) -> bool:
    expires, _, signature = value.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(expires, key_digest).encode()):
        return False
    return int(expires) > time.time()


def _signature(expires: str, key_digest: bytes) -> str:
    return hmac.new(key_digest, f"ustri session {expires}".encode(), "sha256").hexdigest()


def _check_origin(headers: Headers) -> None:
    """Refuse requests from pages of other sites: on loopback no API key would stop them."""
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    foreign_site = site is not None and site not in ("same-origin", "none")
    foreign_origin = (
        site is None
        and origin is not None
        and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    )
    if foreign_site or foreign_origin:
        raise OriginRefused("Requests from pages of other sites are refused.")


def _limited(receive: Receive, limit_bytes: int) -> Callable[[], Awaitable[Message]]:
    """Wrap `receive` to count bytes: a body with no length or a false one ends at the limit too."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit_bytes:
            raise _too_large(limit_bytes)
        return message

    return counted


def _too_large(limit_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request has more than {limit_bytes} bytes; send less at once.")
