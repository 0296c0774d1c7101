"""What a report does not know, as lines of which the first four matter most."""

from collections.abc import Iterable

from reports.measure.intervals import LEVEL, NOT_CALIBRATED, why_no_interval
from reports.model import FindingState, MeasurementState, Outcome, PixelAspect, Report
from reports.wording.facts import Facts
from reports.wording.phrases import (
    LATE_PLANNER,
    NOT_FOR_CLINICAL_USE,
    NOVELTY_CHECK,
    QUALITY_CHECK,
)
from reports.wording.templates import lines


def limitations(facts: Facts) -> tuple[str, ...]:
    """Return the limitations: use, image, exam, validity elsewhere, then all others."""
    report = facts.report
    measured = [m for m in report.measurements if m.state is MeasurementState.MEASURED]
    return lines(
        "limitations.j2",
        report=report,
        not_for_clinical_use=NOT_FOR_CLINICAL_USE,
        novelty_check=NOVELTY_CHECK,
        quality_check=QUALITY_CHECK,
        level=f"{100 * LEVEL:.0f} %",
        units={item.unit for item in measured},
        without_interval=_without_interval(report),
        without_set=_without_set(facts),
        with_interval=any(item.interval is not None for item in measured),
        with_set=any(finding.label_set is not None for finding in report.findings),
        sets_elsewhere=_least(finding.held_elsewhere for finding in report.findings),
        intervals_elsewhere=_least(item.held_elsewhere for item in measured),
        late_steps=sum(step.reason.startswith(LATE_PLANNER) for step in report.steps),
        square_assumed=report.outcome is not Outcome.REFUSED
        and report.image.pixel_aspect is PixelAspect.ASSUMED_SQUARE,
    )


def _least(shares: Iterable[float | None]) -> float | None:
    """Return the lowest known share; None if none is known."""
    return min((share for share in shares if share is not None), default=None)


def _without_set(facts: Facts) -> list[str]:
    return [
        basis.finding.label
        for basis in facts.bases
        if basis.classifications
        and basis.finding.state is not FindingState.NOT_ASSESSED
        and basis.finding.label_set is None
    ]


def _without_interval(report: Report) -> dict[str, list[str]]:
    """Group the names of measurements without an interval by the clause that says why.

    Each name occurs once.
    """
    given = {item.name for item in report.measurements if item.interval is not None}
    names: dict[str, list[str]] = {}
    for item in report.measurements:
        if item.state is MeasurementState.MEASURED and item.interval is None:
            named = names.setdefault(why_no_interval(item.reason) or NOT_CALIBRATED, [])
            what = f"the {item.name} of smaller regions" if item.name in given else item.name
            if what not in named:
                named.append(what)
    return names
