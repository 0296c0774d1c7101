"""Intervals of measurements: what calibration found of a formula's error, and what follows for one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

LEVEL = 0.9
"""The share of cases that an interval or a label set is calibrated to hold (DESIGN section 2)."""

NO_INTERVAL = "No interval is given:"
"""What the sentence begins with that says why a measurement has none."""

NOT_CALIBRATED = "it is not calibrated yet"
LARGEST_ONLY = "only that of the largest outlined region was calibrated"


class Form(StrEnum):
    """How an interval's ends follow from a value: as shares of it, or by adding to it."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What is added to a value, or to one of it, for the ends of its interval; `low` ≤ 0 ≤ `high`."""

    form: Form
    low: float
    high: float
    coverage: float = LEVEL
    elsewhere: float | None = None
    """The share of references that it held on images of a source left out of training, the lowest of all such."""

    def around(self, value: float, least: float | None = 0.0) -> tuple[float, float]:
        """The ends for that value, in its unit; none below `least`, which no such quantity goes below."""
        if self.form is Form.RELATIVE:
            low, high = value * (1 + self.low), value * (1 + self.high)
        else:
            low, high = value + self.low, value + self.high
        return (low, high) if least is None else (max(low, least), max(high, least))


@dataclass(frozen=True, kw_only=True)
class NoInterval:
    """Why a measurement has no interval, a clause."""

    reason: str


Calibrated = Interval | NoInterval
Intervals = Mapping[str, Calibrated]
"""By the measurement's name; what is not in it is not calibrated."""


def caveat(reason: str | None) -> str | None:
    """What a measurement's reason says of its value, without why it has no interval; None where nothing."""
    return (reason or "").partition(NO_INTERVAL)[0].strip() or None


def why_no_interval(reason: str | None) -> str | None:
    """The clause that says why a measurement has no interval; None where its reason says nothing of it."""
    return (reason or "").partition(NO_INTERVAL)[2].strip().rstrip(".") or None
