"""The doorbell over a real Redis: what is rung in one place is heard in another."""

import threading

from app.jobs.doorbell import doorbell_of, listening
from app.settings import Settings
from tests.app.stacks import Redis


def test_a_ring_is_heard_by_a_worker(redis: Redis) -> None:
    settings = Settings(redis_url=redis.url)
    heard = threading.Event()
    bell = doorbell_of(settings)
    with listening(settings, heard.set):
        bell.ring("an id")
        assert heard.wait(30)
    assert bell.state == "reached"
    bell.close()
