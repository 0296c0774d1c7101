"""How unlike the training images an image is, by its backbone features.

The distance is Mahalanobis, to the nearest training set's mean under one shared covariance (Lee
2018, "A simple unified framework for detecting out-of-distribution samples"), less the Mahalanobis
distance to the mean of all training images under their whole covariance (Ren 2021, "A simple fix to
Mahalanobis distance for improving near-OOD detection"; here of distances, not of their squares).
The difference ignores what moves an image away from every set and from all of them alike, such as
low or high brightness. It may be negative.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from specialists.admission.exam_distance import ExamDistance, exam_distance_from
from specialists.admission.exam_distance import tensors_of as exam_tensors_of
from specialists.backbones.transunet import Features, averaged
from specialists.errors import WeightsError


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """Mean (D,) and whitening (D, D) of all training images together, both float32."""

    mean: Tensor
    whitening: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """Statistics of K data sets: `means` (K, D) and `whitening` (D, D), both float32.

    Under the whitening a distance is a norm.
    """

    means: Tensor
    whitening: Tensor
    limit: float
    """Distance beyond which an image is declined."""
    background: Background | None = None
    """None in older statistics, which have no background.

    Their limit applies to the plain distance, divided by the square root of D.
    """
    exams: ExamDistance | None = None
    """None where no training image was of a known exam."""

    def places(self, described: Tensor) -> Tensor:
        """Return (B, 1 + E) distances of (B, D) descriptions.

        The first is from all training images, the others are from each exam.
        """
        distance = self.distance(described)[:, None]
        return (
            distance if self.exams is None else torch.cat([distance, self.exams(described)], dim=1)
        )

    def distance(self, described: Tensor) -> Tensor:
        """Return (B,) distances of (B, D) descriptions."""
        whitened = described @ self.whitening
        offset = whitened[:, None] - self._whitened_means  # (B, K, D)
        nearest: Tensor = torch.linalg.vector_norm(offset, dim=2).amin(1)
        if self.background is None:
            plain: Tensor = nearest / self.means.shape[1] ** 0.5
            return plain
        usual = (described - self.background.mean) @ self.background.whitening
        relative: Tensor = nearest - torch.linalg.vector_norm(usual, dim=1)
        return relative

    def to(self, device: torch.device) -> "Novelty":
        """Return the same statistics on that device."""
        background = self.background and Background(
            mean=self.background.mean.to(device), whitening=self.background.whitening.to(device)
        )
        return replace(
            self,
            means=self.means.to(device),
            whitening=self.whitening.to(device),
            background=background,
            exams=self.exams and self.exams.to(device),
        )

    @cached_property
    def _whitened_means(self) -> Tensor:
        return self.means @ self.whitening


def describe(features: Features, field: Tensor) -> Tensor:
    """Return (B, D) float32 descriptions of images.

    They are the mean and spread of every channel over the image's field, level by level.
    """
    parts, covered = [], field
    for level in features.values():  # finest first
        x = level.float()
        covered = averaged(covered, x)  # averages the finer level's cells, each a mean
        weight = covered.flatten(2).transpose(1, 2)  # (B, H * W, 1)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-4)
        x = x.flatten(2)  # (B, C, H * W)
        mean = x @ weight  # (B, C, 1)
        spread = (x - mean).square_() @ weight
        parts += [mean.squeeze(2), spread.squeeze(2).sqrt()]
    return torch.cat(parts, dim=1)


def tensors_of(novelty: Novelty) -> dict[str, Tensor]:
    """Return the statistics as stored in a weights file: matrices in half precision."""
    tensors = {"means": novelty.means, "whitening": novelty.whitening.half()}
    if novelty.background is not None:
        tensors["background_mean"] = novelty.background.mean
        tensors["background_whitening"] = novelty.background.whitening.half()
    return tensors if novelty.exams is None else tensors | exam_tensors_of(novelty.exams)


def novelty_from(tensors: dict[str, Tensor], limit: float, exams: int = 0) -> Novelty:
    """Return the statistics of a weights file, which distinguish that many exams.

    Raises:
        WeightsError: a tensor is missing, or the number of exams is another.
    """
    try:
        background = None
        if "background_mean" in tensors or "background_whitening" in tensors:
            background = Background(
                mean=tensors["background_mean"].float(),
                whitening=tensors["background_whitening"].float(),
            )
        return Novelty(
            means=tensors["means"].float(),
            whitening=tensors["whitening"].float(),
            limit=limit,
            background=background,
            exams=exam_distance_from(tensors, exams) if exams else None,
        )
    except KeyError as error:
        raise WeightsError(f"The novelty statistics lack the tensor {error}.") from error
