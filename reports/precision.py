"""Numbers as text: no digit beyond what their interval bears, and a true minus sign.

The house's rule of rounding is the Particle Data Group's (Review of Particle Physics, section 5.3
of its introduction): the half-width of the interval says where the number ends.
"""

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from reports.measure.gestation import weeks_and_days
from reports.measure.numbers import DEGREES, UNITLESS

MINUS = "\u2212"
"""The true minus sign; a hyphen is none."""

FINEST: Mapping[str, int] = {"px": 0, "px²": 0, UNITLESS: 2}
"""Decimals that a unit has at most, and where there is no interval."""

FINEST_ELSE = 1
"""Decimals of every other unit."""

TWO_DIGITS_UP_TO = 355
"""Leading digits of a half-width from 100: below this, two of its digits count, above it one.

The Particle Data Group's rule; from 950 on the half-width is 1000, of which two digits count.
"""

ROUNDED_UP_FROM = 950

PRINTED: Mapping[str, str] = {DEGREES: "°", "%": " %", UNITLESS: ""}
"""Units printed differently from their code, with the space before them where they have one."""

WEEKS = "wk"


def decimals(interval: tuple[float, float] | None, unit: str | None) -> int:
    """Return how many decimals a number has; below zero, tens or hundreds are its last digit.

    Without an interval, or with one of no width, they are those of the unit.
    """
    finest = FINEST.get(unit or UNITLESS, FINEST_ELSE)
    if interval is None or not interval[1] > interval[0]:
        return finest
    half = (interval[1] - interval[0]) / 2
    exponent = math.floor(math.log10(half))
    leading = half / 10.0 ** (exponent - 2)  # from 100 to 999
    if leading >= ROUNDED_UP_FROM:
        exponent, leading = exponent + 1, 100.0
    digits = 2 if leading < TWO_DIGITS_UP_TO else 1
    return min(finest, digits - 1 - exponent)


def rounded(value: float, places: int) -> str:
    """Return a number with so many decimals, rounded half to even, with a true minus sign."""
    exact = Decimal(repr(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    text = f"{abs(exact):f}"
    return MINUS + text if exact < 0 else text


def value_text(value: float, unit: str | None, interval: tuple[float, float] | None = None) -> str:
    """Return a number and its unit, as precise as its interval allows; an age as weeks and days."""
    if unit == WEEKS:
        return weeks_and_days(value)
    return rounded(value, decimals(interval, unit)) + unit_text(unit)


def interval_text(interval: tuple[float, float], unit: str | None) -> str:
    """Return an interval as "171 to 180 mm", as precise as its width; ages as weeks and days."""
    low, high = interval
    if unit == WEEKS:
        return f"{weeks_and_days(low)} to {weeks_and_days(high)}"
    places = decimals(interval, unit)
    return f"{rounded(low, places)} to {rounded(high, places)}{unit_text(unit)}"


def unit_text(unit: str | None) -> str:
    """Return a unit as it follows a number, with its space; empty where there is none."""
    if unit is None:
        return ""
    return PRINTED.get(unit, f" {unit}")
