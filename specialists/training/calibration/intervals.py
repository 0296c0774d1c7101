"""Intervals of a report's measurements, from the errors of predictions on `val`.

Prediction and labels are measured by the report's own formulas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reports.measure.formulas import BESIDES, FOLLOW, MEASUREMENTS, NUMBERS_OF
from reports.measure.geometry import area
from reports.measure.intervals import LEVEL, Form
from reports.measure.numbers import Number, Seen
from reports.measure.scan_area import scanned_outline
from reports.model import Evidence, ExamCode, NamedPoint
from specialists.decode import outlines
from specialists.engine import Engine
from specialists.errors import Declined
from specialists.evidence import evidence_of_result
from specialists.image import Image, image_of
from specialists.letterbox import Letterbox
from specialists.manifest import Kind, Manifest, MeasuredInterval, SpecialistEntry
from specialists.result import Component, RegressResult, Result, SegmentResult
from specialists.training.calibration import conformal
from specialists.training.data.readable import read_grey, read_mask
from specialists.training.data.tables import Sample, read_samples
from specialists.training.evaluation.predict import region_for
from specialists.training.transfer.sources import Lot, Scored, joined, origins_of

LENGTHS = ("px", "px²", "mm", "mm²", "cm²")
"""Units in which an error grows with the value: its ratio carries over to another image."""


@dataclass(kw_only=True)
class Pairs:
    """One measurement on the images of val, from predictions and from the labels."""

    errors: list[float] = field(default_factory=list)
    """Reference less prediction; of a length or area, the logarithm of their ratio."""
    groups: list[str] = field(default_factory=list)
    origins: list[frozenset[str]] = field(default_factory=list)
    """The names of the sources that each image belongs to."""
    form: Form = Form.RELATIVE
    not_measured: int = 0
    unlabelled: int = 0
    """Number of images measured in the prediction whose labels hold nothing to measure."""


def intervals_of(
    entry: SpecialistEntry,
    engine: Engine,
    data: Path,
    left_out: Mapping[str, Pairs] | None = None,
) -> tuple[MeasuredInterval, ...]:
    """Return the interval of each measurement of the entry's slot, or the reason why it has none.

    Of several sources the widest is taken, so that each keeps its coverage.

    Args:
        entry: installed in the engine; there are no intervals for one that no formula reads.
        engine: with the thresholds of reports, and the specialists named by `partners`.
        data: a data root with `val` rows of the entry's task.
        left_out: by measurement, pairs from heads of the same task on sources that they were
            trained without; the intervals also hold on those.
    """
    slot = measured_slot(entry)
    if slot is None:
        return ()
    names = names_of(slot)
    others = [other for other in partners(engine.manifest, entry) if other.installed]
    filled = {slot for other in others for slot in other.provides}
    if lacking := [needed for needed in BESIDES.get(slot, ()) if needed not in filled]:
        reason = (
            f"no specialist for {', '.join(lacking)} was installed when {entry.id} was calibrated"
        )
        return tuple(_without(_empty(name, Pairs()), reason) for name in names)
    used = {other.id: str(other.sha256) for other in others}
    tools = _tools(entry, engine.manifest)
    known = [t for t in tools if (data / "csv_files" / f"{t.task_id}.csv").exists()]
    found = pairs_of(entry, engine, read_samples(data, known, "val"))
    beside = left_out or {}
    return tuple(fitted(name, found[name], used, beside.get(name)) for name in names)


def measured_slot(entry: SpecialistEntry) -> str | None:
    """Return the slot of the entry that a formula of its exam measures; None where none does."""
    slot = next((slot for slot in entry.provides if slot in MEASUREMENTS), None)
    return slot if entry.exams else None


def names_of(slot: str) -> list[str]:
    """Return the measurements that have intervals of their own."""
    return [name for name in MEASUREMENTS[slot] if name not in FOLLOW]


def _tools(entry: SpecialistEntry, manifest: Manifest) -> list[SpecialistEntry]:
    return [entry, *(o for o in partners(manifest, entry) if o.kind is not Kind.DETECT)]


def partners(manifest: Manifest, entry: SpecialistEntry) -> list[SpecialistEntry]:
    """Return the other specialists that the entry's measurements need.

    They provide its region, and the other inputs of the formula.
    """
    slots = [slot for own in entry.provides for slot in BESIDES.get(own, ())]
    if entry.roi_slot is not None:
        slots.append(entry.roi_slot)
    return [other for slot in slots if (other := manifest.provider(slot)) is not None]


def fitted(
    name: str, pairs: Pairs, used: Mapping[str, str], left_out: Pairs | None = None
) -> MeasuredInterval:
    """Return the interval of one measurement with its cross-fitted coverage, or why it has none."""
    base = _empty(name, pairs).model_copy(update={"calibrated_with": dict(used)})
    many = len(set(pairs.groups))
    if many < conformal.LEAST_GROUPS:
        return _without(
            base,
            f"its validation images come from {many} {'group' if many == 1 else 'groups'} "
            f"of patients; at least {conformal.LEAST_GROUPS} are needed",
        )
    known, every = _errors(pairs), _errors(pairs)
    if left_out is not None and left_out.errors:
        every = joined([known, _errors(left_out)])
    low, high = _ends(every)
    source = base.source + _whose(every)
    if not np.isfinite([low, high]).all():
        return _without(base, f"{len(pairs.errors)} validation images with a reference are too few")
    inside = _inside(known, every)
    held = conformal.share_of(inside, known.lot.groups)
    for where, rows in {"": np.arange(len(known)), **known.lot.parts().told}.items():
        found = conformal.share_of(inside[rows], [known.lot.groups[row] for row in rows])
        if found.high < LEVEL:
            of = f" of {where}" if where else ""
            reason = f"on patients{of} held out it would cover {found.value:.0%}, not {LEVEL:.0%}"
            return _without(base, reason)
    if pairs.form is Form.RELATIVE:
        low, high = np.expm1(low), np.expm1(high)
    values = base.model_dump() | {
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "coverage": round(held.value, 4),
        "coverage_low": round(held.low, 4),
        "coverage_high": round(held.high, 4),
        "source": source,
    }
    return MeasuredInterval.model_validate(values)


def _errors(pairs: Pairs) -> Scored:
    origins = pairs.origins or [frozenset[str]()] * len(pairs.errors)
    return Scored(
        values=np.array(pairs.errors, dtype=np.float64),
        truth=np.zeros(len(pairs.errors), dtype=np.int64),
        lot=Lot(groups=tuple(pairs.groups), origins=tuple(origins)),
    )


def _ends(errors: Scored) -> tuple[float, float]:
    """Return the ends that hold the required share of all errors together, and of each source's."""
    parts = errors.lot.parts()
    found = [
        conformal.ends(errors.values[rows], [errors.lot.groups[row] for row in rows])
        for rows in (parts.every, *parts.told.values())
    ]
    return min(low for low, _ in found), max(high for _, high in found)


