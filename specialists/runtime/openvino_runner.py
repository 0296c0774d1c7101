"""Networks in OpenVINO on the CPU: exported once, checked against torch, and kept compiled."""

import hashlib
import io
import logging
import platform
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from specialists.admission.novelty import Novelty, describe
from specialists.backbones.transunet import Features
from specialists.errors import Unavailable
from specialists.manifest import PACKAGE_DIR, Kind, ModelEntry, Roi, SpecialistEntry
from specialists.model import Frozen, Output, SpecialistNet
from specialists.runtime.compile_cache import CompiledCache
from specialists.runtime.openvino_import import CORE, frontend, ov, ts_decoder
from specialists.runtime.runner import Networks, Precision, RuntimeOptions

log = logging.getLogger(__name__)

LOADERS = 4
"""Number of networks that are prepared at the same time."""

_NOVELTY = "novelty"
"""Prefix of the ids of the networks that compute the distance from training images."""

Arithmetic = Literal["fp32", "bf16"]

TOLERANCE: dict[Arithmetic, float] = {"fp32": 1e-3, "bf16": 0.1}
"""Largest difference from fp32 torch, as a share of an output's largest value or of 1 if larger."""

_CODE = (
    "backbones",
    "necks",
    "heads",
    "model.py",
    "admission/novelty.py",
    "admission/exam_distance.py",
    "runtime/openvino_runner.py",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Plan:
    """A network to prepare: module, inputs of one image to trace it with, cache key, arithmetic."""

    id: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    key: dict[str, str]
    arithmetic: Arithmetic


class _Levels(nn.Module):
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


class _Wired(nn.Module):
    """A specialist fed with its levels, (1, H, W, C), then field and region if it reads them."""

    def __init__(self, net: SpecialistNet, entry: SpecialistEntry) -> None:
        super().__init__()
        self.net = net
        self.levels = entry.features
        self.reads_field, self.reads_roi = _reads(entry)

    def forward(self, *given: Tensor) -> Any:
        """Return the head's raw output."""
        rest = list(given[len(self.levels) :])
        features = {
            name: level.permute(0, 3, 1, 2)  # (1, H, W, C) -> (1, C, H, W)
            for name, level in zip(self.levels, given, strict=False)
        }
        field = rest.pop(0) if self.reads_field else given[0]
        return self.net(features, field, rest.pop(0) if self.reads_roi else None)


class _Distance(nn.Module):
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


class _Network:
    """A network compiled for one image; one inference runs at a time and uses all the cores.

    Images of a batch are processed in turn: with a fixed shape OpenVINO fuses more operations and
    moves less memory, and a batch does not make up for that on a CPU. An image's answer is
    therefore the same whatever it was batched with.
    """

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._shapes = [tuple(output.shape)[1:] for output in compiled.outputs]
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        arrays = [_array(one) for one in inputs]
        images = len(arrays[0])
        found = [np.empty((images, *shape), np.float32) for shape in self._shapes]
        with self._lock:
            for index in range(images):
                self._infer([one[index : index + 1] for one in (*arrays, *found)], len(arrays))
        return tuple(torch.from_numpy(one) for one in found)

    def _infer(self, arrays: list[npt.NDArray[np.float32]], inputs: int) -> None:
        """Read the first `inputs` arrays and write the others in place."""
        for place, array in enumerate(arrays):
            tensor = ov.Tensor(array, shared_memory=True)
            if place < inputs:
                self._request.set_input_tensor(place, tensor)
            else:
                self._request.set_output_tensor(place - inputs, tensor)
        self._request.infer(share_outputs=True)


class OpenVinoRunner:
    """Every network compiled for this CPU.

    Raises:
        Unavailable: the output of an export differs from that of torch.
        RuntimeError: OpenVINO cannot convert or compile a network.
    """

    fallback: str | None = None

    def __init__(self, networks: Networks, precision: Precision, options: RuntimeOptions) -> None:
        if precision != "fp32" and not _has_bf16():
            if precision != "auto":
                log.warning("This CPU has no bf16 arithmetic: the networks run in fp32.")
            precision = "fp32"
        self._precision = precision
        self._config = {"PERFORMANCE_HINT": "LATENCY"}
        if options.threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = str(options.threads)
        self._cache = None if options.cache_dir is None else CompiledCache(options.cache_dir)
        self._tracing = threading.Lock()
        self._entries = networks.manifest.specialists
        self._strides = {name: net.strides for name, net in networks.backbones.items()}
        plans = [
            *self._backbone_plans(networks),
            *self._novelty_plans(networks),
            *self._head_plans(networks),
        ]
        used = sorted({plan.arithmetic for plan in plans if not plan.id.startswith(_NOVELTY)})
        self.name = f"openvino-cpu-{used[0] if len(used) == 1 else 'mixed'}"
        with ThreadPoolExecutor(LOADERS, "compile") as pool:
            ready = pool.map(self._ready, plans)
            self._networks = {plan.id: one for plan, one in zip(plans, ready, strict=True)}

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """Compute the levels as `Runner.backbone`."""
        images, side = len(pixels), pixels.shape[-1]
        strides = self._strides[model_id]
        levels = self._networks[f"model {model_id}"](pixels)
        return {
            name: level.view(images, side // stride, side // stride, -1).permute(0, 3, 1, 2)
            for (name, stride), level in zip(strides.items(), levels, strict=True)
        }

    def distance(self, model_id: str, features: Features, field: Tensor) -> Tensor | None:
        """Compute the distances as `Runner.distance`."""
        network = self._networks.get(f"{_NOVELTY} {model_id}")
        if network is None:
            return None
        (found,) = network(
            *(features[name].permute(0, 2, 3, 1) for name in self._strides[model_id]), field
        )
        return found

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """Compute the output as `Runner.head`."""
        entry = self._entries[specialist_id]
        reads_field, reads_roi = _reads(entry)
        given = [features[level].permute(0, 2, 3, 1) for level in entry.features]
        if reads_field:
            given.append(field)
        if reads_roi:
            given.append(torch.zeros_like(field) if roi is None else roi)
        found = self._networks[f"specialist {specialist_id}"](*given)
        if len(found) == 1:
            return found[0]
        first, second, third = found
        return first, second, third

    def _backbone_plans(self, networks: Networks) -> list[_Plan]:
        plans = []
        for model_id, backbone in networks.backbones.items():
            model = networks.manifest.models[model_id]
            pixels = _example(1, model.input_px, model.input_px)
            arithmetic: Arithmetic = "bf16" if self._precision == "bf16" else "fp32"
            plans.append(
                _Plan(
                    id=f"model {model_id}",
                    module=_Levels(backbone),
                    inputs=(pixels,),
                    key=self._key(model, model.sha256, arithmetic),
                    arithmetic=arithmetic,
                )
            )
        return plans

    def _novelty_plans(self, networks: Networks) -> list[_Plan]:
        """Plan the distance networks, always in fp32: the fourth digit can decide a limit."""
        plans = []
        for model_id, novelty in networks.novelties.items():
            model = networks.manifest.models[model_id]
            backbone, side = networks.backbones[model_id], model.input_px
            levels = [
                _example(side // stride, side // stride, backbone.widths[name])
                for name, stride in backbone.strides.items()
            ]
            key = self._key(model, model.novelty_sha256, "fp32")
            plans.append(
                _Plan(
                    id=f"{_NOVELTY} {model_id}",
                    module=_Distance(novelty, tuple(backbone.strides)),
                    inputs=(*levels, torch.ones(1, 1, side, side)),
                    key=key | {"novelty": "places"},
                    arithmetic="fp32",
                )
            )
        return plans

    def _head_plans(self, networks: Networks) -> list[_Plan]:
        plans = []
        for specialist_id, net in networks.nets.items():
            entry = networks.manifest.specialists[specialist_id]
            model = networks.manifest.models[entry.model]
            widths = networks.backbones[entry.model].widths
            side, strides = model.input_px, self._strides[entry.model]
            shapes = [(side // strides[n], side // strides[n], widths[n]) for n in entry.features]
            inputs = [_example(*shape) for shape in shapes]
            inputs += [torch.ones(1, 1, side, side)] * sum(_reads(entry))
            arithmetic = self._arithmetic(entry)
            key = self._key(model, entry.sha256, arithmetic) | {
                "specialist": specialist_id,
                "reads": f"{entry.kind} {' '.join(entry.features)} {entry.roi}",
                "answers": f"{len(entry.labels)} {len(entry.landmarks)}",
            }
            plans.append(
                _Plan(
                    id=f"specialist {specialist_id}",
                    module=_Wired(net, entry),
                    inputs=tuple(inputs),
                    key=key,
                    arithmetic=arithmetic,
                )
            )
        return plans

    def _arithmetic(self, entry: SpecialistEntry) -> Arithmetic:
        """Return the arithmetic of the entry's decoder and head."""
        if self._precision == "auto":
            return "bf16" if entry.bf16 else "fp32"
        return "fp32" if self._precision == "fp32" else "bf16"

    def _compiling(self, arithmetic: Arithmetic) -> dict[str, str]:
        """Return OpenVINO's configuration for a network."""
        return self._config | {
            "INFERENCE_PRECISION_HINT": "bf16" if arithmetic == "bf16" else "f32"
        }

    def _key(self, model: ModelEntry, sha256: str | None, arithmetic: Arithmetic) -> dict[str, str]:
        return {
            "weights": str(sha256),
            "model": f"{model.family} {model.input_px} {sorted(model.config.items())}",
            "openvino": ov.get_version(),
            "torch": torch.__version__,
            "cpu": cpu_features(),
            "config": str(sorted(self._compiling(arithmetic).items())),
            "code": _code_digest(),
        }

    def _ready(self, plan: _Plan) -> _Network:
        """Load the network from the cache, or export, check and store it."""
        kept = None if self._cache is None else self._cache.read(plan.key)
        config = self._compiling(plan.arithmetic)
        if kept is not None:
            try:
                return _Network(CORE.import_model(io.BytesIO(kept), "CPU", config))
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                log.warning("The compiled %s is not taken, and is made again: %s", plan.id, reason)
        compiled = CORE.compile_model(self._exported(plan), "CPU", config)
        network = _Network(compiled)
        self._check(plan, network)
        log.info("The %s was exported to OpenVINO.", plan.id)
        if self._cache is not None:
            self._cache.write(plan.key, compiled.export_model().getvalue())
        return network

    def _exported(self, plan: _Plan) -> Any:
        """Convert the module to OpenVINO's graph of one image."""
        with self._tracing, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every size that it takes as fixed
            traced = torch.jit.trace(plan.module, plan.inputs, check_trace=False)  # type: ignore[no-untyped-call]
            decoder = ts_decoder.TorchScriptPythonDecoder(traced)
            torch_frontend = frontend.FrontEndManager().load_by_framework("pytorch")
            model = torch_frontend.convert(torch_frontend.load(decoder))
        shapes = {index: ov.PartialShape([*one.shape]) for index, one in enumerate(plan.inputs)}
        model.reshape(shapes)
        return model

    def _check(self, plan: _Plan, network: _Network) -> None:
        """Compare the export's output with that of torch.

        The second image of the batch is one that the network was not traced with.

        Raises:
            Unavailable: they differ by more than the tolerance.
        """
        two = tuple(torch.cat([one, one * 0.5]) for one in plan.inputs)
        with torch.inference_mode():
            output = plan.module(*two)
        expected = (output,) if isinstance(output, Tensor) else output
        for one, own in zip(expected, network(*two), strict=True):
            furthest = float((one - own).abs().max())
            if not furthest <= TOLERANCE[plan.arithmetic] * max(1.0, float(one.abs().max())):
                raise Unavailable(f"The export of {plan.id} differs from torch by {furthest:.3g}.")


def _has_bf16() -> bool:
    return "BF16" in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _example(*shape: int) -> Tensor:
    """Return a random tensor of one image with that shape, always the same."""
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))


def _reads(entry: SpecialistEntry) -> tuple[bool, bool]:
    """Return whether the network reads the field, and whether it reads a region."""
    return entry.kind is Kind.CLASSIFY, entry.roi is not Roi.NONE


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(tensor.numpy())


@cache
def cpu_features() -> str:
    """Return a digest of this CPU's name and instruction sets; code for another CPU may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = sorted({line for line in lines if line.startswith(("model name", "flags"))})
    except OSError:
        told = [platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), *told]).encode()).hexdigest()


@cache
def _code_digest() -> str:
    """Return a digest of the code that the graphs are traced from."""
    digest = hashlib.sha256()
    for name in _CODE:
        path = PACKAGE_DIR / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
