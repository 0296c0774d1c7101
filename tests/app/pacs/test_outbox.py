"""The outbox: what is claimed when, by whom, how often, and what becomes of it."""

from collections.abc import Iterator

import pytest

from app.errors import LeaseLost
from app.images.ingest import ingest
from app.pacs.outbox import NewItem, Outbox, PushForm, StoreResult, outbox_of
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.store import Store
from app.storage.tables import PushState
from tests.app.conftest import a_png


@pytest.fixture
def outbox(settings: Settings) -> Iterator[Outbox]:
    store = Store.open(settings)
    store.accept(ingest(a_png(), 25_000_000), NewAnalysis(), 8)
    yield Outbox(store, "[]", attempts_limit=2, retry_s=0.001)
    store.close()


def some(settings: Settings, *forms: PushForm) -> list[NewItem]:
    store = Store.open(settings)
    [analysis] = store.worklist.page(1).entries
    store.close()
    return [
        NewItem(
            analysis_id=analysis.analysis_id,
            version=1,
            form=form,
            sop_instance_uid=f"2.25.{n}",
            linked=False,
        )
        for n, form in enumerate(forms, start=1)
    ]


HERE = "https://pacs.example"


def test_what_refers_to_the_picture_goes_after_it(outbox: Outbox, settings: Settings) -> None:
    outbox.add(some(settings, PushForm.IMAGE, PushForm.SR, PushForm.SEG), HERE)
    [picture] = outbox.claim(HERE)
    assert picture.form is PushForm.IMAGE
    assert outbox.claim(HERE) == ()
    outbox.settle(picture, StoreResult(stored=True))
    assert [item.form for item in outbox.claim(HERE)] == ["sr", "seg"]
    assert outbox.claim("https://other.example") == ()


def test_attempts_are_bounded_and_a_new_wish_starts_anew(
    outbox: Outbox, settings: Settings
) -> None:
    items = some(settings, PushForm.IMAGE, PushForm.SR)
    outbox.add(items, HERE)
    for _ in range(2):
        [picture] = outbox.claim(HERE, early=True)
        outbox.settle(picture, StoreResult(stored=False, again=True, problem="It is away."))
    assert [item.state for item in outbox.items()] == [PushState.FAILED, PushState.FAILED]
    first, second = outbox.items()
    assert first.problem == "Given up after 2 attempts. It is away."
    assert "was not stored" in str(second.problem)
    assert [item.state for item in outbox.add(items, HERE)] == [PushState.PENDING] * 2
    assert len(outbox.items()) == 2


def test_what_failed_waits_again_when_it_is_revived(outbox: Outbox, settings: Settings) -> None:
    outbox.add(some(settings, PushForm.IMAGE, PushForm.SR), HERE)
    [picture] = outbox.claim(HERE)
    outbox.settle(picture, StoreResult(stored=False, problem="No."))
    assert outbox.revive(destination="https://other.example") == 0
    assert outbox.revive(analysis_id="0" * 32) == 0
    assert outbox.revive(destination=HERE) == 2
    assert {(item.state, item.attempts, item.problem) for item in outbox.items()} == {
        (PushState.PENDING, 0, None)
    }


def test_who_was_thought_dead_does_not_speak_for_the_next_attempt(
    outbox: Outbox, settings: Settings
) -> None:
    outbox.add(some(settings, PushForm.IMAGE), HERE)
    [slow] = outbox.claim(HERE)
    outbox.settle(slow, StoreResult(stored=False, again=True, problem="It is away."))
    [second] = outbox.claim(HERE, early=True)
    with pytest.raises(LeaseLost):
        outbox.settle(slow, StoreResult(stored=False, problem="Late."))
    [item] = outbox.items()
    assert (item.state, item.attempts) == (PushState.SENDING, second.attempts)
    outbox.settle(second, StoreResult(stored=True))
    assert outbox.items()[0].state is PushState.SENT
    assert outbox.waiting() == ()


def test_a_retry_waits_before_it_is_due(settings: Settings) -> None:
    store = Store.open(settings)
    store.accept(ingest(a_png(), 25_000_000), NewAnalysis(), 8)
    outbox = outbox_of(settings, store)
    outbox.add(some(settings, PushForm.IMAGE), HERE)
    [picture] = outbox.claim(HERE)
    outbox.settle(picture, StoreResult(stored=False, again=True, problem="It is away."))
    assert outbox.claim(HERE) == ()
    assert len(outbox.claim(HERE, early=True)) == 1
    store.close()
