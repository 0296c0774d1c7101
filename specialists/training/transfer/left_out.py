"""Results of heads on a source that they were trained without.

They are kept as JSON, shown by model cards, and read again by a calibration.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from reports.measure.intervals import Form
from specialists.cards.elsewhere import INTERVALS, OTHERS, PRESENCE, UNKNOWN
from specialists.errors import TrainingError
from specialists.manifest import Kind, Metric, SpecialistEntry, Transfer
from specialists.training.calibration.calibrate import fit_temperature, least_presence
from specialists.training.calibration.conformal import LEAST_GROUPS, share_of
from specialists.training.calibration.intervals import Pairs, inside_of
from specialists.training.calibration.reliability import (
    label_limits,
    metric_of,
    scores_of,
    set_metrics,
    share_metric,
)
from specialists.training.transfer.sources import Lot, Scored, Source, joined

FILE = "left_out.json"
NOT_FOR_CARDS = ("hausdorff", "hd95", "f1", "mcc")
"""Prefixes of the names of figures that only the JSON holds."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Said(_Kept):
    """Raw outputs of one task's heads on the source, for images of classes they could learn."""

    values: list[list[float]]
    """Logits, or a detector's one presence logit."""
    truth: list[int]
    groups: list[str]
    origins: list[str]
    """Each image's value in the column by which the source was left out."""
    temperature: float

    @classmethod
    def of(cls, scored: Scored, origins: Sequence[str], temperature: float) -> Self:
        """Return the record of those outputs."""
        count = len(scored)
        return cls(
            values=scored.values.reshape(count, -1).tolist(),
            truth=scored.truth.tolist(),
            groups=list(scored.lot.groups),
            origins=list(origins),
            temperature=temperature,
        )

    def scored(self, name: str) -> Scored:
        """Return the outputs again, all of a source of that name."""
        values = np.array(self.values, dtype=np.float64)
        lot = Lot(groups=tuple(self.groups), origins=(frozenset([name]),) * len(self.groups))
        truth = np.array(self.truth, dtype=np.int64)
        return Scored(values=values[:, 0] if values.shape[1] == 1 else values, truth=truth, lot=lot)


class Errors(_Kept):
    """Errors of one measurement on the source, between predictions and labels."""

    errors: list[float]
    groups: list[str]
    form: Form
    not_measured: int

    @classmethod
    def of(cls, pairs: Pairs) -> Self:
        """Return the record of those pairs."""
        return cls(
            errors=pairs.errors,
            groups=pairs.groups,
            form=pairs.form,
            not_measured=pairs.not_measured,
        )

    def pairs(self, name: str) -> Pairs:
        """Return the pairs again, all of a source of that name."""
        return Pairs(
            errors=self.errors,
            groups=self.groups,
            origins=[frozenset([name])] * len(self.errors),
            form=self.form,
            not_measured=self.not_measured,
        )


class Result(_Kept):
    """The results of one task's head on the source."""

    rows: int
    missing: int
    metrics: list[Metric]
    problems: list[str]
    note: str | None = None
    """A clause on what the other sources could not teach."""
    said: Said | None = None
    errors: dict[str, Errors] = {}
    """By measurement."""


class LeftOut(_Kept):
    """Results on one source of heads trained without it, by task."""

    made: dict[str, str | int | float | list[str] | None]
    """Configuration, backbone and specialists of the training."""
    column: str
    values: list[str]
    part: str | None
    backbone_saw: bool
    """Whether Stage I was trained on the source."""
    tasks: dict[str, Result]

    @property
    def source(self) -> Source:
        """The source that was left out."""
        return Source(column=self.column, values=tuple(self.values), part=self.part)

    @property
    def name(self) -> str:
        """The source's name among those that a number was fitted to."""
        return (self.part or ", ".join(self.values)) + UNKNOWN

    def figure(self, task: str, metric: Metric) -> Transfer:
        """Return one figure of a task in the form of a manifest."""
        return Transfer(
            left_out=str(self.source),
            name=metric.name,
            value=metric.value,
            low=metric.low,
            high=metric.high,
            n=metric.n,
            backbone_saw=self.backbone_saw,
            note=self.tasks[task].note,
        )

    def save(self, folder: Path) -> None:
        """Write the results into the folder."""
        (folder / FILE).write_text(self.model_dump_json(indent=1), encoding="utf-8")


def read(path: Path) -> LeftOut:
    """Read the results from that file.

    Raises:
        TrainingError: it cannot be read.
    """
    try:
        return LeftOut.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


