"""A tiny model and specialists of every kind on it, with random weights, in memory or on disk."""

from pathlib import Path
from typing import cast

import torch

from specialists.checkpoints import half, save_tensors
from specialists.load import load_backbone
from specialists.manifest import Manifest, ModelEntry, SpecialistEntry, Threshold, read_manifest
from specialists.model import SpecialistNet, build_backbone
from specialists.training.commands import prepare, train_prepared
from specialists.training.new_task import Declared
from specialists.training.precision import ComputeOptions, Precision
from specialists.training.specialist import SpecialistConfig

MODEL = "tiny"
INPUT_PX = 64
DEPTH = len(cast("list[int]", read_manifest().models["usgen"].config["decoder_widths"]))
"""Levels below the deepest, as many as the shipped specialists read."""
SIZES: dict[str, int | float | str | list[int]] = {
    "encoder": "residual",
    "widths": [8, *[16] * (DEPTH - 1), 32],
    "vit_width": 32,
    "blocks": 1,
    "layers": 1,
    "heads": 2,
    "mlp_ratio": 2,
    "decoder_widths": [*[16] * (DEPTH - 2), 8, 8],
}
IN_FP32 = ComputeOptions(precision=Precision.FP32, device="cpu")
"""So that two trainings of a test never differ by what a timed step decided."""
KINDS = {
    "detect": "breast_lesion_det",
    "detect without negatives": "intrapartum_head_det",
    "segment": "breast_lesion",
    "segment many": "head_symphysis_multi",
    "classify": "breast_2cls",
    "regress": "aop_landmarks",
}
"""One task of the shipped manifest for everything that a specialist can be."""


def threshold(value: float) -> Threshold:
    return Threshold(value=value, source="this test")


def a_model(directory: Path, **changes: object) -> ModelEntry:
    values: dict[str, object] = {
        "id": MODEL,
        "family": "transunet",
        "config": SIZES,
        "input_px": INPUT_PX,
        "mean": 0.2,
        "std": 0.2,
        "directory": directory,
    }
    return ModelEntry.model_validate({**values, **changes})


def an_entry(specialist_id: str, directory: Path, **changes: object) -> SpecialistEntry:
    """Return the shipped entry's task on the tiny model, untrained even if it ships weights."""
    values: dict[str, object] = {
        "model": MODEL,
        "directory": directory,
        "weights": None,
        "sha256": None,
        "backbone_sha256": None,
        "temperature": None,
        "thresholds": {},
        "metrics": (),
        "intervals": (),
        "transfer": (),
        "not_installed": "untrained",
    }
    return read_manifest().specialist(specialist_id).model_copy(update={**values, **changes})


def a_manifest(directory: Path, ids: tuple[str, ...] = tuple(KINDS.values())) -> Manifest:
    return Manifest(
        models={MODEL: a_model(directory)},
        specialists={name: an_entry(name, directory) for name in ids},
    )


def installed(directory: Path, ids: tuple[str, ...] = tuple(KINDS.values())) -> Manifest:
    """Return the manifest of specialists whose random weights lie in `directory`.

    Their thresholds let everything pass.
    """
    torch.manual_seed(0)
    bare = a_model(directory)
    digest = save_tensors(directory / "tiny.safetensors", half(build_backbone(bare)), {})
    model = bare.model_copy(update={"weights": "tiny.safetensors", "sha256": digest})
    widths = load_backbone(model).widths
    entries = {}
    for name in ids:
        entry = an_entry(name, directory)
        net = SpecialistNet(entry, model, widths)
        entries[name] = entry.model_copy(
            update={
                "weights": f"{name}.safetensors",
                "sha256": save_tensors(directory / f"{name}.safetensors", half(net), {}),
                "backbone_sha256": digest,
                "temperature": 1.0,
                "thresholds": {
                    "mask": threshold(0.5),
                    "min_area": threshold(0.0),
                    "peak": threshold(-1e9),
                    "presence": threshold(0.0),
                },
                "not_installed": None,
            }
        )
    return Manifest(models={MODEL: model}, specialists=entries)


def train_specialist(
    ids: list[str], data: Path, out: Path, config: SpecialistConfig, *, resume: bool = False
) -> list[SpecialistEntry]:
    """Train specialists on the frozen backbone: `prepare` and `train_prepared` in one."""
    return train_prepared(prepare(ids, data, out, Declared()), data, out, config, resume=resume)
