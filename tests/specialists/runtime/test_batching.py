"""Waiting requests share a pass, and a lone one waits for nothing.

Late and withdrawn requests are not worked on.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from specialists.deadline import Deadline
from specialists.errors import Cancelled, Overdue, Overloaded
from specialists.runtime.batching import Batcher

WAIT_S = 30.0
"""Longer than anything here takes; reached only by a test that fails."""


class Door:
    """Work that signals when it has begun, waits until it is let through, and records its input."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.through = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, asks: Sequence[int]) -> list[int]:
        self.batches.append(list(asks))
        self.begun.release()
        assert self.through.acquire(timeout=WAIT_S)
        return [ask * 2 for ask in asks]


def until_waiting(batcher: Batcher[int, int], count: int) -> None:
    for _ in range(int(WAIT_S * 1000)):
        if batcher.waiting == count:
            return
        threading.Event().wait(0.001)
    pytest.fail(f"never {count} waiting")


def doubled(asks: Sequence[int]) -> list[int]:
    return [ask * 2 for ask in asks]


def test_a_lone_question_is_answered_in_its_own_thread() -> None:
    here: list[int] = []

    def work(asks: Sequence[int]) -> list[int]:
        here.append(threading.get_ident())
        return doubled(asks)

    assert Batcher[int, int](work).ask(4) == 8
    assert here == [threading.get_ident()]


def test_all_that_wait_share_the_next_pass_and_get_their_own_answers() -> None:
    door = Door()
    batcher = Batcher[int, int](door)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.ask, 0)
        assert door.begun.acquire(timeout=WAIT_S)
        others = [pool.submit(batcher.ask, number) for number in range(1, 8)]
        until_waiting(batcher, 7)
        door.through.release(2)
        assert first.result(WAIT_S) == 0
        assert [other.result(WAIT_S) for other in others] == [2 * n for n in range(1, 8)]
    assert [sorted(batch) for batch in door.batches] == [[0], list(range(1, 8))]
    assert batcher.sizes == {1: 1, 7: 1}


def test_no_pass_takes_more_than_it_may() -> None:
    door = Door()
    batcher = Batcher[int, int](door, together=2)
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(batcher.ask, 0)]
        assert door.begun.acquire(timeout=WAIT_S)
        answers += [pool.submit(batcher.ask, number) for number in range(1, 6)]
        until_waiting(batcher, 5)
        door.through.release(4)
        assert [answer.result(WAIT_S) for answer in answers] == [0, 2, 4, 6, 8, 10]
    assert sorted(len(batch) for batch in door.batches) == [1, 1, 2, 2]


def test_sixteen_threads_get_each_their_own_answers() -> None:
    batcher = Batcher[int, int](doubled)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(batcher.ask, range(2000))) == [2 * n for n in range(2000)]
    assert sum(size * count for size, count in batcher.sizes.items()) == 2000


def test_a_question_beyond_what_may_wait_is_refused() -> None:
    door = Door()
    batcher = Batcher[int, int](door, waiting_max=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.ask, 1)
        assert door.begun.acquire(timeout=WAIT_S)
        second = pool.submit(batcher.ask, 2)
        until_waiting(batcher, 1)
        with pytest.raises(Overloaded):
            batcher.ask(3)
        door.through.release(2)
        assert (first.result(WAIT_S), second.result(WAIT_S)) == (2, 4)


def test_what_is_overdue_before_its_pass_is_not_worked_on() -> None:
    door = Door()
    batcher = Batcher[int, int](door)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.ask, 1)
        assert door.begun.acquire(timeout=WAIT_S)
        with pytest.raises(Overdue):
            batcher.ask(2, Deadline(0.02))
        assert batcher.waiting == 0
        door.through.release()
        assert first.result(WAIT_S) == 2
    assert door.batches == [[1]]


def test_a_question_without_time_is_never_begun() -> None:
    asked: list[int] = []

    def work(asks: Sequence[int]) -> list[int]:
        asked.extend(asks)
        return doubled(asks)

    with pytest.raises(Overdue):
        Batcher[int, int](work).ask(1, Deadline(0.0))
    assert not asked


def test_what_is_withdrawn_while_it_waits_is_not_worked_on() -> None:
    door = Door()
    batcher = Batcher[int, int](door)
    deadline = Deadline()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.ask, 1)
        assert door.begun.acquire(timeout=WAIT_S)
        second = pool.submit(batcher.ask, 2, deadline)
        until_waiting(batcher, 1)
        deadline.cancel()
        door.through.release()
        assert first.result(WAIT_S) == 2
        with pytest.raises(Cancelled):
            second.result(WAIT_S)
    assert door.batches == [[1]]


def test_one_bad_question_costs_the_others_nothing() -> None:
    door = Door()

    def work(asks: Sequence[int]) -> list[int]:
        if len(asks) == 1 and asks[0] == 0:
            return door(asks)
        if 3 in asks:
            raise ValueError("three")
        return doubled(asks)

    batcher = Batcher[int, int](work)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(batcher.ask, 0)
        assert door.begun.acquire(timeout=WAIT_S)
        others = {number: pool.submit(batcher.ask, number) for number in range(1, 6)}
        until_waiting(batcher, 5)
        door.through.release()
        assert first.result(WAIT_S) == 0
        with pytest.raises(ValueError, match="three"):
            others.pop(3).result(WAIT_S)
        assert {number: other.result(WAIT_S) for number, other in others.items()} == {
            number: 2 * number for number in (1, 2, 4, 5)
        }


def test_an_interrupted_thread_leaves_the_others_their_turn() -> None:
    door = Door()

    def work(asks: Sequence[int]) -> list[int]:
        if asks[0] == 0:
            door(asks)
            raise KeyboardInterrupt
        return doubled(asks)

    batcher = Batcher[int, int](work)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.ask, 0)
        assert door.begun.acquire(timeout=WAIT_S)
        second = pool.submit(batcher.ask, 2)
        until_waiting(batcher, 1)
        door.through.release()
        with pytest.raises(KeyboardInterrupt):
            first.result(WAIT_S)
        assert second.result(WAIT_S) == 4
