"""Networks in int8 on disk: OpenVINO's graph and its constants, as two tensors of bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from specialists.checkpoints import read_tensors, save_tensors
from specialists.errors import WeightsError
from specialists.int8 import Int8
from specialists.manifest import Manifest, ModelEntry, SpecialistEntry

GRAPH, CONSTANTS = "graph", "constants"


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantized:
    """A graph of one image as XML, with its constants, in which int8 stands where it was chosen."""

    graph: bytes
    constants: bytes
    entry: Int8


def save_quantized(path: Path, graph: bytes, constants: bytes, made_with: dict[str, str]) -> str:
    """Write a graph and its constants and return the SHA-256 of the file, in hexadecimal."""
    tensors = {GRAPH: _tensor(graph), CONSTANTS: _tensor(constants)}
    return save_tensors(path, tensors, made_with)


def read_quantized(entry: ModelEntry | SpecialistEntry) -> Quantized | None:
    """Return the int8 form of that network; None where there is none of these very weights.

    Raises:
        WeightsError: it is missing, truncated or altered.
    """
    if entry.int8 is None or not entry.int8.current(entry.sha256):
        return None
    path = entry.directory / entry.int8.weights
    tensors = read_tensors(path, entry.int8.sha256)
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    if kinds != {GRAPH: torch.uint8, CONSTANTS: torch.uint8}:
        raise WeightsError(f"The weights file {path} holds no network in int8.")
    return Quantized(
        graph=tensors[GRAPH].numpy().tobytes(),
        constants=tensors[CONSTANTS].numpy().tobytes(),
        entry=entry.int8,
    )


def unshown(manifest: Manifest, model: ModelEntry) -> tuple[str, ...]:
    """Return the installed specialists that were not shown to hold on the model's int8 form.

    A specialist of the user's own is one, and so is one that was trained again.
    """
    holds: Mapping[str, str] = {} if model.int8 is None else model.int8.holds
    return tuple(
        entry.id
        for entry in manifest.installed()
        if entry.model == model.id and holds.get(entry.id) != entry.sha256
    )


def backbone_plan(model_id: str) -> str:
    """Return the id of the plan of a backbone."""
    return f"model {model_id}"


def head_plan(specialist_id: str) -> str:
    """Return the id of the plan of a specialist's decoder and head."""
    return f"specialist {specialist_id}"


def _tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
