"""Values of a study beside those of earlier studies of the same patient.

Two values are compared where exam, side, site, structure, name and unit are the same, each the
value that its study takes. Values that are not known to be of the same thing, and those in pixels,
are put side by side without a change. What a change means is not said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.model import StudyRef
from reports.precision import MINUS, value_text
from reports.study.grouping import Subject, called, never_compared, overlapping
from reports.study.model import Comparison, EarlierStudy, StudyMeasurement, StudyValue
from reports.wording.phrases import capital
from reports.wording.templates import text

MOST_EARLIER = 5
"""How many earlier studies are compared, the newest first; all of them are named."""


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """An earlier study of the same patient, with its measurements."""

    id: str
    received_at: str
    images: int
    measurements: tuple[StudyMeasurement, ...] = ()

    def shown(self, *, compared: bool) -> EarlierStudy:
        """Return what the summary names of it."""
        return EarlierStudy(
            id=self.id, received_at=self.received_at, images=self.images, compared=compared
        )


def compare(now: Sequence[StudyMeasurement], earlier: Sequence[Earlier]) -> tuple[Comparison, ...]:
    """Return each measurement beside the same one of each earlier study, in the order given."""
    return tuple(made for item in now for one in earlier for made in _comparisons(item, one))


def _comparisons(now: StudyMeasurement, earlier: Earlier) -> Iterator[Comparison]:
    for then in earlier.measurements:
        same = Subject.of(then) == Subject.of(now) and then.unit == now.unit
        if same and then.values and now.values:
            yield _comparison(now, then, earlier)


def _comparison(now: StudyMeasurement, then: StudyMeasurement, earlier: Earlier) -> Comparison:
    apart = never_compared(now)
    new, old = now.taken, then.taken
    if apart is None and (new is None or old is None):
        apart = "an image shows several of them"
    change = percent = overlap = words = None
    shown_then, shown_now = then.values, now.values
    if apart is None and new is not None and old is not None:
        change = new.value - old.value
        percent = 100 * change / abs(old.value) if old.value else None
        overlap = _overlap(old, new)
        words = change_text(change, (old, new), now.unit)
        shown_then, shown_now = (old,), (new,)
    made = Comparison(
        measurement=now.id,
        study=StudyRef(id=earlier.id),
        received_at=earlier.received_at,
        then=shown_then,
        now=shown_now,
        unit=now.unit,
        change=change,
        change_percent=percent,
        change_text=words,
        overlap=overlap,
        not_compared=apart,
        statement="",
    )
    statement = text(
        "study_comparison.j2",
        item=made,
        called=capital(called(now)),
        date=earlier.received_at[:10],
    )
    return made.model_copy(update={"statement": statement})


def change_text(change: float, values: Sequence[StudyValue], unit: str | None) -> str:
    """Return a change with its sign, as precise as the wider of the two intervals allows."""
    given = [value.interval for value in values if value.interval is not None]
    widest = max(given, key=lambda interval: interval[1] - interval[0], default=None)
    sign = "+" if change > 0 else MINUS if change < 0 else ""
    return sign + value_text(abs(change), unit, widest)


def _overlap(old: StudyValue, new: StudyValue) -> bool | None:
    if old.interval is None or new.interval is None:
        return None
    return overlapping(old.interval, new.interval)
