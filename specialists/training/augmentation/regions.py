"""Regions of interest for training: predicted, jittered around the truth, anywhere, or absent."""

import numpy as np
import torch
from torch import Tensor

from specialists.engine import box_mask

ABSENT_SHARE = 0.35
"""Share of samples trained without a region, so that a specialist also works without one."""

PREDICTED_SHARE = 0.35
"""Share of samples trained with the detector's current prediction, even where it finds nothing."""


def training_regions(
    boxes: dict[int, Tensor], predicted: dict[int, Tensor], count: int, side: int, seed: int
) -> Tensor:
    """Return one region per image, (count, 1, side, side), all 0 where it is absent.

    Args:
        boxes: (4,) true box in [0, 1] by row of the batch; NaN where the structure is absent.
        predicted: (4,) the detector's box by row; NaN where it found nothing. Rows without one get
            no predicted region.
        count: images in the batch.
        side: network pixels.
        seed: of the jitter.
    """
    rng = np.random.default_rng(seed)
    regions = torch.zeros(count, 1, side, side)  # filled on the CPU
    for row, box in boxes.items():
        draw = rng.random()
        if draw < ABSENT_SHARE:
            continue
        if draw < ABSENT_SHARE + PREDICTED_SHARE and row in predicted:
            box = predicted[row]
            if not torch.isfinite(box).all():
                continue
            corners = _ordered(box.numpy())
        else:
            corners = jittered(box.numpy(), rng) if torch.isfinite(box).all() else anywhere(rng)
        x_min, y_min, x_max, y_max = (corners * side).tolist()
        regions[row] = box_mask((x_min, y_min, x_max, y_max), side)[0]
    return regions


def jittered(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the (4,) box with each side moved as by a detector of moderate IoU."""
    size = np.tile(box[2:] - box[:2], 2)
    moved = box + rng.normal(0, 0.12, 4) * size
    return _ordered(moved)


def anywhere(rng: np.random.Generator) -> np.ndarray:
    """Return a random (4,) box, as a false positive would place one."""
    centre, half = rng.uniform(0.2, 0.8, 2), rng.uniform(0.06, 0.25, 2)
    return _ordered(np.concatenate([centre - half, centre + half]))


def _ordered(box: np.ndarray) -> np.ndarray:
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    return np.concatenate([low, np.maximum(high, low + 0.02)]).clip(0, 1)
