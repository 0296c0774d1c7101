"""Raw outputs of nets on unaugmented images, as in the engine: the input of calibration."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from specialists.decode import attention_inside
from specialists.engine import box_mask
from specialists.manifest import Kind, Manifest, Roi, SpecialistEntry
from specialists.model import Frozen, SpecialistNet
from specialists.training.augmentation.augment import (
    Batch,
    identity_affine,
    make_batch,
    random_affine,
)
from specialists.training.data.pack import Pack

CHUNK = 16


@dataclass(kw_only=True)
class Outputs:
    """The outputs of one net over a pack, in pack order, with the labels."""

    samples: list[int] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    """Per image: (classes, h, w) logits, (classes,) logits, (L, h, w) heatmaps or () presence."""
    labels: list[Tensor] = field(default_factory=list)
    boxes: list[Tensor] = field(default_factory=list)
    """Predicted boxes (4,) in [0, 1], of a detector."""
    attention: list[float] = field(default_factory=list)


@torch.inference_mode()
def outputs_of(
    manifest: Manifest,
    nets: Mapping[str, SpecialistNet],
    backbone: Frozen,
    pack: Pack,
    regions: Mapping[int, Tensor],
    *,
    moved: bool = False,
) -> dict[str, Outputs]:
    """Return the outputs over the pack, by specialist.

    Args:
        manifest: lists the nets.
        nets: by specialist id.
        backbone: frozen.
        pack: images at the network's size.
        regions: (4,) region in [0, 1] by sample index, for specialists that read one.
        moved: whether aspect, crop and padding are randomised (seeded), as for the router's
            evaluation.
    """
    found = {name: Outputs() for name in nets}
    model = manifest.models[manifest.specialists[next(iter(nets))].model]
    rng = np.random.default_rng(7)
    for start in range(0, len(pack.samples), CHUNK):
        indices = np.arange(start, min(start + CHUNK, len(pack.samples)))
        if not any(pack.samples[index].tasks & nets.keys() for index in indices):
            continue
        affines = np.array([_affine(manifest, moved, rng, pack) for _ in indices])
        batch = make_batch(pack, indices, affines, model.input_px)
        features = backbone((batch.images - model.mean) / model.std)
        for name, net in nets.items():
            rows = batch.rows.get(name)
            if rows is None:
                continue
            entry = manifest.specialists[name]
            chosen = {level: features[level][rows] for level in entry.features}
            region = _regions(entry, regions, indices, model.input_px)
            output = net(chosen, batch.field[rows], None if region is None else region[rows])
            _collect(found[name], entry, output, batch, indices)
    return found


def _affine(manifest: Manifest, moved: bool, rng: np.random.Generator, pack: Pack) -> np.ndarray:
    if not moved:
        return identity_affine(pack.side_px, pack.side_px)
    policy = next(e.geometry for e in manifest.specialists.values() if "scores:exam" in e.provides)
    return random_affine(rng, policy, pack.side_px, pack.side_px)


def _regions(
    entry: SpecialistEntry, regions: Mapping[int, Tensor], indices: np.ndarray, side: int
) -> Tensor | None:
    if entry.roi is Roi.NONE:
        return None
    maps = torch.zeros(len(indices), 1, side, side)
    for row, index in enumerate(indices):
        if int(index) in regions:
            x_min, y_min, x_max, y_max = (regions[int(index)] * side).tolist()
            maps[row] = box_mask((x_min, y_min, x_max, y_max), side)[0]
    return maps


def _collect(
    found: Outputs,
    entry: SpecialistEntry,
    output: Tensor | tuple[Tensor, Tensor, Tensor],
    batch: Batch,
    indices: np.ndarray,
) -> None:
    rows = batch.rows[entry.id]
    found.samples += [int(indices[int(row)]) for row in rows]
    if isinstance(output, tuple):
        box, presence, attention = output
        found.values += list(presence.float())
        found.boxes += list(box.float())
        found.attention += attention_inside(attention.float(), box.float()).tolist()
        found.labels += list(batch.boxes[entry.id])
        return
    found.values += list(output.float())
    labels = {
        Kind.SEGMENT: batch.masks,
        Kind.CLASSIFY: batch.classes,
        Kind.REGRESS: batch.points,
    }[entry.kind]
    found.labels += list(labels[entry.id])
