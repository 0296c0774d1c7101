"""The HTTP server: a listening socket, and uvicorn to serve the application on it."""

import logging
import socket
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from app.errors import NotReady, SettingsError
from app.images.isolated.freed_memory import overwrite_freed_memory

log = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that may wait to be accepted; uvicorn's default."""


REQUESTS_S = 16
"""How long requests that wait for a report may take after SIGTERM, in seconds."""


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at that address; clients that connect wait until served.

    Raises:
        SettingsError: the address is in use, or is not one of this machine's.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[
            0
        ]
        listener = socket.socket(family, kind, number)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"USTRI_HOST {host} and USTRI_PORT {port} cannot be listened on: {reason}."
        ) from error
    return listener


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve the application on that socket until SIGTERM or Ctrl-C, then drain.

    Uploads pass through buffers of several libraries, which this process overwrites when it frees
    them.

    Raises:
        NotReady: the service did not start; its log says why.
    """
    if not overwrite_freed_memory():
        log.info("Freed memory is not overwritten here: the C library is not glibc.")
    config = uvicorn.Config(
        app,
        # `app.observability.logs` configures logging; `app.web.access_log` logs each request.
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=REQUESTS_S,
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        raise NotReady("The service did not start; the lines above say why.")
