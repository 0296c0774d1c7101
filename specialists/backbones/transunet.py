"""TransUNet-style hybrid encoder: a convolutional trunk and a ViT on its last level.

See the USTri paper (arXiv:2604.16914), section 2.5.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.backbones.trunk import Trunk

LEVELS = ("c2", "stem", "c8", "c16", "c32")
"""A trunk's levels, of strides 2 to 32."""

Features = dict[str, Tensor]
"""Maps by level name, finest first, `vit` last, each (B, C, H, W)."""


def averaged(mask: Tensor, like: Tensor) -> Tensor:
    """Average a mask over each cell of the (B, C, H, W) features `like`.

    The result is (B, 1, H, W) float32.
    """
    height, width = (int(side) for side in like.shape[-2:])  # plain ints even while tracing
    rows, columns = (int(side) for side in mask.shape[-2:])
    if rows % height or columns % width:
        return F.adaptive_avg_pool2d(mask.float(), (height, width))
    # The cells are the same, all of one size; inference runtimes optimise this operation better.
    return F.avg_pool2d(mask.float(), (rows // height, columns // width))


class ConvNorm(nn.Sequential):
    """3×3 or 1×1 convolution, batch norm and, by default, SiLU."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int = 3, stride: int = 1, act: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(width_in, width_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(width_out),
            nn.SiLU(inplace=True) if act else nn.Identity(),
        )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; the last norm starts at zero."""

    def __init__(self, width_in: int, width_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width_in, width_out, stride=stride)
        self.conv2 = ConvNorm(width_out, width_out, act=False)
        nn.init.zeros_(cast(nn.BatchNorm2d, self.conv2[1]).weight)
        same = width_in == width_out and stride == 1
        self.shortcut = (
            nn.Identity() if same else ConvNorm(width_in, width_out, 1, stride, act=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width_in, H, W) to (B, width_out, H / stride, W / stride)."""
        out: Tensor = F.silu(self.conv2(self.conv1(x)) + self.shortcut(x))
        return out


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        B, N, C = x.shape
        # (B, N, 3C) -> (3, B, heads, N, C / heads)
        q, k, v = self.qkv(x).view(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(B, N, C))
        return out


class ViTLayer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width)
        )
        for last in (self.attention.out, self.mlp[2]):  # the layer starts as the identity
            nn.init.zeros_(cast(nn.Linear, last).weight)
            nn.init.zeros_(cast(nn.Linear, last).bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, C) to (B, N, C)."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def position_code(height: int, width: int, channels: int) -> Tensor:
    """Return a (1, height * width, channels) float32 2-D sine-cosine position code.

    It is computed rather than learned, so that any input size works.
    """
    frequency = torch.exp(
        torch.arange(channels // 4) * (-torch.log(torch.tensor(1e4)) / (channels // 4))
    )
    rows = torch.arange(height)[:, None] * frequency  # (H, C/4)
    columns = torch.arange(width)[:, None] * frequency  # (W, C/4)
    code = torch.cat(
        [
            torch.cat([rows.sin(), rows.cos()], 1)[:, None].expand(-1, width, -1),
            torch.cat([columns.sin(), columns.cos()], 1)[None].expand(height, -1, -1),
        ],
        dim=2,
    )
    return code.reshape(1, height * width, channels)


class ResidualTrunk(Trunk):
    """Residual stages that start from random weights.

    `widths` are those of strides 2, 4, 8 and so on.
    """

    def __init__(self, widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        names = LEVELS[: len(widths)]
        self.widths = dict(zip(names, widths, strict=True))
        self.strides = {name: 2 ** (index + 1) for index, name in enumerate(names)}
        first = nn.Sequential(ConvNorm(1, widths[0], stride=2), ConvNorm(widths[0], widths[0]))
        self.stages = nn.ModuleList([first])
        for width_in, width_out in pairwise(widths):
            self.stages.append(_stage(width_in, width_out, blocks))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Compute the maps by level of (B, 1, H, W) normalised grey.

        H and W are multiples of the last stride.
        """
        found = {}
        for name, stage in zip(self.strides, self.stages, strict=True):
            x = found[name] = stage(x)
        return found


class TransUNet(nn.Module):
    """A trunk whose last level goes through a ViT of `width`.

    The ViT's output takes the place of that level under the name `vit`.
    """

    strides: Mapping[str, int]
    """Stride of each level, finest first."""
    widths: Mapping[str, int]

    def __init__(
        self, trunk: Trunk, *, width: int, layers: int, heads: int, mlp_ratio: int
    ) -> None:
        super().__init__()
        self.trunk = trunk
        *levels, self.deepest = trunk.strides
        self.strides = {**{n: trunk.strides[n] for n in levels}, "vit": trunk.strides[self.deepest]}
        self.widths = {**{n: trunk.widths[n] for n in levels}, "vit": width}
        deepest = trunk.widths[self.deepest]
        self.embed = nn.Identity() if deepest == width else nn.Conv2d(deepest, width, 1)
        self.layers = nn.ModuleList(ViTLayer(width, heads, mlp_ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Features:
        """Compute the feature maps by level of (B, 1, H, W) normalised grey.

        H and W are multiples of the last stride.
        """
        levels = self.trunk(x)
        deepest = self.embed(levels.pop(self.deepest))
        B, C, H, W = deepest.shape
        tokens = deepest.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)
        tokens = tokens + position_code(H, W, C).to(tokens)
        for layer in self.layers:
            tokens = layer(tokens)
        vit = self.norm(tokens).transpose(1, 2).reshape(B, C, H, W)
        return {**levels, "vit": vit}

    def fold(self) -> None:
        """Bring the trunk's weights into the form that ships."""
        self.trunk.fold()


def _stage(width_in: int, width_out: int, blocks: int) -> nn.Sequential:
    first = ResidualBlock(width_in, width_out, stride=2)
    return nn.Sequential(first, *(ResidualBlock(width_out, width_out) for _ in range(blocks - 1)))
