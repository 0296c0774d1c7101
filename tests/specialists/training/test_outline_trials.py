"""Descriptors and plausible ranges, fitted on people's outlines."""

import math
from pathlib import Path

import numpy as np
import pytest

from reports.measure.outlines.ranges import EXPECTED
from specialists.errors import TrainingError
from specialists.manifest import Kind, Manifest, read_manifest
from specialists.training.data.tables import read_samples
from specialists.training.trials.descriptors import (
    IRREGULAR,
    descriptor_trial,
    descriptors_of,
)
from specialists.training.trials.plausibility import outlines_of, plausibility_trial, widened
from tests.shared_data import SHARED, needs_data

MOST_FLAGGED = 0.02
"""The share of people's own outlines of val that may be called implausible."""

QUICK = ("fetal_head", "thyroid_nodule", "ovary_tumor")


def flagged(ids: tuple[str, ...]) -> list[bool]:
    """Whether each outline of val was flagged, over the specialists' tasks."""
    found = []
    for entry in (read_manifest().specialist(name) for name in ids):
        for sample in read_samples(SHARED, [entry], "val"):
            found += [bool(one.faults) for one in outlines_of(entry, sample).values()]
    return found


def test_every_descriptor_is_related_to_the_class_within_each_source(
    tiny: Manifest, data: Path
) -> None:
    found = {(r.source, r.descriptor): r for r in descriptor_trial(tiny, data)}
    assert {source for source, _ in found} == {"Two/drawn"}
    shape = found["Two/drawn", IRREGULAR]
    assert shape.n == 8
    assert set(shape.middles) == {"benign", "malignant"}
    assert shape.auc.low is None  # too few groups
    assert (
        found["Two/drawn", "solidity"].auc.value < 0.5 < found["Two/drawn", "roughness"].auc.value
    )


def test_an_empty_mask_has_no_descriptors_and_a_field_that_ends_no_echo_ratio() -> None:
    pixels = np.full((100, 120), 90, np.uint8)
    assert descriptors_of(pixels, np.zeros((100, 120), np.bool_)) is None
    low = np.zeros((100, 120), np.bool_)
    low[60:96, 40:80] = True
    assert "posterior echo ratio" not in (descriptors_of(pixels, low) or {})
    high = np.zeros((100, 120), np.bool_)
    high[10:40, 40:80] = True
    assert (descriptors_of(pixels, high) or {})["posterior echo ratio"] == pytest.approx(1)


def test_ranges_are_fitted_to_train_and_flags_counted_by_split(tiny: Manifest, data: Path) -> None:
    found = {row.label: row for row in plausibility_trial(tiny, data)}
    assert set(found) == {"lesion", "pubic symphysis", "fetal head"}
    assert found["lesion"].outlines == {"train": 6, "val": 2}
    low, high = found["fetal head"].spans["solidity"]
    assert 0.9 < low < high < 1.01
    assert set(found["lesion"].flagged) == {"train", "val"}


def test_without_masks_or_classes_the_trials_say_so(tiny: Manifest, tmp_path: Path) -> None:
    for trial in (descriptor_trial, plausibility_trial):
        with pytest.raises(TrainingError, match="There are no"):
            trial(tiny, tmp_path)


def test_a_range_is_widened_by_a_quarter_of_the_way_to_the_median() -> None:
    values = np.linspace(0, 100, 201).tolist()
    assert list(widened(values)) == pytest.approx([0.5 - 12.375, 99.5 + 12.375])
    low, high = widened([math.exp(value / 100) for value in values], of_ratio=True)
    assert [math.log(low), math.log(high)] == pytest.approx([-0.11875, 1.11875])


@needs_data
def test_true_outlines_of_val_are_hardly_ever_flagged() -> None:
    found = flagged(QUICK)
    assert len(found) > 250
    assert np.mean(found) <= MOST_FLAGGED


@needs_data
@pytest.mark.soak
def test_true_outlines_of_val_of_every_structure_are_hardly_ever_flagged() -> None:
    names = tuple(
        entry.id
        for entry in read_manifest().specialists.values()
        if entry.kind is Kind.SEGMENT and set(entry.labels) & set(EXPECTED)
    )
    assert np.mean(flagged(names)) <= MOST_FLAGGED
