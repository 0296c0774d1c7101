"""A start hides what it made from the garbage collector, and turns the collector on again."""

import gc
from collections.abc import Iterator

import pytest

from app.startup import uncollected


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_made_at_the_start_is_never_looked_through_again() -> None:
    with uncollected():
        assert not gc.isenabled()
        kept: list[object] = []
        kept.append(kept)
    assert gc.isenabled()
    assert not any(one is kept for one in gc.get_objects())


def test_a_start_that_fails_gives_the_collector_back() -> None:
    with pytest.raises(OSError, match="taken"), uncollected():
        raise OSError("taken")
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
