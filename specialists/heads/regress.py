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

    The logarithm of a target is a parabola of known width: what remains of it within `radius` of the
    peak is a plane whose slope is the offset of the point. Unlike a centre of mass, that is exact
    between pixels and next to the border.
    """
    B, L, H, W = heatmaps.shape
    peak, index = heatmaps.flatten(2).max(2)
    row, column = index // W, index % W
    share = (heatmaps / peak.clamp_min(1e-6)[..., None, None]).clamp_min(0)
    y = (torch.arange(H, device=share.device) - row[..., None])[..., :, None].expand_as(share)
    x = (torch.arange(W, device=share.device) - column[..., None])[..., None, :].expand_as(share)
    # noise weighs on a logarithm by the inverse of its value
    weight = share.square() * ((x.abs() <= radius) & (y.abs() <= radius))
    plane = share.clamp_min(1e-6).log() + (x.square() + y.square()) / (2 * HEATMAP_SIGMA**2)
    terms = torch.stack([torch.ones_like(share), x, y], dim=-1)  # (B, L, H, W, 3)
    left = torch.einsum("blhw,blhwi,blhwj->blij", weight, terms, terms)
    right = torch.einsum("blhw,blhwi->bli", weight * plane, terms)
    slope = torch.linalg.solve(left + 1e-6 * torch.eye(3, device=share.device), right)[..., 1:]
    offset = (slope * HEATMAP_SIGMA**2).clamp(-radius, radius)
    return torch.stack([column, row], dim=-1) + 0.5 + offset, peak
