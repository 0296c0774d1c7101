"""How computed descriptors of lesions and nodules relate to malignancy, on people's outlines.

The outlines are the labels, not a network's: what a descriptor can tell at best.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from reports.errors import NotMeasurable, OutlineDegenerate
from reports.measure.geometry import extent
from reports.measure.outlines.descriptors import Shape, outline_of, posterior_echo
from reports.measure.scan_area import scanned_outline
from specialists.errors import TrainingError
from specialists.manifest import Manifest
from specialists.training.data.masks import largest_rings, read_label_map
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import Sample, read_samples
from specialists.training.evaluation.metrics import auc
from specialists.training.transfer.sources import origins_of
from specialists.training.trials.arms import Estimate, Rows, estimate

PAIRS = (("breast_lesion", "breast_2cls"), ("thyroid_nodule", "thyroid_tirads_2cls"))
"""The outlining specialist and the classifier whose second class is the malignant side."""

IRREGULAR = "irregular shape"
"""The one descriptor that is a yes or no: its middle is the share of yes."""


@dataclass(frozen=True, kw_only=True)
class Relation:
    """One descriptor in one source: its middle by class, and how it orders the classes."""

    source: str
    descriptor: str
    n: int
    middles: dict[str, float]
    """By class the median, or the share of irregular shapes."""
    auc: Estimate
    """Of the value as a score for the second class; below 0.5 that class has the lower values."""


@dataclass(frozen=True, kw_only=True)
class _Described:
    sample: Sample
    label: int
    values: dict[str, float]


def descriptor_trial(manifest: Manifest, data: Path) -> tuple[Relation, ...]:
    """Return every descriptor's relation to the class, by source, over train and val.

    Raises:
        TrainingError: there are no outlines with a class, or a file cannot be read.
    """
    relations: list[Relation] = []
    for outliner, classifier in PAIRS:
        known = [manifest.specialists.get(name) for name in (outliner, classifier)]
        entries = [
            entry
            for entry in known
            if entry is not None and (data / "csv_files" / f"{entry.task_id}.csv").exists()
        ]
        if len(entries) < len(known):
            continue
        described = [
            found
            for sample in tqdm(read_samples(data, entries, None), desc=outliner)
            if (found := _described(sample, outliner, classifier)) is not None
        ]
        sources = sorted({name for item in described for name in origins_of(item.sample)})
        for source in sources:
            own = [item for item in described if source in origins_of(item.sample)]
            relations += _relations(source, own, entries[1].labels)
    if not relations:
        raise TrainingError(f"There are no outlines with a class in {data}.")
    return tuple(relations)


def descriptors_of(
    pixels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_]
) -> dict[str, float] | None:
    """Return the descriptors of the largest outline by name; None: there is no outline.

    The posterior echo ratio is missing where the field ends too early.
    """
    rings = largest_rings(mask)
    if rings is None:
        return None
    try:
        outline = outline_of(rings)
    except OutlineDegenerate:
        return None
    width, height = extent(rings)
    values = {
        IRREGULAR: float(outline.shape is Shape.IRREGULAR),
        "solidity": outline.solidity,
        "distance from the ellipse": outline.residual,
        "roughness": outline.roughness,
        "elongation": outline.elongation,
        "taller-than-wide ratio": height / width,
    }
    try:
        values["posterior echo ratio"] = posterior_echo(
            pixels, rings, scanned_outline(pixels)
        ).ratio
    except NotMeasurable:
        return values
    return values


def _described(sample: Sample, outliner: str, classifier: str) -> _Described | None:
    if outliner not in sample.masks or classifier not in sample.classes:
        return None
    pixels = read_grey(sample.path)
    values = descriptors_of(pixels, read_label_map(sample.masks[outliner], pixels.shape) == 1)
    if values is None:
        return None
    return _Described(sample=sample, label=sample.classes[classifier], values=values)


def _relations(
    source: str, described: Sequence[_Described], classes: Sequence[str]
) -> list[Relation]:
    found = []
    for name in {name: None for item in described for name in item.values}:
        own = [item for item in described if name in item.values]
        values = np.array([item.values[name] for item in own])
        truth = np.array([item.label for item in own])
        scores = np.stack([-values, values], axis=1)

        def statistic(
            rows: Rows,
            scores: npt.NDArray[np.float64] = scores,
            truth: npt.NDArray[np.int64] = truth,
        ) -> float:
            return auc(scores[rows], truth[rows])

        middle = np.mean if name == IRREGULAR else np.median
        found.append(
            Relation(
                source=source,
                descriptor=name,
                n=len(own),
                middles={
                    label: float(middle(values[truth == index]))
                    for index, label in enumerate(classes)
                    if (truth == index).any()
                },
                auc=estimate([item.sample.group for item in own], statistic),
            )
        )
    return found
