"""Losses per sample, so that a missing label weighs nothing.

They follow the USTri paper (arXiv:2604.16914), section 2.6.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from specialists.heads.regress import HEATMAP_SIGMA, Ends, shared_targets, target_heatmaps

L1_WEIGHT = 2.0
"""The USTri paper's alpha, between the IoU and the L1 term of a box."""

DICE_SMOOTHING = 1.0
"""Added to both sides of the ratio, so that a class which no image of a batch holds is defined."""


def segment_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the multi-class Dice loss over the batch plus cross-entropy.

    Args:
        logits: (n, classes, h, w); resized to the target's size for the comparison.
        target: (n, S, S) int64.
    """
    logits = F.interpolate(logits.float(), target.shape[-2:], mode="bilinear", align_corners=False)
    return dice_loss(logits, target) + F.cross_entropy(logits, target)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 - Dice of the whole batch, averaged over the classes but the background.

    Milletari 2016 (arXiv:1606.04797), without the squares of its denominator.

    Args:
        logits: (n, classes, h, w).
        target: (n, h, w) int64.
    """
    score = logits.softmax(1)[:, 1:]
    classes = torch.arange(1, logits.shape[1], device=target.device)
    truth = (target[:, None] == classes[:, None, None]).to(score.dtype)
    overlap, found, there = (part.sum((0, 2, 3)) for part in (score * truth, score, truth))
    return (1 - (2 * overlap + DICE_SMOOTHING) / (found + there + DICE_SMOOTHING)).mean()


def classify_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of (n, classes) logits, with slight label smoothing."""
    return F.cross_entropy(logits.float(), target, weight=weight, label_smoothing=0.05)


def regress_loss(heatmaps: Tensor, points: Tensor, ends: Sequence[Ends] = ()) -> Tensor:
    """Return the squared error of heatmaps, in units of one target peak.

    Missing landmarks are masked out.

    Args:
        heatmaps: (n, L, h, w).
        points: (n, L, 2) in [0, 1]; NaN where missing.
        ends: the lines among the landmarks; a line counts where both of its ends are known.
    """
    _, _, h, w = heatmaps.shape
    known = torch.isfinite(points).all(2)
    for line in ends:
        both = known[:, line.first] & known[:, line.second]
        known[:, line.first] = known[:, line.second] = both
    scaled = torch.nan_to_num(points) * points.new_tensor([w, h])
    target = shared_targets(target_heatmaps(scaled, h, w), ends)
    error = (heatmaps.float() - target).square().sum((2, 3))
    error = error / (math.pi * HEATMAP_SIGMA**2)
    return (error * known).sum() / known.sum().clamp_min(1)


def detect_loss(
    box: Tensor, presence: Tensor, attention: Tensor, target: Tensor, absence_known: bool
) -> Tensor:
    """Return the loss of boxes, of the attention towards them, and of presence where it is known.

    The loss of boxes is 1 - IoU plus L1, over the images in which the structure is present.

    Args:
        box: (n, 4) predicted, in [0, 1].
        presence: (n,) logits.
        attention: (n, cells) logits.
        target: (n, 4); NaN where the structure is absent or unlabelled.
        absence_known: whether a missing box means that the structure is absent.
    """
    there = torch.isfinite(target).all(1)
    loss = box.sum() * 0
    if absence_known:
        loss = loss + F.binary_cross_entropy_with_logits(presence, there.float())
    if there.any():
        found, truth = box[there], target[there]
        loss = loss + (1 - box_iou(found, truth)).mean()
        loss = loss + L1_WEIGHT * (found - truth).abs().sum(1).mean()
        loss = loss + 0.3 * _attention_loss(attention[there], truth)
    return loss


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return (n,) intersection over union of paired boxes (x_min, y_min, x_max, y_max)."""
    size = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0)
    overlap = size.prod(1)
    area_a = (a[:, 2:] - a[:, :2]).clamp_min(0).prod(1)
    area_b = (b[:, 2:] - b[:, :2]).clamp_min(0).prod(1)
    return overlap / (area_a + area_b - overlap).clamp_min(1e-6)


def _attention_loss(attention: Tensor, truth: Tensor) -> Tensor:
    """Return the cross-entropy of the attention against the cells near the box's centre."""
    side = math.isqrt(attention.shape[1])
    centre = (torch.arange(side, device=attention.device) + 0.5) / side
    mid, half = (truth[:, :2] + truth[:, 2:]) / 2, (truth[:, 2:] - truth[:, :2]) / 2
    spread = half.clamp_min(1 / side) / 2
    near_x = -0.5 * ((centre - mid[:, :1]) / spread[:, :1]) ** 2
    near_y = -0.5 * ((centre - mid[:, 1:]) / spread[:, 1:]) ** 2
    target = (near_y[:, :, None] + near_x[:, None, :]).flatten(1).softmax(1)
    return -(target * attention.log_softmax(1)).sum(1).mean() / math.log(side * side)
