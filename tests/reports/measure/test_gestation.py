"""Ages in weeks and days, their intervals, and centiles as the sources print them."""

import math

import pytest
from scipy.special import ndtri

from reports.errors import NotMeasurable
from reports.measure.gestation import (
    HADLOCK_2SD_WEEKS,
    age_interval,
    exact_weeks,
    hadlock_2sd_weeks,
    head_percentile,
    head_standard_mm,
    weeks_and_days,
)

CENTILES = (3, 10, 50, 90)
PUBLISHED_MM = {
    20: (158.5, 163.0, 172.5, 182.0),
    30: (261.0, 266.5, 278.4, 290.2),
    38: (306.1, 313.1, 328.1, 343.0),
    40: (309.6, 317.4, 333.9, 350.5),
}
"""Centiles of the head circumference by completed weeks, from the tables of INTERGROWTH-21st."""


@pytest.mark.parametrize(
    ("weeks", "text"),
    [
        (19 + 6 / 7, "19w6d"),
        (20.0, "20w0d"),
        (19.99, "20w0d"),
        (14.07, "14w0d"),
        (14.08, "14w1d"),
        (39.9, "39w6d"),
    ],
)
def test_an_age_is_rounded_to_the_nearest_day(weeks: float, text: str) -> None:
    assert weeks_and_days(weeks) == text


def test_weeks_and_days_become_exact_weeks() -> None:
    assert exact_weeks(19, 6) == pytest.approx(19.857, abs=1e-3)
    assert weeks_and_days(exact_weeks(33, 4)) == "33w4d"


@pytest.mark.parametrize(
    ("weeks", "spread"),
    [(12, 1.19), (17.9, 1.19), (18, 1.48), (24, 2.06), (35, 2.98), (36, 2.70), (42, 2.70)],
)
def test_the_published_spread_follows_the_band_of_the_age(weeks: float, spread: float) -> None:
    assert hadlock_2sd_weeks(weeks) == spread


def test_the_bands_of_the_spread_leave_no_gap() -> None:
    for (_, end, _), (start, _, _) in zip(HADLOCK_2SD_WEEKS, HADLOCK_2SD_WEEKS[1:], strict=False):
        assert end == start


@pytest.mark.parametrize("weeks", [11.9, 42.1])
def test_no_spread_is_made_up_outside_the_bands(weeks: float) -> None:
    with pytest.raises(NotMeasurable, match="12 to 42"):
        hadlock_2sd_weeks(weeks)


def test_without_a_measuring_error_the_interval_is_the_published_spread_at_its_level() -> None:
    low, high = age_interval(20.0, (20.0, 20.0))
    half = 0.74 * float(ndtri(0.95))
    assert low == pytest.approx(20 - half)
    assert high == pytest.approx(20 + half)
    wide = age_interval(20.0, (20.0, 20.0), level=0.9545)
    assert wide[1] - 20 == pytest.approx(1.48, abs=1e-3)


def test_both_errors_are_added_in_quadrature_on_each_side() -> None:
    spread = 1.03 * float(ndtri(0.95))
    low, high = age_interval(26.0, (25.0, 28.0))
    assert 26 - low == pytest.approx(math.hypot(1.0, spread))
    assert high - 26 == pytest.approx(math.hypot(2.0, spread))
    assert low < 25
    assert high > 28


@pytest.mark.parametrize("weeks", sorted(PUBLISHED_MM))
def test_percentiles_are_those_of_the_published_tables(weeks: int) -> None:
    for centile, hc_mm in zip(CENTILES, PUBLISHED_MM[weeks], strict=True):
        assert head_percentile(hc_mm, weeks) == pytest.approx(centile, abs=0.35)
        mean, deviation = head_standard_mm(weeks)
        assert mean + deviation * float(ndtri(centile / 100)) == pytest.approx(hc_mm, abs=0.11)


def test_the_percentile_follows_days_too() -> None:
    assert head_percentile(172.5, exact_weeks(20, 3)) < head_percentile(172.5, 20) - 5


@pytest.mark.parametrize("weeks", [13.99, 40.01])
def test_outside_the_standard_there_is_no_percentile(weeks: float) -> None:
    with pytest.raises(NotMeasurable, match="14 to 40 weeks"):
        head_percentile(200, weeks)
