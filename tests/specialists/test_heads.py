"""Heads give the shapes that they state, and landmarks below the pixel."""

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from specialists.decode import attention_inside, decode
from specialists.heads.classify import Adapter, ClassifyHead
from specialists.heads.regress import Ends, decode_heatmaps, shared_targets, target_heatmaps
from specialists.letterbox import letterbox
from specialists.manifest import Kind
from specialists.model import Frozen, SpecialistNet, build_backbone
from specialists.result import ClassifyResult, DetectResult, RegressResult
from tests.specialists.nets import INPUT_PX, KINDS, a_model, an_entry, threshold

HERE = Path()
FIELD = torch.ones(3, 1, INPUT_PX, INPUT_PX)


@pytest.fixture(scope="module")
def backbone() -> Frozen:
    torch.manual_seed(0)
    return Frozen(build_backbone(a_model(HERE)))


def test_levels_have_the_stated_strides_and_widths(backbone: Frozen) -> None:
    features = backbone(torch.zeros(2, 1, INPUT_PX, 2 * INPUT_PX))
    for level, stride in backbone.strides.items():
        height, width = INPUT_PX // stride, 2 * INPUT_PX // stride
        assert features[level].shape == (2, backbone.widths[level], height, width)


@pytest.mark.parametrize("kind", KINDS)
def test_a_specialist_gives_the_shape_of_its_kind(backbone: Frozen, kind: str) -> None:
    entry = an_entry(KINDS[kind], HERE)
    net = SpecialistNet(entry, a_model(HERE), backbone.widths).eval()
    output = net(backbone(torch.rand(3, 1, INPUT_PX, INPUT_PX)), FIELD, None)
    if isinstance(output, tuple):
        cells = (INPUT_PX // 8) ** 2
        assert [tuple(part.shape) for part in output] == [(3, 4), (3,), (3, cells)]
        return
    assert entry.kind is not Kind.DETECT
    side = INPUT_PX // backbone.strides[entry.features[-1]]
    expected = {
        Kind.SEGMENT: (3, len(entry.labels), side, side),
        Kind.CLASSIFY: (3, len(entry.labels)),
        Kind.REGRESS: (3, len(entry.landmarks), side, side),
    }
    assert tuple(output.shape) == expected[entry.kind]


def test_an_untrained_region_changes_no_mask_and_one_that_is_used_does(backbone: Frozen) -> None:
    net = SpecialistNet(an_entry("breast_lesion", HERE), a_model(HERE), backbone.widths).eval()
    features, region = backbone(torch.rand(3, 1, INPUT_PX, INPUT_PX)), torch.zeros_like(FIELD)
    region[:, :, 8:40, 8:40] = 1
    without = net(features, FIELD, None)
    assert torch.equal(net(features, FIELD, region), without)
    assert net.neck is not None
    for conv in net.neck.roi:
        torch.nn.init.ones_(cast(nn.Conv2d, conv).weight)
    assert not torch.allclose(net(features, FIELD, region), without)


def test_what_lies_outside_the_field_cannot_change_a_class(backbone: Frozen) -> None:
    torch.manual_seed(1)
    levels = tuple(level for level in backbone.widths if level != "c2")
    head = ClassifyHead(backbone.widths, levels, 3).eval()
    for adapter in head.adapters.values():  # as after training: no longer the identity
        torch.nn.init.normal_(cast(nn.Conv2d, cast(Adapter, adapter).body[2]).weight)
    features = backbone(torch.rand(3, 1, INPUT_PX, INPUT_PX))
    field = torch.zeros_like(FIELD)
    field[:, :, :, 16:48] = 1
    other = {level: features[level].clone() for level in levels}
    for level in levels:
        inside = torch.nn.functional.adaptive_avg_pool2d(field, other[level].shape[-2:])
        near = torch.nn.functional.max_pool2d(inside, 3, 1, 1)  # an adapter sees one cell further
        other[level] += 100 * (near == 0)
    assert torch.allclose(head(features, field, field), head(other, field, field), atol=1e-5)
    assert not torch.allclose(head(features, FIELD, FIELD), head(other, FIELD, FIELD))


@pytest.mark.parametrize("span", [(10.0, 22.0), (0.0, 3.0), (29.0, 32.0)])
def test_a_heatmap_is_decoded_to_a_tenth_of_its_pixel(span: tuple[float, float]) -> None:
    torch.manual_seed(0)
    points = torch.rand(20, 4, 2) * (span[1] - span[0]) + span[0]
    found, peaks = decode_heatmaps(0.7 * target_heatmaps(points, 32, 32))
    assert (found - points).norm(dim=-1).max() < 0.1
    assert (peaks > 0.6).all()


def test_noise_moves_a_decoded_point_by_little() -> None:
    torch.manual_seed(0)
    points = torch.rand(50, 1, 2) * 20 + 6
    heatmaps = target_heatmaps(points, 32, 32)
    found, _ = decode_heatmaps(heatmaps + 0.02 * torch.randn_like(heatmaps))
    assert (found - points).norm(dim=-1).mean() < 0.1


@pytest.mark.parametrize("value", [0.0, -1.0, 0.5])
def test_a_flat_heatmap_decodes_to_finite_numbers(value: float) -> None:
    found, peaks = decode_heatmaps(torch.full((1, 2, 16, 16), value))
    assert found.isfinite().all()
    assert (peaks == value).all()


def test_a_flat_heatmap_leaves_its_landmark_missing() -> None:
    entry = an_entry("aop_landmarks", HERE, sha256="0", thresholds={"peak": threshold(0.3)})
    heatmaps = target_heatmaps(torch.tensor([[[5.0, 6.0], [8.0, 9.0], [20.0, 21.0]]]), 32, 32)
    heatmaps[:, 1] = 0.1
    result = decode(entry, heatmaps, letterbox(64, 64, INPUT_PX))
    assert isinstance(result, RegressResult)
    assert result.missing == (entry.landmarks[1],)
    assert [point.name for point in result.points] == [entry.landmarks[0], entry.landmarks[2]]
    assert (result.points[0].x, result.points[0].y) == pytest.approx((10, 12), abs=0.05)


def detected(presence: float, attention: torch.Tensor, *, known: bool) -> DetectResult:
    entry = an_entry(
        "breast_lesion_det",
        HERE,
        sha256="0",
        absence_known=known,
        temperature=2.0 if known else None,
        thresholds={"presence": threshold(0.5)},
    )
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    output = (box, torch.tensor([presence]), attention)
    result = decode(entry, output, letterbox(64, 64, INPUT_PX))
    assert isinstance(result, DetectResult)
    return result


def test_a_detector_with_negatives_says_none_below_its_threshold() -> None:
    flat = torch.zeros(1, 16)
    found, none = detected(2.0, flat, known=True), detected(-2.0, flat, known=True)
    assert found.box == (16, 16, 48, 48)
    assert found.score == pytest.approx(
        0.7311, abs=1e-4
    )  # sigmoid of the logit over the temperature
    assert none.box is None
    assert none.score == pytest.approx(0.2689, abs=1e-4)
    assert none.absence_known


def test_a_detector_without_negatives_is_judged_by_its_attention() -> None:
    inside, outside = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    inside[0, 1:3, 1:3] = 9
    outside[0, 0] = 9
    seen = detected(-9.0, inside.flatten(1), known=False)
    lost = detected(9.0, outside.flatten(1), known=False)
    assert seen.box == (16, 16, 48, 48)
    assert seen.score > 0.9
    assert (lost.box, lost.absence_known) == (None, False)


def test_attention_inside_a_box_is_its_share_of_the_cells() -> None:
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5]])
    assert attention_inside(torch.zeros(2, 16), box).tolist() == pytest.approx([1.0, 0.25])


