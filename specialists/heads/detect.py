"""Detection head: one box, and whether the structure is there at all."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specialists.backbones.transunet import ConvNorm


class DetectHead(nn.Module):
    """Every cell proposes a box; an attention map over the cells weighs the proposals into one.

    The USTri paper (arXiv:2604.16914) pools globally before it regresses, which loses where the
    evidence was. Weighing local proposals keeps it, and the same map weighs the features that the
    presence score reads.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.refine = nn.Sequential(ConvNorm(width, width), ConvNorm(width, width))
        self.attention = nn.Conv2d(width, 1, 1)
        self.sides = nn.Conv2d(width, 4, 1)
        self.presence = nn.Linear(2 * width + 1, 1)
        nn.init.constant_(cast(Tensor, self.sides.bias), -1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return box, presence logit (B,) and attention logits (B, H*W).

        The box is (B, 4): x_min, y_min, x_max, y_max in [0, 1].
        """
        B, _, H, W = x.shape
        x = self.refine(x)
        logits = self.attention(x).flatten(2).float()  # (B, 1, H*W)
        weights = logits.softmax(2)
        # distances from a cell's centre to the sides, as shares of the map
        left, top, right, bottom = F.softplus(self.sides(x).float()).flatten(2).unbind(1)
        centre_x = ((torch.arange(W, device=x.device) + 0.5) / W).repeat(H)
        centre_y = ((torch.arange(H, device=x.device) + 0.5) / H).repeat_interleave(W)
        proposals = torch.stack(
            [centre_x - left, centre_y - top, centre_x + right, centre_y + bottom], dim=2
        )
        box = (weights @ proposals).squeeze(1)
        cells = x.flatten(2).float()  # (B, C, H*W)
        attended = (cells * weights).sum(2)
        pooled = torch.cat([attended, cells.mean(2), logits.amax(2)], dim=1)
        return box, self.presence(pooled).squeeze(1), logits.squeeze(1)
