"""Making of int8 forms: nncf chooses their scales from what the networks read of real images."""

import contextlib
import importlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from specialists.backbones.transunet import Features
from specialists.engine import Engine
from specialists.manifest import Manifest
from specialists.model import Output
from specialists.runtime.openvino_import import CORE, ov
from specialists.runtime.runner import Runner
from specialists.runtime.traced import Plan, exported, given_to, noise
from specialists.training.data.tables import Row
from specialists.training.evaluation.predict import answering, predict_rows
from specialists.training.int8.nncf_import import load_nncf

passes = importlib.import_module("openvino.passes")

Inputs = tuple[Tensor, ...]
"""What a network reads of one image."""


@dataclass(kw_only=True)
class Listening:
    """A runner that keeps what its networks were given: the inputs as they are when served."""

    runner: Runner
    manifest: Manifest
    pixels: list[Inputs] = field(default_factory=list)
    """Of the backbone."""
    given: dict[str, list[Inputs]] = field(default_factory=dict)
    """Of decoders and heads, by specialist."""

    @property
    def name(self) -> str:
        """The runner's name."""
        return self.runner.name

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """Compute the levels as `Runner.backbone`."""
        self.pixels += [(one,) for one in torch.split(pixels.clone(), 1)]
        return self.runner.backbone(model_id, pixels)

    def distance(self, model_id: str, features: Features, field: Tensor) -> Tensor | None:
        """Compute the distances as `Runner.distance`."""
        return self.runner.distance(model_id, features, field)

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """Compute the output as `Runner.head`."""
        given = given_to(self.manifest.specialists[specialist_id], features, field, roi)
        images = zip(*(torch.split(one, 1) for one in given), strict=True)
        self.given.setdefault(specialist_id, []).extend(images)
        return self.runner.head(specialist_id, features, field, roi)


def listen(engine: Engine, rows: Mapping[str, list[Row]], data: Path) -> Listening:
    """Predict every row, by task, and return what the networks were given."""
    listening = Listening(runner=engine.runner, manifest=engine.manifest)
    tools = Engine(answering(engine.manifest), listening, {})
    with tempfile.TemporaryDirectory() as name:
        predict_rows(tools, dict(rows), (data, Path(name)))
    return listening


def quantized(plan: Plan, inputs: Sequence[Inputs], in_fp32: Sequence[str]) -> Any:
    """Return the plan's graph in int8, its scales chosen from those inputs.

    Weights keep to seven bits. On a processor without VNNI two products of eight bits are added in
    16, which overflow; with seven, every processor gives the same.

    Args:
        plan: the network in full precision.
        inputs: what it reads of each calibration image.
        in_fp32: patterns of the names of operations that stay in fp32.

    Raises:
        TrainingError: nncf is not installed.
    """
    nncf = load_nncf()
    model = exported(plan)
    folding = passes.Manager()
    folding.register_pass(passes.ConstantFolding())  # else depthwise weights stay in fp32
    folding.run_passes(model)
    images = nncf.Dataset(inputs, lambda given: [one.contiguous().numpy() for one in given])
    with (
        torch.no_grad(),
        contextlib.redirect_stdout(io.StringIO()),
        np.errstate(over="ignore"),  # where a region is masked stands the least float
    ):
        return nncf.quantize(
            model,
            images,
            model_type=nncf.ModelType.TRANSFORMER,  # sums and norms stay in floating point
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(inputs),
            ignored_scope=nncf.IgnoredScope(
                patterns=list(in_fp32), types=["ReduceMax", "Select"], validate=False
            ),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )


def serialized(model: Any) -> tuple[bytes, bytes]:
    """Return the graph as XML, and its constants, those of floating point in half precision."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "network.xml"
        ov.save_model(model, path, compress_to_fp16=True)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def noise_of(plan: Plan, graph: bytes, constants: bytes) -> float:
    """Return how far the int8 form is from torch, on the drawn image."""
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    request = CORE.compile_model(
        CORE.read_model(graph, constants), "CPU", config
    ).create_infer_request()
    inputs = plan.drawn()
    request.infer([one.contiguous().numpy() for one in inputs])
    found = [torch.from_numpy(one.data.copy()) for one in request.output_tensors]
    return noise(plan.module, inputs, found)
