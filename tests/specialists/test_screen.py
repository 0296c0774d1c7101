"""Several images at once get what each gets alone, and leave no features behind."""

import numpy as np
import pytest

from specialists.engine import PASS_IMAGES, Engine
from specialists.errors import Declined, Rejected
from specialists.image import Image, image_of
from specialists.load import load_engine
from specialists.manifest import read_manifest
from specialists.phantom.draw import draw
from specialists.result import ClassifyResult


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load_engine(read_manifest(), "cpu")


def some_images() -> list[Image]:
    """Phantoms of two sizes in turn, and one that is no ultrasound."""
    drawn = [
        draw("breast", seed=seed, height_px=96 + 32 * (seed % 2), width_px=128).pixels
        for seed in range(PASS_IMAGES + 3)
    ]
    noise = np.random.default_rng(1).integers(0, 256, (96, 128)).astype(np.uint8)
    return [image_of(pixels) for pixels in (*drawn, noise)]


def alone(engine: Engine, image: Image) -> ClassifyResult | None:
    try:
        result = engine.run("exam_cls", image)
    except Declined:
        return None
    assert isinstance(result, ClassifyResult)
    return result


def test_images_screened_together_get_what_each_gets_alone(engine: Engine) -> None:
    images = some_images()
    passes = engine.cache.passes
    found = engine.screen("exam_cls", images)
    assert engine.cache.passes == passes
    assert any(result is not None for result in found)
    for image, together in zip(images, found, strict=True):
        expected = alone(engine, image)
        assert (together is None) == (expected is None)
        if expected is not None:
            assert isinstance(together, ClassifyResult)
            assert together.scores == pytest.approx(expected.scores, abs=1e-3)
            assert together.novelty == pytest.approx(expected.novelty, abs=1e-3)


def test_nothing_screened_is_nothing_found(engine: Engine) -> None:
    assert engine.screen("exam_cls", []) == ()


def test_an_unknown_specialist_screens_nothing(engine: Engine) -> None:
    with pytest.raises(Rejected):
        engine.screen("no_such", some_images()[:1])
