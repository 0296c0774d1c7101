"""Health routes: whether the process is alive and whether it is ready to work."""

from fastapi import APIRouter

from app.errors import NotReady
from app.web.dependencies import Served
from app.web.openapi import PROBLEMS

router = APIRouter(responses=PROBLEMS)


@router.get("/healthz")
def alive() -> dict[str, str]:
    """Confirm that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(served: Served) -> dict[str, str]:
    """Confirm that the store is reachable and a worker, its weights loaded, is alive.

    A worker is alive if it sent a heartbeat recently.
    """
    if not served.store.alive_workers():
        raise NotReady("No worker gave a heartbeat of late; analyses wait until one does.")
    return {
        "status": "ready",
        "store": "reached",
        "worker": "alive",
        "weights": "loaded",
        "redis": served.publisher.state,
    }
