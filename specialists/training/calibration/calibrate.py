"""Temperatures and thresholds fitted to `val`, each with a note on its source."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from reports.measure.geometry import area
from specialists.decode import margins, outlines
from specialists.errors import TrainingError
from specialists.heads.regress import decode_heatmaps
from specialists.letterbox import Letterbox
from specialists.manifest import SpecialistEntry, Threshold
from specialists.model import line_ends
from specialists.training.evaluation.metrics import dice
from specialists.training.transfer.sources import Lot, Parts

Array = npt.NDArray[np.float64]

SENSITIVITY = 0.95
"""Share of lesions that a presence threshold must keep."""

LEAST_PEAK = 0.02
"""Lowest peak threshold, whatever val gives: a lower peak is that of a flat heatmap."""

ACCEPTED = 0.98
"""Share of correctly routed images that the router's `accept` threshold must keep."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Temperature and thresholds of one specialist, fitted to `val`."""

    temperature: float | None
    thresholds: dict[str, Threshold]


def fit_temperature(logits: Array, truth: npt.NDArray[np.int64], lot: Lot | None = None) -> float:
    """Return the divisor of (n, classes) logits that minimises the negative log-likelihood.

    Each source of the lot has the same weight, however many images it has; None means one source.
    """
    x, y = torch.from_numpy(logits), torch.from_numpy(truth)
    weights = torch.from_numpy(_lot(lot, len(truth)).parts().weights())

    def loss(log_temperature: float) -> float:
        each = F.cross_entropy(x / float(np.exp(log_temperature)), y, reduction="none")
        return float((each * weights).sum())

    found = minimize_scalar(loss, bounds=(np.log(0.25), np.log(8.0)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def calibrate_classifier(
    entry: SpecialistEntry,
    logits: Array,
    truth: npt.NDArray[np.int64],
    lot: Lot | None = None,
) -> Calibration:
    """Fit a classifier's temperature, and for the router its thresholds.

    They state when it accepts an exam and when it contradicts a request.

    Raises:
        TrainingError: there are fewer than two classes.
    """
    if len(np.unique(truth)) < 2:
        raise TrainingError(f"{entry.id} cannot be calibrated: val holds fewer than two classes.")
    temperature = fit_temperature(logits, truth, lot)
    thresholds: dict[str, Threshold] = {}
    if "scores:exam" in entry.provides:
        scores = F.softmax(torch.from_numpy(logits) / temperature, dim=1).double().numpy()
        thresholds = _of_router(scores, truth, _lot(lot, len(truth)))
    return Calibration(temperature=temperature, thresholds=thresholds)


def _of_router(scores: Array, truth: npt.NDArray[np.int64], lot: Lot) -> dict[str, Threshold]:
    """Return the router's thresholds for accepting an exam and for contradicting a request.

    Every source keeps its share of images.
    """
    best, right = scores.max(1), scores.argmax(1) == truth
    kept = lot.parts(right)
    accept = kept.lowest(lambda rows: float(np.quantile(best[rows], 1 - ACCEPTED)))
    wrong = scores.copy()
    wrong[np.arange(len(truth)), truth] = 0.0
    of_wrong = wrong.max(1)
    every = lot.parts()
    contradiction = -every.lowest(lambda rows: -float(np.quantile(of_wrong[rows], 0.995)))
    whose = f" of each of {len(kept.told)} sources" if kept.told else ""
    return {
        "accept": Threshold(
            value=round(max(accept, 0.5), 4),
            source=f"keeps {ACCEPTED:.0%} of the {int(right.sum())} correctly routed "
            f"val images{whose} with random "
            f"aspect and padding; at least 0.5{kept.too_few()}",
        ),
        "contradiction": Threshold(
            value=round(max(contradiction, 0.8), 4),
            source=f"99.5 % of {len(truth)} val images{whose} "
            "give every wrong exam less; at least 0.8",
        ),
    }


def calibrate_presence(
    task: str, logits: Array, there: npt.NDArray[np.bool_], lot: Lot | None = None
) -> Calibration:
    """Fit the presence threshold at which every source keeps the required share of structures.

    Raises:
        TrainingError: the structure is present in every image, or in none.
    """
    for missing, lacking in (("with", ~there), ("without", there)):
        if lacking.all():
            raise TrainingError(
                f"{task} cannot be calibrated: no image of val is {missing} the structure."
            )
    lot = _lot(lot, len(there))
    two = np.stack([np.zeros_like(logits), logits], axis=1)
    temperature = fit_temperature(two, there.astype(np.int64), lot)
    scores = 1 / (1 + np.exp(-logits / temperature))
    least = least_presence(scores, there, lot)
    value, held = _down(least), lot.parts(there)
    kept, silent = float((scores[there] >= value).mean()), float((scores[~there] < value).mean())
    source = (
        f"keeps at least {SENSITIVITY:.0%} of the structures of {lot.of}; "
        f"sensitivity {kept:.1%} of {int(there.sum())} images "
        f"with it, specificity {silent:.1%} of {int((~there).sum())} without"
    )
    if held.told:
        source += "; so does every source, sensitivity "
        source += held.each(lambda rows: float((scores[rows] >= value).mean()), digits=3)
    return Calibration(
        temperature=temperature,
        thresholds={"presence": Threshold(value=value, source=source)},
    )


def least_presence(scores: Array, there: npt.NDArray[np.bool_], lot: Lot) -> float:
    """Return the score that the required share of the structures of every source reaches."""

    def least(rows: npt.NDArray[np.int64]) -> float:
        return float(np.quantile(scores[rows], 1 - SENSITIVITY, method="lower"))

    return lot.parts(there).lowest(least)


def presence_without_negatives(task: str, scores: Array, lot: Lot | None = None) -> Calibration:
    """Fit a minimum share of attention inside the box, where training had no negatives.

    Args:
        task: the specialist's id.
        scores: of the images of val with the structure.
        lot: of those images; None means one source.

    Raises:
        TrainingError: there are none.
    """
    if not len(scores):
        raise TrainingError(f"{task} cannot be calibrated: no image of val is with the structure.")
    parts = _lot(lot, len(scores)).parts()
    value = _down(parts.lowest(lambda rows: float(np.quantile(scores[rows], 0.01, method="lower"))))
    kept = float((scores >= value).mean())
    source = (
        f"first percentile of {len(scores)} val images{_each_of(parts)}, "
        f"all with the structure; sensitivity {kept:.1%}, specificity not known"
    )
    return Calibration(
        temperature=None, thresholds={"presence": Threshold(value=value, source=source)}
    )


def calibrate_mask(
    task: str,
    logits: Sequence[torch.Tensor],
    truths: Sequence[npt.NDArray[np.uint8]],
    smallest_share: float,
    lot: Lot | None = None,
) -> Calibration:
    """Fit the mask level with the best mean Dice over images with the class, at network size.

    Each source of the lot has the same weight.

    Args:
        task: the specialist's id.
        logits: (1, classes, h, w) per image.
        truths: (S, S) label maps per image.
        smallest_share: share of the image below which no component of the training labels lies.
        lot: of the images; None means one source.

    Raises:
        TrainingError: no mask of val holds a class.
    """
    if not any(truth.any() for truth in truths):
        raise TrainingError(f"{task} cannot be calibrated: no mask of val holds a class.")
    best, best_dice, sources = _best_level(logits, truths, _lot(lot, len(truths)))
    return Calibration(
        temperature=None,
        thresholds={
            "mask": Threshold(
                value=best,
                source=f"best mean Dice ({best_dice:.3f}) on {len(truths)} val images{sources}",
            ),
            "min_area": Threshold(
                value=round(smallest_share, 6),
                source="half the first percentile of the training masks' largest components, "
                "as share of the image",
            ),
        },
    )


def _best_level(
    logits: Sequence[torch.Tensor], truths: Sequence[npt.NDArray[np.uint8]], lot: Lot
) -> tuple[float, float, str]:
    """Return the mask level, its Dice with equal weight of sources, and a clause on each source."""
    maps = [
        margins(logit, truth.shape[0])[0].numpy()
        for logit, truth in zip(logits, truths, strict=True)
    ]
    parts = lot.parts(np.array([bool(truth.any()) for truth in truths]))
    weights = parts.weights()
    best, best_dice, each = 0.5, -1.0, np.zeros(len(truths))
    for level in np.arange(0.3, 0.75, 0.05):
        dices = np.zeros(len(truths))
        for row in parts.every:
            dices[row] = _mean_dice(maps[row] > 2 * level - 1, truths[row])
        value = float((dices[parts.every] * weights).sum())
        if value > best_dice:
            best, best_dice, each = round(float(level), 2), value, dices
    if not parts.told:
        return best, best_dice, ""
    named = parts.each(lambda rows: float(each[rows].mean()), digits=3)
    return best, best_dice, f", each source counting the same: {named}"


def _mean_dice(maps: npt.NDArray[np.bool_], truth: npt.NDArray[np.uint8]) -> float:
    """Return the mean Dice over the classes that the truth holds."""
    classes = [index for index in range(len(maps)) if (truth == index + 1).any()]
    return float(np.mean([dice(maps[index], truth == index + 1) for index in classes]))


def smallest_component(
    task: str,
    truths: Sequence[npt.NDArray[np.uint8]],
    boxes: Sequence[Letterbox],
    lot: Lot | None = None,
) -> float:
    """Return half the first percentile of each training mask's largest component.

    It is a share of the image; of several sources, the one with the smallest counts.

    Raises:
        TrainingError: no mask of train holds a class.
    """
    if not any(truth.any() for truth in truths):
        raise TrainingError(f"{task} cannot be calibrated: no mask of train holds a class.")
    shares, owner = [], []
    for place, (truth, box) in enumerate(zip(truths, boxes, strict=True)):
        for index in np.unique(truth[truth > 0]):
            found = outlines((truth == index) * 2.0 - 1.0, 0.0, box)
            shares.append(max(area(rings) for rings in found) / (box.width_px * box.height_px))
            owner.append(place)
    sizes = np.array(shares)
    parts = _lot(lot, len(truths)).take(np.array(owner)).parts()
    return parts.lowest(lambda rows: float(np.quantile(sizes[rows], 0.01))) / 2


def calibrate_peak(
    entry: SpecialistEntry,
    heatmaps: torch.Tensor,
    marked: npt.NDArray[np.bool_],
    lot: Lot | None = None,
) -> Calibration:
    """Fit the heatmap peak below which a landmark counts as not detected.

    Args:
        entry: of the specialist.
        heatmaps: (n, L, h, w) of val.
        marked: (n, L), whether the image's labels hold the landmark; one that is not marked may be
            absent from the image.
        lot: of the images; None means one source.

    Raises:
        TrainingError: no landmark of val is marked.
    """
    if not marked.any():
        raise TrainingError(f"{entry.id} cannot be calibrated: no landmark of val is marked.")
    _, peaks = decode_heatmaps(heatmaps.float(), line_ends(entry))
    heights = peaks.numpy()
    seen = np.asarray(marked.any(axis=1), dtype=np.bool_)
    parts = _lot(lot, len(marked)).parts(seen)

    def first_percentile(rows: npt.NDArray[np.int64]) -> float:
        return float(np.quantile(heights[rows][marked[rows]], 0.01, method="lower"))

    value = _down(max(parts.lowest(first_percentile), LEAST_PEAK))
    kept = float((heights[marked] >= value).mean())
    source = (
        f"first percentile of the {int(marked.sum())} landmarks that are marked "
        f"in val{_each_of(parts)}; "
        f"keeps {kept:.1%} of them, "
    )
    if marked.all():
        source += "refusal of missing ones not known: val holds none"
    else:
        refused = float((heights[~marked] < value).mean())
        source += f"refuses {refused:.1%} of {int((~marked).sum())} that are not marked"
    return Calibration(temperature=None, thresholds={"peak": Threshold(value=value, source=source)})


def _lot(lot: Lot | None, count: int) -> Lot:
    """Return the lot, or for None that of `count` images of one source, each its own patient."""
    if lot is not None:
        return lot
    return Lot(groups=tuple(map(str, range(count))), origins=(frozenset(),) * count)


def _each_of(parts: Parts) -> str:
    """Return a clause that states the number of sources whose lowest value was taken."""
    return f", the lowest of {len(parts.told)} sources" if parts.told else ""


def _down(value: float) -> float:
    """Return the threshold rounded down to four digits, so that it keeps what it must."""
    return float(np.floor(value * 1e4) / 1e4)
