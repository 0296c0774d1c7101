"""Landmark head: one heatmap per landmark, decoded below the pixel."""

import torch
from torch import Tensor, nn

from specialists.backbones.transunet import ConvNorm

HEATMAP_SIGMA = 2.0
"""Standard deviation of a target heatmap, in heatmap pixels."""


class RegressHead(nn.Module):
    """(B, C, H, W) decoded features to (B, landmarks, H, W) heatmaps."""

    def __init__(self, width: int, landmarks: int) -> None:
        super().__init__()
        self.refine = ConvNorm(width, width)
        self.out = nn.Conv2d(width, landmarks, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, landmarks, H, W) heatmaps; a target peak is 1."""
        heatmaps: Tensor = self.out(self.refine(x))
        return heatmaps


def target_heatmaps(points: Tensor, height: int, width: int) -> Tensor:
    """(B, L, height, width) Gaussians of peak 1 at (B, L, 2) points (x, y) in heatmap pixels."""
    y = torch.arange(height, device=points.device) + 0.5
    x = torch.arange(width, device=points.device) + 0.5
    distance = (x - points[..., 0:1])[..., None, :] ** 2 + (y - points[..., 1:2])[..., :, None] ** 2
    return torch.exp(-distance / (2 * HEATMAP_SIGMA**2))


def decode_heatmaps(heatmaps: Tensor, radius: int = 3) -> tuple[Tensor, Tensor]:
    """Points (B, L, 2) in heatmap pixels and peak scores (B, L).

    The peak is refined by the centre of mass of the window of `radius` around it.
    """
    B, L, H, W = heatmaps.shape
    peak, index = heatmaps.flatten(2).max(2)
    row, column = index // W, index % W
    y = torch.arange(H, device=heatmaps.device)
    x = torch.arange(W, device=heatmaps.device)
    near_y = ((y - row[..., None]).abs() <= radius).float()  # (B, L, H)
    near_x = ((x - column[..., None]).abs() <= radius).float()  # (B, L, W)
    mass = heatmaps.clamp_min(0) * near_y[..., :, None] * near_x[..., None, :]
    total = mass.sum((2, 3)).clamp_min(1e-6)
    point_x = (mass.sum(2) * (x + 0.5)).sum(2) / total
    point_y = (mass.sum(3) * (y + 0.5)).sum(2) / total
    return torch.stack([point_x, point_y], dim=-1), peak
