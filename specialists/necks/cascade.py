"""Cascaded decoder: from the ViT map up the strides, adding each encoder level on the way.

See the USTri paper (arXiv:2604.16914), section 2.5.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from specialists.backbones.transunet import ConvNorm, averaged


class Cascade(nn.Module):
    """Decoder from the first to the last of `levels`.

    `widths` are those of the decoder, one per level after the first. With `roi` every level also
    reads where the region of interest lies. Those weights start at zero, so that a decoder trained
    without regions gives the same output until it has learned to use them.
    """

    def __init__(
        self,
        encoder_widths: Mapping[str, int],
        levels: Sequence[str],
        widths: Sequence[int],
        *,
        roi: bool = False,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        inputs = [encoder_widths[levels[0]], *widths[:-1]]
        self.down = nn.ModuleList(
            ConvNorm(width_in, width, 1) for width_in, width in zip(inputs, widths, strict=True)
        )
        self.lateral = nn.ModuleList(
            ConvNorm(encoder_widths[level], width, 1)
            for level, width in zip(levels[1:], widths, strict=True)
        )
        self.fuse = nn.ModuleList(ConvNorm(width, width) for width in widths)
        self.roi = nn.ModuleList(nn.Conv2d(1, width, 1, bias=False) for width in widths if roi)
        for conv in self.roi:
            nn.init.zeros_(cast(nn.Conv2d, conv).weight)
        self.width = widths[-1]

    def forward(self, features: Mapping[str, Tensor], roi: Tensor | None = None) -> Tensor:
        """Return (B, widths[-1], H, W) features at the stride of the last level.

        Args:
            features: backbone levels.
            roi: (B, 1, h, w), 1 inside the region of interest, 0 elsewhere and where there is none.
        """
        x = features[self.levels[0]]
        for index, level in enumerate(self.levels[1:]):
            x = self.down[index](x)
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = x + self.lateral[index](features[level])
            if roi is not None and self.roi:
                x = x + self.roi[index](averaged(roi, x).to(x.dtype))
            x = self.fuse[index](x)
        return x
