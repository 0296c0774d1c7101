"""EfficientNet-Lite, the convolutional trunk that starts from ImageNet weights (Tan and Le 2019).

The Lite variant has ReLU6, no squeeze-and-excitation, and a stem of fixed width.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.backbones.trunk import Trunk
from specialists.errors import TrainingError


class Stage(NamedTuple):
    """Blocks of one width; `level` names the map after the last of them where others read it."""

    kernel: int
    stride: int
    expansion: int
    width: int
    repeats: int
    level: str | None


STEM_WIDTH = 32
STAGES = (
    Stage(3, 1, 1, 16, 1, "c2"),
    Stage(3, 2, 6, 24, 2, "stem"),
    Stage(5, 2, 6, 40, 2, "c8"),
    Stage(3, 2, 6, 80, 3, None),
    Stage(5, 1, 6, 112, 3, "c16"),
    Stage(5, 2, 6, 192, 4, None),
    Stage(3, 1, 6, 320, 1, "c32"),
)
SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
"""Multipliers of the widths and of the repeats, by variant."""


class FixedNormConv(nn.Module):
    """Convolution and the affine part of a batch norm whose statistics stay those of ImageNet.

    During training, `scale` multiplies the weights, so that a training step has the same effect as
    with the norm; `fold` merges it into the weights for good.
    """

    scale: nn.Parameter | None

    def __init__(
        self,
        width_in: int,
        width_out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        scaled: bool,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_out, width_in // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(width_out))
        self.scale = nn.Parameter(torch.ones(width_out)) if scaled else None
        self.kernel, self.stride, self.groups = kernel, stride, groups
        fan_out = kernel * kernel * width_out // groups
        nn.init.normal_(self.weight, 0.0, math.sqrt(2.0 / fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width_in, H, W) to (B, width_out, H / stride, W / stride).

        The padding is that of TensorFlow.
        """
        weight = (
            self.weight if self.scale is None else self.weight * self.scale[:, None, None, None]
        )
        pad = self.kernel // 2
        if self.stride == 1:
            return F.conv2d(x, weight, self.bias, 1, pad, groups=self.groups)
        # TensorFlow pads an even side at stride 2 by one row less above than below.
        x = F.pad(x, (pad - 1, pad, pad - 1, pad))
        return F.conv2d(x, weight, self.bias, self.stride, 0, groups=self.groups)

    @torch.no_grad()
    def fold(self) -> None:
        """Merge the scale into the weights."""
        if self.scale is not None:
            self.weight.mul_(self.scale[:, None, None, None])
            self.scale = None


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and linear projection.

    A shortcut is added where the sizes allow it.
    """

    def __init__(self, width_in: int, stage: Stage, stride: int, *, scaled: bool) -> None:
        super().__init__()
        hidden = width_in * stage.expansion
        self.expand = (
            FixedNormConv(width_in, hidden, scaled=scaled) if stage.expansion > 1 else None
        )
        self.depthwise = FixedNormConv(hidden, hidden, stage.kernel, stride, hidden, scaled=scaled)
        self.project = FixedNormConv(hidden, stage.width, scaled=scaled)
        self.shortcut = stride == 1 and width_in == stage.width

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width_in, H, W) to (B, width, H / stride, W / stride)."""
        wide = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        out: Tensor = self.project(F.relu6(self.depthwise(wide), inplace=True))
        return x + out if self.shortcut else out


class EfficientNetLite(Trunk):
    """The trunk of one variant, without its ImageNet classifier."""

    strides = {"c2": 2, "stem": 4, "c8": 8, "c16": 16, "c32": 32}

    def __init__(self, variant: str, *, scaled: bool = False) -> None:
        super().__init__()
        stages = stages_of(variant)
        self.widths = {stage.level: stage.width for stage in stages if stage.level is not None}
        self.first = FixedNormConv(1, STEM_WIDTH, 3, 2, scaled=scaled)
        self.stages = nn.ModuleList()
        self.levels = [stage.level for stage in stages]
        width = STEM_WIDTH
        for stage in stages:
            blocks = []
            for index in range(stage.repeats):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(width, stage, stride, scaled=scaled))
                width = stage.width
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps by level of (B, 1, H, W) normalised grey.

        H and W are multiples of 32.
        """
        x = F.relu6(self.first(x), inplace=True)
        found = {}
        for level, stage in zip(self.levels, self.stages, strict=True):
            x = stage(x)
            if level is not None:
                found[level] = x
        return found

    def freeze(self, level: str) -> None:
        """Exclude that level and everything before it from training.

        Raises:
            TrainingError: it has no such level.
        """
        if level not in self.widths:
            raise TrainingError(f"The trunk has no level {level!r}, but {', '.join(self.widths)}.")
        for part in (self.first, *self.stages[: self.levels.index(level) + 1]):
            part.requires_grad_(False)

    def fold(self) -> None:
        """Merge the scale of every norm into the weights before it.

        This is the form that is exported and shipped.
        """
        for module in self.modules():
            if isinstance(module, FixedNormConv):
                module.fold()


def stages_of(variant: str) -> list[Stage]:
    """Return the stages of that variant, with widths and repeats scaled.

    The first and the last stage keep their repeats.
    """
    width, depth = SCALES[variant]
    last = len(STAGES) - 1
    return [
        stage._replace(
            width=_rounded(stage.width * width),
            repeats=stage.repeats if index in (0, last) else math.ceil(stage.repeats * depth),
        )
        for index, stage in enumerate(STAGES)
    ]


def _rounded(width: float) -> int:
    """Return the nearest multiple of eight that is at most a tenth smaller."""
    near = max(8, int(width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * width else near
