"""Split-conformal quantiles, folds of whole groups, and the coverage that they show; numpy only.

Vovk 2005, Algorithmic Learning in a Random World: of n exchangeable scores, the ceil((n + 1) · level)-th smallest is
not exceeded by the next one with at least that probability.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from reports.interval import LEVEL
from specialists.training.metrics import bootstrap

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

LEAST_GROUPS = 9
"""With fewer groups (patients) no 90 % quantile of a new one exists: ceil(0.9 (n + 1)) exceeds n (DESIGN section 2)."""

FOLDS = 5
LEAST_FOR_TAILS = 40
"""Images below which both tails are not told apart: 2 of them lie beyond each end."""


def quantile(scores: Array, level: float = LEVEL) -> float:
    """The conformal quantile of nonconformity scores; infinite where they are too few for the level."""
    # 1e-9: (9 + 1) · 0.9 is 9, not a little more
    rank = int(np.ceil((len(scores) + 1) * level - 1e-9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def folds_of(groups: Sequence[str], folds: int = FOLDS) -> Rows:
    """(n,) the fold of each row; the rows of a group share one, and folds are about as large."""
    names, counts = np.unique(np.array(groups), return_counts=True)
    sizes = np.zeros(min(folds, len(names)))
    place: dict[str, int] = {}
    for index in np.argsort(-counts, kind="stable"):
        smallest = int(sizes.argmin())
        place[str(names[index])] = smallest
        sizes[smallest] += counts[index]
    return np.array([place[group] for group in groups])


def cross_fitted(groups: Sequence[str], held_out: Callable[[Rows, Rows], Array]) -> Array:
    """(n, …) what `held_out(others, rows)` gives for the rows of each fold, fitted to the other folds' rows."""
    folds = folds_of(groups)
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    given = [held_out(np.setdiff1d(np.arange(len(folds)), rows), rows) for rows in parts]
    return np.concatenate(given)[np.argsort(np.concatenate(parts))]


def ends(errors: Array, groups: Sequence[str]) -> tuple[float, float]:
    """What is added to a prediction for the ends of its interval; infinite where the errors are too few.

    Equal ends, unless the median error differs from zero by more than its 95 % bootstrap interval over groups: then
    each tail has its own quantile. The prediction itself is always inside.

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
    """Whether predictions are clearly too large or too small, and there are enough to tell the tails apart."""
    if len(errors) < LEAST_FOR_TAILS:
        return False
    found = bootstrap(groups, lambda rows: float(np.median(errors[rows])), rounds=400)
    return found is not None and not found[0] <= 0 <= found[1]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of rows, and its 95 % interval that allows for rows of one group being alike."""

    value: float
    low: float
    high: float


def share_of(hits: Flags, groups: Sequence[str]) -> Share:
    """The share of hits with its interval: Clopper and Pearson's on the effective number of rows.

    Korn and Graubard 1998, Survey Methodology 24:193: the number by which the variance between groups is that of
    independent rows. Without such a variance, the number of groups.
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
    """The share of held-out errors between the ends that the other folds' errors give."""

    def inside(others: Rows, rows: Rows) -> Array:
        low, high = ends(errors[others], [groups[row] for row in others])
        return ((low <= errors[rows]) & (errors[rows] <= high)).astype(np.float64)

    return share_of(cross_fitted(groups, inside).astype(bool), groups)
