"""Temperatures and thresholds from `val`, each with where it came from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from reports.geometry import area
from specialists.decode import margins, outlines
from specialists.errors import TrainingError
from specialists.heads.regress import decode_heatmaps
from specialists.letterbox import Letterbox
from specialists.manifest import SpecialistEntry, Threshold
from specialists.model import line_ends
from specialists.training.metrics import dice

Array = npt.NDArray[np.float64]

SENSITIVITY = 0.95
"""Share of lesions that a presence threshold must keep."""

LEAST_PEAK = 0.02
"""A lower peak is that of a flat heatmap, whatever val says."""

ACCEPTED = 0.98
"""Share of correctly routed images that the router's `accept` threshold must keep."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `val` says of one specialist's numbers."""

    temperature: float | None
    thresholds: dict[str, Threshold]


def fit_temperature(logits: Array, truth: npt.NDArray[np.int64]) -> float:
    """The divisor of (n, classes) logits at which the negative log-likelihood is least."""
    x, y = torch.from_numpy(logits), torch.from_numpy(truth)

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(x / float(np.exp(log_temperature)), y))

    found = minimize_scalar(loss, bounds=(np.log(0.25), np.log(8.0)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def calibrate_classifier(
    entry: SpecialistEntry, logits: Array, truth: npt.NDArray[np.int64]
) -> Calibration:
    """A temperature, and for the router when to accept an exam and when to contradict a request.

    Raises:
        TrainingError: val holds fewer than two classes.
    """
    if len(np.unique(truth)) < 2:
        raise TrainingError(f"{entry.id} cannot be calibrated: val holds fewer than two classes.")
    temperature = fit_temperature(logits, truth)
    thresholds: dict[str, Threshold] = {}
    if "scores:exam" in entry.provides:
        scores = F.softmax(torch.from_numpy(logits) / temperature, dim=1).numpy()
        right = scores.argmax(1) == truth
        accept = float(np.quantile(scores.max(1)[right], 1 - ACCEPTED))
        wrong = scores.copy()
        wrong[np.arange(len(truth)), truth] = 0.0
        contradiction = float(np.quantile(wrong.max(1), 0.995))
        thresholds["accept"] = Threshold(
            value=round(max(accept, 0.5), 4),
            source=f"keeps {ACCEPTED:.0%} of the {int(right.sum())} correctly routed val images with random "
            "aspect and padding; at least 0.5",
        )
        thresholds["contradiction"] = Threshold(
            value=round(max(contradiction, 0.8), 4),
            source=f"99.5 % of {len(truth)} val images give every wrong exam less; at least 0.8",
        )
    return Calibration(temperature=temperature, thresholds=thresholds)


def calibrate_presence(task: str, logits: Array, there: npt.NDArray[np.bool_]) -> Calibration:
    """The presence threshold that keeps the stated share of the structures that are there.

    Raises:
        TrainingError: in val it is there in every image, or in none.
    """
    for missing, lacking in (("with", ~there), ("without", there)):
        if lacking.all():
            raise TrainingError(
                f"{task} cannot be calibrated: no image of val is {missing} the structure."
            )
    two = np.stack([np.zeros_like(logits), logits], axis=1)
    temperature = fit_temperature(two, there.astype(np.int64))
    scores = 1 / (1 + np.exp(-logits / temperature))
    value = _down(float(np.quantile(scores[there], 1 - SENSITIVITY, method="lower")))
    kept, silent = float((scores[there] >= value).mean()), float((scores[~there] < value).mean())
    source = (
        f"keeps at least {SENSITIVITY:.0%} of val's structures; sensitivity {kept:.1%} of {int(there.sum())} images "
        f"with it, specificity {silent:.1%} of {int((~there).sum())} without"
    )
    return Calibration(
        temperature=temperature,
        thresholds={"presence": Threshold(value=value, source=source)},
    )


def presence_without_negatives(task: str, scores: Array) -> Calibration:
    """A floor on the share of attention inside the box, where training had no negatives.

    Args:
        task: the specialist's id.
        scores: of the images of val with the structure.

    Raises:
        TrainingError: there are none.
    """
    if not len(scores):
        raise TrainingError(f"{task} cannot be calibrated: no image of val is with the structure.")
    value = _down(float(np.quantile(scores, 0.01, method="lower")))
    kept = float((scores >= value).mean())
    source = (
        f"first percentile of {len(scores)} val images, all with the structure; sensitivity {kept:.1%}, "
        "specificity not known"
    )
    return Calibration(
        temperature=None, thresholds={"presence": Threshold(value=value, source=source)}
    )


def calibrate_mask(
    task: str,
    logits: Sequence[torch.Tensor],
    truths: Sequence[npt.NDArray[np.uint8]],
    smallest_share: float,
) -> Calibration:
    """The mask level with the best mean Dice over images that hold the class, at network size.

    Args:
        task: the specialist's id.
        logits: (1, classes, h, w) per image.
        truths: (S, S) label maps per image.
        smallest_share: share of the image below which no component of the training labels lies.

    Raises:
        TrainingError: no mask of val holds a class.
    """
    if not any(truth.any() for truth in truths):
        raise TrainingError(f"{task} cannot be calibrated: no mask of val holds a class.")
    best, best_dice = 0.5, -1.0
    maps = [
        margins(logit, truth.shape[0])[0].numpy()
        for logit, truth in zip(logits, truths, strict=True)
    ]
    for level in np.arange(0.3, 0.75, 0.05):
        values = [
            dice(margin[index] > 2 * level - 1, truth == index + 1)
            for margin, truth in zip(maps, truths, strict=True)
            for index in range(margin.shape[0])
            if (truth == index + 1).any()
        ]
        if np.mean(values) > best_dice:
            best, best_dice = round(float(level), 2), float(np.mean(values))
    return Calibration(
        temperature=None,
        thresholds={
            "mask": Threshold(
                value=best, source=f"best mean Dice ({best_dice:.3f}) on {len(maps)} val images"
            ),
            "min_area": Threshold(
                value=round(smallest_share, 6),
                source="half the first percentile of the training masks' largest components, as share of the image",
            ),
        },
    )


def smallest_component(
    task: str, truths: Sequence[npt.NDArray[np.uint8]], boxes: Sequence[Letterbox]
) -> float:
    """Half the first percentile of each training mask's largest component, as share of its image.

    Raises:
        TrainingError: no mask of train holds a class.
    """
    if not any(truth.any() for truth in truths):
        raise TrainingError(f"{task} cannot be calibrated: no mask of train holds a class.")
    shares = [
        max(area(rings) for rings in outlines((truth == index) * 2.0 - 1.0, 0.0, box))
        / (box.width_px * box.height_px)
        for truth, box in zip(truths, boxes, strict=True)
        for index in np.unique(truth[truth > 0])
    ]
    return float(np.quantile(shares, 0.01)) / 2


def calibrate_peak(
    entry: SpecialistEntry, heatmaps: torch.Tensor, marked: npt.NDArray[np.bool_]
) -> Calibration:
    """The heatmap peak below which a landmark was not seen.

    Args:
        entry: of the specialist.
        heatmaps: (n, L, h, w) of val.
        marked: (n, L), whether the image's labels hold the landmark; what nobody marked may not be there.

    Raises:
        TrainingError: no landmark of val is marked.
    """
    if not marked.any():
        raise TrainingError(f"{entry.id} cannot be calibrated: no landmark of val is marked.")
    _, peaks = decode_heatmaps(heatmaps.float(), line_ends(entry))
    heights = peaks.numpy()
    value = _down(max(float(np.quantile(heights[marked], 0.01, method="lower")), LEAST_PEAK))
    kept = float((heights[marked] >= value).mean())
    source = f"first percentile of the {int(marked.sum())} landmarks that are marked in val; keeps {kept:.1%} of them, "
    if marked.all():
        source += "refusal of missing ones not known: val holds none"
    else:
        refused = float((heights[~marked] < value).mean())
        source += f"refuses {refused:.1%} of {int((~marked).sum())} that are not marked"
    return Calibration(temperature=None, thresholds={"peak": Threshold(value=value, source=source)})


def _down(value: float) -> float:
    """A threshold in four digits, never above what it must keep."""
    return float(np.floor(value * 1e4) / 1e4)
