"""Sources of images: how they are distinguished, left out, and given equal weight."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from specialists.cards.elsewhere import UNKNOWN
from specialists.errors import TrainingError
from specialists.training.calibration.conformal import LEAST_GROUPS, Flags, Rows
from specialists.training.data.tables import Row, Sample, text_of

Array = npt.NDArray[np.float64]

COLUMNS = ("dataset", "device", "source")
"""Columns by which a source can be left out."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The images to leave out: those whose rows have one of the values in the column."""

    column: str
    values: tuple[str, ...]
    part: str | None = None
    """Name of several values together."""

    def __str__(self) -> str:
        return f"{self.column}={self.part or ', '.join(self.values)}"

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Return the source that `dataset=busi`, `device=…` or `source=…` names.

        Raises:
            TrainingError: it is none of these.
        """
        column, _, value = text.partition("=")
        if column not in COLUMNS or not value:
            raise TrainingError(
                f"{text!r} is no source: give dataset=NAME, device=NAME or source=NAME."
            )
        return cls(column=column, values=(value,))

    def has(self, sample: Sample) -> bool:
        """Return whether the sample is of this source."""
        return getattr(sample, self.column) in self.values

    def states(self, row: Row) -> bool:
        """Return whether the row of a CSV is of this source."""
        return text_of(row, self.column) in self.values


def without(samples: Sequence[Sample], source: Source) -> list[Sample]:
    """Return the samples of other sources, without those of the source's patients."""
    held = {sample.group for sample in samples if source.has(sample)}
    return [sample for sample in samples if sample.group not in held]


def seen_of(samples: list[Sample], unseen: Sequence[str]) -> list[Sample]:
    """Return the samples of other sources than those, and of none of their patients.

    Raises:
        TrainingError: one of those names no source, or no sample is of it.
    """
    kept = samples
    for source in map(Source.parse, unseen):
        if not any(source.has(sample) for sample in samples):
            raise TrainingError(f"{source} cannot be left out: no image of the data is of it.")
        kept = without(kept, source)
    return kept


def in_parts(samples: Sequence[Sample], column: str, count: int) -> list[Source]:
    """Return the column's values in `count` parts, with about equal shares of every class.

    The largest values come first, each into the part that stays most even with it.
    """
    values = sorted({str(getattr(sample, column)) for sample in samples} - {""})
    classes = sorted({label for sample in samples for label in sample.classes.items()})
    place = {label: index for index, label in enumerate(classes)}
    held = np.zeros((len(values), max(len(classes), 1)))
    for sample in samples:
        if (name := str(getattr(sample, column))) in values:
            for label in sample.classes.items():
                held[values.index(name), place[label]] += 1
    held = np.column_stack([held / np.maximum(held.sum(0), 1), held.sum(1) / len(samples)])
    parts = np.zeros((min(count, len(values)), held.shape[1]))
    chosen: list[list[str]] = [[] for _ in parts]
    for index in np.argsort(-held.sum(1), kind="stable"):
        uneven = ((parts + held[index]) ** 2).sum(1) - (parts**2).sum(1)
        part = int(uneven.argmin())
        parts[part] += held[index]
        chosen[part].append(values[index])
    return [
        Source(column=column, values=tuple(names), part=f"part {number} of {len(chosen)}")
        for number, names in enumerate(chosen, start=1)
    ]


