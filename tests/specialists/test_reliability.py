"""Calibration errors, label sets and operating points, on scores whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from specialists.decode import label_set
from specialists.training.reliability import (
    calibration_error,
    classifier_metrics,
    ideal_error,
    label_set_thresholds,
    presence_metrics,
)
from tests.specialists.nets import an_entry, threshold


def draws(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Logits of two classes, labels drawn from their own scores, and a group for every two."""
    rng = np.random.default_rng(seed)
    logits = np.stack([np.zeros(count), rng.normal(-0.5, 2, count)], axis=1)
    truth = (rng.random(count) < 1 / (1 + np.exp(-logits[:, 1]))).astype(np.int64)
    return logits, truth, [str(index // 2) for index in range(count)]


def test_the_error_of_true_scores_is_what_an_ideal_model_shows_and_that_of_others_is_not() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(200)
    right = rng.random(200) < scores
    middle, low, high = ideal_error(scores, draws=300)
    assert low <= calibration_error(scores, right) <= high
    assert low < middle < high
    assert calibration_error(scores, rng.random(200) < scores**3) > high
    assert calibration_error(np.full(10, 0.7), np.ones(10, bool)) == pytest.approx(0.3)


def test_label_sets_hold_nine_in_ten_of_each_class(tmp_path: Path) -> None:
    logits, truth, groups = draws(600)
    entry = an_entry("breast_2cls", tmp_path)
    found = {m.name: m for m in classifier_metrics(entry, logits, truth, groups)}
    for of in ("", " of benign", " of malignant"):
        held = found[f"label set coverage{of}, held-out groups"]
        assert (held.low or 0) <= 0.9 <= (held.high or 0)
    error = found["calibration error, held-out groups"]
    ideal = found["calibration error of an ideal model, simulated"]
    assert (ideal.low or 0) <= error.value <= (ideal.high or 0)


def test_a_class_is_in_the_label_set_from_its_own_score_on(tmp_path: Path) -> None:
    logits, truth, groups = draws(200)
    scores = np.stack([1 / (1 + np.exp(logits[:, 1])), 1 / (1 + np.exp(-logits[:, 1]))], axis=1)
    bare = an_entry("breast_2cls", tmp_path)
    limits = label_set_thresholds(bare, scores, truth, groups)
    assert set(limits) == {"label_set benign", "label_set malignant"}
    assert all("val images of" in limit.source for limit in limits.values())
    entry = bare.model_copy(update={"thresholds": limits})
    for index, name in enumerate(entry.labels):
        own = [dict(zip(entry.labels, row, strict=True)) for row in scores[truth == index]]
        share = np.mean([name in (label_set(entry, given) or ()) for given in own])
        assert 0.9 <= share <= 0.95
    both = bare.model_copy(
        update={"thresholds": {f"label_set {n}": threshold(0.3) for n in entry.labels}}
    )
    assert label_set(both, {"benign": 0.6, "malignant": 0.4}) == ("benign", "malignant")
    assert label_set(both, {"benign": 0.8, "malignant": 0.2}) == ("benign",)
    assert label_set(bare, {"benign": 0.8, "malignant": 0.2}) is None


def test_a_class_of_too_few_images_is_never_ruled_out_and_few_groups_give_no_sets(
    tmp_path: Path,
) -> None:
    entry = an_entry("breast_2cls", tmp_path)
    scores = np.tile([0.9, 0.1], (40, 1))
    truth = (np.arange(40) < 5).astype(np.int64)
    groups = [str(index) for index in range(40)]
    limits = label_set_thresholds(entry, scores, truth, groups)
    assert limits["label_set malignant"].value == 0.0
    assert "too few val images of malignant (5)" in limits["label_set malignant"].source
    few = [str(index % 7) for index in range(40)]
    assert label_set_thresholds(entry, scores, truth, few) == {}
    assert classifier_metrics(entry, np.log(scores), truth, few) == []


def test_the_operating_point_of_presence_is_that_of_held_out_groups() -> None:
    rng = np.random.default_rng(3)
    there = np.arange(400) % 4 > 0
    logits = rng.normal(np.where(there, 2.0, -2.0), 1.5)
    found = {m.name: m for m in presence_metrics(logits, there, [str(n) for n in range(400)])}
    sensitivity = found["presence sensitivity, held-out groups"]
    specificity = found["presence specificity, held-out groups"]
    assert (sensitivity.n, specificity.n) == (300, 100)
    assert (sensitivity.low or 0) <= 0.95 <= (sensitivity.high or 0)
    assert 0.5 < specificity.value < 1.0
    assert presence_metrics(logits, np.ones(400, bool), ["a"] * 400) == []
