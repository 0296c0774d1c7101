"""What a biometry report is made of: the sizes of a fetal head in millimetres.

Reporting systems import them into fields of their own, so that numbers in pixels, and exams that
measure no head, have no such report. This module needs no pydicom.
"""

from dataclasses import dataclass

from reports.errors import NoBiometry
from reports.measure.head import BPD, CEPHALIC_INDEX, GESTATIONAL_AGE, HC, HC_PERCENTILE, OFD
from reports.model import ExamCode, Measurement, MeasurementState, Outcome, Report

SIZES = (HC, BPD, OFD)


@dataclass(frozen=True, kw_only=True)
class Known:
    """A measurement that stands, with its value."""

    measurement: Measurement
    value: float


@dataclass(frozen=True, kw_only=True)
class Biometry:
    """The sizes of a head in mm, at least one, and what follows from them, where it is known.

    `percentile` is that of the circumference at the age which the sender states.
    """

    sizes: tuple[Known, ...]
    cephalic_index: Known | None
    gestational_age: Known | None
    percentile: Known | None


def biometry_of(report: Report) -> Biometry:
    """Return the biometry of a report.

    Raises:
        NoBiometry: the report is of another exam, or states no size of the head in millimetres.
    """
    if report.exam.code is not ExamCode.FETAL_HEAD:
        raise NoBiometry(
            f"A biometry report is made of a fetal head; this report is of: {report.exam.title}."
        )
    known = {
        number.name: Known(measurement=number, value=number.value)
        for number in reversed(report.measurements)
        if number.state is MeasurementState.MEASURED and number.value is not None
    }
    sizes = tuple(
        known[name] for name in SIZES if name in known and known[name].measurement.unit == "mm"
    )
    if not sizes:
        raise NoBiometry(f"No size of the head is in millimetres. {_why(report)}")
    return Biometry(
        sizes=sizes,
        cephalic_index=known.get(CEPHALIC_INDEX),
        gestational_age=known.get(GESTATIONAL_AGE),
        percentile=known.get(HC_PERCENTILE),
    )


def has_biometry(report: Report) -> bool:
    """Return whether there is a biometry report of it."""
    try:
        biometry_of(report)
    except NoBiometry:
        return False
    return True


def _why(report: Report) -> str:
    """Return the reason that the report gives for it, as a sentence."""
    if report.outcome is Outcome.REFUSED and report.reason:
        return report.reason
    for number in report.measurements:
        if number.name in SIZES and number.reason:
            return number.reason
    return "The report measures no head."
