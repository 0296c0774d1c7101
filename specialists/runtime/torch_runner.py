"""Execution of networks in torch."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from specialists.admission.novelty import describe
from specialists.backbones.transunet import Features
from specialists.model import Output
from specialists.runtime.runner import Networks, Precision


class TorchRunner:
    """The networks as trained, in fp32, or with bf16 where autocast considers it safe."""

    fallback: str | None = None
    """Why torch runs although OpenVINO was requested; None where torch was requested."""

    def __init__(self, networks: Networks, device: str, precision: Precision = "fp32") -> None:
        self.name = f"torch-{device}-{'bf16' if precision == 'bf16' else 'fp32'}"
        self._device = torch.device(device)
        self._half = precision == "bf16"
        self._backbones = {k: net.to(self._device) for k, net in networks.backbones.items()}
        self._nets = {k: net.to(self._device).eval() for k, net in networks.nets.items()}
        self._novelties = {k: one.to(self._device) for k, one in networks.novelties.items()}

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """Compute the levels as `Runner.backbone`; they stay on the device."""
        with torch.inference_mode(), self._autocast():
            levels = self._backbones[model_id](pixels.to(self._device))
            return {name: level.float() for name, level in levels.items()}

    def distance(self, model_id: str, features: Features, field: Tensor) -> Tensor | None:
        """Compute the distances as `Runner.distance`, in fp32 whatever the precision."""
        novelty = self._novelties.get(model_id)
        if novelty is None:
            return None
        with torch.inference_mode():
            return novelty.places(describe(features, field.to(self._device))).cpu()

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """Compute the output as `Runner.head`."""
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
