"""Networks in OpenVINO on the CPU: exported once, checked against torch, and kept compiled."""

import hashlib
import io
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from specialists.backbones.transunet import Features
from specialists.errors import Unavailable
from specialists.manifest import PACKAGE_DIR, ModelEntry, SpecialistEntry
from specialists.model import Output
from specialists.runtime.compile_cache import CompiledCache
from specialists.runtime.openvino_import import CORE, ov
from specialists.runtime.processor import cpu_features, int8_pays
from specialists.runtime.quantized import backbone_plan, head_plan, unshown
from specialists.runtime.runner import Networks, Precision, RuntimeOptions
from specialists.runtime.traced import (
    Arithmetic,
    Distance,
    Levels,
    Plan,
    Wired,
    drawn_inputs,
    drawn_pixels,
    exported,
    given_to,
    noise,
    reads,
)

log = logging.getLogger(__name__)

LOADERS = 4
"""Number of networks that are prepared at the same time."""

_NOVELTY = "novelty"
"""Prefix of the ids of the networks that compute the distance from training images."""

TOLERANCE: dict[Arithmetic, float] = {"fp32": 1e-3, "bf16": 0.1}
"""Largest difference from fp32 torch, as a share of an output's largest value or of 1 if larger."""

NOISE_TIMES, NOISE_PLUS = 1.5, 0.02
"""How much farther from torch than where it was made an int8 form may be: times that, plus this."""

