"""A number in words: its value and interval, why there is none, and whether to rely on it."""

from dataclasses import dataclass

from reports.measure.fascicle import FASCICLE_LENGTH
from reports.measure.head import (
    BPD,
    CEPHALIC_INDEX,
    CEPHALIC_INDEX_RANGE,
    GESTATIONAL_AGE,
    HC_PERCENTILE,
    PERCENTILE,
)
from reports.measure.heart import LONG_AXIS as VENTRICLE_AXIS
from reports.measure.muscle import PENNATION_ANGLE
from reports.measure.numbers import NOT_AVAILABLE, RATIO, SQUARE_ASSUMED, UNITLESS
from reports.measure.progression import AOP, HSD, STATION
from reports.model import Measurement
from reports.precision import MINUS, decimals, interval_text, rounded, value_text
from reports.wording.phrases import clause

AREA_PX = "px²"

CONTEXT = {
    AOP: (
        "For context: an angle of 116° corresponds to head station 0 (Tutschek 2011, BJOG 118:62; "
        "ISUOG guideline 2018, Ultrasound Obstet Gynecol 52:128)."
    ),
    STATION: (
        "It follows from the angle of progression alone: 0 at the ischial spines, positive below "
        "them (Tutschek 2011, BJOG 118:62)."
    ),
    HSD: "Along the infrapubic line (Youssef 2013, Ultrasound Obstet Gynecol 41:419).",
    BPD: "Outer to outer; many charts are made for outer to inner.",
    CEPHALIC_INDEX: (
        f"Normal range {CEPHALIC_INDEX_RANGE[0]:.0f} to {CEPHALIC_INDEX_RANGE[1]:.0f} % "
        "(Hadlock 1981, AJR 137:83)."
    ),
    GESTATIONAL_AGE: "From the head circumference alone (Hadlock 1984, Radiology 152:497).",
    HC_PERCENTILE: (
        "By the INTERGROWTH-21st standard for the age as sent (Papageorghiou 2014, Lancet 384:869)."
    ),
    FASCICLE_LENGTH: (
        "Extrapolated along a straight line to both aponeuroses (Blazevich 2006, J Anat 209:289)."
    ),
    PENNATION_ANGLE: "Between the fascicles and the deep aponeurosis.",
    VENTRICLE_AXIS: (
        "From the middle of the mitral plane to the apex (Lang 2015, J Am Soc Echocardiogr 28:1)."
    ),
}
"""What a reader must know to interpret a number, printed beside it, with its source.

What the number means for this patient is not said.
"""


OF_INTERVAL = {
    GESTATIONAL_AGE: "Its interval holds the measuring error and how fetuses of one age differ."
}
"""What the interval of a number holds beside the error of measuring."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measurement in words; `text` is None where it was not measured, and `why` says why."""

    name: str
    text: str | None
    """The value with its unit."""
    bare: str | None
    """The value without its unit."""
    unit: str | None
    interval: str | None
    """Such as "90 % interval 11.8 to 12.9 mm"."""
    why: str | None
    unavailable: bool
    """Whether no such image could show it, as an age without millimetres."""
    unreliable: str | None

    @property
    def measured(self) -> bool:
        """Whether there is a value."""
        return self.text is not None

    @property
    def for_impression(self) -> bool:
        """Whether an impression may name the value: an area in pixels says nothing to a reader."""
        return self.measured and self.unit != AREA_PX

    @property
    def short(self) -> str:
        """The value, with the word "unreliable" where it is."""
        return f"{self.text}, unreliable" if self.unreliable else str(self.text)

    @property
    def full(self) -> str:
        """The value with its interval, and the word "unreliable" where it is."""
        interval = f" ({self.interval})" if self.interval else ""
        return f"{self.text}{interval}{', unreliable' if self.unreliable else ''}"

    @property
    def gap(self) -> str:
        """Why there is no value, to follow a name."""
        if self.unavailable:
            return f"not available from this image: {self.why}"
        return f"not assessed, because {self.why}"


def figure(measurement: Measurement) -> Figure:
    """Return a measurement in words.

    Raises:
        ReasonMissing: it was not measured, and no reason is given.
    """
    value, unit, interval = measurement.value, measurement.unit, measurement.interval
    if value is None:
        return Figure(
            name=measurement.name,
            text=None,
            bare=None,
            unit=unit,
            interval=None,
            why=gap(measurement.reason),
            unavailable=unavailable(measurement.reason),
            unreliable=None,
        )
    return Figure(
        name=measurement.name,
        text=_value(measurement.name, value, unit, interval),
        bare=rounded(value, decimals(interval, unit)),
        unit=unit,
        interval=_interval(measurement),
        why=None,
        unavailable=False,
        unreliable=clause(measurement.unreliable) if measurement.unreliable else None,
    )


def unavailable(reason: str | None) -> bool:
    """Return whether a reason says that no such image could show the number."""
    return (reason or "").startswith(NOT_AVAILABLE)


def ordinal(number: int) -> str:
    """Return a whole number as a rank: 1st, 22nd, 13th."""
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in {11, 12, 13} else endings.get(number % 10, "th")
    return f"{number}{ending}"


def definition(measurement: Measurement) -> str | None:
    """Return the formula of a number without a unit, which means nothing without it."""
    return measurement.formula if measurement.unit == UNITLESS else None


def square_note(measurement: Measurement) -> str:
    """Return what follows a value, without its definition, where pixels are assumed square."""
    return SQUARE_ASSUMED if SQUARE_ASSUMED in (measurement.formula or "") else ""


def context(measurement: Measurement) -> str:
    """Return what stands beside a measured number for its reader; empty where there is nothing."""
    widened = OF_INTERVAL.get(measurement.name) if measurement.interval is not None else None
    return " ".join(said for said in (CONTEXT.get(measurement.name), widened) if said)


def undetermined(measurement: Measurement) -> bool:
    """Return whether a taller-than-wide ratio leaves the orientation open: its interval holds 1."""
    if measurement.name != RATIO or measurement.interval is None:
        return False
    low, high = measurement.interval
    return low <= 1 <= high


def gap(reason: str | None) -> str:
    """Return why there is no number, as a clause to follow "not available from this image"."""
    text = (reason or "").removeprefix(f"{NOT_AVAILABLE}:")
    return clause(text if text.strip() else reason)


def _value(name: str, value: float, unit: str | None, interval: tuple[float, float] | None) -> str:
    if unit == PERCENTILE:
        return _rank(value)
    text = value_text(value, unit, interval)
    signed = name == STATION and not text.startswith(MINUS) and value > 0
    return f"+{text}" if signed else text


def _interval(measurement: Measurement) -> str | None:
    interval, unit = measurement.interval, measurement.unit
    if interval is None:
        return None
    low, high = interval
    if unit == PERCENTILE:
        text = f"{_rank(low)} to {_rank(high)}"
    elif measurement.name == STATION:
        text = " to ".join(_value(STATION, end, unit, interval) for end in interval)
    else:
        text = interval_text(interval, unit)
    level = f"{100 * measurement.coverage:.0f} % " if measurement.coverage is not None else ""
    return f"{level}interval {text}"


def _rank(value: float) -> str:
    """Return a percentile as a rank; at its ends, which read as certainty, as a bound."""
    if value < 1:
        return "below the 1st"
    return "above the 99th" if value > 99 else ordinal(round(value))
