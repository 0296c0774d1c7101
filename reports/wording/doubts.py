"""Why numbers are unreliable: what holds for several numbers of a structure is said once."""

import re
from collections.abc import Iterable, Sequence

from reports.model import Measurement
from reports.wording.phrases import capital, clause, listed

_BETWEEN = re.compile(r"; (?![^(]*\))")
"""What parts the clauses of `Measurement.unreliable`; inside brackets it belongs to one clause."""


def doubts(measurement: Measurement) -> tuple[str, ...]:
    """Return the clauses that say why a number is unreliable."""
    if measurement.unreliable is None:
        return ()
    return tuple(clause(part) for part in _BETWEEN.split(measurement.unreliable))


def own_doubts(measurement: Measurement, measurements: Iterable[Measurement]) -> tuple[str, ...]:
    """Return the clauses that hold for no other number of its structure."""
    others = {
        doubt
        for other in measurements
        if other.id != measurement.id and other.structure == measurement.structure
        for doubt in doubts(other)
    }
    return tuple(doubt for doubt in doubts(measurement) if doubt not in others)


def shared_doubts(measurements: Sequence[Measurement]) -> tuple[str, ...]:
    """Return, for the numbers of one structure, a sentence for each clause that several share."""
    measured = [item for item in measurements if item.value is not None]
    said = []
    for doubt in dict.fromkeys(doubt for item in measured for doubt in doubts(item)):
        doubtful = [item for item in measured if doubt in doubts(item)]
        names = list(dict.fromkeys(item.name for item in doubtful))
        if len(doubtful) == len(measured) > 1:
            said.append(f"Unreliable: {doubt}.")
        elif len(doubtful) > 1:
            verb = "is" if len(names) == 1 else "are"
            said.append(f"{capital(listed(names))} {verb} unreliable: {doubt}.")
    return tuple(said)
