"""Intervals of measurements: the calibrated error of a formula, and the interval of one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LEVEL = 0.9
"""The share of cases that an interval or a label set is calibrated to hold."""

NO_INTERVAL = "No interval is given:"
"""How the sentence begins that says why a measurement has no interval."""

NOT_CALIBRATED = "it is not calibrated yet"
LARGEST_ONLY = "only that of the largest outlined region was calibrated"


ScaleError = tuple[float, float]
"""The least and the greatest that a true length may be, as multiples of the measured one."""

EXACT: ScaleError = (1.0, 1.0)
"""The error of a scale that the source states."""

POWERS = {"mm": 1, "mm²": 2}
"""How often the scale is a factor of a number, by the number's unit."""


class Form(StrEnum):
    """How an interval's ends follow from a value: as shares of it, or by adding to it."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """How far an interval's ends are from a value, by its form; `low` ≤ 0 ≤ `high`.

    `scale_error` is that of the millimetres: the ends of a length are multiplied by it, those of
    an area by its square.
    """

    form: Form
    low: float
    high: float
    coverage: float = LEVEL
    elsewhere: float | None = None
    """The share of references that it held on images of a source left out of training.

    The lowest, if several sources were left out in turn.
    """
    scale_error: ScaleError = EXACT

    def around(
        self, value: float, least: float | None = 0.0, unit: str | None = None
    ) -> tuple[float, float]:
        """Return the ends of the value's interval, in its unit, none of them below `least`.

        `least` is the lowest value that the quantity can have; None: there is none.
        """
        if self.form is Form.RELATIVE:
            low, high = value * (1 + self.low), value * (1 + self.high)
        else:
            low, high = value + self.low, value + self.high
        power = POWERS.get(unit or "", 0)
        low, high = low * self.scale_error[0] ** power, high * self.scale_error[1] ** power
        return (low, high) if least is None else (max(low, least), max(high, least))


@dataclass(frozen=True, kw_only=True)
class NoInterval:
    """Why a measurement has no interval, as a clause."""

    reason: str


Calibrated = Interval | NoInterval
Intervals = Mapping[str, Calibrated]
"""Calibrations by measurement name; a name that is missing is not calibrated."""


def too_wide(value: float, ends: tuple[float, float], coverage: float) -> str | None:
    """Return, as a clause, that an interval is wider than its value; None where it is not.

    It is asked of quantities that are zero where there is nothing, such as a length or an area: of
    a slope or a station, zero is a value like any other.
    """
    if ends[1] - ends[0] <= value:
        return None
    return f"the {100 * coverage:.0f} % interval is wider than the value"


def caveat(reason: str | None) -> str | None:
    """Return what a measurement's reason says of its value; None: it says nothing of it.

    The sentence that says why there is no interval is left out.
    """
    return (reason or "").partition(NO_INTERVAL)[0].strip() or None


def why_no_interval(reason: str | None) -> str | None:
    """Return the clause that says why a measurement has no interval; None: there is none."""
    return (reason or "").partition(NO_INTERVAL)[2].strip().rstrip(".") or None