def origins_of(sample: Sample) -> frozenset[str]:
    """Return the names of the sample's sources: its data set, and its device if stated."""
    return frozenset({sample.dataset, sample.device} - {""})


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Rows of several sources, for which each source has a statistic of its own."""

    every: Rows
    """All of them, those of sources that are too small included."""
    told: dict[str, Rows]
    """By source with enough groups for a 90 % quantile; empty where there is only one source."""
    few: dict[str, int]
    """Number of groups of the sources with too few of them."""

    def lowest(self, statistic: Callable[[Rows], float]) -> float:
        """Return the lowest value among all rows together and those of each source."""
        return min(statistic(rows) for rows in (self.every, *self.told.values()))

    def each(self, statistic: Callable[[Rows], float], digits: int = 4) -> str:
        """Return a text with the value of each source, and which sources are too small for one."""
        values = ", ".join(
            f"{name} {statistic(rows):.{digits}f} ({len(rows)} images)"
            for name, rows in self.told.items()
        )
        return values + self.too_few()

    def too_few(self) -> str:
        """Return a clause on the sources without a quantile of their own; empty without any."""
        if not self.few:
            return ""
        named = ", ".join(f"{name} ({count})" for name, count in self.few.items())
        return (
            f"; too few groups for a 90 % quantile of their own, {LEAST_GROUPS} are needed: {named}"
        )

    def weights(self) -> Array:
        """Return shares (rows,) of equal weight for each source; small sources count as one."""
        found = np.zeros(len(self.every))
        place = {int(row): index for index, row in enumerate(self.every)}
        parts = [[place[int(row)] for row in rows] for rows in self.told.values()]
        covered = {index for part in parts for index in part}
        if rest := [index for index in range(len(found)) if index not in covered]:
            parts.append(rest)
        for part in parts:
            found[part] += 1 / (len(part) * len(parts))
        return found


@dataclass(frozen=True, kw_only=True)
class Lot:
    """Patients and sources of images, row by row."""

    groups: tuple[str, ...]
    origins: tuple[frozenset[str], ...]
    """The names of all sources that each row belongs to."""

    def __len__(self) -> int:
        return len(self.groups)

    @classmethod
    def from_samples(cls, samples: Sequence[Sample]) -> "Lot":
        """Return the lot of those samples."""
        return cls(
            groups=tuple(sample.group for sample in samples),
            origins=tuple(origins_of(sample) for sample in samples),
        )

    @property
    def of(self) -> str:
        """The origin of the images, as worded in a threshold's source."""
        unknown = any(name.endswith(UNKNOWN) for names in self.origins for name in names)
        return "val and of sources left out" if unknown else "val"

    def take(self, rows: Rows) -> "Lot":
        """Return the lot of those rows."""
        return Lot(
            groups=tuple(self.groups[row] for row in rows),
            origins=tuple(self.origins[row] for row in rows),
        )

    def parts(self, chosen: Flags | None = None) -> Parts:
        """Return the chosen rows by source, or all rows where `chosen` is None."""
        every = np.arange(len(self)) if chosen is None else np.flatnonzero(chosen)
        told: dict[str, Rows] = {}
        few: dict[str, int] = {}
        for name in sorted({name for row in every for name in self.origins[row]}):
            rows = np.array([row for row in every if name in self.origins[row]], dtype=np.int64)
            if len(rows) == len(every):
                continue  # a name that all rows share does not separate them
            count = len({self.groups[row] for row in rows})
            if count < LEAST_GROUPS:
                few[name] = count
            elif not any(np.array_equal(rows, other) for other in told.values()):
                told[name] = rows
        return Parts(every=every, told=told, few=few)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Raw outputs of images with their truth, to which temperatures and thresholds are fitted."""

    values: Array
    """(n, classes) logits of a classifier, or (n,) presence logits of a detector."""
    truth: Rows
    """(n,) classes; for a detector 1 where the structure is present."""
    lot: Lot

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: Rows) -> "Scored":
        """Return those rows."""
        return Scored(values=self.values[rows], truth=self.truth[rows], lot=self.lot.take(rows))

    def without(self, groups: Sequence[str]) -> "Scored":
        """Return the rows of other groups."""
        held = set(groups)
        kept = [index for index, group in enumerate(self.lot.groups) if group not in held]
        return self.take(np.array(kept, dtype=np.int64))


def joined(many: Sequence[Scored]) -> Scored:
    """Return the rows of all of them, concatenated."""
    return Scored(
        values=np.concatenate([scored.values for scored in many]),
        truth=np.concatenate([scored.truth for scored in many]),
        lot=Lot(
            groups=tuple(group for scored in many for group in scored.lot.groups),
            origins=tuple(names for scored in many for names in scored.lot.origins),
        ),
    )
