"""Split-conformal quantiles, folds of whole groups, and the coverage that they reach; numpy only.

Vovk 2005, Algorithmic Learning in a Random World: the ceil((n + 1) · level)-th smallest of n
exchangeable scores is not exceeded by the next one with at least that probability.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.measure.intervals import LEVEL
from specialists.training.evaluation.metrics import bootstrap

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

LEAST_GROUPS = 9
"""Fewest groups (patients) with which the 90 % quantile of a new one exists.

With fewer, ceil(0.9 (n + 1)) exceeds n.
"""

FOLDS = 5
LEAST_FOR_TAILS = 40
"""Fewest images for which the two tails get quantiles of their own: 2 of 40 lie beyond each end."""


def quantile(scores: Array, level: float = LEVEL) -> float:
    """Return the conformal quantile of nonconformity scores; infinite where they are too few."""
    # 1e-9: (9 + 1) · 0.9 is 9, not a little more
    rank = int(np.ceil((len(scores) + 1) * level - 1e-9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def folds_of(groups: Sequence[str], folds: int = FOLDS) -> Rows:
    """Return the fold (n,) of each row; a group's rows share one, and folds are of similar size."""
    names, counts = np.unique(np.array(groups), return_counts=True)
    sizes = np.zeros(min(folds, len(names)))
    place: dict[str, int] = {}
    for index in np.argsort(-counts, kind="stable"):
        smallest = int(sizes.argmin())
        place[str(names[index])] = smallest
        sizes[smallest] += counts[index]
    return np.array([place[group] for group in groups])


def cross_fitted(groups: Sequence[str], held_out: Callable[[Rows, Rows], Array]) -> Array:
    """Return `held_out(others, rows)` of every fold's rows, (n, …) in the order of the rows.

    `others` are the rows of the other folds, to which `held_out` fits.
    """
    folds = folds_of(groups)
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    given = [held_out(np.setdiff1d(np.arange(len(folds)), rows), rows) for rows in parts]
    return np.concatenate(given)[np.argsort(np.concatenate(parts))]


def ends(errors: Array, groups: Sequence[str]) -> tuple[float, float]:
    """Return what to add to a prediction for the ends of its interval.

    The ends are infinite where the errors are too few. They are symmetric, unless the median error
    differs from zero by more than its 95 % bootstrap interval over groups: then each tail has its
    own quantile. The prediction itself is always inside.

    Args:
        errors: (n,) reference less prediction.
        groups: of each.
    """
    if not biased(errors, groups):
        end = quantile(np.abs(errors))
        return -end, end
    tail = (1 + LEVEL) / 2
    return min(-quantile(-errors, tail), 0.0), max(quantile(errors, tail), 0.0)


def biased(errors: Array, groups: Sequence[str]) -> bool:
    """Return whether predictions are clearly too large or too small.

    It is False where there are too few errors to separate the tails.
    """
    if len(errors) < LEAST_FOR_TAILS:
        return False
    found = bootstrap(groups, lambda rows: float(np.median(errors[rows])), rounds=400)
    return found is not None and not found[0] <= 0 <= found[1]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of rows, with a 95 % interval that allows for similarity within a group."""

    value: float
    low: float
    high: float


def share_of(hits: Flags, groups: Sequence[str]) -> Share:
    """Return the share of hits with its interval.

    The interval is Clopper and Pearson's on the effective number of rows.

    Korn and Graubard 1998, Survey Methodology 24:193: the number at which the variance between
    groups is that of independent rows. Without such a variance, it is the number of groups.
    """
    value, count = float(hits.mean()), len(hits)
    names, group = np.unique(np.array(groups), return_inverse=True)
    many = len(names)
    if many < 2:
        return Share(value=value, low=0.0, high=1.0)
    sums = np.bincount(group, hits - value)
    variance = many / (many - 1) * float((sums**2).sum()) / count**2
    effective = float(many)
    if variance > 0:
        spread = stats.t.ppf(0.975, count - 1) / stats.t.ppf(0.975, many - 1)
        effective = min(value * (1 - value) / variance * spread**2, float(count))
    found, missed = value * effective, (1 - value) * effective
    low = stats.beta.ppf(0.025, found, missed + 1) if found > 0 else 0.0
    high = stats.beta.ppf(0.975, found + 1, missed) if missed > 0 else 1.0
    return Share(value=value, low=float(low), high=float(high))


def coverage(errors: Array, groups: Sequence[str]) -> Share:
    """Return the share of held-out errors between the ends given by the other folds' errors."""

    def inside(others: Rows, rows: Rows) -> Array:
        low, high = ends(errors[others], [groups[row] for row in others])
        return ((low <= errors[rows]) & (errors[rows] <= high)).astype(np.float64)

    return share_of(cross_fitted(groups, inside).astype(bool), groups)
