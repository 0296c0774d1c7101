"""What was promised of a specialist's answers, and what of it held on sources left out of its training."""

from collections.abc import Iterable, Sequence

from reports.interval import LEVEL
from specialists.manifest import MeasuredInterval, SpecialistEntry, Threshold, Transfer

OTHERS = "fitted to other sources left out"
"""How figures are called whose thresholds come from what heads said of other sources that they did not know."""
KNOWN = "fitted to known sources"
"""How figures are called whose thresholds come from the sources that the heads know."""

UNKNOWN = " left out"
"""What a threshold's or interval's source says where it was fitted to sources left out too."""

SETS = "label set coverage of "
INTERVALS = "interval coverage of "
PRESENCE = "presence sensitivity"

KEPT = 0.85
"""A share of nine in ten that is below this on a source left out is said not to hold elsewhere."""


def lowest(entry: SpecialistEntry, start: str) -> Transfer | None:
    """Return the lowest share, of all sources left out, whose name begins so; null where none was measured.

    Only figures of thresholds or intervals that were fitted as the entry's own are.
    """
    own: Sequence[Threshold | MeasuredInterval] = tuple(entry.thresholds.values())
    if start.startswith(INTERVALS):
        own = entry.intervals
    tail = OTHERS if any(UNKNOWN in item.source for item in own) else KNOWN
    found = [t for t in entry.transfer if t.name.startswith(start) and t.name.endswith(tail)]
    return min(found, key=lambda item: item.value, default=None)


def held_by_sets(entry: SpecialistEntry) -> float | None:
    """Return the share of images of a class whose label set held it, of the class and source where it was lowest."""
    found = lowest(entry, SETS)
    return None if found is None else found.value


def held_by_interval(entry: SpecialistEntry, measurement: str) -> float | None:
    """Return the share of references that the interval held, of the source left out where it was lowest."""
    found = lowest(entry, f"{INTERVALS}{measurement},")
    return None if found is None else found.value


def not_kept(entry: SpecialistEntry) -> tuple[str, ...]:
    """Return a sentence for each share that did not hold on a source left out."""
    starts = [f"{SETS}{label}," for label in entry.labels]
    starts += [f"{INTERVALS}{item.measurement}," for item in entry.intervals]
    starts.append(PRESENCE)
    return tuple(_sentences(entry, starts))


def _sentences(entry: SpecialistEntry, starts: Iterable[str]) -> Iterable[str]:
    for start in starts:
        found = lowest(entry, start)
        if found is None or found.value >= KEPT:
            continue
        what = found.name.rpartition(", ")[0]
        interval = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
        yield (
            f"It does not hold elsewhere: {what} was {found.value:.2f}{interval} on a source left out of its training "
            f"({found.left_out}), where {LEVEL if start != PRESENCE else 0.95:g} is meant."
        )
