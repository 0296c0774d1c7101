"""The engine answers in image pixels, runs the backbone once per image, and refuses misfits."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as PILImage

from reports.model import Box, ImageInfo, Region, Spacing
from specialists.admission.limits import Place
from specialists.engine import Engine, box_mask, network_input
from specialists.errors import Declined, Rejected, Unavailable
from specialists.image import Image, aspect_of, image_of
from specialists.letterbox import letterbox
from specialists.load import load_engine
from specialists.manifest import Manifest, Roi
from specialists.phantom.draw import draw
from specialists.runtime.feature_cache import Encoded, FeatureCache, FeatureKey
from tests.specialists.nets import INPUT_PX, KINDS, MODEL

ANSWERS = {
    "detect": "detect",
    "detect without negatives": "detect",
    "segment": "segment",
    "segment many": "segment",
    "classify": "classify",
    "regress": "regress",
}


@pytest.fixture
def engine(tiny: Manifest) -> Engine:
    return load_engine(tiny, "cpu")


def an_image(seed: int = 0) -> Image:
    return image_of(draw("breast", seed=seed, height_px=96, width_px=128).pixels)


def an_encoding() -> Encoded:
    return Encoded(features={}, field=torch.ones(1), box=letterbox(8, 8, 64), place=Place())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_answers_as_itself_and_twice_the_same(engine: Engine, kind: str) -> None:
    first = engine.run(KINDS[kind], an_image())
    assert first.kind == ANSWERS[kind]
    assert (first.specialist, first.sha256) == (
        KINDS[kind],
        engine.manifest.specialist(KINDS[kind]).sha256,
    )
    engine.cache = FeatureCache()
    assert engine.run(KINDS[kind], an_image()) == first


def test_all_specialists_of_an_image_share_one_backbone_pass(engine: Engine) -> None:
    image = an_image()
    for name in KINDS.values():
        engine.run(name, image)
    engine.run("breast_lesion", image, (10, 10, 60, 50))
    assert engine.cache.passes == 1
    engine.run("breast_lesion", an_image(seed=1))
    assert engine.cache.passes == 2


def test_another_image_gets_another_answer(engine: Engine) -> None:
    answers = [engine.run("aop_landmarks", an_image(seed=seed)) for seed in range(4)]
    assert len({answer.model_dump_json() for answer in answers}) > 1


def test_the_cache_keeps_the_last_used_up_to_its_limit() -> None:
    cache = FeatureCache(limit=2)

    def key(image: str) -> FeatureKey:
        return FeatureKey(image=image, aspect=1.0, input_px=64, backbone_sha256="b", runtime="r")

    first = cache.get(key("a"), an_encoding)
    cache.get(key("b"), an_encoding)
    assert cache.get(key("a"), an_encoding) is first
    cache.get(key("c"), an_encoding)  # drops b, which was used least recently
    assert cache.passes == 3
    assert cache.get(key("a"), an_encoding) is first
    cache.get(key("b"), an_encoding)
    assert cache.passes == 4


@pytest.mark.parametrize("field", ["image", "aspect", "input_px", "backbone_sha256", "runtime"])
def test_features_are_kept_apart_by_all_that_they_depend_on(field: str) -> None:
    one = FeatureKey(image="a", aspect=1.0, input_px=64, backbone_sha256="b", runtime="r")
    changes: dict[str, float | str] = {field: {"input_px": 128, "aspect": 1.1}.get(field, "other")}
    other = replace(one, **changes)  # type: ignore[arg-type]
    cache = FeatureCache()
    for key in (one, other):
        cache.get(key, an_encoding)
    assert cache.passes == 2


@pytest.mark.parametrize("aspect", [0.5, 0.8, 1.25, 2.0])
def test_the_network_sees_a_squeezed_image_as_the_square_one(aspect: float) -> None:
    square = image_of(draw("breast", seed=2, height_px=400, width_px=480).pixels)
    other = squeezed(square, aspect)
    assert other.pixels.shape == (round(400 / aspect), 480)
    seen = []
    for one in (square, other):
        height_px, width_px = one.pixels.shape
        box = letterbox(height_px, width_px, 64, aspect=one.aspect)
        seen.append(network_input(one, box))
    assert seen[0][1].equal(seen[1][1])
    assert (seen[0][0] - seen[1][0]).abs().mean() < 0.01


def squeezed(image: Image, aspect: float) -> Image:
    """The image with pixels of that height over width, and the same tissue."""
    height, width = image.pixels.shape
    size = (width, round(height / aspect))
    picture = PILImage.fromarray(image.pixels).resize(size, PILImage.Resampling.BICUBIC)
    return image_of(np.asarray(picture), aspect)


def test_equal_pixels_of_another_aspect_are_another_image(engine: Engine) -> None:
    image = an_image()
    squat = image_of(image.pixels, 0.5)
    assert squat.key == image.key
    one, other, again = (
        engine.encode(i, engine.manifest.models[MODEL]) for i in (image, squat, image)
    )
    assert one is again
    assert one.box != other.box
    assert other.box.field() == pytest.approx((0, 20, 64, 44), abs=12)
    screened = engine.screen("aop_landmarks", [image, squat])
    assert [None if s is None else s.model_dump(exclude={"quality"}) for s in screened] == [
        engine.run("aop_landmarks", i).model_dump(exclude={"quality"}) for i in (image, squat)
    ]


def test_an_image_takes_its_aspect_from_millimetres_before_the_stated_ratio() -> None:
    def info(**changes: object) -> ImageInfo:
        return an_image().info.model_copy(update=changes)

    wide, tall = Spacing(x=0.2, y=0.1), Spacing(x=0.1, y=0.3)
    assert aspect_of(info()) == 1.0
    assert aspect_of(info(aspect_ratio=1.2)) == 1.2
    assert aspect_of(info(spacing_mm=wide, aspect_ratio=1.2)) == 0.5
    small = Region(box=(0, 0, 10, 10), spacing_mm=wide)
    large = Region(box=(10, 0, 60, 60), spacing_mm=tall)
    unknown = Region(box=(0, 0, 90, 90), spacing_mm=None)
    assert aspect_of(info(regions=(small, unknown))) == 0.5
    assert aspect_of(info(regions=(small, large, unknown), aspect_ratio=1.2)) == pytest.approx(3.0)
    assert aspect_of(info(regions=(unknown,), aspect_ratio=1.2)) == 1.2


def test_an_unknown_specialist_is_rejected(engine: Engine) -> None:
    with pytest.raises(Rejected, match="nobody"):
        engine.run("nobody", an_image())


def test_a_specialist_without_weights_is_unavailable_and_says_why(tiny: Manifest) -> None:
    entry = tiny.specialist("breast_2cls").model_copy(
        update={"weights": None, "not_installed": "nobody trained it"}
    )
    manifest = tiny.model_copy(update={"specialists": {**tiny.specialists, entry.id: entry}})
    engine = load_engine(manifest, "cpu")
    with pytest.raises(Unavailable, match="nobody trained it"):
        engine.run("breast_2cls", an_image())
    assert engine.cache.passes == 0


def test_an_engine_without_any_weights_starts_and_is_unavailable(tiny: Manifest) -> None:
    entries = {
        name: entry.model_copy(update={"weights": None, "not_installed": "untrained"})
        for name, entry in tiny.specialists.items()
    }
    engine = load_engine(tiny.model_copy(update={"specialists": entries}), "cpu")
    with pytest.raises(Unavailable):
        engine.run("breast_2cls", an_image())


@pytest.mark.parametrize(
    "roi",
    [
        (-1, 0, 10, 10),
        (0, 0, 129, 10),
        (0, 0, 10, 97),
        (10, 10, 10, 20),
        (20, 10, 10, 20),
        (0, 0, float("nan"), 10),
    ],
)
def test_a_region_outside_the_image_or_empty_is_rejected(engine: Engine, roi: Box) -> None:
    with pytest.raises(Rejected, match="region of interest"):
        engine.run("breast_lesion", an_image(), roi)


def test_a_region_for_a_specialist_that_reads_none_is_rejected(engine: Engine) -> None:
    with pytest.raises(Rejected, match="reads no region"):
        engine.run("breast_lesion_det", an_image(), (0, 0, 10, 10))


def test_a_needed_region_that_is_absent_is_rejected(tiny: Manifest) -> None:
    entry = tiny.specialist("breast_2cls").model_copy(update={"roi": Roi.REQUIRED})
    manifest = tiny.model_copy(update={"specialists": {**tiny.specialists, entry.id: entry}})
    engine = load_engine(manifest, "cpu")
    with pytest.raises(Rejected, match="needs a region"):
        engine.run("breast_2cls", an_image())
    assert engine.run("breast_2cls", an_image(), (0, 0, 128, 96)).kind == "classify"


def test_the_whole_image_as_region_is_the_same_as_none_for_a_classifier(engine: Engine) -> None:
    image = an_image()
    assert engine.run("breast_2cls", image) == engine.run("breast_2cls", image, (0, 0, 128, 96))


@pytest.mark.parametrize("corner", [(31.1, 20.1), (0.0, 0.0), (127.9, 95.9), (0.0, 95.9)])
def test_a_region_below_one_network_pixel_is_still_a_region(
    engine: Engine, corner: tuple[float, float]
) -> None:
    image = an_image()
    x, y = corner
    answers = [
        engine.answer("breast_2cls", image, region).output
        for region in ((x, y, x + 0.1, y + 0.1), None)
    ]
    small, whole = (one for one in answers if isinstance(one, torch.Tensor))
    assert not torch.equal(small, whole)  # of random weights, so that rounded scores may agree


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_which_no_network_pixel_is_left_is_declined(engine: Engine, kind: str) -> None:
    with pytest.raises(Declined, match="too narrow"):
        engine.run(KINDS[kind], image_of(np.full((16, 8000), 100, np.uint8)))


def test_eight_threads_get_the_same_answers_and_share_the_passes(engine: Engine) -> None:
    images = [an_image(seed) for seed in range(4)]
    jobs = [(name, image) for image in images for name in KINDS.values()]
    alone = [engine.run(name, image) for name, image in jobs]
    engine.cache = FeatureCache()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: engine.run(*job), jobs * 2))
    assert together == alone * 2
    assert engine.cache.passes == len(images)


def test_features_do_not_depend_on_what_ran_before(engine: Engine) -> None:
    model = engine.manifest.models[MODEL]
    before = {k: v.clone() for k, v in engine.encode(an_image(), model).features.items()}
    for name in KINDS.values():
        engine.run(name, an_image())
    after = engine.encode(an_image(), model).features
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_networks_input_is_black_outside_the_field() -> None:
    image = image_of(np.full((50, 90), 255, np.uint8))
    pixels, field = network_input(image, letterbox(50, 90, INPUT_PX))
    assert (pixels[field == 0] == 0).all()
    assert (pixels[field == 1] > 0.4).all()
    assert field.sum() == 64 * 36  # the rows whose centre the image covers


def test_a_box_mask_holds_the_pixels_with_their_centre_inside() -> None:
    mask = box_mask((1.0, 2.5, 3.0, 4.5), 6)[0, 0]
    assert mask.nonzero().tolist() == [[2, 1], [2, 2], [3, 1], [3, 2]]
