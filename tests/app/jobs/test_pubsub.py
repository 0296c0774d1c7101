"""Messages wake who waits for them, and nobody else, here or over a real Redis."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app.jobs.pubsub import (
    END_POLL_S,
    Channel,
    LocalPublisher,
    Publisher,
    RedisPublisher,
    Work,
    publisher_of,
)
from app.settings import Settings
from app.worker.wakeup import Wakeup
from tests.app.stacks import Redis, a_redis, until

SOON_S = END_POLL_S - 0.005
"""Before the first poll without a notification."""


@contextmanager
def publishing(url: str, *channels: Channel) -> Iterator[LocalPublisher]:
    publisher = publisher_of(Settings(redis_url=url), channels or tuple(Channel))
    try:
        yield publisher
    finally:
        publisher.close()


def waited_s(told: Publisher, heard: LocalPublisher, *, end_only: bool, ended: bool) -> float:
    """Return how long a subscriber waits for analysis "a", which is published at once.

    The first poll is at most `END_POLL_S` away.
    """

    async def wait() -> float:
        with heard.subscribed("a", end_only=end_only) as subscription:
            started = time.perf_counter()
            told.publish("b", ended=True)
            told.publish("a", ended=ended)
            await subscription.wait()
            return time.perf_counter() - started

    return asyncio.run(wait())


def test_a_step_wakes_who_follows_and_not_who_waits_for_the_end() -> None:
    publisher = LocalPublisher()
    assert waited_s(publisher, publisher, end_only=False, ended=False) < SOON_S
    assert waited_s(publisher, publisher, end_only=True, ended=False) >= SOON_S
    assert waited_s(publisher, publisher, end_only=True, ended=True) < SOON_S
    assert waited_s(publisher, publisher, end_only=False, ended=True) < SOON_S


def test_other_processes_are_told_of_an_end_over_redis(redis: Redis) -> None:
    with publishing(redis.url) as here, publishing(redis.url) as there:

        async def wait() -> bool:
            """Whether the end was heard, told again until the listener has subscribed."""
            with here.subscribed("a", end_only=True) as subscription:
                end = time.monotonic() + 20
                while time.monotonic() < end:
                    there.publish("a")
                    there.publish("a", ended=True)
                    started = time.perf_counter()
                    await subscription.wait()
                    if time.perf_counter() - started < SOON_S:
                        return True
            return False

        assert asyncio.run(wait())


def test_work_that_is_offered_wakes_this_process_once_and_others_over_redis(redis: Redis) -> None:
    mine: list[Work] = []
    theirs: list[Work] = []
    with (
        publishing(redis.url) as here,
        publishing(redis.url, Channel.WORK) as there,
        here.working(mine.append),
        there.working(theirs.append),
    ):
        offered = 0
        end = time.monotonic() + 20
        while not theirs and time.monotonic() < end:  # Until the other one has subscribed.
            here.offer(Work.INFERENCE)
            offered += 1
            time.sleep(0.05)
        assert here.state == there.state == "reached"
        assert set(theirs) == {Work.INFERENCE}
        assert mine == [Work.INFERENCE] * offered


def test_a_redis_that_goes_away_is_said_once_and_costs_one_wait(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "app.jobs.pubsub")
    heard: list[Work] = []
    with a_redis() as server, publishing(server.url) as publisher, publisher.working(heard.append):
        assert isinstance(publisher, RedisPublisher)
        publisher.offer(Work.ANALYSIS)
        assert publisher.reached
        server.kill()
        until(lambda: not publisher.reached, "Nobody notices.", 20)
        began = time.monotonic()
        for _ in range(100):
            publisher.publish("a", ended=True)
            publisher.offer(Work.ANALYSIS)
        assert time.monotonic() - began < 2.0
        assert "away" in publisher.state
        assert caplog.text.count("Redis is away") == 1
        assert heard == [Work.ANALYSIS] * 101  # In this process it goes on.
        server.start()
        until(lambda: publisher.reached, "It is not found again.", 30)
        assert caplog.text.count("Redis is back") == 1


def test_without_redis_a_process_offers_work_to_itself() -> None:
    publisher, heard = LocalPublisher(), threading.Event()
    with publisher.working(lambda _: heard.set()):
        publisher.offer(Work.ANALYSIS)
    assert heard.is_set()
    assert publisher.state == "not set; workers poll the store"


def woken(call: Callable[[Wakeup], None], threads: int = 4) -> int:
    """Return how many of the idle threads a call wakes."""
    wakeup, count, lock = Wakeup(threads), 0, threading.Lock()

    def idle() -> None:
        nonlocal count
        began = time.monotonic()
        wakeup.wait(0.5)
        with lock:
            count += time.monotonic() - began < 0.4

    idlers = [threading.Thread(target=idle) for _ in range(threads)]
    for each in idlers:
        each.start()
    time.sleep(0.1)
    call(wakeup)
    for each in idlers:
        each.join()
    return count


def test_one_call_wakes_one_idle_thread() -> None:
    assert woken(Wakeup.call_one) == 1
    assert woken(Wakeup.call_all) == 4


def test_a_call_is_kept_for_the_next_thread_that_is_idle() -> None:
    wakeup = Wakeup(2)
    for _ in range(5):
        wakeup.call_one()
    began = time.monotonic()
    wakeup.wait(5.0)
    wakeup.wait(5.0)
    assert time.monotonic() - began < 1.0
    wakeup.wait(0.05)  # No more calls are kept than there are threads.
    assert time.monotonic() - began >= 0.05
