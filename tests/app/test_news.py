"""News of analyses: who waits for an end is not called for the steps before it, here or over a real Redis."""

import asyncio
import time

from app.news import END_LOOK_S, LocalNews, News, news_of
from app.settings import Settings
from tests.app.stacks import Redis

SOON_S = END_LOOK_S - 0.005
"""Before the first look without news."""


def waited_s(told: News, heard: LocalNews, *, end_only: bool, ended: bool) -> float:
    """How long one waits for the analysis "a" that is told of at once; its first look is at most `END_LOOK_S` away."""

    async def wait() -> float:
        with heard.following("a", end_only=end_only) as bell:
            started = time.perf_counter()
            told.tell("b", ended=True)
            told.tell("a", ended=ended)
            await bell.wait()
            return time.perf_counter() - started

    return asyncio.run(wait())


def test_a_step_rings_for_who_follows_and_not_for_who_waits_for_the_end() -> None:
    news = LocalNews()
    assert waited_s(news, news, end_only=False, ended=False) < SOON_S
    assert waited_s(news, news, end_only=True, ended=False) >= SOON_S
    assert waited_s(news, news, end_only=True, ended=True) < SOON_S
    assert waited_s(news, news, end_only=False, ended=True) < SOON_S


def test_other_processes_are_told_of_an_end_over_redis(redis: Redis) -> None:
    settings = Settings(redis_url=redis.url)
    here, there = news_of(settings, hear=True), news_of(settings, hear=False)

    async def wait() -> bool:
        """Whether the end was heard, told again until the listener has subscribed."""
        with here.following("a", end_only=True) as bell:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                there.tell("a")
                there.tell("a", ended=True)
                started = time.perf_counter()
                await bell.wait()
                if time.perf_counter() - started < SOON_S:
                    return True
        return False

    try:
        assert asyncio.run(wait())
    finally:
        here.close()
        there.close()
