"""Leases on rows of the store: the one mechanism behind every queue.

A claim leases a row to one process for a while and raises its fencing token. Every write carries
the token and is refused if a newer one exists, so a process that was thought dead cannot write
beside its successor. A lease ends when it is released, when its time is over, or when its process
is known to be dead.
"""

import time
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import ColumnElement, CursorResult, Select, Table, bindparam, select, update
from sqlalchemy.orm import Session

from app.errors import LeaseLost
from app.jobs.owner import owner_process
from app.storage.database import Sessions
from app.storage.tables import LeasedRow

Row = TypeVar("Row", bound=LeasedRow)


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on one row, as long as `token` is its newest."""

    row_id: int | str
    token: int


class Leases(Generic[Row]):
    """The leases of one owner on the rows of one table."""

    def __init__(self, row: type[Row], owner: str, lease_s: float) -> None:
        self._row = row
        self._owner = owner
        self._lease_s = lease_s
        # Renewed at every step: Core statements built once take a third of the time of ORM ones.
        table = cast("Table", row.__table__)
        self._renewed = (
            update(table)
            .where(
                table.c.id == bindparam("row"),
                table.c.fencing_token == bindparam("token"),
                table.c.lease_owner.is_not(None),
            )
            .values(lease_expires_at=bindparam("until"))
        )
        self._progressed = self._renewed.values(attempts=1)

    def first(self, session: Session, rows: Select[Row]) -> Row | None:
        """Lock and return the first of `rows` that no other transaction has locked.

        Processes that claim at once thus get different rows.
        """
        return session.scalar(rows.limit(1).with_for_update(skip_locked=True, of=self._row))

    def take(self, row: Row) -> int:
        """Lease a locked row to this owner and return its new fencing token."""
        row.lease_owner = self._owner
        row.lease_expires_at = time.time() + self._lease_s
        row.fencing_token += 1
        row.attempts += 1
        return row.fencing_token

    def renew(self, session: Session, lease: Lease, *, progressed: bool = False) -> None:
        """Extend the lease to its full duration again; progress resets the count of attempts.

        Raises:
            LeaseLost: the lease was ended, or another process has leased the row since.
        """
        row = {"row": lease.row_id, "token": lease.token, "until": time.time() + self._lease_s}
        held = session.execute(self._progressed if progressed else self._renewed, row)
        if cast("CursorResult[Any]", held).rowcount != 1:
            raise LeaseLost(
                f"The lease on row {lease.row_id} of {self._row.__tablename__} is over; another "
                "process may hold it."
            )

    def hold(self, session: Session, lease: Lease) -> Row:
        """Return the lease's row, for this transaction to change.

        Raises:
            LeaseLost: the lease was ended, or another process has leased the row since.
        """
        self.renew(session, lease)
        return session.get_one(self._row, lease.row_id)

    def end_dead(self, sessions: Sessions) -> int:
        """End the leases of processes that are known to be dead; return how many there were.

        Their rows are then abandoned, as if the time of the lease were over.
        """
        row = self._row
        running = select(row.lease_owner).where(row.lease_owner.is_not(None), ~abandoned(row))
        with sessions.read() as session:
            owners = session.scalars(running.distinct()).all()
        dead = [owner for owner in owners if owner and owner_process(owner).known_dead]
        if not dead:
            return 0  # No write lock.
        ended = update(row).where(row.lease_owner.in_(dead)).values(lease_expires_at=0.0)
        with sessions.write() as session:
            return cast("CursorResult[Any]", session.execute(ended)).rowcount


def abandoned(row: type[LeasedRow]) -> ColumnElement[bool]:
    """Return the condition that a row is leased and the time of its lease is over."""
    return row.lease_expires_at < time.time()


def release(row: LeasedRow) -> None:
    """End the lease on a row that this transaction holds."""
    row.lease_owner = None
    row.lease_expires_at = None
