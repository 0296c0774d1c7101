"""A perfect prediction of a phantom comes back under one original pixel from what was drawn."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial import cKDTree

from reports.measure.geometry import area, box_of, long_and_short_axis, rasterize
from reports.model import Ring
from specialists.decode import decode, margins
from specialists.heads.regress import target_heatmaps
from specialists.letterbox import Letterbox, letterbox, resize
from specialists.manifest import SpecialistEntry, read_manifest
from specialists.phantom.draw import Options, Phantom, draw
from specialists.phantom.field import FieldShape
from specialists.phantom.tissue import Lesion
from specialists.phantom.truth import Structure
from specialists.result import DetectResult, RegressResult, SegmentResult
from tests.specialists.nets import threshold

INPUT_PX = 256
SIZES_PX = [(480, 640), (600, 800), (900, 500), (300, 300), (200, 400)]
Array = npt.NDArray[np.float64]


@lru_cache
def phantom_of(kind: str, size_px: tuple[int, int], look: Lesion = Lesion.BENIGN) -> Phantom:
    height_px, width_px = size_px
    if kind == "breast":
        options = Options(lesion=look)
        return draw("breast", seed=5, height_px=height_px, width_px=width_px, options=options)
    options = Options(field=FieldShape.CONVEX)
    return draw("intrapartum", seed=5, height_px=height_px, width_px=width_px, options=options)


def ready(specialist_id: str, level: float = 0.5) -> SpecialistEntry:
    thresholds = {"mask": level, "min_area": 0.0, "peak": 0.3, "presence": 0.5}
    return (
        read_manifest()
        .specialist(specialist_id)
        .model_copy(
            update={
                "sha256": "0" * 64,
                "temperature": 1.0,
                "thresholds": {name: threshold(value) for name, value in thresholds.items()},
            }
        )
    )


def covered(mask: npt.NDArray[np.bool_], side: int) -> Array:
    """(side, side) share of each network pixel that the mask covers."""
    height_px, width_px = mask.shape
    box = letterbox(height_px, width_px, side)
    return resize(mask.astype(np.uint8) * 255, box).astype(np.float64) / 255


def inside_by(polygon: Ring, box: Letterbox, side: int) -> Array:
    """(side, side) signed distance to the outline in network pixels, positive inside."""
    stride = box.input_px / side
    ring = box.to_network(np.array(polygon))
    steps = np.linspace(0, 1, 20, endpoint=False)[:, None, None]
    dense = (ring + steps * (np.roll(ring, -1, axis=0) - ring)).reshape(-1, 2)
    centres = (np.arange(side) + 0.5) * stride
    grid = np.stack(np.meshgrid(centres, centres), axis=-1)
    distance = cKDTree(dense).query(grid)[0]
    scaled = tuple((float(x), float(y)) for x, y in ring / stride)
    return np.where(rasterize((scaled,), side, side), distance, -distance)


def mask_logits(
    phantom: Phantom, labels: tuple[str, ...], box: Letterbox, side: int
) -> torch.Tensor:
    """Return perfect logits.

    At the network's size they follow the covered share, at a head's stride the distance.
    """
    maps = []
    for label in labels:
        if side == box.input_px:
            share = covered(phantom.masks[label], side).clip(0.02, 0.98)
            maps.append(np.log(share / (1 - share)))
        else:
            structure = structure_of(phantom, label)
            maps.append(inside_by(structure.polygon, box, side).clip(-6, 6))
    return torch.from_numpy(np.stack([np.zeros_like(maps[0]), *maps]))[None]


def structure_of(phantom: Phantom, label: str) -> Structure:
    return next(s for s in phantom.truth.structures if s.label == label)


def farthest(ring: Ring, truth: Ring) -> float:
    """The largest distance of a corner of `ring` from the outline `truth`."""
    start = np.array(truth)
    along = np.roll(start, -1, axis=0) - start
    away = np.array(ring)[:, None] - start
    share = ((away * along).sum(2) / (along**2).sum(1)).clip(0, 1)
    return float(np.linalg.norm(away - share[..., None] * along, axis=2).min(1).max())


@pytest.mark.parametrize("side", [INPUT_PX, INPUT_PX // 2])
@pytest.mark.parametrize("size_px", SIZES_PX)
@pytest.mark.parametrize(
    ("kind", "specialist_id", "look"),
    [
        ("breast", "breast_lesion", Lesion.BENIGN),
        ("breast", "breast_lesion", Lesion.MALIGNANT),
        ("intrapartum", "head_symphysis_multi", Lesion.NONE),
    ],
)
def test_a_perfect_mask_is_outlined_under_one_image_pixel(
    kind: str, specialist_id: str, look: Lesion, size_px: tuple[int, int], side: int
) -> None:
    phantom, entry = phantom_of(kind, size_px, look), ready(specialist_id)
    box = letterbox(*size_px, INPUT_PX)
    result = decode(entry, mask_logits(phantom, entry.labels[1:], box, side), box)
    assert isinstance(result, SegmentResult)
    assert sorted(c.label for c in result.components) == sorted(entry.labels[1:])
    for component in result.components:
        truth = structure_of(phantom, component.label)
        drawn, found = (
            long_and_short_axis((truth.polygon,)),
            long_and_short_axis(component.polygons),
        )
        assert found.long.length == pytest.approx(drawn.long.length, abs=1.0)
        assert found.short.length == pytest.approx(drawn.short.length, abs=1.0)
        assert box_of(component.polygons) == pytest.approx(truth.box, abs=1.0)
        rim = np.hypot(*(np.array(truth.polygon) - np.roll(truth.polygon, 1, axis=0)).T).sum()
        assert area(component.polygons) == pytest.approx(truth.size_px.area, abs=0.5 * rim)
        assert farthest(component.polygons[0], truth.polygon) < 1.0
        assert farthest(truth.polygon, component.polygons[0]) < 1.0


@pytest.mark.parametrize("size_px", SIZES_PX)
def test_a_perfect_box_comes_back_under_one_image_pixel(size_px: tuple[int, int]) -> None:
    truth = structure_of(phantom_of("breast", size_px), "lesion")
    box = letterbox(*size_px, INPUT_PX)
    corners = box.to_network(np.array(truth.box).reshape(2, 2)).ravel() / INPUT_PX
    output = (torch.from_numpy(corners)[None].float(), torch.tensor([5.0]), torch.zeros(1, 64))
    result = decode(ready("breast_lesion_det"), output, box)
    assert isinstance(result, DetectResult)
    assert result.box == pytest.approx(truth.box, abs=0.02)


@pytest.mark.parametrize("size_px", SIZES_PX)
def test_perfect_heatmaps_come_back_under_one_image_pixel(size_px: tuple[int, int]) -> None:
    angle = phantom_of("intrapartum", size_px).truth.aop
    assert angle is not None
    truth = np.array([angle.superior, angle.inferior, angle.tangent])
    box = letterbox(*size_px, INPUT_PX)
    side = INPUT_PX // 4
    points = torch.from_numpy(box.to_network(truth) * side / INPUT_PX)[None].float()
    result = decode(ready("aop_landmarks"), target_heatmaps(points, side, side), box)
    assert isinstance(result, RegressResult)
    found = np.array([(point.x, point.y) for point in result.points])
    assert np.linalg.norm(found - truth, axis=1).max() < 0.2


@pytest.mark.parametrize("level", [0.35, 0.5, 0.65])
@pytest.mark.parametrize("size_px", SIZES_PX)
def test_a_structure_that_fills_the_image_is_outlined_at_its_edges(
    size_px: tuple[int, int], level: float
) -> None:
    height_px, width_px = size_px
    logits = torch.tensor([0.0, 2.0]).reshape(1, 2, 1, 1).expand(1, 2, 128, 128)
    result = decode(ready("breast_lesion", level), logits, letterbox(*size_px, INPUT_PX))
    assert isinstance(result, SegmentResult)
    (component,) = result.components
    assert box_of(component.polygons) == pytest.approx((0, 0, width_px, height_px), abs=0.05)
    assert area(component.polygons) == pytest.approx(height_px * width_px, rel=1e-3)


@pytest.mark.parametrize("size_px", [(480, 640), (900, 500)])
def test_a_structure_at_the_edge_is_cut_where_the_image_ends(size_px: tuple[int, int]) -> None:
    height_px, width_px = size_px
    truth: Ring = ((0, 0), (width_px / 3, 0), (width_px / 3, height_px / 2), (0, height_px / 2))
    box = letterbox(*size_px, INPUT_PX)
    distance = inside_by(truth, box, INPUT_PX)
    centres = np.arange(INPUT_PX) + 0.5
    x_min, y_min, _, _ = box.field()
    distance[:, centres < x_min] = distance[centres < y_min] = (
        5  # what lies beyond is not the image's
    )
    logits = torch.from_numpy(np.stack([np.zeros_like(distance), distance.clip(-6, 6)]))[None]
    result = decode(ready("breast_lesion"), logits, box)
    assert isinstance(result, SegmentResult)
    (component,) = result.components
    assert box_of(component.polygons) == pytest.approx((0, 0, width_px / 3, height_px / 2), abs=1.0)
    assert box_of(component.polygons)[:2] == (0, 0)


@pytest.mark.parametrize("classes", [2, 3])
def test_margins_are_those_of_torchs_bicubic_interpolation_within_five_millionths(
    classes: int,
) -> None:
    logits = 8 * torch.randn(2, classes, 64, 64, generator=torch.Generator().manual_seed(classes))
    shares = torch.nn.functional.interpolate(logits, (256, 256), mode="bicubic").softmax(1)
    for index in range(1, classes):
        others = [shares[:, other] for other in range(classes) if other != index]
        expected = shares[:, index] - torch.stack(others).amax(0)
        found = margins(logits, 256)[:, index - 1]
        assert torch.allclose(found, expected, rtol=0, atol=5e-6)
