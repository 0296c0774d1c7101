"""How far scores are to be believed: calibration error beside an ideal model's, label sets, operating points.

Whatever is fitted to val (temperature, thresholds) is judged on groups that it was not fitted to.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from reports.interval import LEVEL
from specialists.decode import LABEL_SET
from specialists.manifest import Metric, SpecialistEntry, Threshold
from specialists.training.calibrate import SENSITIVITY, fit_temperature
from specialists.training.conformal import (
    LEAST_GROUPS,
    Flags,
    Rows,
    cross_fitted,
    quantile,
    share_of,
)

Array = npt.NDArray[np.float64]

BINS = 10
DRAWS = 2000
ERROR = "calibration error"
HELD_OUT = "held-out groups"
_DECIMALS = 4


def calibration_error(scores: Array, right: Flags, bins: int = BINS) -> float:
    """Mean |share right - mean score| over bins of equally many scores, weighted by their size (ECE).

    Nixon 2019, Measuring Calibration in Deep Learning: bins of equal width leave most of them empty.
    """
    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    gaps = [len(part) * abs(scores[part].mean() - right[part].mean()) for part in parts]
    return float(np.sum(gaps)) / len(scores)


def ideal_error(scores: Array, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """Median and 95 % range of the error that those scores would show if every one of them were true."""
    rng = np.random.default_rng(seed)
    errors = [calibration_error(scores, rng.random(len(scores)) < scores) for _ in range(draws)]
    middle, low, high = np.percentile(errors, [50, 2.5, 97.5])
    return float(middle), float(low), float(high)


def error_metrics(scores: Array, right: Flags) -> list[Metric]:
    """The calibration error of held-out scores, and what an ideal model of that size would show."""
    middle, low, high = ideal_error(scores)
    given = calibration_error(scores, right)
    return [
        _metric(f"{ERROR}, {HELD_OUT}", given, None, len(scores)),
        _metric(f"{ERROR} of an ideal model, simulated", middle, (low, high), len(scores)),
    ]


def label_set_thresholds(
    entry: SpecialistEntry, scores: Array, truth: Rows, groups: Sequence[str]
) -> dict[str, Threshold]:
    """By class, the score from which it is not ruled out; none with too few groups.

    A class has its own, from the images of that class: a common one would hold the rarer class less often.

    Args:
        entry: of a classifier.
        scores: (n, classes) as the engine gives them.
        truth: (n,) classes.
        groups: of each image.
    """
    if len(set(groups)) < LEAST_GROUPS:
        return {}
    limits = least_scores(scores, truth)
    return {
        f"{LABEL_SET} {label}": Threshold(
            value=float(limit),
            source=f"conformal {LEVEL:.0%} of {int((truth == index).sum())} val images of {label}"
            if limit > 0
            else f"too few val images of {label} ({int((truth == index).sum())}) to rule it out",
        )
        for index, (label, limit) in enumerate(zip(entry.labels, limits, strict=True))
    }


def least_scores(scores: Array, truth: Rows) -> Array:
    """(classes,) the conformal quantile of each class's scores on its own images; 0 where they are too few.

    Sadinle 2019, JASA 114:223, with coverage within each class.
    """
    limits = [1 - quantile(1 - scores[truth == index, index]) for index in range(scores.shape[1])]
    least: Array = np.floor(np.maximum(limits, 0.0) * 10**_DECIMALS) / 10**_DECIMALS
    return least


def classifier_metrics(
    entry: SpecialistEntry, logits: Array, truth: Rows, groups: Sequence[str]
) -> list[Metric]:
    """Calibration error and what the label sets hold, on groups held out; none with too few groups."""
    if len(set(groups)) < LEAST_GROUPS:
        return []

    def held_out(others: Rows, rows: Rows) -> Array:
        temperature = fit_temperature(logits[others], truth[others])
        limits = least_scores(scores_of(logits[others], temperature), truth[others])
        scores = scores_of(logits[rows], temperature)
        return np.concatenate([scores, scores >= limits], axis=1)

    found = cross_fitted(groups, held_out)
    classes = len(entry.labels)
    scores, sets = found[:, :classes], found[:, classes:].astype(bool)
    held = sets[np.arange(len(truth)), truth]
    sizes = sets.sum(1)
    return [
        *error_metrics(scores.max(1), scores.argmax(1) == truth),
        _share(f"label set coverage, {HELD_OUT}", held, groups),
        *(
            _share(f"label set coverage of {label}, {HELD_OUT}", held, groups, truth == index)
            for index, label in enumerate(entry.labels)
            if (truth == index).any()
        ),
        _share(f"label sets with one class, {HELD_OUT}", sizes == 1, groups),
        _share(f"label sets without a class, {HELD_OUT}", sizes == 0, groups),
    ]


def presence_metrics(logits: Array, there: Flags, groups: Sequence[str]) -> list[Metric]:
    """Calibration error, and the operating point of the presence threshold, on groups held out."""
    if len(set(groups)) < LEAST_GROUPS or there.all() or not there.any():
        return []

    def held_out(others: Rows, rows: Rows) -> Array:
        two = np.stack([np.zeros(len(others)), logits[others]], axis=1)
        temperature = fit_temperature(two, there[others].astype(np.int64))
        kept = expit(logits[others] / temperature)[there[others]]
        least = np.quantile(kept, 1 - SENSITIVITY, method="lower") if len(kept) else 0.5
        scores = expit(logits[rows] / temperature)
        return np.stack([scores, scores >= least], axis=1)

    found = cross_fitted(groups, held_out)
    shown = found[:, 1].astype(bool)
    named = (("sensitivity", there, shown), ("specificity", ~there, ~shown))
    return [
        *error_metrics(found[:, 0], there),
        *(_share(f"presence {name}, {HELD_OUT}", hits, groups, rows) for name, rows, hits in named),
    ]


def scores_of(logits: Array, temperature: float) -> Array:
    """(n, classes) scores, rounded as the engine gives them."""
    shares: Array = softmax(logits / temperature, axis=1)
    return shares.round(_DECIMALS)


def _share(name: str, hits: Flags, groups: Sequence[str], chosen: Flags | None = None) -> Metric:
    """The share of hits among the chosen rows, all where none are named."""
    if chosen is not None:
        groups = [group for group, kept in zip(groups, chosen, strict=True) if kept]
        hits = hits[chosen]
    found = share_of(hits, groups)
    return _metric(name, found.value, (found.low, found.high), len(hits))


def _metric(name: str, value: float, ends: tuple[float, float] | None, count: int) -> Metric:
    low, high = ends or (None, None)
    return Metric(
        name=name,
        value=round(value, _DECIMALS),
        low=None if low is None else round(low, _DECIMALS),
        high=None if high is None else round(high, _DECIMALS),
        n=count,
        split="val",
    )
