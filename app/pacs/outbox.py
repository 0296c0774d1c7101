"""Outbox: the instances on their way to a DICOMweb server, and all changes of their state."""

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.jobs.leases import Lease, Leases, abandoned, release
from app.jobs.owner import new_owner
from app.settings import Settings
from app.storage.database import Alone, Sessions, alone
from app.storage.store import Store, utc_now
from app.storage.tables import OutboxRow, PushState

LEASE_S = 600.0
"""Duration of a lease, longer than one request may take.

The leases of processes that are known to be gone end earlier.
"""

RETRY_MAX_S = 3600.0

_UNDONE = (PushState.PENDING, PushState.SENDING)


class PushForm(StrEnum):
    """A form that a DICOMweb server stores; the image goes first, since the others refer to it."""

    IMAGE = "image"
    SR = "sr"
    SEG = "seg"
    BIOMETRY = "biometry"


@dataclass(frozen=True, kw_only=True)
class PushRequest:
    """A push request: what to send of an analysis.

    Without `forms`, all that exist are sent. `force` sends a refused report; `unlinked` files the
    report with this service's image although the link to the original is kept.
    """

    analysis_id: str
    forms: tuple[PushForm, ...] = ()
    force: bool = False
    unlinked: bool = False


@dataclass(frozen=True, kw_only=True)
class NewItem:
    """One instance to send; `linked` when it refers to the original."""

    analysis_id: str
    version: int
    form: PushForm
    sop_instance_uid: str
    linked: bool


@dataclass(frozen=True, kw_only=True)
class Item(NewItem):
    """One instance in the outbox, and its progress; `lease` is held by who claimed it."""

    id: int
    lease: Lease
    destination: str
    state: PushState
    attempts: int
    due_at: float
    problem: str | None
    created_at: str
    sent_at: str | None


@dataclass(frozen=True, kw_only=True)
class StoreResult:
    """Result of one attempt: stored, or the problem and whether to try again later."""

    stored: bool
    again: bool = False
    problem: str | None = None


class Outbox:
    """The outbox of a store.

    `owner` names this process, as `app.jobs.owner.new_owner` does.
    """

    def __init__(self, sessions: Sessions, owner: str, attempts_limit: int, retry_s: float) -> None:
        self._sessions = sessions
        self._leases = Leases(OutboxRow, owner, LEASE_S)
        self._attempts_limit = attempts_limit
        self._retry_s = retry_s

    def add(self, items: Iterable[NewItem], destination: str) -> tuple[Item, ...]:
        """Add instances to be sent.

        One that was added before stays as it is, unless it failed; then it waits to be sent again.
        """
        with self._sessions.write() as session:
            alone(session, Alone.OUTBOX)
            rows = [_add(session, item, destination) for item in items]
            session.flush()
            return tuple(_item(row) for row in rows)

    def items(
        self, analysis_id: str | None = None, destination: str | None = None, limit: int = 200
    ) -> tuple[Item, ...]:
        """Return the newest instances, oldest first; of one analysis or destination if given."""
        query = select(OutboxRow).order_by(OutboxRow.id.desc()).limit(limit)
        if analysis_id is not None:
            query = query.where(OutboxRow.analysis_id == analysis_id)
        if destination is not None:
            query = query.where(OutboxRow.destination == destination)
        with self._sessions.read() as session:
            return tuple(_item(row) for row in reversed(session.scalars(query).all()))

    def revive(self, analysis_id: str | None = None, destination: str | None = None) -> int:
        """Let what failed wait to be sent again, as if it were new; return how many there were.

        It is limited to one analysis or destination if given.
        """
        failed = update(OutboxRow).where(OutboxRow.state == PushState.FAILED)
        if analysis_id is not None:
            failed = failed.where(OutboxRow.analysis_id == analysis_id)
        if destination is not None:
            failed = failed.where(OutboxRow.destination == destination)
        waits = failed.values(
            state=PushState.PENDING, attempts=0, due_at=time.time(), problem=None
        ).returning(OutboxRow.id)
        with self._sessions.write() as session:
            return len(session.execute(waits).all())

    def waiting(self) -> tuple[str, ...]:
        """Return the destinations that have instances to send."""
        query = select(OutboxRow.destination).where(OutboxRow.state.in_(_UNDONE)).distinct()
        with self._sessions.read() as session:
            return tuple(sorted(session.scalars(query)))

    def claim(
        self,
        destination: str,
        analysis_id: str | None = None,
        *,
        early: bool = False,
        but: Sequence[int] = (),
    ) -> tuple[Item, ...]:
        """Claim the instances of one report that are due; they are sent together.

        Returns none if nothing is due. What refers to this service's image is not claimed before
        that image is stored.

        Args:
            destination: URL of the server.
            analysis_id: claim only instances of this analysis.
            early: also claim what is not due yet.
            but: ids of instances to leave alone.
        """
        due = _claimable(early).where(
            OutboxRow.destination == destination, OutboxRow.id.not_in(but)
        )
        if analysis_id is not None:
            due = due.where(OutboxRow.analysis_id == analysis_id)
        with self._sessions.read() as session:
            if session.scalar(due.with_only_columns(OutboxRow.id).limit(1)) is None:
                return ()  # An empty poll takes no write lock.
        claimed: list[Item] = []
        with self._sessions.write() as session:
            while (row := self._leases.first(session, due)) is not None:
                row.state = PushState.SENDING
                self._leases.take(row)
                session.flush()
                claimed.append(_item(row))
                due = due.where(
                    OutboxRow.analysis_id == row.analysis_id, OutboxRow.version == row.version
                )
        return tuple(claimed)

    def end_dead(self) -> int:
        """End the leases of processes that are known to be dead; return how many there were."""
        return self._leases.end_dead(self._sessions)

    def settle(self, item: Item, result: StoreResult) -> None:
        """Store the result of an attempt.

        Raises:
            LeaseLost: another attempt was begun since.
        """
        with self._sessions.write() as session:
            row = self._leases.hold(session, item.lease)
            row.problem = result.problem
            if result.stored:
                _release(row, PushState.SENT)
                row.sent_at = utc_now()
            elif result.again and row.attempts < self._attempts_limit:
                _release(row, PushState.PENDING)
                row.due_at = time.time() + _wait_s(self._retry_s, row.attempts)
            else:
                _fail(session, row, result)


