"""What a classifier must show to be shipped with weights.

Every classifier must tell its classes apart better than chance; one whose classes follow its
sources must also hold on unseen sources. One that fails is not installed, and says why.
"""

from collections.abc import Sequence

import numpy as np

from specialists.manifest import Metric, SpecialistEntry, Transfer
from specialists.training.calibration.reliability import metric_of, scores_of, share_metric
from specialists.training.evaluation import metrics
from specialists.training.transfer.left_out import LeftOut

LEAST_AUC = 0.75
"""Least AUC; its interval over sources must also lie above that of chance."""
CHANCE = 0.5
LEAST_RECALL = 0.5
"""Least share of each class's images that must be recognised."""
RECALL = "images recognised of "


def pooled(entry: SpecialistEntry, found: Sequence[LeftOut]) -> tuple[Transfer, ...]:
    """Return a classifier's figures over all sources that were left out in parts.

    Each image is scored once, by a head trained without its source; intervals are over sources.
    """
    said = [
        (left, kept)
        for left in found
        if left.part is not None
        and entry.id in left.tasks
        and (kept := left.tasks[entry.id].said) is not None
    ]
    if not said:
        return ()
    scores = np.concatenate(
        [scores_of(np.array(kept.values), kept.temperature) for _, kept in said]
    )
    truth = np.array([label for _, kept in said for label in kept.truth], dtype=np.int64)
    sources = [name for _, kept in said for name in kept.origins]
    measured = [
        _figure("auc", metrics.auc, scores, truth, sources),
        _figure("accuracy", metrics.accuracy, scores, truth, sources),
    ]
    right = scores.argmax(1) == truth
    for index, label in enumerate(entry.labels):
        if (truth == index).any():
            measured.append(share_metric(RECALL + label, right, sources, truth == index))
    first = said[0][0]
    return tuple(
        Transfer(
            left_out=f"each {first.column}, in {len(said)} parts",
            backbone_saw=any(left.backbone_saw for left, _ in said),
            **metric.model_dump(exclude={"split"}),
        )
        for metric in measured
        if metric is not None
    )


def _figure(
    name: str,
    statistic: metrics.Statistic,
    scores: metrics.Array,
    truth: metrics.Labels,
    sources: Sequence[str],
) -> Metric | None:
    value = statistic(scores, truth)
    if not np.isfinite(value):
        return None
    ends = metrics.bootstrap(sources, lambda rows: statistic(scores[rows], truth[rows]))
    return metric_of(name, value, ends, len(truth))


def why_not(entry: SpecialistEntry, figures: Sequence[Transfer]) -> str | None:
    """Return why the specialist fails on sources left out, with figures; None where it holds."""
    known = {item.name: item for item in figures}
    area = known.get("auc")
    if area is None:
        return (
            "Its classes follow its sources, and no figure with sources left out could be computed."
        )
    found = {label: known.get(RECALL + label) for label in entry.labels}
    poor = [label for label, item in found.items() if item is None or item.value < LEAST_RECALL]
    sure = area.low is not None and area.low > CHANCE
    if area.value >= LEAST_AUC and sure and not poor:
        return None
    interval = "no interval" if area.low is None else f"{area.low:.2f} to {area.high:.2f}"
    recalls = ", ".join(
        f"{label} in {item.value:.0%} of {item.n} images" for label, item in found.items() if item
    )
    return (
        f"Its classes follow its sources, and it does not hold on sources left out "
        f"({area.left_out}): AUC {area.value:.2f} "
        f"({interval}), it recognises {recalls}. "
        f"An AUC of {LEAST_AUC} whose interval lies above {CHANCE}, and half of "
        "each class, are needed."
    )


def judged(entry: SpecialistEntry, figures: tuple[Transfer, ...]) -> SpecialistEntry:
    """Return the entry with those figures, not installed where it fails on sources left out."""
    entry = entry.model_copy(update={"transfer": figures})
    reason = why_not(entry, figures)
    return entry if reason is None else _not_installed(entry, reason)


def informative(entry: SpecialistEntry) -> SpecialistEntry:
    """Return the entry, not installed where it is a classifier that may know nothing.

    That is one whose AUC on labelled images kept aside has an interval that reaches down to chance.
    """
    area = next((metric for metric in entry.metrics if metric.name == "auc"), None)
    if area is None or area.low is None or area.low > CHANCE:
        return entry
    return _not_installed(
        entry,
        f"Its data cannot carry it: on {area.n} labelled images kept aside its AUC is "
        f"{area.value:.2f} ({area.low:.2f} to {area.high:.2f}), which may be chance ({CHANCE}).",
    )


def _not_installed(entry: SpecialistEntry, reason: str) -> SpecialistEntry:
    return entry.model_copy(
        update={
            "not_installed": reason,
            "weights": None,
            "sha256": None,
            "int8": None,
            "temperature": None,
            "thresholds": {},
            "metrics": (),
            "intervals": (),
        }
    )
