"""The intervals that calibration gave the measurements of a case's results, or why they have none."""

from planner.case import Case, Record
from reports.interval import Calibrated, Interval, NoInterval
from specialists.elsewhere import held_by_interval
from specialists.manifest import MeasuredInterval, SpecialistEntry


def intervals_of(case: Case) -> dict[str, Calibrated]:
    """By the measurement's name, from the manifest entries of the specialists that answered."""
    return {
        item.measurement: _calibrated(item, entry, record, case)
        for records in case.state.slots.values()
        for record in records
        if record.result is not None
        for entry in (case.manifest.specialists[record.step.action],)
        for item in entry.intervals
    }


def _calibrated(
    item: MeasuredInterval, entry: SpecialistEntry, record: Record, case: Case
) -> Calibrated:
    """The interval, unless it is of other weights than those that answered."""
    if item.low is None or item.high is None:
        return NoInterval(reason=item.reason or "its calibration gave none")
    if record.result is None or record.result.sha256 != entry.sha256:
        return NoInterval(reason=f"{entry.id} was replaced after it answered")
    for name, sha256 in item.calibrated_with.items():
        other = case.manifest.specialists.get(name)
        if other is None or other.sha256 != sha256:
            return NoInterval(reason=f"it was calibrated together with another {name}")
    return Interval(
        form=item.form,
        low=item.low,
        high=item.high,
        coverage=item.level,
        elsewhere=held_by_interval(entry, item.measurement),
    )
