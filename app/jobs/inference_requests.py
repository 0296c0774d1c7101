"""Inference requests to one specialist, over the store.

They go from a process without networks to a worker, and the reply comes back the same way. Nothing
is kept: a row, with its image, is erased when its reply was read, its caller went away, or its
deadline passed. Expired requests are not answered.
"""

import json
import time
import uuid
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter
from sqlalchemy import ColumnElement, delete, func, or_, select

from app.errors import QueueFull
from app.images.ingest import load_image
from app.jobs.leases import Lease, Leases, abandoned, release
from app.jobs.owner import new_owner
from app.observability.logs import this_request
from app.storage.database import Alone, alone
from app.storage.store import Store
from app.storage.tables import InferenceRequestRow
from reports.model import Box, ImageInfo
from specialists.errors import Declined, Rejected, Unavailable
from specialists.image import Image
from specialists.result import Result

ATTEMPTS_MAX = 2
"""Workers that may end over one request before it is given up."""

_BOX: TypeAdapter[Box | None] = TypeAdapter(Box | None)
_GIVEN_UP = (
    "The worker ended while this question was answered, more than once; its log says what happened."
)


class Reply(BaseModel):
    """A worker's reply: a result, or the kind of error and its message."""

    model_config = ConfigDict(frozen=True)

    result: Result | None = None
    error: Literal["declined", "rejected", "unavailable"] | None = None
    sentence: str = ""

    def opened(self) -> Result:
        """Return the result.

        Raises:
            Declined, Rejected, Unavailable: as the specialist raised it.
        """
        match self.error:
            case "declined":
                raise Declined(self.sentence)
            case "rejected":
                raise Rejected(self.sentence)
            case _ if self.result is None:
                raise Unavailable(self.sentence)
            case _:
                return self.result


@dataclass(frozen=True, kw_only=True)
class InferenceRequest(Lease):
    """A claimed inference request, and the lease on it."""

    specialist: str
    png: bytes
    info: ImageInfo
    roi: Box | None
    deadline_at: float
    request_id: str | None = None

    def image(self) -> Image:
        """Return the image in the form that specialists read.

        Raises:
            ImageUnreadable: it was damaged in transfer.
        """
        return load_image(self.png, self.info)


class InferenceRequests:
    """The inference requests in a store.

    Every method raises StoreUnavailable when the store cannot be used now.
    """

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._leases = Leases(InferenceRequestRow, new_owner(), lease_s)

    def put(
        self, specialist_id: str, png: bytes, info: ImageInfo, roi: Box | None, *, limits: "Limits"
    ) -> str:
        """Store a request and return the id of its reply.

        Raises:
            QueueFull: `limits.waiting` requests wait already.
        """
        now = time.time()
        with self._store.write() as session:
            alone(session, Alone.INFERENCE)
            session.execute(delete(InferenceRequestRow).where(_is_expired()))
            unanswered = select(func.count()).where(InferenceRequestRow.reply.is_(None))
            waiting = session.scalar(unanswered) or 0
            if waiting >= limits.waiting:
                raise QueueFull(f"{waiting} questions to specialists wait; try again in a moment.")
            row = InferenceRequestRow(
                id=uuid.uuid4().hex,
                specialist=specialist_id,
                image_info=info.model_dump_json(),
                png=png,
                roi=json.dumps(roi),
                attempts=0,
                deadline_at=now + limits.deadline_s,
                created_at=now,
                request_id=this_request(),
            )
            session.add(row)
            return row.id

    def reply(self, row_id: str) -> Reply | None:
        """Return the reply; None while there is none."""
        with self._store.read() as session:
            body = session.scalar(
                select(InferenceRequestRow.reply).where(InferenceRequestRow.id == row_id)
            )
        return None if body is None else Reply.model_validate_json(body)

    def forget(self, row_id: str) -> None:
        """Erase a request and its image, whether it was answered or not."""
        with self._store.write() as session:
            session.execute(delete(InferenceRequestRow).where(InferenceRequestRow.id == row_id))

    def claim(self) -> InferenceRequest | None:
        """Claim the oldest waiting request for this worker; return None when there is none."""
        row = InferenceRequestRow
        waiting = (
            select(row)
            .where(
                row.reply.is_(None),
                row.deadline_at > time.time(),
                or_(row.lease_expires_at.is_(None), abandoned(row)),
            )
            .order_by(row.created_at)
        )
        with self._store.read() as session:
            if session.scalar(waiting.with_only_columns(row.id).limit(1)) is None:
                return None  # An empty poll takes no write lock.
        with self._store.write() as session:
            while (found := self._leases.first(session, waiting)) is not None:
                if found.attempts < ATTEMPTS_MAX:
                    return self._begin(found)
                _reply(found, Reply(error="unavailable", sentence=_GIVEN_UP))
                session.flush()
        return None

    def _begin(self, row: InferenceRequestRow) -> InferenceRequest:
        return InferenceRequest(
            row_id=row.id,
            token=self._leases.take(row),
            specialist=row.specialist,
            png=row.png,
            info=ImageInfo.model_validate_json(row.image_info),
            roi=_BOX.validate_json(row.roi or "null"),
            deadline_at=row.deadline_at,
            request_id=row.request_id,
        )

    def answer(self, request: InferenceRequest, reply: Reply) -> None:
        """Store the reply.

        Raises:
            LeaseLost: the caller went away, or another worker has claimed the request since.
        """
        with self._store.write() as session:
            _reply(self._leases.hold(session, request), reply)

    def sweep(self) -> int:
        """Erase expired requests; end the leases of processes known to be dead and count them."""
        with self._store.read() as session:
            expired = session.scalar(select(func.count()).where(_is_expired()))
        if expired:
            with self._store.write() as session:
                session.execute(delete(InferenceRequestRow).where(_is_expired()))
        return self._leases.end_dead(self._store)


def _is_expired() -> ColumnElement[bool]:
    return InferenceRequestRow.deadline_at < time.time()


def _reply(row: InferenceRequestRow, reply: Reply) -> None:
    row.reply = reply.model_dump_json()
    release(row)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many requests may wait, and how long one may take in all."""

    waiting: int
    deadline_s: float
