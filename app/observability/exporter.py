"""Prometheus endpoint of this process.

Every process serves its own counts; in the web process, `app.web.routes.metrics` adds the state of
the queue in the store.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from app.errors import SettingsError
from app.settings import Settings


@contextmanager
def exposed(settings: Settings) -> Iterator[None]:
    """Serve this process's metrics while the context is open, if the settings name a port.

    Raises:
        SettingsError: the port cannot be listened on.
    """
    if settings.metrics_port is None:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host)
    except OSError as error:
        raise SettingsError(
            f"USTRI_METRICS_HOST {settings.metrics_host} and USTRI_METRICS_PORT "
            f"{settings.metrics_port} cannot be listened on: "
            f"{(error.strerror or str(error)).lower()}."
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
