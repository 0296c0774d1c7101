"""How unlike the training images an image is, by its backbone features.

The distance is Mahalanobis, to the nearest training set's mean under one shared covariance (Lee 2018,
"A simple unified framework for detecting out-of-distribution samples"), per root of the dimension, so that
about 1 is usual whatever the width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from specialists.backbones.transunet import Features
from specialists.errors import WeightsError

LEVELS = ("c2", "stem", "c8", "vit")


@dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """`means` (K, D) of K data sets, `whitening` (D, D) so that a distance is a norm, both float32."""

    means: Tensor
    whitening: Tensor
    limit: float
    """Distance beyond which an image is declined."""

    def distance(self, described: Tensor) -> Tensor:
        """(B,) distances of (B, D) descriptions."""
        offset = described[:, None] - self.means  # (B, K, D)
        lengths = torch.linalg.vector_norm(offset @ self.whitening, dim=2)
        nearest: Tensor = lengths.amin(1) / self.means.shape[1] ** 0.5
        return nearest


def describe(features: Features, field: Tensor) -> Tensor:
    """(B, D) float32: mean and spread of every channel over the image's field, level by level."""
    parts = []
    for level in LEVELS:
        x = features[level].float()
        weight = torch.nn.functional.adaptive_avg_pool2d(field, (x.shape[-2], x.shape[-1]))
        total = weight.sum((2, 3)).clamp_min(1e-4)
        mean = (x * weight).sum((2, 3)) / total
        spread = ((x - mean[..., None, None]).square() * weight).sum((2, 3)) / total
        parts += [mean, spread.sqrt()]
    return torch.cat(parts, dim=1)


def novelty_from(tensors: dict[str, Tensor], limit: float) -> Novelty:
    """The statistics of a weights file.

    Raises:
        WeightsError: a tensor is missing.
    """
    try:
        return Novelty(means=tensors["means"], whitening=tensors["whitening"], limit=limit)
    except KeyError as error:
        raise WeightsError(f"The novelty statistics lack the tensor {error}.") from error
