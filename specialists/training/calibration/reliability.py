"""Reliability of scores: calibration error against an ideal model's, label sets, operating points.

Whatever is fitted to val (temperature, thresholds) is evaluated on groups that it was not fitted
to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax

from reports.measure.intervals import LEVEL
from specialists.cards.elsewhere import PRESENCE, SETS
from specialists.decode import LABEL_SET
from specialists.manifest import Metric, SpecialistEntry, Threshold
from specialists.training.calibration.calibrate import fit_temperature, least_presence
from specialists.training.calibration.conformal import (
    LEAST_GROUPS,
    Flags,
    Rows,
    cross_fitted,
    quantile,
    share_of,
)
from specialists.training.calibration.error import calibration_error
from specialists.training.transfer.sources import Lot, Parts, Scored

Array = npt.NDArray[np.float64]

DRAWS = 2000
ERROR = "calibration error"
HELD_OUT = "held-out groups"
LEAST_SINGLE = 0.5
"""Least share of label sets with one class at which sets keep the worst source's coverage.

A set of all classes carries no information.
"""

_DECIMALS = 4


def ideal_error(scores: Array, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float, float]:
    """Return median and 95 % range of the error that perfectly calibrated scores would show."""
    rng = np.random.default_rng(seed)
    errors = [calibration_error(scores, rng.random(len(scores)) < scores) for _ in range(draws)]
    middle, low, high = np.percentile(errors, [50, 2.5, 97.5])
    return float(middle), float(low), float(high)


def error_metrics(scores: Array, right: Flags) -> list[Metric]:
    """Return the calibration error of held-out scores, and that of an ideal model of that size."""
    middle, low, high = ideal_error(scores)
    given = calibration_error(scores, right)
    return [
        metric_of(f"{ERROR}, {HELD_OUT}", given, None, len(scores)),
        metric_of(f"{ERROR} of an ideal model, simulated", middle, (low, high), len(scores)),
    ]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Scores from which each class is not ruled out."""

    values: Array
    """(classes,) 0 where a class is never ruled out."""
    parts: tuple[Parts, ...]
    """By class, its images by source."""
    per_source: bool
    """Whether each source keeps its coverage, or only all images together."""
    single: float
    """Share of sets with one class under limits that keep the worst source's coverage.

    Sources have equal weight in it.
    """


def label_limits(scores: Array, truth: Rows, lot: Lot) -> Limits:
    """Return by class the conformal quantile of its images' scores, the lowest of all sources.

    Sadinle 2019, JASA 114:223, with coverage within each class, and within each source. Where that
    leaves fewer than half of the sets with one class, the quantile is that of all sources together.
    """
    classes = range(scores.shape[1])
    parts = tuple(lot.parts(truth == index) for index in classes)
    values = np.array([p.lowest(_least_of(scores[:, k])) for k, p in enumerate(parts)])
    sizes = (scores >= values).sum(1)
    single = float(((sizes == 1) * lot.parts().weights()).sum())
    per_source = any(found.told for found in parts) and single >= LEAST_SINGLE
    if not per_source:
        values = np.array([_least_of(scores[:, k])(p.every) for k, p in enumerate(parts)])
    return Limits(values=values, parts=parts, per_source=per_source, single=single)


def _least_of(scores: Array) -> Callable[[Rows], float]:
    """Return a function of rows: the conformal quantile of their scores, 0 if they are too few."""

    def least(rows: Rows) -> float:
        limit = max(1 - quantile(1 - scores[rows]), 0.0)
        return float(np.floor(limit * 10**_DECIMALS) / 10**_DECIMALS)

    return least


def label_set_thresholds(entry: SpecialistEntry, scored: Scored) -> dict[str, Threshold]:
    """Return by class the score from which it is not ruled out; empty with too few groups.

    Each class has its own, from the images of that class: a common one would cover the rarer class
    less often.

    Args:
        entry: of a classifier, with its temperature.
        scored: logits and classes.
    """
    if len(set(scored.lot.groups)) < LEAST_GROUPS:
        return {}
    scores = scores_of(scored.values, entry.temperature or 1.0)
    limits = label_limits(scores, scored.truth, scored.lot)
    found = {}
    for index, label in enumerate(entry.labels):
        value = float(limits.values[index])
        source = _where_from(label, limits, index, scores[:, index])
        source += f"; images of {scored.lot.of}"
        found[f"{LABEL_SET} {label}"] = Threshold(value=value, source=source)
    return found


def _where_from(label: str, limits: Limits, index: int, scores: Array) -> str:
    parts, value = limits.parts[index], limits.values[index]
    count = len(parts.every)
    if value <= 0:
        return f"too few images of {label} ({count}) to rule it out"
    if not parts.told:
        return f"conformal {LEVEL:.0%} of {count} images of {label}{parts.too_few()}"
    if limits.per_source:
        return (
            f"conformal {LEVEL:.0%} of {label} within each source, "
            f"the lowest of {parts.each(_least_of(scores))}"
        )
    kept = parts.each(lambda rows: float((scores[rows] >= value).mean()), digits=3)
    return (
        f"conformal {LEVEL:.0%} of {count} images of {label} of all sources together, "
        f"since kept to the worst source only "
        f"{limits.single:.0%} of the sets would hold one class; of each source it holds {kept}"
    )


