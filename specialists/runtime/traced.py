"""The networks in the form in which OpenVINO gets them: flat inputs, levels channels last."""

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from specialists.admission.novelty import Novelty, describe
from specialists.backbones.transunet import Features
from specialists.manifest import Kind, ModelEntry, Roi, SpecialistEntry
from specialists.model import Frozen, SpecialistNet
from specialists.phantom.draw import draw
from specialists.runtime.openvino_import import CORE, frontend, ov, ts_decoder
from specialists.runtime.quantized import Quantized

Arithmetic = Literal["fp32", "bf16", "int8"]

_TRACING = threading.Lock()


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A network to prepare: module, inputs of one image to trace it with, cache key, arithmetic."""

    id: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    key: dict[str, str]
    arithmetic: Arithmetic
    quantized: Quantized | None = None
    """The int8 form, which takes the place of the traced module."""
    drawn: Callable[[], tuple[Tensor, ...]] = tuple
    """The inputs of a drawn image, on which the int8 form is checked."""


class Levels(nn.Module):
    """A backbone that returns its levels in the order of `strides`, channels last as in OpenVINO.

    Channels first would take two slow passes over memory here, and one more in each network that
    reads the levels.
    """

    def __init__(self, backbone: Frozen) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the levels of (1, 1, S, S) pixels, each (1, H * W, C)."""
        levels = self.backbone(pixels)
        return tuple(levels[name].flatten(2).transpose(1, 2) for name in self.backbone.strides)


class Wired(nn.Module):
    """A specialist fed with its levels, (1, H, W, C), then field and region if it reads them."""

    def __init__(self, net: SpecialistNet, entry: SpecialistEntry) -> None:
        super().__init__()
        self.net = net
        self.levels = entry.features
        self.reads_field, self.reads_roi = reads(entry)

    def forward(self, *given: Tensor) -> Any:
        """Return the head's raw output."""
        rest = list(given[len(self.levels) :])
        features = {
            name: level.permute(0, 3, 1, 2)  # (1, H, W, C) -> (1, C, H, W)
            for name, level in zip(self.levels, given, strict=False)
        }
        field = rest.pop(0) if self.reads_field else given[0]
        return self.net(features, field, rest.pop(0) if self.reads_roi else None)


class Distance(nn.Module):
    """Novelty statistics whose inputs are `levels` in their order, (1, H, W, C), then the field."""

    def __init__(self, novelty: Novelty, levels: Sequence[str]) -> None:
        super().__init__()
        self.novelty = novelty
        self.levels = tuple(levels)

    def forward(self, *given: Tensor) -> Tensor:
        """Return (1, 1 + E) distances."""
        features = {
            name: level.permute(0, 3, 1, 2)  # (1, H, W, C) -> (1, C, H, W)
            for name, level in zip(self.levels, given[:-1], strict=True)
        }
        return self.novelty.places(describe(features, given[-1]))


def reads(entry: SpecialistEntry) -> tuple[bool, bool]:
    """Return whether the network reads the field, and whether it reads a region."""
    return entry.kind is Kind.CLASSIFY, entry.roi is not Roi.NONE


def given_to(
    entry: SpecialistEntry, features: Features, field: Tensor, roi: Tensor | None
) -> list[Tensor]:
    """Return the inputs of the specialist's network, in their order."""
    reads_field, reads_roi = reads(entry)
    given = [features[level].permute(0, 2, 3, 1) for level in entry.features]
    if reads_field:
        given.append(field)
    if reads_roi:
        given.append(torch.zeros_like(field) if roi is None else roi)
    return given


def drawn_pixels(model: ModelEntry) -> tuple[Tensor]:
    """Return what the backbone reads of a phantom: (1, 1, S, S) pixels, always the same."""
    side = model.input_px
    pixels = draw("breast", seed=0, height_px=side, width_px=side).pixels
    share = pixels.astype(np.float32) / np.float32(255)
    return ((torch.from_numpy(share)[None, None] - model.mean) / model.std,)


def drawn_inputs(backbone: Frozen, model: ModelEntry, entry: SpecialistEntry) -> tuple[Tensor, ...]:
    """Return what the specialist's network reads of the phantom, from torch."""
    (pixels,) = drawn_pixels(model)
    with torch.inference_mode():
        features = backbone(pixels)
    return tuple(given_to(entry, features, torch.ones_like(pixels), None))


def noise(module: nn.Module, inputs: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Return how far `found` is from what the module gives in torch for the same inputs.

    It is the root mean square of the difference, as share of that of the output or of 1 if larger,
    for the output where it is greatest.
    """
    with torch.inference_mode():
        output = module(*inputs)
    outputs = (output,) if isinstance(output, Tensor) else output
    return max(
        float((one - own).square().mean().sqrt() / one.square().mean().sqrt().clamp_min(1.0))
        for one, own in zip(outputs, found, strict=True)
    )


def exported(plan: Plan) -> Any:
    """Return OpenVINO's graph of one image: the int8 form, else the module converted."""
    if plan.quantized is not None:
        return CORE.read_model(plan.quantized.graph, plan.quantized.constants)
    with _TRACING, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every size that it takes as fixed
        traced = torch.jit.trace(plan.module, plan.inputs, check_trace=False)  # type: ignore[no-untyped-call]
        decoder = ts_decoder.TorchScriptPythonDecoder(traced)
        torch_frontend = frontend.FrontEndManager().load_by_framework("pytorch")
        model = torch_frontend.convert(torch_frontend.load(decoder))
    shapes = {index: ov.PartialShape([*one.shape]) for index, one in enumerate(plan.inputs)}
    model.reshape(shapes)
    return model
