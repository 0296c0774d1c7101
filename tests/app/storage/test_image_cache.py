"""Pictures that a worker of the same process need not decode again."""

import numpy as np

from app.images.ingest import ingest
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.image_cache import Arrivals
from app.storage.store import Store
from specialists.image import Image, image_of
from tests.app.conftest import a_png


def an_image(level: int) -> Image:
    return image_of(np.full((10, 10), level, np.uint8))


def test_an_image_is_taken_once_with_what_is_now_known_of_it() -> None:
    arrivals, image = Arrivals(), an_image(7)
    arrivals.keep("a", image)
    known = image.info.model_copy(update={"frame": 3})
    taken = arrivals.take("a", known)
    assert taken is not None
    assert (taken.pixels is image.pixels, taken.key, taken.info) == (True, image.key, known)
    assert arrivals.take("a", known) is None


def test_the_oldest_go_when_room_is_short_and_what_is_too_large_is_not_kept() -> None:
    arrivals, info = Arrivals(limit_px=250), an_image(0).info
    for name in "abc":
        arrivals.keep(name, an_image(1))
    assert [arrivals.take(name, info) is not None for name in "abc"] == [False, True, True]
    arrivals.keep("large", image_of(np.zeros((20, 20), np.uint8)))
    assert arrivals.take("large", info) is None


def test_a_store_with_workers_gives_the_arrived_image_and_then_the_stored_one(
    settings: Settings,
) -> None:
    ingested = ingest(a_png(), settings.limit_pixels)
    here = settings.model_copy(update={"worker_threads": 1})
    store, elsewhere = (
        Store.open(here),
        Store.open(settings.model_copy(update={"worker_threads": 0})),
    )
    analysis = store.analysis(store.accept(ingested, NewAnalysis(), 9).analysis_id)
    first, again, there = store.image(analysis), store.image(analysis), elsewhere.image(analysis)
    assert first.pixels is ingested.image.pixels
    for other in (again, there):
        assert other.pixels is not first.pixels
        np.testing.assert_array_equal(other.pixels, first.pixels)
        assert (other.key, other.info) == (first.key, first.info)
    store.close()
    elsewhere.close()
