"""The ImageNet trunk gives the reference network's output.

Its input is grey instead of colour, and folding changes nothing.
"""

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.backbones.efficientnet_lite import SCALES, EfficientNetLite, stages_of
from specialists.backbones.transunet import ResidualTrunk
from specialists.errors import TrainingError
from specialists.phantom.draw import draw
from specialists.training import imagenet

VARIANT = "efficientnet_lite0"


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """(1, 1, 224, 224): a drawn breast image, normalised as the weights want it."""
    pixels = draw("breast", seed=3, height_px=224, width_px=224).pixels
    grey = torch.from_numpy(pixels.copy()).float()[None, None] / 255
    return (grey - imagenet.MEAN) / imagenet.STD


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """The network that the weights were published for, from its own package."""
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(imagenet.read_wheel(VARIANT))
    evaluated: nn.Module = net.eval()
    return evaluated


@torch.inference_mode()
def test_logits_on_a_grey_picture_are_those_of_the_reference_network(
    picture: Tensor, reference: nn.Module
) -> None:
    trunk = EfficientNetLite(VARIANT, scaled=True).eval()
    trunk.load_state_dict(imagenet.trunk_weights(VARIANT))
    deepest = trunk(picture)["c32"]
    # the classifier, which our trunk leaves out, from the reference's own layers
    published = imagenet.read_wheel(VARIANT)
    x = F.conv2d(deepest, published["_conv_head.weight"])
    mean, variance = published["_bn1.running_mean"], published["_bn1.running_var"]
    scale, shift = published["_bn1.weight"], published["_bn1.bias"]
    x = F.relu6(F.batch_norm(x, mean, variance, scale, shift, eps=imagenet.EPSILON))
    ours = F.linear(x.mean((2, 3)), published["_fc.weight"], published["_fc.bias"])
    theirs = reference(picture.expand(-1, 3, -1, -1))
    assert torch.allclose(ours, theirs, atol=1e-3)
    assert float(theirs.std()) > 0.5


@torch.inference_mode()
def test_folding_the_norms_changes_no_level(picture: Tensor) -> None:
    trunk = EfficientNetLite(VARIANT, scaled=True).eval()
    trunk.load_state_dict(imagenet.trunk_weights(VARIANT))
    before = trunk(picture)
    trunk.fold()
    assert not [name for name in trunk.state_dict() if name.endswith("scale")]
    assert trunk.state_dict().keys() == EfficientNetLite(VARIANT).state_dict().keys()
    for level, after in trunk(picture).items():
        assert torch.allclose(before[level], after, atol=1e-4 * float(after.abs().max()))


@pytest.mark.parametrize("variant", SCALES)
@torch.inference_mode()
def test_levels_of_every_variant_have_the_stated_strides_and_widths(variant: str) -> None:
    trunk = EfficientNetLite(variant).eval()
    levels = trunk(torch.zeros(1, 1, 64, 96))
    assert list(levels) == list(trunk.strides)
    for level, stride in trunk.strides.items():
        assert levels[level].shape == (1, trunk.widths[level], 64 // stride, 96 // stride)


def test_a_larger_variant_repeats_more_but_in_its_first_and_last_stage() -> None:
    plain, larger = stages_of(VARIANT), stages_of("efficientnet_lite2")
    assert [stage.repeats for stage in larger] == [1, 3, 3, 4, 4, 5, 1]
    assert [stage.width for stage in larger] == [16, 24, 48, 88, 120, 208, 352]
    assert sum(s.repeats for s in plain) < sum(s.repeats for s in larger)


def test_weights_that_are_not_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(imagenet.SHA256, VARIANT, "0" * 64)
    with pytest.raises(TrainingError, match="not the weights file that is known"):
        imagenet.trunk_weights(VARIANT)


def test_a_variant_without_known_weights_is_refused_by_name() -> None:
    with pytest.raises(TrainingError, match="No ImageNet weights of resnet50"):
        imagenet.trunk_weights("resnet50")


def test_a_frozen_level_and_what_it_follows_from_stay_as_they_are_and_the_rest_learns() -> None:
    trunk = EfficientNetLite(VARIANT)
    trunk.freeze("stem")
    learning = {name for name, one in trunk.named_parameters() if one.requires_grad}
    still = {name for name, _ in trunk.named_parameters()} - learning
    assert {name.split(".")[0] for name in still if not name.startswith("stages")} == {"first"}
    assert {name.split(".")[1] for name in still if name.startswith("stages")} == {"0", "1"}
    levels = trunk(torch.rand(1, 1, 64, 64))
    assert {name for name, level in levels.items() if not level.requires_grad} == {"c2", "stem"}


def test_no_other_level_and_no_other_trunk_can_be_frozen() -> None:
    with pytest.raises(TrainingError, match="no level 'vit', but c2, stem, c8, c16, c32"):
        EfficientNetLite(VARIANT).freeze("vit")
    with pytest.raises(TrainingError, match="cannot be frozen"):
        ResidualTrunk([8, 8], 1).freeze("c2")