def _inside(known: Scored, every: Scored) -> conformal.Flags:
    """Return (n,) whether each known error is between the ends given by other groups' errors."""

    def held_out(_: conformal.Rows, rows: conformal.Rows) -> conformal.Array:
        low, high = _ends(every.without([known.lot.groups[row] for row in rows]))
        errors = known.values[rows]
        return ((low <= errors) & (errors <= high)).astype(np.float64)

    return conformal.cross_fitted(known.lot.groups, held_out).astype(np.bool_)


def inside_of(pairs: Pairs, others: Pairs) -> conformal.Flags | None:
    """Return (n,) whether each error is between the ends that the others' errors give.

    It is None where there are no such ends. The others' rows of a patient in `pairs` are left out.
    """
    known, fit = _errors(pairs), _errors(others).without(pairs.groups)
    if not len(known) or len(set(fit.lot.groups)) < conformal.LEAST_GROUPS:
        return None
    low, high = _ends(fit)
    if not np.isfinite([low, high]).all():
        return None
    inside: conformal.Flags = (low <= known.values) & (known.values <= high)
    return inside


def _whose(errors: Scored) -> str:
    """Return a clause on the sources whose shares the ends hold, and on tails of unequal ends."""
    parts = errors.lot.parts()
    low, high = _ends(errors)
    if not parts.told:
        return parts.too_few() + (BIASED if low != -high else "")

    def held(rows: conformal.Rows) -> float:
        return float(((low <= errors.values[rows]) & (errors.values[rows] <= high)).mean())

    return (
        "; the widest of all sources, of each of which it holds its share: "
        f"{parts.each(held, digits=3)}"
    )


BIASED = "; its median error differs from zero, so that each tail has its own quantile"


def _source(pairs: Pairs, many: int) -> str:
    seen = len(pairs.errors) + pairs.not_measured
    words = (
        f"split-conformal {LEVEL:.0%} of {len(pairs.errors)} val images in {many} groups, "
        f"{'log ratio' if pairs.form is Form.RELATIVE else 'difference'} "
        "of label and prediction by "
        f"the report's formula, coverage cross-fitted by group"
    )
    if pairs.not_measured:
        words += f"; not measured on {pairs.not_measured} of {seen} with a reference"
    if pairs.unlabelled:
        words += f"; measured on {pairs.unlabelled} without a reference"
    return words


