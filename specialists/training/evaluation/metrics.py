"""The challenge's metrics, per image or over a set, and their bootstrap intervals over groups."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects
from scipy.stats import rankdata

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Statistic = Callable[[Array, Labels], float]
"""A figure of (n, classes) scores and classes."""


def dice(predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Return 2 |A ∩ B| / (|A| + |B|); 1 where both are empty."""
    total = int(predicted.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((predicted & truth).sum()) / total


def hausdorff_px(
    predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the Hausdorff distance of the masks in pixels, and its 95th-percentile variant.

    Huttenlocher 1993, IEEE TPAMI 15:850. The first is the challenge's: no pixel of one mask lies
    farther from the other. The second is the greater of each border's 95th percentile of distances
    to the other border. Both are the image's diagonal where only one mask is empty.
    """
    if not predicted.any() and not truth.any():
        return 0.0, 0.0
    if not predicted.any() or not truth.any():
        diagonal = float(np.hypot(*truth.shape))
        return diagonal, diagonal
    inside = find_objects((predicted | truth).astype(np.uint8))[0]  # no border lies beyond it
    masks = [predicted[inside], truth[inside]]
    edges = [mask & ~binary_erosion(mask) for mask in masks]
    greatest = max(float(way.max()) for way in _ways(masks))
    return greatest, max(float(np.percentile(way, 95)) for way in _ways(edges))


def _ways(sets: Sequence[npt.NDArray[np.bool_]]) -> tuple[Array, Array]:
    """Return the distances of the pixels of each of two sets to the nearest pixel of the other."""
    one, other = (distance_transform_edt(~pixels) for pixels in sets)
    return other[sets[0]], one[sets[1]]


def auc(scores: Array, truth: Labels) -> float:
    """Return the macro one-vs-rest area under the ROC curve; NaN where the truth lacks a class."""
    classes = scores.shape[1]
    if len(np.unique(truth)) < classes:
        return float("nan")
    if classes == 2:
        return _area(scores[:, 1], truth == 1)
    return float(np.mean([_area(scores[:, index], truth == index) for index in range(classes)]))


def _area(scores: Array, truth: npt.NDArray[np.bool_]) -> float:
    """Return the area by ranks (Hanley and McNeil 1982, Radiology 143:29).

    It is fast, since a bootstrap computes it thousands of times.
    """
    positive = int(truth.sum())
    above = float(rankdata(scores)[truth].sum()) - positive * (positive + 1) / 2
    return above / (positive * (len(truth) - positive))


def macro_f1(scores: Array, truth: Labels) -> float:
    """Return the macro F1 of the best-scored class, over classes that are true or predicted."""
    classes, chosen = scores.shape[1], scores.argmax(1)
    right, true, said = (
        np.bincount(found, minlength=classes) for found in (truth[truth == chosen], truth, chosen)
    )
    there = true + said > 0
    return float((2 * right[there] / (true + said)[there]).mean())


def mcc(scores: Array, truth: Labels) -> float:
    """Return Matthews' correlation coefficient of the best-scored class (Gorodkin 2004).

    It is 0 where it is not defined.
    """
    classes, chosen = scores.shape[1], scores.argmax(1)
    true, guessed = (
        np.bincount(found, minlength=classes).astype(float) for found in (truth, chosen)
    )
    count = len(truth)
    covariance = (truth == chosen).sum() * count - true @ guessed
    spread = np.sqrt((count**2 - true @ true) * (count**2 - guessed @ guessed))
    return float(covariance / spread) if spread > 0 else 0.0


def accuracy(scores: Array, truth: Labels) -> float:
    """Return the share of images whose best-scored class is the truth."""
    return float((scores.argmax(1) == truth).mean())


def bootstrap(
    groups: Sequence[str],
    statistic: Callable[[npt.NDArray[np.int64]], float],
    *,
    rounds: int = 1000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a statistic of row indices, resampling whole groups.

    It is None with fewer than 8 groups, or where the statistic is undefined in most rounds.
    """
    rows: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        rows.setdefault(group, []).append(index)
    if len(rows) < 8:
        return None
    members = [np.array(found) for found in rows.values()]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        chosen = rng.integers(0, len(members), len(members))
        values.append(statistic(np.concatenate([members[i] for i in chosen])))
    known = np.array(values)[np.isfinite(values)]
    if len(known) < rounds / 2:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
