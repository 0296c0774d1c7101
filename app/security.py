"""The guard before every route: host names, other sites' pages, the API key, the byte limit, headers."""

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
from app.responses import HEADERS, SEE_OTHER, problem_response
from app.settings import Settings, is_loopback

log = logging.getLogger(__name__)

COOKIE = "ustri_session"
SESSION_S = 43_200
"""A working day: after it the key is asked for again."""

_OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login"})
_METRICS = "/metrics"
_OPEN_FOLDER = "/static/"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware: what it lets through is addressed to us, by us, in bounds, and answered with headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit_bytes = settings.limit_bytes
        self._key_digest = settings.key_digest
        self._hosts = {name.lower() for name in settings.allowed_hosts}
        self._own_host = settings.host
        self._open_paths = _OPEN_PATHS | ({_METRICS} if settings.metrics_open else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing; passes the request on, or answers it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, bodiless=scope["method"] == "HEAD")
        inner = scope
        if scope["method"] == "HEAD":
            inner = {**scope, "method": "GET"}  # RFC 9110, 9.3.2: GET's answer without its body.
        try:
            early = self._early_response(inner)
            if early is None:
                limited = _limited(receive, self._limit_bytes)
                await self._app(inner, limited, answer)
                return
        except ClientDisconnect:
            return
        except Exception as error:
            # The outermost boundary: whatever a route raises, the sender gets a problem without its inside.
            if answer.started:
                raise
            early = problem_response(error)
            if early.status_code == 500:
                log.exception("A request failed.")
        finally:
            scope.update(route=inner.get("route"), path_params=inner.get("path_params", {}))
        await early(inner, receive, answer)

    def _early_response(self, scope: Scope) -> Response | None:
        """The answer to a request that does not get to its route; None for one that does."""
        headers = Headers(scope=scope)
        self._check_host(headers)
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limit_bytes:
            raise _too_large(self._limit_bytes)
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

    def _check_host(self, headers: Headers) -> None:
        """Refuses names that are not ours: a page could have its own name point to this address."""
        given = headers.get("host", "").lower()
        name = urlsplit(f"//{given}").hostname or ""
        if is_loopback(name) or name == self._own_host or name in self._hosts:
            return
        if self._key_digest is not None and not self._hosts:
            return  # With a key, another name gives nothing away: neither key nor cookie goes there.
        raise HostRefused(
            "This host name is not served here; use 127.0.0.1, or add the name to "
            "USTRI_ALLOWED_HOSTS."
        )


class _Answer:
    """`send`, which adds our headers and leaves the body out for HEAD; `started` once it was called."""

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
    """Whether the request carries the key, as a header or by its session."""
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
    """Whether that is the key, found in the same time for every wrong one."""
    return hmac.compare_digest(hashlib.sha256(key.encode()).digest(), key_digest)


def new_session(key_digest: bytes) -> str:
    """A cookie's value that stands for the key until it expires; any process with the key can check it."""
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
    """Refuses what another site's page sent: on loopback there is no key that it would lack."""
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
    """`receive`, counting: a body without a length, or with a false one, ends at the limit too."""
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
    return BodyTooLarge(f"The request has more than {limit_bytes} bytes; send a smaller image.")
