"""The ranges of people's outlines by structure, and how many true outlines ours flag."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reports.errors import OutlineDegenerate
from reports.measure.outlines.plausibility import Features, features_of, implausible
from reports.measure.outlines.ranges import EXPECTED
from reports.measure.scan_area import scanned_outline
from specialists.errors import TrainingError
from specialists.image import image_of
from specialists.manifest import Kind, Manifest, SpecialistEntry
from specialists.training.data.masks import mask_rings, read_label_map
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import Sample, read_samples

TAILS = (0.5, 99.5)
"""Percentiles of the train labels that a range begins from."""

MARGIN = 0.25
"""By how much a range is widened on each side, as a share of the distance to the median."""


RATIOS = ("share", "diameter_mm", "elongation")
"""Features that are widened in their logarithm: they cannot fall to zero."""


@dataclass(frozen=True, kw_only=True)
class Outlined:
    """One structure of one image: its features, and the kinds of faults found with it."""

    image: str
    dataset: str
    split: str
    features: Features
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A structure's ranges on the train labels, and what the shipped ranges flag."""

    label: str
    spans: dict[str, tuple[float, float]]
    """By feature, the range that the train labels give."""
    outlines: dict[str, int]
    """By split, how many outlines there are."""
    flagged: dict[str, int]
    """By split, how many of them are flagged."""
    faults: dict[str, int]
    """By fault, how many outlines of any split it flags."""


def plausibility_trial(manifest: Manifest, data: Path) -> tuple[Fitted, ...]:
    """Return the ranges and the flagged shares of every structure that the data has masks of.

    Raises:
        TrainingError: there are no masks of any, or a file cannot be read.
    """
    entries = [
        entry
        for entry in manifest.specialists.values()
        if entry.kind is Kind.SEGMENT
        and set(entry.labels) & set(EXPECTED)
        and (data / "csv_files" / f"{entry.task_id}.csv").exists()
    ]
    if not entries:
        raise TrainingError(f"There are no masks of a known structure in {data}.")
    found: dict[str, list[Outlined]] = {}
    for entry in entries:
        for sample in tqdm(read_samples(data, [entry], None), desc=entry.id):
            for label, outlined in outlines_of(entry, sample).items():
                found.setdefault(label, []).append(outlined)
    return tuple(_fitted(label, rows) for label, rows in found.items())


def outlines_of(entry: SpecialistEntry, sample: Sample) -> dict[str, Outlined]:
    """Return the structures of a label map that are there, by label.

    Raises:
        TrainingError: the image or its mask cannot be read.
    """
    pixels = read_grey(sample.path)
    labels = read_label_map(sample.masks[entry.id], pixels.shape)
    info, scanned = image_of(pixels, sample.aspect).info, scanned_outline(pixels)
    found = {}
    for index, label in enumerate(entry.labels):
        parts = mask_rings(labels == index) if index and label in EXPECTED else []
        if not parts:
            continue
        try:
            features = features_of(parts, info, scanned)
        except OutlineDegenerate:
            continue
        reasons = implausible(label, parts, info, scanned)
        found[label] = Outlined(
            image=sample.path.name,
            dataset=sample.dataset,
            split=sample.split,
            features=features,
            faults=tuple(reason.fault.value for reason in reasons),
        )
    return found


def widened(values: Sequence[float], *, of_ratio: bool = False) -> tuple[float, float]:
    """Return the range of values: its tails, widened by the margin; a ratio in its logarithm."""
    known = np.log(values) if of_ratio else np.asarray(values, np.float64)
    low, middle, high = np.percentile(known, [TAILS[0], 50, TAILS[1]])
    ends = np.array([low - MARGIN * (middle - low), high + MARGIN * (high - middle)])
    first, last = np.exp(ends) if of_ratio else ends
    return float(first), float(last)


def _fitted(label: str, rows: list[Outlined]) -> Fitted:
    train = [row.features for row in rows if row.split == "train"] or [r.features for r in rows]
    spans = {}
    for field in fields(Features):
        values = [v for one in train if (v := getattr(one, field.name)) is not None]
        if values:
            spans[field.name] = widened(values, of_ratio=field.name in RATIOS)
    splits = sorted({row.split for row in rows})
    named = sorted({fault for row in rows for fault in row.faults})
    return Fitted(
        label=label,
        spans=spans,
        outlines={split: sum(row.split == split for row in rows) for split in splits},
        flagged={
            split: sum(row.split == split and bool(row.faults) for row in rows) for split in splits
        },
        faults={fault: sum(fault in row.faults for row in rows) for fault in named},
    )
