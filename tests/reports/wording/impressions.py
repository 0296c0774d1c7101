"""Impressions of reports with given numbers and findings."""

from collections.abc import Sequence

from reports.model import ExamCode, ExamInfo, Finding, Measurement
from reports.wording.report import word
from tests.builders import a_measurement, a_report


def a_number(
    name: str, value: float | None, unit: str, interval: tuple[float, float] | None = None
) -> Measurement:
    """A number of the exam's only outline; without a value it is not assessed."""
    return a_measurement(
        id=f"m-{name}",
        name=name,
        value=value,
        unit=unit,
        interval=interval,
        coverage=0.9 if interval else None,
        state="measured" if value is not None else "not_assessed",
        reason=None if value is not None else "the outline has no area",
        evidence=("e2",),
    )


def of_exam(
    code: ExamCode | None,
    measurements: Sequence[Measurement] = (),
    findings: Sequence[Finding] = (),
    **changes: object,
) -> tuple[str, ...]:
    exam = ExamInfo(code=code, title="An exam", chosen_by="image", score=None)
    report = a_report(
        **{
            "exam": exam,
            "findings": tuple(findings),
            "measurements": tuple(measurements),
            "checks": (),
        }
        | changes
    )
    return word(report).impression