def read_all(folders: Sequence[Path], backbone_sha256: str | None) -> list[LeftOut]:
    """Read the results that trials of heads on that backbone left in their folders.

    Results of another backbone are taken too if it was trained without the source: they show how an
    unknown source behaves.

    Raises:
        TrainingError: a folder holds none, one cannot be read, or one is of another backbone that
            was trained on the source.
    """
    results = []
    for folder in folders:
        found = [read(path) for path in sorted(folder.glob(f"*/{FILE}"))]
        if not found:
            raise TrainingError(
                f"{folder} holds no sources left out: run `ustri evaluate transfer`."
            )
        if any(
            left.made.get("backbone") != backbone_sha256 and left.backbone_saw for left in found
        ):
            raise TrainingError(
                f"{folder} holds sources left out on another backbone, which has seen them."
            )
        results += found
    return results


def scored_of(found: Iterable[LeftOut], task: str) -> Scored | None:
    """Return the outputs of all heads of a task on sources unknown to them; None without any."""
    parts = [
        said.scored(left.name)
        for left in found
        if task in left.tasks and (said := left.tasks[task].said) is not None
    ]
    return joined(parts) if parts else None


def pairs_of(found: Iterable[LeftOut], task: str) -> dict[str, Pairs]:
    """Return by measurement the errors of a task's heads on sources unknown to them."""
    all_pairs: dict[str, Pairs] = {}
    for left in found:
        if task not in left.tasks:
            continue
        for name, errors in left.tasks[task].errors.items():
            new = errors.pairs(left.name)
            known = all_pairs.setdefault(name, Pairs(form=new.form))
            known.errors = [*known.errors, *new.errors]
            known.groups = [*known.groups, *new.groups]
            known.origins = [*known.origins, *new.origins]
    return all_pairs


def figures(entry: SpecialistEntry, left: LeftOut, found: Sequence[LeftOut]) -> list[Metric]:
    """Return all figures of a task on one source.

    Those of label sets, presence and intervals are given twice: calibrated with the head's own
    known sources, and calibrated with the heads' outputs on the other sources left out (`found`),
    without any patient of this source.
    """
    result = left.tasks[entry.id]
    given = list(result.metrics)
    others = [other for other in found if other is not left]
    if result.said is not None:
        scored = result.said.scored(left.name)
        fit = scored_of(others, entry.id)
        fit = None if fit is None else fit.without(scored.lot.groups)
        if fit is not None and len(set(fit.lot.groups)) >= LEAST_GROUPS:
            tail = f", {OTHERS}"
            of = _sets if entry.kind is Kind.CLASSIFY else _presence
            given += of(entry, scored, fit, tail)
    pairs = pairs_of(others, entry.id)
    for name, errors in result.errors.items():
        if name in pairs:
            given += _interval(name, errors.pairs(left.name), pairs[name])
    return [metric.model_copy(update={"split": "left out"}) for metric in given]


def for_card(metrics: Iterable[Metric]) -> list[Metric]:
    """Return the figures that a manifest keeps."""
    return [metric for metric in metrics if not metric.name.startswith(NOT_FOR_CARDS)]


def _sets(entry: SpecialistEntry, scored: Scored, fit: Scored, tail: str) -> list[Metric]:
    if len(np.unique(fit.truth)) < 2:
        return []
    temperature = fit_temperature(fit.values, fit.truth, fit.lot)
    limits = label_limits(scores_of(fit.values, temperature), fit.truth, fit.lot)
    sets = scores_of(scored.values, temperature) >= limits.values
    sets[:, [index not in fit.truth for index in range(sets.shape[1])]] = False
    known = np.flatnonzero(np.isin(scored.truth, fit.truth))
    if not len(known):
        return []
    lot = scored.lot.take(known)
    return set_metrics(entry, sets[known], scored.truth[known], lot, tail)


def _presence(entry: SpecialistEntry, scored: Scored, fit: Scored, tail: str) -> list[Metric]:
    there, known = scored.truth > 0, fit.truth > 0
    if not there.any() or not known.any():
        return []
    least = least_presence(fit.values, known, fit.lot)
    shown = scored.values >= least
    found = [share_metric(PRESENCE + tail, shown, scored.lot.groups, there)]
    if not there.all():
        name = f"presence specificity{tail}"
        found.append(share_metric(name, ~shown, scored.lot.groups, ~there))
    return found


def _interval(name: str, known: Pairs, others: Pairs) -> list[Metric]:
    inside = inside_of(known, others)
    if inside is None:
        return []
    held = share_of(inside, known.groups)
    ends = (held.low, held.high)
    return [metric_of(f"{INTERVALS}{name}, {OTHERS}", held.value, ends, len(inside))]