def outbox_of(settings: Settings, store: Store) -> Outbox:
    """Return the outbox of a store, as this process uses it."""
    return Outbox(store, new_owner(), settings.push_attempts, settings.push_retry_s)


def _claimable(early: bool) -> Select[OutboxRow]:
    picture = aliased(OutboxRow)
    open_picture = exists().where(
        picture.analysis_id == OutboxRow.analysis_id,
        picture.destination == OutboxRow.destination,
        picture.form == PushForm.IMAGE,
        picture.state != PushState.SENT,
    )
    waits: ColumnElement[bool] = OutboxRow.state == PushState.PENDING
    if not early:
        waits = and_(waits, OutboxRow.due_at <= time.time())
    left = and_(OutboxRow.state == PushState.SENDING, abandoned(OutboxRow))
    first = or_(OutboxRow.form == PushForm.IMAGE, OutboxRow.linked, ~open_picture)
    return select(OutboxRow).where(or_(waits, left), first).order_by(OutboxRow.id)


def _add(session: Session, item: NewItem, destination: str) -> OutboxRow:
    row = session.scalar(
        select(OutboxRow).where(
            OutboxRow.destination == destination,
            OutboxRow.sop_instance_uid == item.sop_instance_uid,
        )
    )
    now = time.time()
    if row is None:
        row = OutboxRow(
            analysis_id=item.analysis_id,
            version=item.version,
            form=item.form,
            sop_instance_uid=item.sop_instance_uid,
            destination=destination,
            linked=item.linked,
            state=PushState.PENDING,
            attempts=0,
            due_at=now,
            created_at=utc_now(),
        )
        session.add(row)
    elif row.state == PushState.FAILED:
        row.attempts, row.due_at, row.problem = 0, now, None
        _release(row, PushState.PENDING)
    return row


def _fail(session: Session, row: OutboxRow, result: StoreResult) -> None:
    """Give an instance up; if it is an image, also the instances that refer to it.

    Without the image, they would be orphaned.
    """
    _release(row, PushState.FAILED)
    if result.again:
        row.problem = f"Given up after {row.attempts} attempts. {result.problem or ''}".strip()
    if row.form != PushForm.IMAGE:
        return
    session.execute(
        update(OutboxRow)
        .where(
            OutboxRow.analysis_id == row.analysis_id,
            OutboxRow.destination == row.destination,
            OutboxRow.state == PushState.PENDING,
            ~OutboxRow.linked,
            OutboxRow.id != row.id,
        )
        .values(
            state=PushState.FAILED,
            problem="Not sent: the picture that it refers to was not stored.",
        )
    )


def _release(row: OutboxRow, state: PushState) -> None:
    row.state = state
    release(row)


def _wait_s(retry_s: float, attempts: int) -> float:
    """Return the delay before the next attempt.

    It doubles with each attempt, plus up to half as much again at random, so that many do not come
    back at once.
    """
    waited: float = min(RETRY_MAX_S, retry_s * 2.0 ** (attempts - 1))
    return waited * random.uniform(1.0, 1.5)


def _item(row: OutboxRow) -> Item:
    return Item(
        id=row.id,
        lease=Lease(row_id=row.id, token=row.fencing_token),
        analysis_id=row.analysis_id,
        version=row.version,
        form=PushForm(row.form),
        sop_instance_uid=row.sop_instance_uid,
        linked=row.linked,
        destination=row.destination,
        state=PushState(row.state),
        attempts=row.attempts,
        due_at=row.due_at,
        problem=row.problem,
        created_at=row.created_at,
        sent_at=row.sent_at,
    )
