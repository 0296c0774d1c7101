"""Test-time augmentation shows the network an image in the ways that its task allows.

Every answer is moved back to its place in the image.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reports.measure.geometry import area, box_of
from specialists.backbones.transunet import LEVELS, Features
from specialists.decode import decode, probabilities
from specialists.engine import Engine
from specialists.heads.regress import target_heatmaps
from specialists.image import Image, image_of
from specialists.letterbox import letterbox
from specialists.load import load_engine
from specialists.manifest import GeometryPolicy, Manifest, SpecialistEntry, read_manifest
from specialists.model import Output
from specialists.phantom.draw import draw
from specialists.result import DetectResult, RegressResult, SegmentResult
from specialists.runtime.feature_cache import FeatureCache
from specialists.views import PLAIN, ZOOMS, View, merged, views_of
from tests.specialists.nets import INPUT_PX, KINDS, MODEL, threshold

SIZES_PX = [(480, 640), (900, 500), (300, 300)]
SIDE_PX = 256
MIRRORED = View(hflip=True)
Points = npt.NDArray[np.float64]


class Seen:
    """A runner whose levels are the pixels themselves, and whose answers are read off them.

    The structure is what is brighter than one half. The answer for a mirrored image is thus the
    mirrored answer for the image. The runner keeps what it was shown.
    """

    name = "seen"

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.shown: list[Tensor] = []
        self.regions: list[Tensor | None] = []

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        model = self.manifest.models[model_id]
        bright = pixels * model.std + model.mean
        self.shown.append(bright)
        return dict.fromkeys((*LEVELS, "vit"), bright)

    def distance(self, model_id: str, features: Features, field: Tensor) -> None:
        return None

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        self.regions.append(roi)
        bright = next(iter(features.values()))
        entry = self.manifest.specialist(specialist_id)
        match entry.kind:
            case "segment":
                others = torch.zeros_like(bright).expand(1, len(entry.labels) - 1, -1, -1)
                return torch.cat([others, 20 * (bright - 0.5)], dim=1)
            case "classify":
                sums = bright.sum((2, 3))
                return torch.cat([sums, sums * bright.amax((2, 3))], dim=1) / field.sum()
            case "regress":
                centre = centre_of(bright)[None, None].expand(1, 3, 2) / 4
                return target_heatmaps(centre, INPUT_PX // 4, INPUT_PX // 4)
        rows, columns = (bright[0, 0] > 0.5).nonzero(as_tuple=True)
        corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        cells = F.avg_pool2d(bright, 4).flatten(1)
        return torch.stack(corners)[None] / INPUT_PX, bright.mean()[None] - 0.1, 5 * cells


def centre_of(bright: Tensor) -> Tensor:
    rows, columns = (bright[0, 0] > 0.5).nonzero(as_tuple=True)
    return torch.stack([columns.float().mean(), rows.float().mean()]) + 0.5


def seeing(tiny: Manifest, **geometry: object) -> tuple[Engine, Seen]:
    """An engine of the stand-in, whose tasks have that geometry."""
    entries = {
        name: entry.model_copy(update={"geometry": a_policy(**geometry)})
        for name, entry in tiny.specialists.items()
    }
    manifest = tiny.model_copy(update={"specialists": entries})
    runner = Seen(manifest)
    return Engine(manifest, runner, {}), runner


def a_policy(**changes: object) -> GeometryPolicy:
    values = {"hflip": False, "vflip": False, "rotate_deg": 10.0, "x_scale": 1.2}
    return GeometryPolicy.model_validate(values | changes)


def an_image() -> Image:
    """A bright disc off the middle of a dark picture."""
    y, x = np.mgrid[0:96, 0:128] + 0.5
    disc = (x - 44) ** 2 + (y - 40) ** 2 < 20**2
    return image_of(np.where(disc, 230, 40).astype(np.uint8))


def test_the_views_are_those_that_the_geometry_allows_the_plain_one_first() -> None:
    assert views_of(a_policy()) == tuple(View(zoom=zoom) for zoom in ZOOMS)
    both = views_of(a_policy(hflip=True, vflip=True))
    assert both[0] == PLAIN
    assert len(set(both)) == len(both) == 4 * len(ZOOMS)
    assert not any(view.vflip for view in views_of(a_policy(hflip=True)))


@pytest.mark.parametrize(
    "entry", read_manifest().specialists.values(), ids=read_manifest().specialists.keys()
)
def test_no_task_is_mirrored_that_its_entry_does_not_allow(entry: SpecialistEntry) -> None:
    views = views_of(entry.geometry)
    assert any(view.hflip for view in views) == entry.geometry.hflip
    assert any(view.vflip for view in views) == entry.geometry.vflip


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_shown_each_view_once_and_mirrored_only_where_allowed(
    tiny: Manifest, kind: str, hflip: bool
) -> None:
    engine, runner = seeing(tiny, hflip=hflip)
    engine.answer(KINDS[kind], an_image(), tta=True)
    sides = [(centre_of(shown)[0] > INPUT_PX / 2).item() for shown in runner.shown]
    assert sides == ([False, True] if hflip else [False]) * len(ZOOMS)
    assert torch.equal(runner.shown[-1].amax(2).amax(), runner.shown[0].amax(2).amax())


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_over_mirrored_views_is_the_answer_itself_of_a_network_that_mirrors(
    tiny: Manifest, kind: str
) -> None:
    engine, runner = seeing(tiny)
    entry, image = engine.manifest.specialist(KINDS[kind]), an_image()
    model = engine.manifest.models[MODEL]
    views = [View(hflip=hflip, vflip=vflip) for hflip, vflip in BOTH]
    outputs = []
    for view in views:
        seen = engine.encode(image, model, view=view)
        outputs.append(runner.head(entry.id, seen.features, seen.field, None))
    box = engine.encode(image, model).box
    found = decode(entry, merged(entry, outputs, views, box), box)
    plain = engine.run(entry.id, image)
    assert_same(found, plain.model_copy(update={"novelty": None, "quality": None}), 0.011)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_with_augmentation_lies_where_that_without_it_lies(
    tiny: Manifest, kind: str
) -> None:
    engine, _ = seeing(tiny, hflip=True, vflip=True)
    plain = engine.run(KINDS[kind], an_image())
    found = engine.run(KINDS[kind], an_image(), tta=True)
    assert_same(found, plain, 128 / INPUT_PX)  # a network pixel, of which the views are made


def assert_same(found: object, plain: object, apart_px: float) -> None:
    assert type(found) is type(plain)
    match found, plain:
        case SegmentResult(), SegmentResult():
            assert len(found.components) == len(plain.components) > 0
            for one, other in zip(found.components, plain.components, strict=True):
                assert box_of(one.polygons) == pytest.approx(box_of(other.polygons), abs=apart_px)
                rim = np.sqrt(area(other.polygons)) * 4
                assert area(one.polygons) == pytest.approx(area(other.polygons), abs=apart_px * rim)
        case DetectResult(), DetectResult():
            assert found.box == pytest.approx(plain.box, abs=apart_px)
        case RegressResult(), RegressResult():
            for mark, truth in zip(found.points, plain.points, strict=True):
                assert (mark.x, mark.y) == pytest.approx((truth.x, truth.y), abs=apart_px)
                assert mark.score == pytest.approx(truth.score, abs=0.02)
        case _:
            given, wanted = found.scores, plain.scores  # type: ignore[attr-defined]
            assert given == pytest.approx(wanted, abs=0.02)


def test_it_is_off_unless_asked_for_and_always_the_same(tiny: Manifest) -> None:
    engine = load_engine(tiny, "cpu")
    image = image_of(draw("breast", seed=3, height_px=96, width_px=128).pixels)
    for name in KINDS.values():
        engine.run(name, image)
    assert engine.cache.passes == 1
    first = [engine.run(name, image, tta=True) for name in KINDS.values()]
    assert engine.cache.passes == 2 * len(ZOOMS)  # what several specialists see is seen once
    engine.cache = FeatureCache()
    assert [engine.run(name, image, tta=True) for name in KINDS.values()] == first
    plain = [engine.run(name, image) for name in KINDS.values()]
    assert first != plain


def test_a_region_goes_with_the_structure_into_every_view(tiny: Manifest) -> None:
    engine, runner = seeing(tiny, hflip=True, vflip=True)
    engine.answer("breast_lesion", an_image(), (24, 20, 64, 60), tta=True)
    assert len(runner.regions) == 4 * len(ZOOMS)
    for shown, region in zip(runner.shown, runner.regions, strict=True):
        assert region is not None
        assert centre_of(region) == pytest.approx(centre_of(shown), abs=0.51)
        assert (shown[region == 0] < 0.75).all()


def ready(specialist_id: str) -> SpecialistEntry:
    thresholds = {"mask": 0.5, "min_area": 0.0, "peak": 0.3, "presence": 0.5}
    changes = {name: threshold(value) for name, value in thresholds.items()}
    return (
        read_manifest()
        .specialist(specialist_id)
        .model_copy(update={"sha256": "0" * 64, "temperature": 1.3, "thresholds": changes})
    )


def drawn_in(view: View, points: Points, size_px: tuple[int, int]) -> Tensor:
    """(N, 2) points of the image as shares of the square in which the view shows them."""
    box = letterbox(*size_px, SIDE_PX, view.zoom)
    return view.mirrored_points(torch.from_numpy(box.to_network(points)).float() / SIDE_PX)


BOTH = [(hflip, vflip) for hflip in (False, True) for vflip in (False, True)]
VIEWS = [View(hflip=h, vflip=v, zoom=z) for z in (1.0, 0.9, 0.8) for h, v in BOTH]


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("size_px", SIZES_PX)
def test_a_drawn_outline_box_or_mark_comes_back_exactly_from_every_view(
    size_px: tuple[int, int], view: View
) -> None:
    height_px, width_px = size_px
    centre, radius = np.array([0.4 * width_px, 0.55 * height_px]), 0.2 * min(size_px)
    box = letterbox(*size_px, SIDE_PX)
    corners = np.stack([centre - radius, centre + radius])
    pixel_px = 1 / box.scale

    found = brought_back("breast_lesion", disc(view, centre, radius, size_px), view, size_px)
    assert isinstance(found, SegmentResult)
    (component,) = found.components
    assert box_of(component.polygons) == pytest.approx(corners.ravel(), abs=0.1 * pixel_px)

    seen = drawn_in(view, corners, size_px)
    moved = torch.cat([seen.amin(0), seen.amax(0)])[None]
    output = (moved, torch.tensor([2.0]), torch.zeros(1, 64))
    found = brought_back("breast_lesion_det", output, view, size_px)
    assert isinstance(found, DetectResult)
    assert found.box == pytest.approx(corners.ravel(), abs=0.02)
    assert found.score == pytest.approx(1 / (1 + np.exp(-2 / 1.3)), abs=1e-4)

    marks = np.stack([centre, centre + radius, centre + np.array([3, -1]) * radius / 3])
    peaks = drawn_in(view, marks, size_px)[None] * 64
    found = brought_back("aop_landmarks", target_heatmaps(peaks, 64, 64), view, size_px)
    assert isinstance(found, RegressResult)
    given = np.array([(point.x, point.y) for point in found.points])
    assert given == pytest.approx(marks, abs=0.2 * pixel_px)
    assert [point.score for point in found.points] == pytest.approx([1, 1, 1], abs=0.05)


def brought_back(
    specialist_id: str, output: Output, view: View, size_px: tuple[int, int]
) -> object:
    """The result that follows from what was seen in one view alone."""
    entry, box = ready(specialist_id), letterbox(*size_px, SIDE_PX)
    return decode(entry, merged(entry, [output], [view], box), box)


def disc(view: View, centre: Points, radius: float, size_px: tuple[int, int]) -> Tensor:
    """(1, 2, S / 2, S / 2) logits of a disc, by the distance to its rim."""
    side = SIDE_PX // 2
    x, y = drawn_in(view, centre[None], size_px)[0] * side
    reach = radius * letterbox(*size_px, SIDE_PX, view.zoom).scale * side / SIDE_PX
    at = torch.arange(side) + 0.5
    distance = reach - torch.hypot(at[None] - x, at[:, None] - y)
    return torch.stack([torch.zeros_like(distance), distance.clamp(-6, 6)])[None]


@pytest.mark.parametrize("size_px", [(480, 640), (900, 500), (300, 300)])
def test_a_structure_that_fills_the_image_reaches_its_edges_in_a_smaller_view(
    size_px: tuple[int, int],
) -> None:
    view = View(hflip=True, zoom=0.9)
    x0, y0, x1, y1 = letterbox(*size_px, SIDE_PX, view.zoom).field()
    at = torch.arange(SIDE_PX) + 0.5
    inside = ((at >= y0) & (at < y1))[:, None] & ((at >= x0) & (at < x1))[None]
    logits = torch.where(inside, 4.0, -4.0)  # nothing is said of the black around it
    output = torch.stack([torch.zeros_like(logits), logits])[None]
    found = brought_back("breast_lesion", output, view, size_px)
    assert isinstance(found, SegmentResult)
    (component,) = found.components
    assert box_of(component.polygons) == pytest.approx((0, 0, *size_px[::-1]), abs=0.05)


def test_scores_of_classes_are_the_mean_of_the_views_scores() -> None:
    entry, box = ready("breast_3cls"), letterbox(300, 300, SIDE_PX)
    logits = [torch.randn(1, 3, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    output = merged(entry, logits, [PLAIN, MIRRORED, PLAIN, MIRRORED], box)
    assert isinstance(output, Tensor)
    expected = np.mean([probabilities(entry, one) for one in logits], axis=0)
    assert probabilities(entry, output) == pytest.approx(expected, abs=1e-12)


def test_presence_and_attention_are_the_mean_of_the_views() -> None:
    entry, box = ready("breast_lesion_det"), letterbox(300, 300, SIDE_PX)
    boxes: Sequence[Tensor] = (
        torch.tensor([[0.1, 0.2, 0.5, 0.6]]),
        torch.tensor([[0.5, 0.2, 0.9, 0.8]]),
    )
    seen = torch.full((8, 8), -9.0)
    seen[2, 1] = 9.0  # where the plain view looks, and the mirrored one
    outputs = [
        (boxes[0], torch.tensor([1.0]), seen.reshape(1, -1)),
        (boxes[1], torch.tensor([-3.0]), seen.flip(1).reshape(1, -1)),
    ]
    output = merged(entry, outputs, [PLAIN, MIRRORED], box)
    assert isinstance(output, tuple)
    corners, presence, attention = output
    assert corners[0].tolist() == pytest.approx([0.1, 0.2, 0.5, 0.7], abs=1e-6)
    shares = [1 / (1 + np.exp(-logit / 1.3)) for logit in (1.0, -3.0)]
    assert float(torch.sigmoid(presence / 1.3)[0]) == pytest.approx(np.mean(shares), abs=1e-6)
    assert attention.softmax(1).argmax() == 2 * 8 + 1
