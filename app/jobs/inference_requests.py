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
from sqlalchemy import delete, func, or_, select, update

from app.errors import QueueFull
from app.images.ingest import load_image
from app.observability.logs import this_request
from app.storage.database import Alone, alone
from app.storage.store import Store
from app.storage.tables import AskRow
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
class Question:
    """A claimed inference request; `attempt` distinguishes this claim from others."""

    id: str
    specialist: str
    png: bytes
    info: ImageInfo
    roi: Box | None
    attempt: int
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
        self._lease_s = lease_s

    def put(
        self, specialist_id: str, png: bytes, info: ImageInfo, roi: Box | None, *, limits: "Limits"
    ) -> str:
        """Store a request and return the id of its reply.

        Raises:
            QueueFull: `limits.waiting` requests wait already.
        """
        now = time.time()
        with self._store.write() as session:
            alone(session, Alone.ASK)
            session.execute(delete(AskRow).where(AskRow.deadline_at < now))
            waiting = session.scalar(select(func.count()).where(AskRow.reply.is_(None))) or 0
            if waiting >= limits.waiting:
                raise QueueFull(f"{waiting} questions to specialists wait; try again in a moment.")
            row = AskRow(
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

    def reply(self, ask_id: str) -> Reply | None:
        """Return the reply; None while there is none."""
        with self._store.read() as session:
            body = session.scalar(select(AskRow.reply).where(AskRow.id == ask_id))
        return None if body is None else Reply.model_validate_json(body)

    def forget(self, ask_id: str) -> None:
        """Erase a request and its image, whether it was answered or not."""
        with self._store.write() as session:
            session.execute(delete(AskRow).where(AskRow.id == ask_id))

    def claim(self) -> Question | None:
        """Claim the oldest waiting request for this worker; return None when there is none."""
        now = time.time()
        free = or_(AskRow.lease_expires_at.is_(None), AskRow.lease_expires_at < now)
        oldest = (
            select(AskRow)
            .where(AskRow.reply.is_(None), AskRow.deadline_at > now, free)
            .order_by(AskRow.created_at)
            .limit(1)
        )
        with self._store.read() as session:
            if session.scalar(oldest.with_only_columns(AskRow.id)) is None:
                return None  # An empty poll takes no write lock.
        with self._store.write() as session:
            while (row := session.scalar(oldest.with_for_update(skip_locked=True))) is not None:
                if row.attempts >= ATTEMPTS_MAX:
                    row.reply = Reply(error="unavailable", sentence=_GIVEN_UP).model_dump_json()
                    session.flush()
                    continue
                row.attempts += 1
                row.lease_expires_at = now + self._lease_s
                return Question(
                    id=row.id,
                    specialist=row.specialist,
                    png=row.png,
                    info=ImageInfo.model_validate_json(row.image_info),
                    roi=_BOX.validate_json(row.roi or "null"),
                    attempt=row.attempts,
                    deadline_at=row.deadline_at,
                    request_id=row.request_id,
                )
        return None

    def answer(self, question: Question, reply: Reply) -> None:
        """Store the reply.

        It is dropped if the caller went away, or another worker has claimed the request since.
        """
        with self._store.write() as session:
            session.execute(
                update(AskRow)
                .where(AskRow.id == question.id, AskRow.attempts == question.attempt)
                .values(reply=reply.model_dump_json())
            )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many requests may wait, and how long one may take in all."""

    waiting: int
    deadline_s: float
