"""What runs the networks: torch on the CPU or on CUDA, or OpenVINO on the CPU, behind one protocol."""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from specialists.backbones.transunet import Features
from specialists.manifest import Manifest
from specialists.model import Frozen, Output, SpecialistNet
from specialists.novelty import Novelty, describe

log = logging.getLogger(__name__)

Runtime = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "fp32", "heads", "bf16"]
"""Arithmetic; `heads`: bf16 in every decoder and head, fp32 in the backbones; `auto` as `RuntimeOptions` says."""

TORCH_BESIDE = 2
"""Threads of torch where OpenVINO runs the networks: those that wait for more work take cores from it."""


def threads_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """What is asked for; `auto` is OpenVINO on the CPU and torch on CUDA.

    The automatic precision is fp32, but bf16 in those decoders and heads in OpenVINO of which the manifest says that
    `ustri precision` showed no metric to lose by it (docs/decisions/0013-runtime.md).
    """

    runtime: Runtime = "torch"
    precision: Precision = "fp32"
    threads: int | None = None
    """Cores that one pass takes; None: all."""
    cache_dir: Path | None = None
    """Where compiled networks are kept; None: nowhere."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Networks:
    """Backbones and their novelty statistics by model, decoders with heads by specialist, in evaluation mode."""

    manifest: Manifest
    backbones: Mapping[str, Frozen]
    nets: Mapping[str, SpecialistNet]
    novelties: Mapping[str, Novelty] = field(default_factory=dict)


class Runner(Protocol):
    """Networks that were made ready; safe between threads."""

    @property
    def name(self) -> str:
        """Runtime, device and precision, as a report states them."""

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """The levels, float32, of (B, 1, S, S) normalised float32 pixels on the CPU."""

    def distance(self, model_id: str, features: Features, field: Tensor) -> Tensor | None:
        """(B, 1 + E) float32 on the CPU: how far each image is from training images, then from exams.

        None without statistics of them.

        Args:
            model_id: of the backbone that gave them.
            features: all its levels.
            field: (B, 1, S, S) on the CPU, 1 where the letterbox holds image.
        """

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """The specialist's raw output, float32 on the CPU.

        Args:
            specialist_id: of an installed specialist.
            features: levels that `backbone` gave, at least those that the specialist reads.
            field: (B, 1, S, S) on the CPU, 1 where the letterbox holds image.
            roi: (B, 1, S, S) on the CPU, all 0 for an image without a region, which is the same as None.
        """


class TorchRunner:
    """The networks as they were trained, in fp32, or with bf16 where autocast holds it to be safe."""

    fallback: str | None = None
    """Why it is torch although OpenVINO was asked for; None where it is what was asked for."""

    def __init__(self, networks: Networks, device: str, precision: Precision = "fp32") -> None:
        self.name = f"torch-{device}-{'bf16' if precision == 'bf16' else 'fp32'}"
        self._device = torch.device(device)
        self._half = precision == "bf16"
        self._backbones = {k: net.to(self._device) for k, net in networks.backbones.items()}
        self._nets = {k: net.to(self._device).eval() for k, net in networks.nets.items()}
        self._novelties = {k: one.to(self._device) for k, one in networks.novelties.items()}

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """As `Runner.backbone`; the levels stay on the device."""
        with torch.inference_mode(), self._autocast():
            levels = self._backbones[model_id](pixels.to(self._device))
            return {name: level.float() for name, level in levels.items()}

    def distance(self, model_id: str, features: Features, field: Tensor) -> Tensor | None:
        """As `Runner.distance`; fp32 in any precision."""
        novelty = self._novelties.get(model_id)
        if novelty is None:
            return None
        with torch.inference_mode():
            return novelty.places(describe(features, field.to(self._device))).cpu()

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """As `Runner.head`."""
        region = None if roi is None else roi.to(self._device)
        with torch.inference_mode(), self._autocast():
            output = self._nets[specialist_id](features, field.to(self._device), region)
            if isinstance(output, Tensor):
                return output.float().cpu()
            first, second, third = (part.float().cpu() for part in output)
            return first, second, third

    def _autocast(self) -> AbstractContextManager[object]:
        if not self._half:
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)


def choose_runner(networks: Networks, device: str, options: RuntimeOptions) -> Runner:
    """The runner asked for; torch, with a warning and a name that says so, where OpenVINO does not work.

    Args:
        networks: loaded and checked.
        device: `cpu`, `cuda`, or `auto` for CUDA where there is one.
        options: what is asked for.
    """
    if device == "auto":
        wanted = options.runtime != "openvino" and torch.cuda.is_available()
        device = "cuda" if wanted else "cpu"
    if options.runtime == "torch" or device != "cpu":
        return _torch(networks, device, options)
    try:
        from specialists.runtime_openvino import OpenVinoRunner  # torch alone needs no OpenVINO

        compiled = OpenVinoRunner(networks, options.precision, options)
    except Exception as error:  # noqa: BLE001 - a compiler's errors are many; torch answers the same.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        log.warning("OpenVINO does not run the networks here, torch does. %s", reason)
        runner = _torch(networks, device, options)
        runner.name += " (OpenVINO failed)"
        runner.fallback = reason
        return runner
    torch.set_num_threads(min(TORCH_BESIDE, torch.get_num_threads()))
    return compiled


def _torch(networks: Networks, device: str, options: RuntimeOptions) -> TorchRunner:
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return TorchRunner(networks, device, options.precision)
