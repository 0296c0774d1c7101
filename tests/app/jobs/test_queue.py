"""Leases, fencing and attempts: one job is worked on by one worker, and written once."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from app.errors import AnalysisDone, FieldRejected, LeaseLost, QueueFull, StoreUnavailable
from app.images.ingest import ingest
from app.jobs.owner import new_owner, owner_process
from app.jobs.queue import CANCELLED, EXPIRED, Jobs, Waiting, cancel, retry
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.database import Turns
from app.storage.store import Store
from app.storage.tables import JobRow, JobState
from planner.case import Record
from tests.app.conftest import a_png
from tests.builders import a_report, a_step
from tests.processes import finished, started

LEASE_S = 30.0
ATTEMPTS = 3


@pytest.fixture
def store(either: Settings) -> Iterator[Store]:
    store = Store.open(either)
    yield store
    store.close()


def a_worker(store: Store, lease_s: float = LEASE_S) -> Jobs:
    return Jobs(store, new_owner(), lease_s, ATTEMPTS)


def an_analysis(store: Store, question: str | None = None) -> str:
    ingested = ingest(a_png(64, 64), 10_000)
    return store.accept(ingested, NewAnalysis(question=question), 100).analysis_id


def expire(store: Store) -> None:
    with store.write() as session:
        session.execute(update(JobRow).values(lease_expires_at=time.time() - 1))


def a_record(index: int) -> Record:
    return Record(step=a_step(index=index))


def test_a_job_is_claimed_once(store: Store) -> None:
    first, second = an_analysis(store), an_analysis(store)
    one, two = a_worker(store), a_worker(store)
    claimed = [worker.claim() for worker in (one, two, one)]
    assert [lease and lease.analysis_id for lease in claimed] == [first, second, None]


def test_a_silent_workers_job_is_taken_over_and_its_late_writes_are_refused(store: Store) -> None:
    analysis_id = an_analysis(store)
    old, new = a_worker(store), a_worker(store)
    stale = old.claim()
    assert stale is not None
    old.append(stale, a_record(0))
    assert new.claim() is None
    expire(store)
    lease = new.claim()
    assert lease is not None
    assert lease.token == stale.token + 1
    report = a_report(analysis_id=analysis_id, report_id="a" * 32)
    writes: tuple[Callable[[], None], ...] = (
        lambda: old.append(stale, a_record(1)),
        lambda: old.renew(stale),
        lambda: old.finish(stale, report),
        lambda: old.fail(stale, "late"),
        lambda: old.hand_back(stale, attempted=True),
    )
    for late in writes:
        with pytest.raises(LeaseLost):
            late()
    assert [record.step.index for record in store.records(analysis_id)] == [0]
    assert store.report(analysis_id) is None
    new.append(lease, a_record(1))
    new.finish(lease, report)
    assert store.report(analysis_id) == report
    with pytest.raises(LeaseLost):
        new.finish(lease, report)


def test_a_renewed_lease_is_not_taken_over(store: Store) -> None:
    an_analysis(store)
    worker = a_worker(store)
    lease = worker.claim()
    assert lease is not None
    expire(store)
    worker.renew(lease)
    assert a_worker(store).claim() is None


def test_an_analysis_is_given_up_after_its_attempts_at_one_step(store: Store) -> None:
    analysis_id = an_analysis(store, question="Why?")
    worker = a_worker(store)
    for _ in range(ATTEMPTS):
        assert worker.claim() is not None
        expire(store)
    assert worker.claim() is None
    analysis = store.analysis(analysis_id)
    assert analysis.state is JobState.FAILED
    assert analysis.problem is not None
    assert "given up" in analysis.problem
    with store.read() as session:
        assert session.get_one(JobRow, 1).question is None


def test_a_step_that_is_done_starts_the_count_anew(store: Store) -> None:
    analysis_id = an_analysis(store)
    worker = a_worker(store)
    for index in range(2 * ATTEMPTS):
        lease = worker.claim()
        assert lease is not None
        worker.append(lease, a_record(index))
        expire(store)
    assert len(store.records(analysis_id)) == 2 * ATTEMPTS


def test_a_job_that_is_handed_back_by_a_stopping_worker_costs_no_attempt(store: Store) -> None:
    analysis_id = an_analysis(store)
    worker = a_worker(store)
    for _ in range(2 * ATTEMPTS):
        lease = worker.claim()
        assert lease is not None
        worker.hand_back(lease, attempted=False)
    assert store.analysis(analysis_id).state is JobState.QUEUED


def test_a_living_process_keeps_its_jobs_and_an_ended_one_loses_them_at_once(store: Store) -> None:
    an_analysis(store)
    assert a_worker(store).claim() is not None
    assert a_worker(store).end_dead() == 0
    code = "from app.jobs.owner import new_owner; print(new_owner())"
    owner = finished([sys.executable, "-c", code], check=True).stdout.strip()
    assert owner_process(owner).known_dead
    with store.write() as session:
        session.execute(update(JobRow).values(lease_owner=owner))
    worker = a_worker(store)
    assert worker.end_dead() == 1
    assert worker.claim() is not None


def test_a_process_elsewhere_is_never_thought_dead() -> None:
    host, namespace, pid, started_s, name = json.loads(new_owner())
    assert not owner_process(json.dumps([host, namespace, pid, started_s, name])).known_dead
    reused = owner_process(json.dumps([host, namespace, pid, started_s - 60, name]))
    assert reused.known_dead
    assert not owner_process(json.dumps(["elsewhere", namespace, 1, 1.0, name])).known_dead
    assert not owner_process(json.dumps([host, "pid:[1]", 1, 1.0, name])).known_dead


def test_a_full_queue_takes_a_repeated_key_but_nothing_new(store: Store) -> None:
    ingested = ingest(a_png(64, 64), 10_000)
    first = store.accept(ingested, NewAnalysis(idempotency_key="k"), 1)
    assert store.accept(ingested, NewAnalysis(idempotency_key="k"), 1).replayed
    with pytest.raises(QueueFull):
        store.accept(ingested, NewAnalysis(), 1)
    assert [row.analysis_id for row in store.worklist.page(9).entries] == [first.analysis_id]


def test_the_tables_are_those_that_the_migrations_make(store: Store) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    from app.storage.tables import Base

    with store.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_job_whose_deadline_is_over_is_not_begun(store: Store) -> None:
    ingested = ingest(a_png(64, 64), 10_000)
    late = store.accept(ingested, NewAnalysis(deadline_s=0.001), 100).analysis_id
    time.sleep(0.01)
    assert a_worker(store).claim() is None
    assert store.analysis(late).problem == EXPIRED


def test_a_late_analysis_is_given_up_behind_others_and_makes_room_for_new_ones(
    store: Store,
) -> None:
    ingested = ingest(a_png(64, 64), 10_000)
    first = store.accept(ingested, NewAnalysis(), 2).analysis_id
    late = store.accept(ingested, NewAnalysis(deadline_s=0.001), 2).analysis_id
    time.sleep(0.01)
    third = store.accept(ingested, NewAnalysis(deadline_s=60.0), 2).analysis_id
    with pytest.raises(QueueFull):
        store.accept(ingested, NewAnalysis(), 2)
    a_worker(store).beat()
    states = {each: store.analysis(each).state for each in (first, late, third)}
    assert states == {first: JobState.QUEUED, late: JobState.FAILED, third: JobState.QUEUED}
    assert store.analysis(late).problem == EXPIRED


def test_a_cancelled_analysis_is_not_worked_on_any_more(store: Store) -> None:
    waiting, running = an_analysis(store), an_analysis(store)
    cancel(store, waiting)
    worker = a_worker(store)
    lease = worker.claim()
    assert lease is not None
    assert lease.analysis_id == running
    cancel(store, running)
    cancel(store, running)
    with pytest.raises(LeaseLost):
        worker.append(lease, a_record(0))
    assert worker.claim() is None
    assert {store.analysis(one).problem for one in (waiting, running)} == {CANCELLED}


def test_what_is_done_cannot_be_cancelled(store: Store) -> None:
    analysis_id, worker = an_analysis(store), a_worker(store)
    lease = worker.claim()
    assert lease is not None
    worker.finish(lease, a_report(analysis_id=analysis_id, report_id="a" * 32))
    with pytest.raises(AnalysisDone):
        cancel(store, analysis_id)
    with pytest.raises(AnalysisDone):
        retry(store, analysis_id, None, 9)


def test_what_is_tried_again_keeps_its_steps_and_no_earlier_worker_can_write(store: Store) -> None:
    analysis_id, first, second = an_analysis(store), a_worker(store), a_worker(store)
    before = first.claim()
    assert before is not None
    first.append(before, a_record(0))
    cancel(store, analysis_id)
    assert retry(store, analysis_id, None, 1)
    assert not retry(store, analysis_id, None, 1)  # It waits already.
    standing = store.analysis(analysis_id)
    assert (standing.state, standing.problem) == (JobState.QUEUED, None)
    after = second.claim()
    assert after is not None
    assert (after.analysis_id, after.version, after.first) == (analysis_id, 1, False)
    assert [record.step.index for record in store.records(analysis_id)] == [0]
    with pytest.raises(LeaseLost):
        first.append(before, a_record(1))
    with pytest.raises(LeaseLost):
        first.finish(before, a_report(analysis_id=analysis_id, report_id="a" * 32))
    second.append(after, a_record(1))
    second.finish(after, a_report(analysis_id=analysis_id, report_id="b" * 32))
    assert store.analysis(analysis_id).report_id == "b" * 32


def test_a_question_is_asked_again_and_a_deadline_counts_anew(store: Store) -> None:
    ingested = ingest(a_png(), 10**6)
    new = NewAnalysis(question="How large?", deadline_s=60.0)
    analysis_id = store.accept(ingested, new, 9).analysis_id
    cancel(store, analysis_id)
    with pytest.raises(FieldRejected, match="erased"):
        retry(store, analysis_id, None, 9)
    began = time.time()
    assert retry(store, analysis_id, "How large is it?", 9)
    lease = a_worker(store).claim()
    assert lease is not None
    assert lease.question == "How large is it?"
    assert lease.deadline_at is not None
    assert 60.0 <= lease.deadline_at - began < 65.0
    asked_nothing = an_analysis(store)
    cancel(store, asked_nothing)
    with pytest.raises(FieldRejected, match="no question"):
        retry(store, asked_nothing, "How large?", 9)
    with pytest.raises(QueueFull):
        retry(store, asked_nothing, None, 1)


def test_a_job_that_an_attempt_did_not_end_is_told_from_a_fresh_one(store: Store) -> None:
    first, second = an_analysis(store), an_analysis(store)
    worker = a_worker(store)
    lease = worker.claim(suspect=False)
    assert lease is not None
    assert lease.analysis_id == first
    assert worker.waiting() == Waiting(suspect=False, fresh=True)
    expire(store)
    assert worker.waiting() == Waiting(suspect=True, fresh=True)
    claimed = [worker.claim(suspect=True), worker.claim(suspect=True), worker.claim(suspect=False)]
    assert [lease and lease.analysis_id for lease in claimed] == [first, None, second]
    assert worker.waiting() == Waiting(suspect=False, fresh=False)


def test_many_that_claim_at_once_get_different_jobs(store: Store) -> None:
    made = {an_analysis(store) for _ in range(8)}
    workers = [a_worker(store) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda worker: worker.claim(), workers))
    # A worker that polls while another holds the only free row may get none, never the same one.
    got = [lease.analysis_id for lease in leases if lease is not None]
    assert len(got) == len(set(got))
    while (lease := workers[0].claim()) is not None:
        got.append(lease.analysis_id)
    assert sorted(got) == sorted(made)


def test_many_that_send_one_key_at_once_get_one_analysis(store: Store) -> None:
    ingested = ingest(a_png(64, 64), 10_000)
    with ThreadPoolExecutor(8) as pool:
        accepted = list(
            pool.map(
                lambda _: store.accept(ingested, NewAnalysis(idempotency_key="k"), 100), range(8)
            )
        )
    assert len({one.analysis_id for one in accepted}) == 1
    assert sum(not one.replayed for one in accepted) == 1
    assert store.png(ingested.key) == ingested.png


def test_processes_that_start_at_once_migrate_once(either: Settings) -> None:
    code = (
        "import sys; from app.settings import Settings; from app.storage.store import Store; "
        "Store.open(Settings.model_validate_json(sys.argv[1])).close()"
    )
    text = either.model_dump_json()
    command = [sys.executable, "-c", code, text]
    with started(command) as one, started(command) as two, started(command) as three:
        assert [process.wait(120) for process in (one, two, three)] == [0, 0, 0]


def test_threads_of_one_process_write_in_turn() -> None:
    turns, inside, most = Turns(10.0), 0, 0

    def write(_: int) -> None:
        nonlocal inside, most
        with turns.taken():
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert (inside, most) == (0, 1)


def test_a_turn_that_does_not_come_is_a_store_that_is_busy() -> None:
    turns = Turns(0.01)
    with (
        turns.taken(),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(StoreUnavailable, match="stayed locked by another writer"),
    ):
        pool.submit(lambda: turns.taken().__enter__()).result()
    with turns.taken():
        pass
