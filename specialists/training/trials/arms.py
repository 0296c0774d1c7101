"""The results of one network on one task of val, image by image, for comparisons of networks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from reports.measure.geometry import box_iou
from specialists.decode import margins
from specialists.heads.regress import decode_heatmaps
from specialists.manifest import Kind, Manifest, ModelEntry, SpecialistEntry
from specialists.model import Frozen, SpecialistNet
from specialists.training.data.pack import Pack
from specialists.training.evaluation.metrics import accuracy, auc, bootstrap, dice
from specialists.training.generalist import Generalist
from specialists.training.outputs import Outputs, outputs_of

Rows = npt.NDArray[np.int64]
Statistic = Callable[[Rows], float]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Results of one network on val; `values` per image are (n, k), `truth` classes or empty."""

    kind: str
    groups: list[str]
    values: list[list[float]]
    truth: list[int]


def networks(net: Generalist) -> dict[str, SpecialistNet]:
    """Return decoders and heads of a generalist, as if they were specialists of its backbone."""
    found = {}
    for name, entry in net.entries.items():
        part = SpecialistNet.__new__(SpecialistNet)
        torch.nn.Module.__init__(part)
        part.kind = entry.kind
        part.neck = None if entry.kind is Kind.CLASSIFY else net.necks[entry.kind]  # type: ignore[assignment]
        part.head = net.heads[name]  # type: ignore[assignment]
        found[name] = part.eval()
    return found


def judged(
    model: ModelEntry, entry: SpecialistEntry, net: SpecialistNet, backbone: Frozen, val: Pack
) -> Judged:
    """Return the results over the images of `val` that hold what the task predicts."""
    manifest = Manifest(models={model.id: model}, specialists={entry.id: entry})
    outputs = outputs_of(manifest, {entry.id: net}, backbone, val, {})[entry.id]
    if entry.kind is Kind.CLASSIFY:
        values = F.softmax(torch.stack(outputs.values), dim=1).tolist()
        truth = torch.stack(outputs.labels).tolist()
        kept = list(range(len(values)))
    else:
        truth = []
        per_image = {
            Kind.SEGMENT: _dice,
            Kind.DETECT: _iou,
            Kind.REGRESS: _errors,
        }[entry.kind](outputs, val)
        kept = [i for i, value in enumerate(per_image) if value is not None]
        values = [value for value in per_image if value is not None]
    groups = [val.samples[outputs.samples[i]].group for i in kept]
    return Judged(kind=entry.kind.value, groups=groups, values=values, truth=truth)


def statistics(found: Judged) -> dict[str, Statistic]:
    """Return the figures of a task, as functions of rows."""
    values = np.array(found.values)
    match Kind(found.kind):
        case Kind.CLASSIFY:
            truth = np.array(found.truth)
            return {
                "AUC": lambda rows: auc(values[rows], truth[rows]),
                "accuracy": lambda rows: accuracy(values[rows], truth[rows]),
            }
        case Kind.SEGMENT:
            return {"Dice": lambda rows: float(values[rows].mean())}
        case Kind.DETECT:
            return {"IoU": lambda rows: float(values[rows].mean())}
        case Kind.REGRESS:
            named: dict[str, Statistic] = {
                "mean radial error, px": lambda rows: float(values[rows, 0].mean())
            }
            if values.shape[1] > 1:
                named["angle error, degrees"] = lambda rows: float(values[rows, 1].mean())
            return named


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its 95 % bootstrap interval over groups; None where there are too few groups."""

    value: float
    low: float | None
    high: float | None


def estimate(groups: list[str], statistic: Statistic) -> Estimate:
    """Return the statistic of all rows, and its interval."""
    low, high = bootstrap(groups, statistic) or (None, None)
    return Estimate(value=statistic(np.arange(len(groups))), low=low, high=high)


def difference(one: Judged, other: Judged, name: str) -> Estimate:
    """Return that figure of `one` less that of `other`, on the same images."""
    first, second = statistics(one)[name], statistics(other)[name]
    return estimate(one.groups, lambda rows: first(rows) - second(rows))


def _dice(outputs: Outputs, val: Pack) -> list[list[float] | None]:
    found: list[list[float] | None] = []
    for logits, label in zip(outputs.values, outputs.labels, strict=True):
        truth = label.numpy()
        maps = margins(logits[None], val.side_px)[0].numpy() > 0
        each = [
            dice(maps[index], truth == index + 1)
            for index in range(len(maps))
            if (truth == index + 1).any()
        ]
        found.append([float(np.mean(each))] if each else None)
    return found


def _iou(outputs: Outputs, val: Pack) -> list[list[float] | None]:
    found: list[list[float] | None] = []
    for box, label in zip(outputs.boxes, outputs.labels, strict=True):
        known = bool(torch.isfinite(label).all())
        found.append([box_iou(_corners(box), _corners(label))] if known else None)
    return found


def _corners(box: torch.Tensor) -> tuple[float, float, float, float]:
    x_min, y_min, x_max, y_max = (float(v) for v in box)
    return x_min, y_min, x_max, y_max


def _errors(outputs: Outputs, val: Pack) -> list[list[float] | None]:
    """Return the mean radial error by image in the stored image's pixels.

    With three points, the error of their angle is added.
    """
    found: list[list[float] | None] = []
    for heatmaps, label, sample in zip(
        outputs.values, outputs.labels, outputs.samples, strict=True
    ):
        points, _ = decode_heatmaps(heatmaps[None].float())
        side = val.side_px / heatmaps.shape[-1]
        guess = points[0].numpy() * side / val.boxes[sample].scales
        truth = label.numpy() * val.side_px / val.boxes[sample].scales
        marked = np.isfinite(truth).all(1)
        if not marked.any():
            found.append(None)
            continue
        values = [float(np.linalg.norm(guess - truth, axis=1)[marked].mean())]
        if len(truth) == 3:
            apart = _angle(guess) - _angle(truth) if marked.all() else np.nan
            values.append(abs((apart + 180) % 360 - 180))
        found.append(values)
    return found


def _angle(points: npt.NDArray[np.floating]) -> float:
    """Return the degrees at the second point, from the first to the third."""
    first, third = points[0] - points[1], points[2] - points[1]
    turn = np.arctan2(*third[::-1]) - np.arctan2(*first[::-1])
    return float(np.rad2deg(turn) % 360)
