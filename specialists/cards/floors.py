"""What a specialist's own figures must reach for a report to rely on its numbers.

The floors are data, in `cards.toml`; the figures are those of the manifest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from specialists.cards.card_words import Floor, read_words
from specialists.manifest import Metric, SpecialistEntry


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A figure of a specialist against its floor."""

    floor: Floor
    label: str
    metric: Metric

    @property
    def reached(self) -> bool:
        """Whether the figure is good enough."""
        value, least, most = self.metric.value, self.floor.least, self.floor.most
        return (least is None or value >= least) and (most is None or value <= most)

    @property
    def clause(self) -> str:
        """What the figure says of the specialist's numbers, for one below its floor."""
        return self.floor.says.format(label=self.label, value=self.metric.value)

    @property
    def sentence(self) -> str:
        """What the card says of the figure."""
        least, most = self.floor.least, self.floor.most
        asked = f"at least {least:g}" if least is not None else f"at most {most:g}"
        told = "reports rely on its numbers" if self.reached else "reports call them unreliable"
        return (
            f"Floor of {self.metric.name}: {asked} ({self.floor.source}). "
            f"It has {self.metric.value:.4g}: {told}."
        )


def below_floor(entry: SpecialistEntry, label: str | None) -> str | None:
    """Return, as a clause, why numbers that rest on the specialist's answer are unreliable.

    None where its figures reach their floors, or have none.

    Args:
        entry: the specialist.
        label: what the answer outlined; None for points and for all labels.
    """
    weak = [judged for judged in judged_of(entry, label) if not judged.reached]
    return weak[0].clause if weak else None


def judged_of(entry: SpecialistEntry, label: str | None = None) -> Iterator[Judged]:
    """Yield each figure of the specialist that has a floor; those of one label if it is given."""
    labels = entry.labels if label is None else (label,)
    figures = {metric.name: metric for metric in entry.metrics}
    for floor in read_words().floor:
        if floor.specialists and entry.id not in floor.specialists:
            continue
        for one in labels or ("",):
            metric = figures.get(floor.metric.format(label=one))
            if floor.kind is entry.kind and metric is not None:
                yield Judged(floor=floor, label=one, metric=metric)