def test_class_scores_are_divided_by_the_temperature() -> None:
    entry = an_entry("breast_2cls", HERE, sha256="0", temperature=2.0)
    result = decode(entry, torch.tensor([[0.0, 2.0]]), letterbox(64, 64, INPUT_PX))
    assert isinstance(result, ClassifyResult)
    assert result.scores == {"benign": 0.2689, "malignant": 0.7311}


def test_ends_of_a_line_are_found_in_their_order_wherever_each_heatmap_shows_both() -> None:
    points = torch.tensor([[[20.3, 9.6], [5.7, 22.1]], [[16.2, 4.4], [15.9, 27.5]]])
    across = Ends(first=0, second=1, axis=0)
    down = Ends(first=0, second=1, axis=1)
    heatmaps = shared_targets(target_heatmaps(points, 32, 32), [across])
    assert torch.equal(heatmaps[:, 0], heatmaps[:, 1])

    by_x, peaks = decode_heatmaps(heatmaps, [across])
    assert by_x[0].tolist() == [
        pytest.approx([5.7, 22.1], abs=0.05),
        pytest.approx([20.3, 9.6], abs=0.05),
    ]
    assert by_x[1].tolist() == [
        pytest.approx([15.9, 27.5], abs=0.05),
        pytest.approx([16.2, 4.4], abs=0.05),
    ]
    assert peaks.min() > 0.9
    by_y, _ = decode_heatmaps(heatmaps, [down])
    assert (by_y[:, 0, 1] < by_y[:, 1, 1]).all()


def test_line_with_one_end_out_of_sight_has_a_low_second_peak() -> None:
    one = target_heatmaps(torch.tensor([[[20.0, 9.0], [20.0, 9.0]]]), 32, 32)
    _, peaks = decode_heatmaps(one, [Ends(first=0, second=1, axis=0)])
    assert sorted(peaks[0].tolist())[0] < 0.05
