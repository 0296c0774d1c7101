"""Which guarantees of a specialist's answers held on sources that its training left out."""

from collections.abc import Iterable, Sequence

from reports.measure.intervals import LEVEL
from specialists.manifest import MeasuredInterval, SpecialistEntry, Threshold, Transfer

OTHERS = "fitted to other sources left out"
"""Suffix of figures whose thresholds were fitted to predictions on other left-out sources.

Each of those predictions comes from heads that were trained without that source.
"""
KNOWN = "fitted to known sources"
"""Suffix of figures whose thresholds were fitted to sources that the heads were trained on."""

UNKNOWN = " left out"
"""Part of the `source` text of a threshold or interval that was fitted to left-out sources too."""

SETS = "label set coverage of "
INTERVALS = "interval coverage of "
PRESENCE = "presence sensitivity"

KEPT = 0.85
"""Share below which a guarantee is reported not to hold on a left-out source.

It applies where nine in ten is meant.
"""


def lowest(entry: SpecialistEntry, start: str) -> Transfer | None:
    """Return the lowest share on any left-out source whose name begins with `start`.

    Only figures count whose thresholds or intervals were fitted in the same way as the entry's own.
    The result is None where none was measured.
    """
    own: Sequence[Threshold | MeasuredInterval] = tuple(entry.thresholds.values())
    if start.startswith(INTERVALS):
        own = entry.intervals
    tail = OTHERS if any(UNKNOWN in item.source for item in own) else KNOWN
    found = [t for t in entry.transfer if t.name.startswith(start) and t.name.endswith(tail)]
    return min(found, key=lambda item: item.value, default=None)


def held_by_sets(entry: SpecialistEntry) -> float | None:
    """Return the lowest share of images whose label set held their class.

    The minimum is over classes and left-out sources; None where nothing was measured.
    """
    found = lowest(entry, SETS)
    return None if found is None else found.value


def held_by_interval(entry: SpecialistEntry, measurement: str) -> float | None:
    """Return the lowest share of references inside the interval over left-out sources.

    None where nothing was measured.
    """
    found = lowest(entry, f"{INTERVALS}{measurement},")
    return None if found is None else found.value


def not_kept(entry: SpecialistEntry) -> tuple[str, ...]:
    """Return a sentence for each guarantee that did not hold on a left-out source."""
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
            f"It does not hold elsewhere: {what} was {found.value:.2f}{interval} on a source "
            f"left out of its training "
            f"({found.left_out}), where {LEVEL if start != PRESENCE else 0.95:g} is meant."
        )
