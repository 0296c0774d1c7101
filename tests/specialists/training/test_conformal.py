"""Quantiles, folds of whole groups and coverage, on residuals whose distribution is known."""

import numpy as np
import pytest

from specialists.training.calibration.conformal import (
    Array,
    Rows,
    biased,
    coverage,
    cross_fitted,
    ends,
    folds_of,
    quantile,
    share_of,
)

REPETITIONS = 60


def test_the_quantile_is_the_finite_sample_one() -> None:
    assert quantile(np.arange(1.0, 10.0)) == 9.0  # ceil(10 · 0.9) = 9 of 9
    assert quantile(np.arange(1.0, 101.0)) == 91.0  # ceil(101 · 0.9) = 91 of 100
    assert quantile(np.arange(1.0, 9.0)) == float("inf")  # ceil(9 · 0.9) = 9 of 8


def test_folds_never_split_a_group_and_are_about_as_large() -> None:
    rng = np.random.default_rng(0)
    groups = [f"g{index}" for index in rng.integers(0, 23, 200)]
    folds = folds_of(groups)
    assert all(
        len({f for f, g in zip(folds, groups, strict=True) if g == name}) == 1 for name in groups
    )
    assert np.ptp(np.bincount(folds)) <= 12
    assert list(folds) == list(folds_of(groups))


def test_what_is_held_out_is_fitted_to_other_groups_only_and_comes_back_in_order() -> None:
    groups = [f"g{index % 9}" for index in range(40)]
    values: Array = np.arange(40.0)

    def held_out(others: Rows, rows: Rows) -> Array:
        assert not {groups[row] for row in others} & {groups[row] for row in rows}
        found: Array = values[rows]
        return found

    assert list(cross_fitted(groups, held_out)) == list(values)


@pytest.mark.parametrize("spread", [0.0, 0.7], ids=["own groups", "groups alike"])
def test_held_out_coverage_is_ninety_percent_within_its_interval(spread: float) -> None:
    rng = np.random.default_rng(1)
    holds, shares, fresh = 0, [], []
    for _ in range(REPETITIONS):
        group = rng.integers(0, 40, 100)
        errors = rng.normal(0, spread, 40)[group] + rng.standard_t(4, 100)
        found = coverage(errors, [str(index) for index in group])
        holds += found.low <= 0.9 <= found.high
        shares.append(found.value)
        low, high = ends(errors, [str(index) for index in group])
        others = rng.normal(0, spread, 500) + rng.standard_t(4, 500)
        fresh.append(((low <= others) & (others <= high)).mean())
    assert holds >= 0.9 * REPETITIONS
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)
    assert np.mean(fresh) == pytest.approx(0.9, abs=0.02)  # of groups never seen


def test_a_clear_bias_gives_each_tail_its_own_quantile_and_the_value_stays_inside() -> None:
    rng = np.random.default_rng(2)
    groups = [str(index) for index in range(200)]
    even, shifted = rng.normal(0, 1, 200), rng.normal(3, 1, 200)
    assert not biased(even, groups)
    low, high = ends(even, groups)
    assert low == -high
    assert biased(shifted, groups)
    low, high = ends(shifted, groups)
    assert low == 0.0
    assert high == pytest.approx(3 + 1.64, abs=0.4)


def test_the_interval_of_a_share_is_wider_where_the_rows_of_a_group_are_alike() -> None:
    hits = np.arange(100) % 10 > 0
    alone = share_of(hits, [str(index) for index in range(100)])
    alike = share_of(np.sort(hits), [str(index // 10) for index in range(100)])
    assert alone.value == alike.value == pytest.approx(0.9)
    assert (alone.low, alone.high) == pytest.approx((0.824, 0.951), abs=0.005)  # Clopper, Pearson
    assert alike.low < alone.low
    assert alike.high > alone.high


def test_a_share_of_all_is_as_sure_as_its_groups_are_many() -> None:
    few = share_of(np.ones(90, bool), [str(index % 9) for index in range(90)])
    assert few.high == 1.0
    assert few.low == pytest.approx(0.664, abs=0.005)  # Clopper, Pearson: 9 of 9
