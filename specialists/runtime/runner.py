"""The protocol of everything that runs networks.

It is implemented by torch on the CPU or on CUDA, and by OpenVINO on the CPU.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from specialists.admission.novelty import Novelty
from specialists.backbones.transunet import Features
from specialists.manifest import Manifest
from specialists.model import Frozen, Output, SpecialistNet
from specialists.runtime.quantized import Quantized

log = logging.getLogger(__name__)

Runtime = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "heads", "bf16", "int8"]
"""Arithmetic of the networks.

`heads` is bf16 in every decoder and head and fp32 in the backbones; `int8` is int8 in every network
that has an int8 form and fp32 in the others; `auto` is described in `RuntimeOptions`.
"""


def threads_here() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """Which runtime and precision to use; `auto` is OpenVINO on the CPU and torch on CUDA.

    The automatic precision is fp32, except in OpenVINO for those decoders and heads of which the
    manifest says that `ustri precision` showed no metric to lose by bf16
    (docs/decisions/0013-runtime.md), and for networks with an int8 form, on a CPU that is faster
    with it (docs/decisions/0024-int8.md).
    """

    runtime: Runtime = "torch"
    precision: Precision = "fp32"
    threads: int | None = None
    """Cores that one pass uses; None: all."""
    cache_dir: Path | None = None
    """Where compiled networks are kept; None: nowhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """Networks in evaluation mode.

    Backbones and their novelty statistics are keyed by model, decoders with heads by specialist.
    """

    manifest: Manifest
    backbones: Mapping[str, Frozen]
    nets: Mapping[str, SpecialistNet]
    novelties: Mapping[str, Novelty] = field(default_factory=dict)
    int8: Mapping[str, Quantized] = field(default_factory=dict)
    """Int8 forms that were made of these very weights, by the id of the plan they stand in for."""


class Runner(Protocol):
    """Networks that are ready to run; safe between threads."""

    @property
    def name(self) -> str:
        """Runtime, device and precision, as a report states them."""

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """Compute the levels, float32, of (B, 1, S, S) normalised float32 pixels on the CPU."""

    def distance(self, model_id: str, features: Features, field: Tensor) -> Tensor | None:
        """Return how far each image is from all training images, then from each exam.

        The result is (B, 1 + E) float32 on the CPU; None for a model without novelty statistics.

        Args:
            model_id: id of the backbone that gave the features.
            features: all its levels.
            field: (B, 1, S, S) on the CPU, 1 where the letterbox holds image.
        """

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """Return the specialist's raw output, float32 on the CPU.

        Args:
            specialist_id: id of an installed specialist.
            features: levels that `backbone` gave, at least those that the specialist reads.
            field: (B, 1, S, S) on the CPU, 1 where the letterbox holds image.
            roi: (B, 1, S, S) on the CPU, all 0 for an image without a region, which is the same as
                None.
        """
