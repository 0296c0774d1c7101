"""The access log, the outermost HTTP layer: it gives every request an id, logs it and counts it."""

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.logs import about, request_id_of
from app.observability.metrics import count_request

log = logging.getLogger("app.access")

HEADER = "X-Request-ID"
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/static"})
"""Paths that are polled; their requests are logged at the level `debug` only."""

_ANALYSIS = re.compile(r"[0-9a-f]{32}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"
"""Label of a route or method that the service does not have; the requested one is not logged."""


class AccessLog:
    """ASGI middleware that logs requests and sets `X-Request-ID` on every response.

    A well-formed `X-Request-ID` of the request is taken over. A line of the log names the route,
    never the path or the query, because these may contain anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then log and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(Headers(scope=scope).get(HEADER))
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        with about(request_id=request_id):
            try:
                await self._app(scope, receive, answer)
            finally:
                _tell(scope, answer.status, time.perf_counter() - started)


class _Answer:
    """`send` that adds the request id.

    `status` is that of the response, or 0 if the client disconnected before one was sent.
    """

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)[HEADER] = self._request_id
        await self._send(message)


def _tell(scope: Scope, status: int, took_s: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else OTHER
    route = route_of(scope)
    count_request(method, route, status, took_s)
    level = logging.DEBUG if route in _QUIET else logging.INFO
    said = (
        f"{method} {route} was answered with {status}" if status else f"{method} {route} was left"
    )
    told = {"method": method, "route": route, "status": status or None}
    analysis_id = scope.get("path_params", {}).get("analysis_id", "")
    with about(analysis_id=analysis_id if _ANALYSIS.fullmatch(analysis_id) else None):
        log.log(level, "%s.", said, extra={**told, "duration_ms": round(took_s * 1000, 1)})


def route_of(scope: Scope) -> str:
    """Return the path template of the route that answered."""
    path = str(getattr(scope.get("route"), "path", ""))
    if path:
        return path
    if scope["path"].startswith("/static/"):
        return "/static"
    return "/openapi.json" if scope["path"] == "/openapi.json" else OTHER
