"""Notifications: a waiter for the end is not woken by earlier steps, here or over a real Redis."""

import asyncio
import time

from app.jobs.pubsub import END_POLL_S, LocalPublisher, Publisher, publisher_of
from app.settings import Settings
from tests.app.stacks import Redis

SOON_S = END_POLL_S - 0.005
"""Before the first poll without a notification."""


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


def test_a_step_rings_for_who_follows_and_not_for_who_waits_for_the_end() -> None:
    publisher = LocalPublisher()
    assert waited_s(publisher, publisher, end_only=False, ended=False) < SOON_S
    assert waited_s(publisher, publisher, end_only=True, ended=False) >= SOON_S
    assert waited_s(publisher, publisher, end_only=True, ended=True) < SOON_S
    assert waited_s(publisher, publisher, end_only=False, ended=True) < SOON_S


def test_other_processes_are_told_of_an_end_over_redis(redis: Redis) -> None:
    settings = Settings(redis_url=redis.url)
    here, there = publisher_of(settings, listen=True), publisher_of(settings, listen=False)

    async def wait() -> bool:
        """Whether the end was heard, told again until the listener has subscribed."""
        with here.subscribed("a", end_only=True) as subscription:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                there.publish("a")
                there.publish("a", ended=True)
                started = time.perf_counter()
                await subscription.wait()
                if time.perf_counter() - started < SOON_S:
                    return True
        return False

    try:
        assert asyncio.run(wait())
    finally:
        here.close()
        there.close()
