"""How unlike the training images an image is, by its backbone features.

The distance is Mahalanobis, to the nearest training set's mean under one shared covariance (Lee 2018, "A simple unified
framework for detecting out-of-distribution samples"), less the Mahalanobis distance to the mean of all training images
under their whole covariance (Ren 2021, "A simple fix to Mahalanobis distance for improving near-OOD detection"; here of
distances, not of their squares): what is far from every set and from all of them alike, as a faint or a bright image
is, is no stranger for that. It may be negative.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from specialists.backbones.transunet import Features, averaged
from specialists.errors import WeightsError
from specialists.exam_distance import ExamDistance, exam_distance_from
from specialists.exam_distance import tensors_of as exam_tensors_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """All training images as one: `mean` (D,) and `whitening` (D, D) of them, both float32."""

    mean: Tensor
    whitening: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """`means` (K, D) of K data sets, `whitening` (D, D) so that a distance is a norm, both float32."""

    means: Tensor
    whitening: Tensor
    limit: float
    """Distance beyond which an image is declined."""
    background: Background | None = None
    """Null in statistics of before there was one: their limit is of the plain distance, per root of D."""
    exams: ExamDistance | None = None
    """Null where no image was of a known exam."""

    def places(self, described: Tensor) -> Tensor:
        """Return (B, 1 + E) distances of (B, D) descriptions: from all images, then from each exam."""
        distance = self.distance(described)[:, None]
        return (
            distance if self.exams is None else torch.cat([distance, self.exams(described)], dim=1)
        )

    def distance(self, described: Tensor) -> Tensor:
        """(B,) distances of (B, D) descriptions."""
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
        """The same on that device."""
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
    """(B, D) float32: mean and spread of every channel over the image's field, level by level."""
    parts, covered = [], field
    for level in features.values():  # finer ones first
        x = level.float()
        covered = averaged(covered, x)  # of the finer level's cells, each of which is a mean
        weight = covered.flatten(2).transpose(1, 2)  # (B, H * W, 1)
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-4)
        x = x.flatten(2)  # (B, C, H * W)
        mean = x @ weight  # (B, C, 1)
        spread = (x - mean).square_() @ weight
        parts += [mean.squeeze(2), spread.squeeze(2).sqrt()]
    return torch.cat(parts, dim=1)


def tensors_of(novelty: Novelty) -> dict[str, Tensor]:
    """The statistics as a weights file keeps them: matrices in half precision."""
    tensors = {"means": novelty.means, "whitening": novelty.whitening.half()}
    if novelty.background is not None:
        tensors["background_mean"] = novelty.background.mean
        tensors["background_whitening"] = novelty.background.whitening.half()
    return tensors if novelty.exams is None else tensors | exam_tensors_of(novelty.exams)


def novelty_from(tensors: dict[str, Tensor], limit: float, exams: int = 0) -> Novelty:
    """The statistics of a weights file, which tells so many exams apart.

    Raises:
        WeightsError: a tensor is missing, or they are of another number of exams.
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
