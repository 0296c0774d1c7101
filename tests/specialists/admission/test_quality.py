"""The image quality gate: its faults, where its limits come from, and its use by the engine."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from specialists.admission.quality import RULES, Fault, inspected, judge, scores_of
from specialists.engine import Engine
from specialists.errors import Declined
from specialists.image import image_of
from specialists.load import load_engine
from specialists.manifest import Threshold
from specialists.phantom.draw import draw
from specialists.training.calibration.quality import fit_quality, limits_of, shares
from specialists.training.evaluation.predict import answering
from specialists.training.trials.foreign_images import Grey, foreign_images
from tests.specialists.dataset import write_dataset
from tests.specialists.nets import MODEL, installed

SEEDS = range(12)


@pytest.fixture(scope="module")
def drawn() -> list[Grey]:
    return [draw("breast", seed=seed, height_px=300, width_px=400).pixels for seed in SEEDS]


@pytest.fixture(scope="module")
def limits(drawn: list[Grey]) -> dict[str, Threshold]:
    return limits_of([scores_of(pixels) for pixels in drawn])


def _poor(pixels: Grey) -> dict[Fault, Grey]:
    """The image with one fault each."""
    height, width = pixels.shape
    values = pixels.astype(np.float64)
    tiny = np.zeros((4 * height, 4 * width), np.uint8)
    tiny[:height, :width] = pixels
    return {
        Fault.BLACK: (values * 0.02).astype(np.uint8),
        Fault.BLANK: np.full_like(pixels, 90),
        Fault.SATURATED: np.clip(values * 12, 0, 255).astype(np.uint8),
        Fault.TINY_FIELD: tiny,
        Fault.BLURRED: gaussian_filter(values, 12).astype(np.uint8),
        Fault.LOW_CONTRAST: (60 + 0.1 * values).astype(np.uint8),
    }


def test_images_that_set_the_limits_pass_them(
    drawn: list[Grey], limits: dict[str, Threshold]
) -> None:
    refused, warned = shares([scores_of(pixels) for pixels in drawn], limits)
    assert refused == 0
    assert warned == 0


@pytest.mark.parametrize("fault", [f for f in Fault if f not in (Fault.SCREENSHOT, Fault.PANELS)])
def test_every_fault_is_found_in_an_image_that_has_it(
    drawn: list[Grey], limits: dict[str, Threshold], fault: Fault
) -> None:
    found = judge(scores_of(_poor(drawn[0])[fault]), limits)
    assert fault in found.refused + found.warned
    if RULES[fault].refuses:
        with pytest.raises(Declined, match="the image"):
            found.check()


def test_screenshots_are_refused_and_said_to_be_screenshots(limits: dict[str, Threshold]) -> None:
    noise = [np.full((64, 64), 60, np.uint8)]
    shots = [p.grey for p in foreign_images(noise) if p.group == "text screenshots"]
    assert shots
    for pixels in shots:
        found = judge(scores_of(pixels), limits)
        assert Fault.SCREENSHOT in found.refused
        with pytest.raises(Declined, match="send the ultrasound image itself"):
            found.check()


def test_a_mild_blur_warns_and_a_strong_one_refuses(
    drawn: list[Grey], limits: dict[str, Threshold]
) -> None:
    limit = limits["quality_blurred"].value
    extreme = limits["quality_blurred_extreme"].value
    assert extreme < limit
    scores = scores_of(drawn[0])
    mild = judge({**scores, Fault.BLURRED: 0.9 * limit}, limits)
    strong = judge({**scores, Fault.BLURRED: 0.9 * extreme}, limits)
    assert (mild.warned, mild.refused) == ((Fault.BLURRED,), ())
    assert mild.warnings[0].startswith("The image is blurred")
    assert strong.refused == (Fault.BLURRED,)


def test_sharpness_judged_beside_the_rest_gives_the_same_scores(drawn: list[Grey]) -> None:
    with ThreadPoolExecutor(1) as beside:
        assert scores_of(drawn[0], beside) == scores_of(drawn[0])


def test_a_model_without_limits_judges_nothing(drawn: list[Grey]) -> None:
    limit = Threshold(value=1.0, source="this test")
    assert inspected(drawn[0], {"novelty": limit}) is None


def test_every_limit_says_where_it_came_from(tmp_path: Path) -> None:
    root = write_dataset(tmp_path)
    paths = sorted(root.rglob("IMAGES/*.png"))
    for name, limit in fit_quality(paths).items():
        assert name.startswith("quality_")
        assert f"{len(paths)} val images" in limit.source


@pytest.mark.parametrize("shape", [(16, 16), (16, 4000), (3000, 20), (1000, 1000)])
def test_scores_are_finite_whatever_the_size(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for pixels in (np.zeros(shape, np.uint8), rng.integers(0, 256, shape).astype(np.uint8)):
        assert all(np.isfinite(score) for score in scores_of(pixels).values())


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory, limits: dict[str, Threshold]) -> Engine:
    manifest = installed(tmp_path_factory.mktemp("gated"), ("breast_2cls",))
    model = manifest.models[MODEL].model_copy(update={"thresholds": limits})
    return load_engine(manifest.model_copy(update={"models": {MODEL: model}}), "cpu")


def test_the_engine_declines_an_unreadable_image_in_clinicians_words(
    gated: Engine, drawn: list[Grey]
) -> None:
    black = _poor(drawn[0])[Fault.BLACK]
    with pytest.raises(Declined, match="is black or nearly so: check that the frame was saved"):
        gated.run("breast_2cls", image_of(black))


def test_a_result_carries_what_is_wrong_with_a_poor_image(
    gated: Engine, drawn: list[Grey], limits: dict[str, Threshold]
) -> None:
    assert gated.run("breast_2cls", image_of(drawn[0])).quality == ()
    soft = drawn[0]
    while scores_of(soft)[Fault.BLURRED] >= limits["quality_blurred"].value:
        soft = gaussian_filter(soft, 1.0)
    found = gated.run("breast_2cls", image_of(soft)).quality
    assert found is not None
    assert "blurred" in found[0]


def test_prediction_files_are_written_of_poor_images_too(gated: Engine, drawn: list[Grey]) -> None:
    engine = load_engine(answering(gated.manifest), "cpu")
    assert engine.run("breast_2cls", image_of(_poor(drawn[0])[Fault.BLACK])).quality is None