_CODE = (
    "backbones",
    "necks",
    "heads",
    "model.py",
    "admission/novelty.py",
    "admission/exam_distance.py",
    "runtime/traced.py",
    "runtime/openvino_runner.py",
)


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
        if precision in ("heads", "bf16") and not _has_bf16():
            log.warning("This CPU has no bf16 arithmetic: the networks run in fp32.")
            precision = "fp32"
        self._precision = precision
        self._int8 = networks.int8 if precision in ("auto", "int8") else {}
        self._config = {"PERFORMANCE_HINT": "LATENCY"}
        if options.threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = str(options.threads)
        self._cache = None if options.cache_dir is None else CompiledCache(options.cache_dir)
        self._entries = networks.manifest.specialists
        self._strides = {name: net.strides for name, net in networks.backbones.items()}
        backbones = self._backbone_plans(networks)
        running = {
            plan.id: plan.quantized.entry.sha256 for plan in backbones if plan.quantized is not None
        }
        plans = [
            *backbones,
            *self._novelty_plans(networks),
            *self._head_plans(networks, running),
        ]
        self.name = f"openvino-cpu-{_named(plans)}"
        with ThreadPoolExecutor(LOADERS, "compile") as pool:
            ready = pool.map(self._load_or_export, plans)
            self._networks = {plan.id: one for plan, one in zip(plans, ready, strict=True)}

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """Compute the levels as `Runner.backbone`."""
        images, side = len(pixels), pixels.shape[-1]
        strides = self._strides[model_id]
        levels = self._networks[backbone_plan(model_id)](pixels)
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
        given = given_to(self._entries[specialist_id], features, field, roi)
        found = self._networks[head_plan(specialist_id)](*given)
        if len(found) == 1:
            return found[0]
        first, second, third = found
        return first, second, third

    def _backbone_plans(self, networks: Networks) -> list[Plan]:
        plans = []
        for model_id, backbone in networks.backbones.items():
            model = networks.manifest.models[model_id]
            pixels = _example(1, model.input_px, model.input_px)
            arithmetic = self._of_backbone(model, unshown(networks.manifest, model))
            plan = Plan(
                id=backbone_plan(model_id),
                module=Levels(backbone),
                inputs=(pixels,),
                key=self._key(model, model.sha256, arithmetic),
                arithmetic=arithmetic,
                drawn=partial(drawn_pixels, model),
            )
            plans.append(self._quantized(plan))
        return plans

    def _novelty_plans(self, networks: Networks) -> list[Plan]:
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
                Plan(
                    id=f"{_NOVELTY} {model_id}",
                    module=Distance(novelty, tuple(backbone.strides)),
                    inputs=(*levels, torch.ones(1, 1, side, side)),
                    key=key | {"novelty": "places"},
                    arithmetic="fp32",
                )
            )
        return plans

    def _head_plans(self, networks: Networks, running: Mapping[str, str]) -> list[Plan]:
        """Plan decoders and heads; `running` has the SHA-256 of each backbone that runs in int8."""
        plans = []
        for specialist_id, net in networks.nets.items():
            entry = networks.manifest.specialists[specialist_id]
            model = networks.manifest.models[entry.model]
            widths = networks.backbones[entry.model].widths
            side, strides = model.input_px, self._strides[entry.model]
            shapes = [(side // strides[n], side // strides[n], widths[n]) for n in entry.features]
            inputs = [_example(*shape) for shape in shapes]
            inputs += [torch.ones(1, 1, side, side)] * sum(reads(entry))
            arithmetic = self._of_head(entry, running.get(backbone_plan(model.id), model.sha256))
            key = self._key(model, entry.sha256, arithmetic) | {
                "specialist": specialist_id,
                "reads": f"{entry.kind} {' '.join(entry.features)} {entry.roi}",
                "answers": f"{len(entry.labels)} {len(entry.landmarks)}",
            }
            plan = Plan(
                id=head_plan(specialist_id),
                module=Wired(net, entry),
                inputs=tuple(inputs),
                key=key,
                arithmetic=arithmetic,
                drawn=partial(drawn_inputs, networks.backbones[entry.model], model, entry),
            )
            plans.append(self._quantized(plan))
        return plans

    def _of_backbone(self, model: ModelEntry, others: Sequence[str]) -> Arithmetic:
        """Return the backbone's arithmetic, where `others` were not shown to hold on its int8."""
        if backbone_plan(model.id) not in self._int8:
            return "bf16" if self._precision == "bf16" else "fp32"
        if self._precision == "int8":
            if others:
                log.warning("Not shown to hold on an int8 backbone: %s.", ", ".join(others))
            return "int8"
        return "int8" if not others and int8_pays() else "fp32"

    def _of_head(self, entry: SpecialistEntry, backbone: str | None) -> Arithmetic:
        """Return the arithmetic of the entry's decoder and head.

        `backbone` is the SHA-256 of the form of the backbone that runs: by default, a head runs in
        the arithmetic that was shown to hold over that form.
        """
        form = self._int8.get(head_plan(entry.id))
        if self._precision == "int8":
            return "fp32" if form is None else "int8"
        if self._precision != "auto":
            return "fp32" if self._precision == "fp32" else "bf16"
        if entry.bf16 and _has_bf16() and backbone == entry.backbone_sha256:
            return "bf16"
        held = form is not None and form.entry.over == backbone
        return "int8" if held and int8_pays() else "fp32"

    def _quantized(self, plan: Plan) -> Plan:
        """Return the plan with the int8 form where that is its arithmetic."""
        if plan.arithmetic != "int8":
            return plan
        form = self._int8[plan.id]
        return replace(plan, quantized=form, key=plan.key | {"int8": form.entry.sha256})

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

    def _load_or_export(self, plan: Plan) -> _Network:
        """Load the network from the cache, or export, check and store it."""
        kept = None if self._cache is None else self._cache.read(plan.key)
        config = self._compiling(plan.arithmetic)
        if kept is not None:
            try:
                return _Network(CORE.import_model(io.BytesIO(kept), "CPU", config))
            except RuntimeError as error:
                reason = str(error).splitlines()[0]
                log.warning("The compiled %s is not taken, and is made again: %s", plan.id, reason)
        compiled = CORE.compile_model(exported(plan), "CPU", config)
        network = _Network(compiled)
        self._check(plan, network)
        log.info("The %s was exported to OpenVINO.", plan.id)
        if self._cache is not None:
            self._cache.write(plan.key, compiled.export_model().getvalue())
        return network

    def _check(self, plan: Plan, network: _Network) -> None:
        """Compare the export's output with that of torch.

        The second image of the batch is one that the network was not traced with.

        Raises:
            Unavailable: they differ by more than the tolerance.
        """
        if plan.quantized is not None:
            _check_noise(plan, plan.quantized.entry.noise, network)
            return
        two = tuple(torch.cat([one, one * 0.5]) for one in plan.inputs)
        with torch.inference_mode():
            output = plan.module(*two)
        expected = (output,) if isinstance(output, Tensor) else output
        for one, own in zip(expected, network(*two), strict=True):
            furthest = float((one - own).abs().max())
            if not furthest <= TOLERANCE[plan.arithmetic] * max(1.0, float(one.abs().max())):
                raise Unavailable(f"The export of {plan.id} differs from torch by {furthest:.3g}.")


def _check_noise(plan: Plan, made: float, network: _Network) -> None:
    """Compare the int8 form with torch, where it was that far off when it was made.

    Raises:
        Unavailable: it is farther off here.
    """
    inputs = plan.drawn()
    found = noise(plan.module, inputs, network(*inputs))
    if not found <= NOISE_TIMES * made + NOISE_PLUS:
        raise Unavailable(
            f"The int8 form of {plan.id} is off by {found:.3g} here and was by {made:.3g} where it "
            "was made: set USTRI_PRECISION=fp32."
        )


def _named(plans: Sequence[Plan]) -> str:
    """Return the precision as reports state it.

    `int8` is all of them, `int8-mixed` the backbones, `mixed-int8` some heads only.
    """
    told = [plan for plan in plans if not plan.id.startswith(_NOVELTY)]
    used = {plan.arithmetic for plan in told}
    if len(used) == 1:
        return used.pop()
    if "int8" not in used:
        return "mixed"
    backbones = {plan.arithmetic for plan in told if plan.id.startswith(backbone_plan(""))}
    return "int8-mixed" if backbones == {"int8"} else "mixed-int8"


def _has_bf16() -> bool:
    return "BF16" in CORE.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _example(*shape: int) -> Tensor:
    """Return a random tensor of one image with that shape, always the same."""
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(tensor.numpy())


@cache
def _code_digest() -> str:
    """Return a digest of the code that the graphs are traced from."""
    digest = hashlib.sha256()
    for name in _CODE:
        path = PACKAGE_DIR / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()
