"""Classification head: pooled backbone levels, a residual bottleneck adapter and a compact MLP."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from specialists.backbones.transunet import ConvNorm, averaged


class Adapter(nn.Module):
    """Residual bottleneck that recalibrates one level for one dataset.

    See the USTri paper (arXiv:2604.16914), section 2.5.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(width, width // 4, 1), ConvNorm(width // 4, width // 4), _zeroed(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        out: Tensor = x + self.body(x)
        return out


class ClassifyHead(nn.Module):
    """Class logits from `levels`.

    Each level is averaged over the field and over the region of interest.
    """

    def __init__(
        self,
        encoder_widths: Mapping[str, int],
        levels: Sequence[str],
        classes: int,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.adapters = nn.ModuleDict({level: Adapter(encoder_widths[level]) for level in levels})
        width = 3 * sum(encoder_widths[level] for level in levels)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Dropout(dropout),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, features: Mapping[str, Tensor], field: Tensor, roi: Tensor) -> Tensor:
        """Return (B, classes) logits.

        Args:
            features: backbone levels.
            field: (B, 1, H, W) in [0, 1], 1 where the letterbox holds image.
            roi: (B, 1, H, W) in [0, 1], 1 inside the region of interest; equal to `field` without
                one.
        """
        pooled = []
        for level in self.levels:
            x = self.adapters[level](features[level]).float()
            field_weight = averaged(field, x)
            roi_weight = averaged(roi, x)
            pooled += [_average(x, field_weight), _average(x, roi_weight), _peak(x, roi_weight)]
        logits: Tensor = self.mlp(torch.cat(pooled, dim=1))
        return logits


def _zeroed(width: int) -> nn.Conv2d:
    conv = nn.Conv2d(width // 4, width, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _average(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-4)


def _peak(x: Tensor, weight: Tensor) -> Tensor:
    # If the region covers less than one cell, the cell that it covers best still counts.
    inside = weight >= weight.amax((2, 3), keepdim=True).clamp(1e-4, 0.5)
    return x.masked_fill(~inside, torch.finfo(x.dtype).min).amax((2, 3))
