"""Gestational age in weeks and days, how far it may be wrong, and the centile of a head."""

import math

from scipy.special import ndtr, ndtri

from reports.errors import NotMeasurable
from reports.measure.intervals import LEVEL

DAYS = 7
"""Days of a week."""

HADLOCK_2SD_WEEKS = (
    (12.0, 18.0, 1.19),
    (18.0, 24.0, 1.48),
    (24.0, 30.0, 2.06),
    (30.0, 36.0, 2.98),
    (36.0, 42.0, 2.70),
)
"""From, to (weeks), and 2 standard deviations of an age from the head circumference alone.

Hadlock 1984, Radiology 152:497, variability of the estimate by band of age; read second-hand
(`docs/formulas.md`).
"""

PERCENTILE_WEEKS = (14.0, 40.0)
"""The ages, in weeks, of the standard for head circumferences."""


def weeks_and_days(weeks: float) -> str:
    """Return an age as completed weeks and days, to the nearest day: 19.86 is "19w6d"."""
    days = round(weeks * DAYS)
    return f"{days // DAYS}w{days % DAYS}d"


def exact_weeks(weeks: int, days: int) -> float:
    """Return completed weeks and days as weeks with their fraction."""
    return weeks + days / DAYS


def weeks_of(age: str) -> float:
    """Return an age as `weeks_and_days` writes it, such as "19w6d", in weeks with their fraction.

    Raises:
        ValueError: it is written otherwise.
    """
    weeks, _, days = age.removesuffix("d").partition("w")
    return exact_weeks(int(weeks), int(days))


def hadlock_2sd_weeks(weeks: float) -> float:
    """Return 2 standard deviations, in weeks, of an age that follows from the head circumference.

    An age on the border of two bands has the later band's.

    Raises:
        NotMeasurable: the age lies outside the bands.
    """
    for start, end, spread in reversed(HADLOCK_2SD_WEEKS):
        if start <= weeks <= end:
            return spread
    first, last = HADLOCK_2SD_WEEKS[0][0], HADLOCK_2SD_WEEKS[-1][1]
    raise NotMeasurable(
        f"The spread of an age of {weeks:.1f} weeks is not published; "
        f"it is for {first:.0f} to {last:.0f} weeks."
    )


def age_interval(
    weeks: float, measured: tuple[float, float], level: float = LEVEL
) -> tuple[float, float]:
    """Return the interval of an age, in weeks, with the measuring error and the biological spread.

    A head of one circumference belongs to fetuses of several ages: Hadlock states that spread as 2
    standard deviations. Half of it times the normal quantile of `level` is its half-width at that
    level. The two errors are taken to be independent, so that on each side the half-widths are
    added in quadrature: `docs/decisions/0020-age-interval.md`.

    Args:
        weeks: the age that follows from the circumference.
        measured: the interval, at `level`, of the age that follows from the circumference's own
            interval, in weeks.
        level: the share of cases that the interval is to hold.

    Raises:
        NotMeasurable: no spread is published for the age.
    """
    spread = hadlock_2sd_weeks(weeks) / 2 * float(ndtri((1 + level) / 2))
    low, high = measured
    return (
        weeks - math.hypot(max(weeks - low, 0.0), spread),
        weeks + math.hypot(max(high - weeks, 0.0), spread),
    )


def head_percentile(hc_mm: float, weeks: float) -> float:
    """Return the percentile, 0 to 100, of a head circumference at an age in exact weeks.

    INTERGROWTH-21st (Papageorghiou 2014, Lancet 384:869): at each age the circumferences are
    normal. The published tables give the centiles at completed weeks, 30.0 at "30".

    Raises:
        NotMeasurable: the age lies outside the standard's weeks.
    """
    low, high = PERCENTILE_WEEKS
    if not low <= weeks <= high:
        raise NotMeasurable(
            f"A gestational age of {weeks_and_days(weeks)} lies outside the {low:.0f} to "
            f"{high:.0f} weeks of the INTERGROWTH-21st standard."
        )
    return head_rank(hc_mm, weeks)


def head_rank(hc_mm: float, weeks: float) -> float:
    """Return what `head_percentile` does, at any age: the formula alone."""
    mean, deviation = head_standard_mm(weeks)
    return 100 * float(ndtr((hc_mm - mean) / deviation))


def head_standard_mm(weeks: float) -> tuple[float, float]:
    """Return mean and standard deviation, in mm, of head circumferences at an age in weeks.

    INTERGROWTH-21st (Papageorghiou 2014, Lancet 384:869), with g in weeks:
    mean = -28.2849 + 1.69267·g² - 0.397485·g²·ln g,
    SD = 1.98735 + 0.0136772·g³ - 0.00726264·g³·ln g + 0.000976253·g³·ln² g.
    """
    log = math.log(weeks)
    mean = -28.2849 + 1.69267 * weeks**2 - 0.397485 * weeks**2 * log
    deviation = 1.98735 + weeks**3 * (0.0136772 - 0.00726264 * log + 0.000976253 * log**2)
    return mean, deviation
