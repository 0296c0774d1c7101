"""Landmark head: one heatmap per landmark, decoded with sub-pixel accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from specialists.backbones.transunet import ConvNorm

HEATMAP_SIGMA = 2.0
"""Standard deviation of a target heatmap, in heatmap pixels."""


SUPPRESSED = 4 * HEATMAP_SIGMA
"""Radius around one end of a line in which its other end is not searched.

It is in heatmap pixels.
"""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Two landmarks that are the ends of one line, distinguished only by their order along an axis.

    No continuous rule names the ends of a line that may lie at any angle, so both heatmaps learn
    both ends, and their order is restored from the decoded points.
    """

    first: int
    second: int
    axis: int
    """0 where the first end is the left one, 1 where it is the upper one."""


class RegressHead(nn.Module):
    """Heatmaps (B, landmarks, H, W) from (B, C, H, W) decoded features."""

    def __init__(self, width: int, landmarks: int) -> None:
        super().__init__()
        self.refine = ConvNorm(width, width)
        self.out = nn.Conv2d(width, landmarks, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, landmarks, H, W) heatmaps; a target peak is 1."""
        heatmaps: Tensor = self.out(self.refine(x))
        return heatmaps


def target_heatmaps(points: Tensor, height: int, width: int) -> Tensor:
    """Return (B, L, height, width) Gaussians of peak 1 at the given points.

    The points are (B, L, 2), (x, y) in heatmap pixels.
    """
    y = torch.arange(height, device=points.device) + 0.5
    x = torch.arange(width, device=points.device) + 0.5
    distance = (x - points[..., 0:1])[..., None, :] ** 2 + (y - points[..., 1:2])[..., :, None] ** 2
    return torch.exp(-distance / (2 * HEATMAP_SIGMA**2))


def shared_targets(heatmaps: Tensor, ends: Sequence[Ends]) -> Tensor:
    """Return (B, L, H, W) targets in which both landmarks of a line show both of its ends."""
    shared = heatmaps.clone()
    for line in ends:
        both = torch.maximum(heatmaps[:, line.first], heatmaps[:, line.second])
        shared[:, line.first] = shared[:, line.second] = both
    return shared


def decode_heatmaps(
    heatmaps: Tensor, ends: Sequence[Ends] = (), radius: int = 3
) -> tuple[Tensor, Tensor]:
    """Return points (B, L, 2) in heatmap pixels and peak scores (B, L).

    The ends of each line are in their order.

    Args:
        heatmaps: (B, L, H, W).
        ends: the lines among the landmarks.
        radius: distance from a peak, in heatmap pixels, up to which values determine its position.
    """
    points, peaks = _peaks(_parted(heatmaps, ends), radius)
    for line in ends:
        pair = [line.first, line.second]
        order = points[:, pair, line.axis].argsort(1)  # (B, 2)
        points[:, pair] = points[:, pair].gather(1, order[..., None].expand(-1, -1, 2))
        peaks[:, pair] = peaks[:, pair].gather(1, order)
    return points, peaks


def _parted(heatmaps: Tensor, ends: Sequence[Ends]) -> Tensor:
    """Return the heatmaps with one end of each line per landmark.

    The first landmark's heatmap has the highest peak of the line, the second one's has that peak
    removed.
    """
    parted = heatmaps.clone()
    _, _, H, W = heatmaps.shape
    y = torch.arange(H, device=heatmaps.device)[:, None]
    x = torch.arange(W, device=heatmaps.device)[None]
    for line in ends:
        both = (heatmaps[:, line.first] + heatmaps[:, line.second]) / 2
        index = both.flatten(1).argmax(1)[:, None, None]
        near = (y - index // W) ** 2 + (x - index % W) ** 2 <= SUPPRESSED**2
        parted[:, line.first] = both
        parted[:, line.second] = both.masked_fill(near, 0.0)
    return parted


def _peaks(heatmaps: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Return points (B, L, 2) in heatmap pixels and peak scores (B, L).

    The logarithm of a target is a parabola of known width. What remains of it within `radius` of
    the peak is a plane whose slope is the offset of the point. Unlike a centre of mass, this is
    exact between pixels and next to the border.
    """
    B, L, H, W = heatmaps.shape
    peak, index = heatmaps.flatten(2).max(2)
    row, column = index // W, index % W
    share = (heatmaps / peak.clamp_min(1e-6)[..., None, None]).clamp_min(0)
    y = (torch.arange(H, device=share.device) - row[..., None])[..., :, None].expand_as(share)
    x = (torch.arange(W, device=share.device) - column[..., None])[..., None, :].expand_as(share)
    # Noise in a logarithm is proportional to the inverse of the value.
    weight = share.square() * ((x.abs() <= radius) & (y.abs() <= radius))
    plane = share.clamp_min(1e-6).log() + (x.square() + y.square()) / (2 * HEATMAP_SIGMA**2)
    terms = torch.stack([torch.ones_like(share), x, y], dim=-1)  # (B, L, H, W, 3)
    left = torch.einsum("blhw,blhwi,blhwj->blij", weight, terms, terms)
    right = torch.einsum("blhw,blhwi->bli", weight * plane, terms)
    slope = torch.linalg.solve(left + 1e-6 * torch.eye(3, device=share.device), right)[..., 1:]
    offset = (slope * HEATMAP_SIGMA**2).clamp(-radius, radius)
    return torch.stack([column, row], dim=-1) + 0.5 + offset, peak