def classifier_metrics(
    entry: SpecialistEntry, scored: Scored, fitted_to: Scored | None = None
) -> list[Metric]:
    """Return calibration error and label set figures on held-out groups; empty with too few groups.

    Args:
        entry: of a classifier.
        scored: logits and classes on `val`.
        fitted_to: what temperature and limits are fitted to, `val` itself where it is None; the
            rows of a held-out group are removed from it.
    """
    truth, lot = scored.truth, scored.lot
    if len(set(lot.groups)) < LEAST_GROUPS:
        return []
    source = fitted_to or scored

    def held_out(_: Rows, rows: Rows) -> Array:
        others = source.without([lot.groups[row] for row in rows])
        temperature = fit_temperature(others.values, others.truth, others.lot)
        limits = label_limits(scores_of(others.values, temperature), others.truth, others.lot)
        scores = scores_of(scored.values[rows], temperature)
        return np.concatenate([scores, scores >= limits.values], axis=1)

    found = cross_fitted(lot.groups, held_out)
    classes = len(entry.labels)
    scores, sets = found[:, :classes], found[:, classes:].astype(bool)
    return [
        *error_metrics(scores.max(1), scores.argmax(1) == truth),
        *set_metrics(entry, sets, truth, lot, f", {HELD_OUT}"),
    ]


def set_metrics(
    entry: SpecialistEntry, sets: Flags, truth: Rows, lot: Lot, tail: str
) -> list[Metric]:
    """Return figures of (n, classes) label sets.

    They are over all images, by class, and in each class's worst source.
    """
    held = sets[np.arange(len(truth)), truth]
    sizes = sets.sum(1)
    metrics = [share_metric(f"label set coverage{tail}", held, lot.groups)]
    for index, label in enumerate(entry.labels):
        of_class = truth == index
        if not of_class.any():
            continue
        name = SETS + label
        metrics.append(share_metric(name + tail, held, lot.groups, of_class))
        metrics += _in_worst(name, held, lot.parts(of_class), lot.groups, tail)
    return [
        *metrics,
        share_metric(f"label sets with one class{tail}", sizes == 1, lot.groups),
        share_metric(f"label sets without a class{tail}", sizes == 0, lot.groups),
        metric_of(f"classes in a label set, mean{tail}", float(sizes.mean()), None, len(truth)),
    ]


def _in_worst(
    name: str, hits: Flags, parts: Parts, groups: Sequence[str], tail: str
) -> list[Metric]:
    """Return the share of hits in the source with the lowest; empty unless there are several."""
    if not parts.told:
        return []
    worst = min(parts.told, key=lambda source: float(hits[parts.told[source]].mean()))
    chosen = np.zeros(len(hits), dtype=np.bool_)
    chosen[parts.told[worst]] = True
    return [share_metric(f"{name} in its worst source ({worst}){tail}", hits, groups, chosen)]


def presence_metrics(scored: Scored, fitted_to: Scored | None = None) -> list[Metric]:
    """Return calibration error and operating point of the presence threshold, on held-out groups.

    Args:
        scored: presence logits on `val`, and where the structure is present.
        fitted_to: what temperature and threshold are fitted to, as in `classifier_metrics`.
    """
    there, lot = scored.truth > 0, scored.lot
    if len(set(lot.groups)) < LEAST_GROUPS or there.all() or not there.any():
        return []
    source = fitted_to or scored

    def held_out(_: Rows, rows: Rows) -> Array:
        others = source.without([lot.groups[row] for row in rows])
        two = np.stack([np.zeros(len(others)), others.values], axis=1)
        temperature = fit_temperature(two, others.truth, others.lot)
        known = others.truth > 0
        kept = expit(others.values / temperature)
        least = least_presence(kept, known, others.lot) if known.any() else 0.5
        scores = expit(scored.values[rows] / temperature)
        return np.stack([scores, scores >= least], axis=1)

    found = cross_fitted(lot.groups, held_out)
    shown, tail = found[:, 1].astype(bool), f", {HELD_OUT}"
    name = PRESENCE
    return [
        *error_metrics(found[:, 0], there),
        share_metric(name + tail, shown, lot.groups, there),
        *_in_worst(name, shown, lot.parts(there), lot.groups, tail),
        share_metric(f"presence specificity{tail}", ~shown, lot.groups, ~there),
    ]


def scores_of(logits: Array, temperature: float) -> Array:
    """Return (n, classes) scores."""
    shares: Array = softmax(logits / temperature, axis=1)
    return shares


def share_metric(
    name: str, hits: Flags, groups: Sequence[str], chosen: Flags | None = None
) -> Metric:
    """Return the share of hits among the chosen rows, or among all where none are given."""
    if chosen is not None:
        groups = [group for group, kept in zip(groups, chosen, strict=True) if kept]
        hits = hits[chosen]
    found = share_of(hits, groups)
    return metric_of(name, found.value, (found.low, found.high), len(hits))


def metric_of(name: str, value: float, ends: tuple[float, float] | None, count: int) -> Metric:
    """Return the figure, rounded."""
    low, high = ends or (None, None)
    return Metric(
        name=name,
        value=round(value, _DECIMALS),
        low=None if low is None else round(low, _DECIMALS),
        high=None if high is None else round(high, _DECIMALS),
        n=count,
        split="val",
    )
