"""One lease for all queues: the same guarantees for analyses, inference requests and pushes."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, update

from app.errors import LeaseLost
from app.images.ingest import ingest
from app.jobs.inference_requests import InferenceRequest, InferenceRequests, Limits, Reply
from app.jobs.leases import Lease, Leases, abandoned, release
from app.jobs.owner import new_owner, owner_process
from app.pacs.outbox import NewItem, PushForm, outbox_of
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from app.storage.tables import InferenceRequestRow, JobRow, LeasedRow, OutboxRow
from tests.app.conftest import a_png
from tests.builders import an_image_info
from tests.processes import finished

QUEUES: tuple[type[LeasedRow], ...] = (JobRow, InferenceRequestRow, OutboxRow)
LIMITS = Limits(waiting=4, deadline_s=60.0)


@pytest.fixture
def store(either: Settings) -> Iterator[Store]:
    """A store with one row in each queue."""
    store = Store.open(either)
    ingested = ingest(a_png(64, 64), 10_000)
    analysis_id = store.accept(ingested, NewAnalysis(), 100).analysis_id
    InferenceRequests(store, 30.0).put("exam_cls", b"png", an_image_info(), None, limits=LIMITS)
    item = NewItem(
        analysis_id=analysis_id,
        version=1,
        form=PushForm.IMAGE,
        sop_instance_uid="2.25.1",
        linked=False,
    )
    outbox_of(either, store).add([item], "https://pacs.example")
    yield store
    store.close()


def claim(
    store: Store, row: type[LeasedRow], owner: str | None = None
) -> tuple[Leases[Any], Lease]:
    leases: Leases[Any] = Leases(row, owner or new_owner(), 30.0)
    with store.write() as session:
        found = leases.first(session, select(row))
        assert found is not None
        return leases, Lease(row_id=found.id, token=leases.take(found))


def ended_owner() -> str:
    """The owner name of a process that has ended."""
    code = "from app.jobs.owner import new_owner; print(new_owner())"
    owner: str = finished([sys.executable, "-c", code], check=True).stdout.strip()
    assert owner_process(owner).known_dead
    return owner


@pytest.mark.parametrize("row", QUEUES, ids=lambda row: row.__tablename__)
def test_only_the_newest_claim_of_a_row_may_write(store: Store, row: type[LeasedRow]) -> None:
    old, stale = claim(store, row)
    new, lease = claim(store, row)
    assert lease.token == stale.token + 1
    with pytest.raises(LeaseLost), store.write() as session:
        old.renew(session, stale)
    with pytest.raises(LeaseLost), store.write() as session:
        old.hold(session, stale)
    with store.write() as session:
        held = new.hold(session, lease)
        assert held.attempts == 2
        new.renew(session, lease, progressed=True)
        session.refresh(held)
        assert held.attempts == 1
        release(held)
    with pytest.raises(LeaseLost), store.write() as session:
        new.renew(session, lease)


@pytest.mark.parametrize("row", QUEUES, ids=lambda row: row.__tablename__)
def test_a_row_is_abandoned_when_its_time_is_over_or_its_process_is_dead(
    store: Store, row: type[LeasedRow]
) -> None:
    def left() -> int:
        with store.read() as session:
            return len(session.scalars(select(row).where(abandoned(row))).all())

    leases, lease = claim(store, row)
    assert (leases.end_dead(store), left()) == (0, 0)
    with store.write() as session:
        session.execute(update(row).values(lease_expires_at=time.time() - 1))
    assert left() == 1
    with store.write() as session:
        leases.renew(session, lease)
    assert left() == 0
    claim(store, row, ended_owner())
    assert (leases.end_dead(store), left()) == (1, 1)
    assert leases.end_dead(store) == 0


def test_a_request_of_a_dead_worker_is_answered_by_another_and_given_up_after_two(
    store: Store,
) -> None:
    requests = InferenceRequests(store, 30.0)
    claimed: list[InferenceRequest] = []
    while (request := requests.claim()) is not None:
        claimed.append(request)
        assert requests.claim() is None
        with store.write() as session:
            session.execute(update(InferenceRequestRow).values(lease_owner=ended_owner()))
        assert requests.sweep() == 1
    assert [request.token for request in claimed] == [1, 2]
    reply = requests.reply(str(claimed[-1].row_id))
    assert reply is not None
    assert "more than once" in reply.sentence
    with pytest.raises(LeaseLost):
        requests.answer(claimed[-1], Reply(error="unavailable", sentence="Late."))


def test_an_expired_request_is_erased_although_nobody_sends_another(store: Store) -> None:
    requests = InferenceRequests(store, 30.0)
    with store.write() as session:
        session.execute(update(InferenceRequestRow).values(deadline_at=time.time() - 1))
    requests.sweep()
    with store.read() as session:
        assert session.scalars(select(InferenceRequestRow)).all() == []