def _empty(name: str, pairs: Pairs) -> MeasuredInterval:
    """Return what is known before the quantile: an entry that is not valid yet."""
    many = len(set(pairs.groups))
    return MeasuredInterval.model_construct(
        measurement=name,
        form=pairs.form,
        n=len(pairs.errors),
        groups=many,
        not_measured=pairs.not_measured,
        source=_source(pairs, many),
    )


def _without(base: MeasuredInterval, reason: str) -> MeasuredInterval:
    return MeasuredInterval.model_validate(base.model_dump() | {"reason": reason})


def pairs_of(entry: SpecialistEntry, engine: Engine, samples: Sequence[Sample]) -> dict[str, Pairs]:
    """Return the pairs of each measurement of the entry's slot, over samples with its label.

    Raises:
        TrainingError: an image or a label cannot be read.
    """
    tools = _tools(entry, engine.manifest)
    found = {name: Pairs() for name in MEASUREMENTS[measured_slot(entry) or ""]}
    for sample in tqdm(samples, desc=f"{entry.id}, intervals"):
        if entry.id not in sample.masks and entry.id not in sample.points:
            continue
        image = image_of(read_grey(sample.path), sample.aspect)
        exam = entry.exams[0]
        given = _numbers(exam, image, [_predicted(engine, tool, image) for tool in tools], tools)
        truth = _numbers(exam, image, [label_of(tool, sample, image) for tool in tools], tools)
        for name, pairs in found.items():
            _add(pairs, given.get(name), truth.get(name), sample)
    return found


def _add(pairs: Pairs, given: Number | None, truth: Number | None, sample: Sample) -> None:
    value = None if given is None else given.value
    if truth is None or truth.value is None:
        pairs.unlabelled += value is not None
        return
    if value is None:
        pairs.not_measured += 1
        return
    pairs.form = Form.RELATIVE if truth.unit in LENGTHS else Form.ABSOLUTE
    if pairs.form is Form.ABSOLUTE:
        error = truth.value - value
    else:  # 0 is infinitely far from any other value
        with np.errstate(divide="ignore"):
            apart = np.log(truth.value) - np.log(value) if truth.value != value else 0.0
        error = float(apart)
    pairs.errors.append(error)
    pairs.groups.append(sample.group)
    pairs.origins.append(origins_of(sample))


def _numbers(
    exam: ExamCode,
    image: Image,
    results: Sequence[Result | None],
    tools: Sequence[SpecialistEntry],
) -> dict[str, Number]:
    """Return the first number of each name, by the formulas of the exam.

    The first is that of the largest region.
    """
    evidence: dict[str, list[Evidence]] = {}
    first = 1
    for result, tool in zip(results, tools, strict=True):
        items = evidence_of_result(result, step=0, first=first)
        first += len(items)
        evidence.update(dict.fromkeys(tool.provides, items))
    seen = Seen(
        image=image.info,
        evidence=evidence,
        scanned=partial(scanned_outline, image.pixels),
        grey=lambda: image.pixels,
    )
    return {number.name: number for number in reversed(NUMBERS_OF[exam](seen))}


def _predicted(engine: Engine, entry: SpecialistEntry, image: Image) -> Result | None:
    """Return the result that a report would get; None where the specialist declines."""
    try:
        return engine.run(entry.id, image, region_for(engine, entry, image))
    except Declined:
        return None


def label_of(entry: SpecialistEntry, sample: Sample, image: Image) -> Result | None:
    """Return an image's label as the result of a faultless specialist; None without a label."""
    if entry.id in sample.points:
        places = dict(zip(entry.landmarks, sample.points[entry.id].tolist(), strict=True))
        marked = {name: xy for name, xy in places.items() if np.isfinite(xy).all()}
        return RegressResult(
            specialist=entry.id,
            sha256="",
            points=tuple(NamedPoint(name=name, x=x, y=y) for name, (x, y) in marked.items()),
            missing=tuple(name for name in places if name not in marked),
        )
    if entry.id not in sample.masks:
        return None
    mask = read_mask(sample.masks[entry.id])
    height_px, width_px = image.pixels.shape
    side = max(height_px, width_px)
    square = np.zeros((side, side), np.uint8)
    square[:height_px, :width_px] = mask
    box = Letterbox(
        scale=1.0,
        offset_x=0.0,
        offset_y=0.0,
        height_px=height_px,
        width_px=width_px,
        input_px=side,
    )
    components = [
        (area(rings), label, rings)
        for value, label in enumerate(entry.labels[1:], start=1)
        for rings in outlines((square == value) * 2.0 - 1.0, 0.0, box)
    ]
    components.sort(key=lambda item: -item[0])
    return SegmentResult(
        specialist=entry.id,
        sha256="",
        labels=entry.labels[1:],
        components=tuple(
            Component(label=label, polygons=rings, score=1.0) for _, label, rings in components
        ),
    )
