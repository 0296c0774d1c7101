"""Augmented batches: one affine map per image for pixels, masks, boxes and points, then tone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from specialists.manifest import GeometryPolicy
from specialists.training.data.pack import Pack

IGNORED = -1
"""Class of a sample without that label."""


@dataclass(kw_only=True)
class Batch:
    """Network inputs and labels.

    `rows` holds by task which images of the batch carry its label.
    """

    images: Tensor
    """(B, 1, S, S) float32 in [0, 1]."""
    field: Tensor
    """(B, 1, S, S) float32, 1 inside the image and 0 in the padding."""
    rows: dict[str, Tensor]
    """Always on the CPU, whatever the device of the rest: rows are read one by one."""
    masks: dict[str, Tensor]
    """(n, S, S) int64 label maps."""
    classes: dict[str, Tensor]
    """(n,) int64."""
    boxes: dict[str, Tensor]
    """(n, 4) in [0, 1]; NaN where the structure is absent."""
    points: dict[str, Tensor]
    """(n, L, 2) in [0, 1]; NaN where missing or moved out of the square."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on that device.

        From pinned memory the copy runs while other batches are computed.
        """
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory; torch's loader calls this method by name."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        def every(found: dict[str, Tensor]) -> dict[str, Tensor]:
            return {task: change(tensor) for task, tensor in found.items()}

        return Batch(
            images=change(self.images.contiguous(memory_format=torch.channels_last)),
            field=change(self.field),
            rows=self.rows,
            masks=every(self.masks),
            classes=every(self.classes),
            boxes=every(self.boxes),
            points=every(self.points),
        )


def policy_of(policies: list[GeometryPolicy]) -> GeometryPolicy:
    """Return the strictest of several policies, so that every label of one image stays valid."""
    return GeometryPolicy(
        hflip=all(policy.hflip for policy in policies),
        vflip=all(policy.vflip for policy in policies),
        rotate_deg=min(policy.rotate_deg for policy in policies),
        x_scale=min(policy.x_scale for policy in policies),
    )


def random_affine(
    rng: np.random.Generator, policy: GeometryPolicy, side: int, pack_side: int
) -> npt.NDArray[np.float64]:
    """Return a random (2, 3) map from network pixels of a square of `side` to pack pixels."""
    angle = np.deg2rad(rng.uniform(-policy.rotate_deg, policy.rotate_deg)) * (rng.random() < 0.6)
    zoom = np.exp(rng.uniform(np.log(0.7), np.log(1.5)))
    limit = np.log(policy.x_scale) if rng.random() < 0.7 else 0.0
    stretch = np.exp(rng.uniform(-limit, limit) / 2)
    flip_x = -1.0 if policy.hflip and rng.random() < 0.5 else 1.0
    flip_y = -1.0 if policy.vflip and rng.random() < 0.5 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = np.diag([flip_x * zoom * stretch, flip_y * zoom / stretch])
    matrix = np.linalg.inv(turn @ scale) * (pack_side / side)
    shift = rng.uniform(-0.12, 0.12, 2) * side
    centre = np.array([pack_side / 2, pack_side / 2])
    return np.column_stack([matrix, centre - matrix @ (np.array([side / 2, side / 2]) + shift)])


def identity_affine(side: int, pack_side: int) -> npt.NDArray[np.float64]:
    """Return a (2, 3) map that only changes the size."""
    return np.array([[pack_side / side, 0.0, 0.0], [0.0, pack_side / side, 0.0]])


def make_batch(
    pack: Pack, indices: npt.NDArray[np.int64], affines: npt.NDArray[np.float64], side: int
) -> Batch:
    """Return the batch of those samples under (B, 2, 3) maps from network to pack pixels."""
    grid, pack_xy = _grid(affines, side, pack.side_px)
    source = torch.from_numpy(pack.images[indices])[:, None].float() / 255
    images = F.grid_sample(source, grid, mode="bilinear", align_corners=False)
    field = torch.stack([_inside(xy, pack, int(i)) for xy, i in zip(pack_xy, indices, strict=True)])
    batch = Batch(
        images=images * field, field=field, rows={}, masks={}, classes={}, boxes={}, points={}
    )
    inverse = np.array([_invert(affine) for affine in affines])
    _add_masks(batch, pack, indices, grid)
    rows: dict[str, list[int]] = {}
    classes: dict[str, list[int]] = {}
    boxes: dict[str, list[npt.NDArray[np.float64]]] = {}
    points: dict[str, list[npt.NDArray[np.float64]]] = {}
    for row, index in enumerate(indices):
        sample, box = pack.samples[index], pack.boxes[index]
        for task, label in sample.classes.items():
            rows.setdefault(task, []).append(row)
            classes.setdefault(task, []).append(label)
        for task, corners in sample.boxes.items():
            rows.setdefault(task, []).append(row)
            moved = np.full(4, np.nan)
            if corners is not None:
                packed = box.to_network(np.array(corners).reshape(2, 2))
                moved = move_box(packed, inverse[row], side)
            boxes.setdefault(task, []).append(moved)
        for task, marks in sample.points.items():
            rows.setdefault(task, []).append(row)
            moved = box.to_network(marks) @ inverse[row][:, :2].T + inverse[row][:, 2]
            moved[((moved < 0) | (moved > side)).any(1)] = np.nan
            points.setdefault(task, []).append(moved / side)
    batch.rows |= {task: torch.tensor(found) for task, found in rows.items()}
    batch.classes = {task: torch.tensor(found) for task, found in classes.items()}
    batch.boxes = {task: torch.from_numpy(np.array(v)).float() for task, v in boxes.items()}
    batch.points = {task: torch.from_numpy(np.array(v)).float() for task, v in points.items()}
    return batch


def move_box(
    corners: npt.NDArray[np.float64], inverse: npt.NDArray[np.float64], side: int
) -> npt.NDArray[np.float64]:
    """Return the (4,) box in [0, 1] of the ellipse inscribed in `corners`, after an affine map.

    The box is NaN where most of it lies outside. The ellipse is used because boxed structures are
    round: its box grows little under a rotation.
    """
    centre = inverse[:, :2] @ corners.mean(0) + inverse[:, 2]
    half = np.sqrt(((inverse[:, :2] * (corners[1] - corners[0]) / 2) ** 2).sum(1))
    low, high = np.clip(centre - half, 0, side), np.clip(centre + half, 0, side)
    if np.prod(high - low) < 0.5 * np.prod(2 * half):
        return np.full(4, np.nan)
    return np.concatenate([low, high]) / side


def _grid(
    affines: npt.NDArray[np.float64], side: int, pack_side: int
) -> tuple[Tensor, npt.NDArray[np.float32]]:
    centres = np.arange(side) + 0.5
    x, y = np.meshgrid(centres, centres)
    ones = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float32)
    pack_xy = np.einsum("hwk,bjk->bhwj", ones, affines.astype(np.float32))
    return torch.from_numpy(pack_xy * np.float32(2 / pack_side) - np.float32(1)), pack_xy


def _inside(pack_xy: npt.NDArray[np.float32], pack: Pack, index: int) -> Tensor:
    x0, y0, x1, y1 = pack.boxes[index].field()
    x, y = pack_xy[..., 0], pack_xy[..., 1]
    return torch.from_numpy((x >= x0) & (x < x1) & (y >= y0) & (y < y1))[None].float()


def _invert(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    matrix = np.linalg.inv(affine[:, :2])
    return np.column_stack([matrix, -matrix @ affine[:, 2]])


def _add_masks(batch: Batch, pack: Pack, indices: npt.NDArray[np.int64], grid: Tensor) -> None:
    for task, found in pack.masks.items():
        rows = [row for row, index in enumerate(indices) if int(index) in found]
        if not rows:
            continue
        maps = torch.from_numpy(np.stack([found[int(indices[row])] for row in rows]))
        moved = F.grid_sample(
            maps[:, None].float(), grid[rows], mode="nearest", align_corners=False
        )
        batch.rows[task] = torch.tensor(rows)
        batch.masks[task] = moved[:, 0].long()
