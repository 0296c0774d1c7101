"""Calibration errors, label sets and operating points, on scores whose truth is known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from specialists.decode import label_set
from specialists.training.calibration.calibrate import calibrate_presence, fit_temperature
from specialists.training.calibration.error import calibration_error, score_bins
from specialists.training.calibration.reliability import (
    classifier_metrics,
    ideal_error,
    label_set_thresholds,
    presence_metrics,
)
from specialists.training.transfer.sources import Lot, Scored, joined
from tests.specialists.nets import an_entry, threshold


def scored(
    values: np.ndarray, truth: np.ndarray, groups: Sequence[str], sources: Sequence[str] = ()
) -> Scored:
    origins = tuple(frozenset([name]) for name in sources or [""] * len(groups))
    return Scored(values=values, truth=truth, lot=Lot(groups=tuple(groups), origins=origins))


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


def test_bins_hold_equally_many_of_the_sorted_scores() -> None:
    scores = np.random.default_rng(1).random(25)
    parts = score_bins(scores, bins=10)
    assert sorted(map(len, parts)) == [2] * 5 + [3] * 5
    assert np.concatenate(parts).tolist() == np.argsort(scores).tolist()
    assert len(score_bins(scores[:3], bins=10)) == 3


def test_label_sets_hold_nine_in_ten_of_each_class(tmp_path: Path) -> None:
    logits, truth, groups = draws(600)
    entry = an_entry("breast_2cls", tmp_path)
    found = {m.name: m for m in classifier_metrics(entry, scored(logits, truth, groups))}
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
    limits = label_set_thresholds(bare, scored(logits, truth, groups))
    assert set(limits) == {"label_set benign", "label_set malignant"}
    assert all("images of" in limit.source for limit in limits.values())
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
    logits = np.log(scores)
    limits = label_set_thresholds(entry, scored(logits, truth, groups))
    assert limits["label_set malignant"].value == 0.0
    assert "too few images of malignant (5)" in limits["label_set malignant"].source
    few = [str(index % 8) for index in range(40)]
    assert label_set_thresholds(entry, scored(logits, truth, few)) == {}
    assert classifier_metrics(entry, scored(logits, truth, few)) == []


def test_the_operating_point_of_presence_is_that_of_held_out_groups() -> None:
    rng = np.random.default_rng(3)
    there = np.arange(400) % 4 > 0
    logits = rng.normal(np.where(there, 2.0, -2.0), 1.5)
    known = scored(logits, there.astype(np.int64), [str(n) for n in range(400)])
    found = {m.name: m for m in presence_metrics(known)}
    sensitivity = found["presence sensitivity, held-out groups"]
    specificity = found["presence specificity, held-out groups"]
    assert (sensitivity.n, specificity.n) == (300, 100)
    assert (sensitivity.low or 0) <= 0.95 <= (sensitivity.high or 0)
    assert 0.5 < specificity.value < 1.0
    assert presence_metrics(scored(logits, np.ones(400, np.int64), known.lot.groups)) == []


def two_scanners(shift: float) -> tuple[Scored, np.ndarray]:
    """Return logits of 200 images of scanner `a` and 60 of `b`, and where `b` is.

    The class 1 logits of `b` are lower by `shift`.
    """
    rng = np.random.default_rng(5)
    logits, truth, groups = draws(260, seed=5)
    of_b = np.arange(260) >= 200
    truth = (rng.random(260) < 0.5).astype(np.int64)
    logits[:, 1] = np.where(truth == 1, 2.5, -2.5) + rng.normal(0, 1, 260)
    logits[of_b, 1] -= shift
    return scored(logits, truth, groups, ["ab"[int(b)] for b in of_b]), of_b


def test_the_worst_source_keeps_the_coverage_of_each_class(tmp_path: Path) -> None:
    both, of_b = two_scanners(shift=2.5)
    entry = an_entry("breast_2cls", tmp_path, temperature=1.0)
    limits = label_set_thresholds(entry, both)
    alone = scored(both.values, both.truth, both.lot.groups)
    pooled = label_set_thresholds(entry, alone)
    shown = 1 / (1 + np.exp(-both.values[:, 1]))
    lesions = of_b & (both.truth == 1)
    assert (shown[lesions] >= pooled["label_set malignant"].value).mean() < 0.8
    assert 0.9 <= (shown[lesions] >= limits["label_set malignant"].value).mean() <= 0.97
    assert "within each source, the lowest of a 0." in limits["label_set malignant"].source
    assert "(200 images)" not in limits["label_set malignant"].source  # of the class alone
    found = {m.name: m for m in classifier_metrics(entry, both)}
    worst = next(m for name, m in found.items() if "coverage of malignant in its worst" in name)
    assert worst.value >= 0.8
    assert worst.n < lesions.sum() + 1 or "(a)" in worst.name
    assert found["label sets with one class, held-out groups"].value >= 0.5


def test_sets_are_not_widened_until_most_of_them_say_nothing(tmp_path: Path) -> None:
    both, of_b = two_scanners(shift=9.0)  # the scores of `b` are those of chance
    entry = an_entry("breast_2cls", tmp_path, temperature=1.0)
    source = label_set_thresholds(entry, both)["label_set malignant"].source
    assert "of all sources together, since kept to the worst source only" in source
    assert "of each source it holds a 1.000 (103 images), b 0." in source


def test_a_source_of_too_few_patients_is_named_and_has_no_say(tmp_path: Path) -> None:
    both, of_b = two_scanners(shift=2.5)
    few = np.flatnonzero(of_b)[:12]  # six patients
    kept = both.take(np.concatenate([np.flatnonzero(~of_b), few]))
    entry = an_entry("breast_2cls", tmp_path, temperature=1.0)
    source = label_set_thresholds(entry, kept)["label_set malignant"].source
    assert "too few groups for a 90 % quantile of their own, 9 are needed: b (" in source


def test_scores_of_a_source_left_out_widen_the_sets_and_are_not_judged(tmp_path: Path) -> None:
    both, of_b = two_scanners(shift=2.5)
    known, unseen = both.take(np.flatnonzero(~of_b)), both.take(np.flatnonzero(of_b))
    entry = an_entry("breast_2cls", tmp_path, temperature=1.0)
    of_known = label_set_thresholds(entry, known)["label_set malignant"]
    of_both = label_set_thresholds(entry, joined([known, unseen]))["label_set malignant"]
    assert of_both.value < of_known.value
    found = {m.name: m for m in classifier_metrics(entry, known, joined([known, unseen]))}
    plain = {m.name: m for m in classifier_metrics(entry, known)}
    name = "label set coverage of malignant, held-out groups"
    assert found[name].n == plain[name].n
    assert found[name].value >= plain[name].value


def test_every_source_keeps_the_sensitivity_of_presence() -> None:
    rng = np.random.default_rng(4)
    there, of_b = np.arange(400) % 4 > 0, np.arange(400) >= 300
    logits = rng.normal(np.where(there, 3.0, -3.0), 1.0) - np.where(of_b, 1.5, 0.0)
    lot = scored(
        logits, there.astype(np.int64), [str(n) for n in range(400)], ["ab"[int(b)] for b in of_b]
    ).lot
    found = calibrate_presence("lesion", logits, there, lot)
    scores = 1 / (1 + np.exp(-logits / (found.temperature or 1)))
    shown = scores >= found.thresholds["presence"].value
    assert 0.95 <= shown[there & of_b].mean() <= 0.98
    assert shown[there & ~of_b].mean() > 0.98
    assert "so does every source, sensitivity a" in found.thresholds["presence"].source
    pooled = calibrate_presence("lesion", logits, there)
    assert (scores >= pooled.thresholds["presence"].value)[there & of_b].mean() < 0.95


def test_a_temperature_counts_each_source_the_same() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, (4000, 3))
    shares = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=p) for p in shares])
    of_b = np.arange(4000) >= 3600  # a tenth, whose scores are three times too sure
    logits = true * np.where(of_b, 3.0, 1.0)[:, None]
    names = [str(n) for n in range(4000)]
    lot = scored(logits, labels, names, ["ab"[int(b)] for b in of_b]).lot
    few, even = fit_temperature(logits, labels), fit_temperature(logits, labels, lot)
    assert few < even - 0.2
    swapped = np.concatenate([np.flatnonzero(of_b), np.flatnonzero(~of_b)[:400]])
    balanced = fit_temperature(logits[swapped], labels[swapped])
    assert even == pytest.approx(balanced, abs=0.15)
