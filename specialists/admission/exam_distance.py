"""Distance of an image from the training images of each exam.

It uses features of the two deepest levels and is the sum of two parts: how little the image has of
what distinguishes the exam from all others (one linear detector per exam, so that an image may
belong to none), and its Mahalanobis distance to the nearest data set of the exam on the deepest
level. Each part is measured in units of its spread over the training images, and the usual training
image is at 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from specialists.errors import WeightsError

PREFIX = "exam_"
"""Prefix of its tensor names in a weights file."""

SHARE = 0.5
"""Weight of the Mahalanobis distance relative to the detector's part."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExamDistance:
    """E detectors over the last C of D features and K data sets over the last V of them.

    All tensors but `exams` are float32.
    """

    weight: Tensor
    """(C, E)."""
    bias: Tensor
    """(E,).

    A detector's output is minus the distance, in units of its spread over the exam's training
    images.
    """
    means: Tensor
    """(K, V)."""
    whitening: Tensor
    """(V, V), under which a distance is a norm.

    The norm is in units of its spread over the training images.
    """
    usual: Tensor
    """(1,) norm of the usual training image, which counts as 0."""
    exams: Tensor
    """(K,) int64: which of the E exams each data set belongs to."""

    def __call__(self, described: Tensor) -> Tensor:
        """Return (B, E) distances of (B, D) descriptions."""
        missing = self.bias - described[:, -self.weight.shape[0] :] @ self.weight
        return missing + SHARE * (self.apart(described) - self.usual)

    def apart(self, described: Tensor) -> Tensor:
        """Return (B, E) norms from the nearest data set of each exam."""
        whitened = described[:, -self.whitening.shape[0] :] @ self.whitening
        norms = torch.linalg.vector_norm(whitened[:, None] - self._whitened_means, dim=2)  # (B, K)
        return torch.stack([norms[:, rows].amin(1) for rows in self._rows], dim=1)

    def to(self, device: torch.device) -> "ExamDistance":
        """Return the same statistics on that device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @cached_property
    def _whitened_means(self) -> Tensor:
        return self.means @ self.whitening

    @cached_property
    def _rows(self) -> list[list[int]]:
        of = self.exams.tolist()
        return [[k for k, exam in enumerate(of) if exam == e] for e in range(len(self.bias))]


def tensors_of(distance: ExamDistance) -> dict[str, Tensor]:
    """Return the statistics as stored in a weights file: the matrix in half precision."""
    found = {PREFIX + field.name: getattr(distance, field.name) for field in fields(distance)}
    return {**found, f"{PREFIX}whitening": distance.whitening.half()}


def exam_distance_from(tensors: Mapping[str, Tensor], exams: int) -> ExamDistance:
    """Return the statistics of that many exams from the tensors of a weights file.

    Raises:
        WeightsError: a tensor is missing, or the number of exams is another.
    """
    names = [field.name for field in fields(ExamDistance)]
    if missing := [name for name in names if PREFIX + name not in tensors]:
        raise WeightsError(f"The statistics of exams lack the tensor {PREFIX}{missing[0]}.")
    read = {name: tensors[PREFIX + name] for name in names}
    if len(read["bias"]) != exams:
        raise WeightsError(
            f"The statistics are of {len(read['bias'])} exams, the manifest names {exams}."
        )
    return ExamDistance(**{n: t if n == "exams" else t.float() for n, t in read.items()})
