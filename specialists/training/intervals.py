"""Intervals of a report's measurements from `val`: its own formulas on what was predicted, and on the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reports.formulas import BESIDES, MEASUREMENTS, NUMBERS_OF
from reports.geometry import area
from reports.interval import LEVEL, Form
from reports.measure import Number, Seen
from reports.model import Evidence, ExamCode, NamedPoint
from reports.scanned import scanned_outline
from specialists.decode import outlines
from specialists.engine import Engine
from specialists.errors import Declined
from specialists.evidence import evidence_of_result
from specialists.image import Image, image_of
from specialists.letterbox import Letterbox
from specialists.manifest import Kind, Manifest, MeasuredInterval, SpecialistEntry
from specialists.result import Component, RegressResult, Result, SegmentResult
from specialists.training import conformal
from specialists.training.predict import region_for
from specialists.training.tables import Sample, read_grey, read_samples

LENGTHS = ("px", "px²", "mm", "mm²")
"""Units in which an error grows with the value: its ratio is what carries over to another image."""


@dataclass(kw_only=True)
class Pairs:
    """One measurement on the images of val, by what was predicted and by the labels."""

    errors: list[float] = field(default_factory=list)
    """Reference less prediction; of a length or area, the logarithm of their ratio."""
    groups: list[str] = field(default_factory=list)
    form: Form = Form.RELATIVE
    not_measured: int = 0
    unlabelled: int = 0
    """Predicted where the labels hold nothing to measure."""


def intervals_of(
    entry: SpecialistEntry, engine: Engine, data: Path
) -> tuple[MeasuredInterval, ...]:
    """The interval of each measurement that is asked of the entry's slot, or why it has none.

    Args:
        entry: installed in the engine; none for one that no formula reads.
        engine: with the thresholds that reports are made with, and the specialists named by `partners`.
        data: a data root with `val` rows of the entry's task.
    """
    slot = next((slot for slot in entry.provides if slot in MEASUREMENTS), None)
    if slot is None or not entry.exams:
        return ()
    names = [name for name in MEASUREMENTS[slot] if name not in FOLLOW]
    others = [other for other in partners(engine.manifest, entry) if other.installed]
    filled = {slot for other in others for slot in other.provides}
    if lacking := [needed for needed in BESIDES.get(slot, ()) if needed not in filled]:
        reason = (
            f"no specialist for {', '.join(lacking)} was installed when {entry.id} was calibrated"
        )
        return tuple(_without(_empty(name, Pairs()), reason) for name in names)
    used = {other.id: str(other.sha256) for other in others}
    found = _pairs(entry, slot, engine, data)
    return tuple(fitted(name, found[name], used) for name in names)


def partners(manifest: Manifest, entry: SpecialistEntry) -> list[SpecialistEntry]:
    """The specialists that the entry's measurements need besides: its region's, and those of the formula."""
    slots = [slot for own in entry.provides for slot in BESIDES.get(own, ())]
    if entry.roi_slot is not None:
        slots.append(entry.roi_slot)
    return [other for slot in slots if (other := manifest.provider(slot)) is not None]


def fitted(name: str, pairs: Pairs, used: Mapping[str, str]) -> MeasuredInterval:
    """The interval of one measurement with its cross-fitted coverage, or the reason why it has none."""
    errors, groups = np.array(pairs.errors), pairs.groups
    count, many = len(errors), len(set(groups))
    base = _empty(name, pairs).model_copy(update={"calibrated_with": dict(used)})
    if many < conformal.LEAST_GROUPS:
        return _without(
            base,
            f"its validation images come from {many} {'group' if many == 1 else 'groups'} of patients; at "
            f"least {conformal.LEAST_GROUPS} are needed",
        )
    low, high = conformal.ends(errors, groups)
    tails = "" if low == -high else BIASED
    if not np.isfinite([low, high]).all():
        return _without(base, f"{count} validation images with a reference are too few")
    held = conformal.coverage(errors, groups)
    if held.high < LEVEL:
        return _without(
            base, f"on patients held out it would cover {held.value:.0%}, not {LEVEL:.0%}"
        )
    if pairs.form is Form.RELATIVE:
        low, high = np.expm1(low), np.expm1(high)
    values = base.model_dump() | {
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "coverage": round(held.value, 4),
        "coverage_low": round(held.low, 4),
        "coverage_high": round(held.high, 4),
        "source": base.source + tails,
    }
    return MeasuredInterval.model_validate(values)


FOLLOW = frozenset({"gestational age"})
"""Measurements that are a formula of another one, and have its interval sent through that formula."""

BIASED = "; its median error differs from zero, so that each tail has its own quantile"


def _source(pairs: Pairs, many: int) -> str:
    seen = len(pairs.errors) + pairs.not_measured
    words = (
        f"split-conformal {LEVEL:.0%} of {len(pairs.errors)} val images in {many} groups, "
        f"{'log ratio' if pairs.form is Form.RELATIVE else 'difference'} of label and prediction by "
        f"the report's formula, coverage cross-fitted by group"
    )
    if pairs.not_measured:
        words += f"; not measured on {pairs.not_measured} of {seen} with a reference"
    if pairs.unlabelled:
        words += f"; measured on {pairs.unlabelled} without a reference"
    return words


def _empty(name: str, pairs: Pairs) -> MeasuredInterval:
    """What is known before the quantile: an entry that is not valid yet."""
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


def _pairs(entry: SpecialistEntry, slot: str, engine: Engine, data: Path) -> dict[str, Pairs]:
    """The pairs of each measurement of the slot over the images of val that carry the entry's label."""
    tools = [entry, *(o for o in partners(engine.manifest, entry) if o.kind is not Kind.DETECT)]
    known = [t for t in tools if (data / "csv_files" / f"{t.task_id}.csv").exists()]
    found = {name: Pairs() for name in MEASUREMENTS[slot]}
    for sample in tqdm(read_samples(data, known, "val"), desc=f"{entry.id}, intervals"):
        if entry.id not in sample.masks and entry.id not in sample.points:
            continue
        image = image_of(read_grey(sample.path))
        exam = entry.exams[0]
        given = _numbers(exam, image, [_predicted(engine, tool, image) for tool in tools], tools)
        truth = _numbers(exam, image, [label_of(tool, sample, image) for tool in tools], tools)
        for name, pairs in found.items():
            _add(pairs, given.get(name), truth.get(name), sample.group)
    return found


def _add(pairs: Pairs, given: Number | None, truth: Number | None, group: str) -> None:
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
    else:  # what is 0 is infinitely far from what is not
        with np.errstate(divide="ignore"):
            apart = np.log(truth.value) - np.log(value) if truth.value != value else 0.0
        error = float(apart)
    pairs.errors.append(error)
    pairs.groups.append(group)


def _numbers(
    exam: ExamCode,
    image: Image,
    results: Sequence[Result | None],
    tools: Sequence[SpecialistEntry],
) -> dict[str, Number]:
    """The first number of each name, which is of the largest region, by the formulas of the exam."""
    evidence: dict[str, list[Evidence]] = {}
    first = 1
    for result, tool in zip(results, tools, strict=True):
        items = evidence_of_result(result, step=0, first=first)
        first += len(items)
        evidence.update(dict.fromkeys(tool.provides, items))
    seen = Seen(image=image.info, evidence=evidence, scanned=partial(scanned_outline, image.pixels))
    return {number.name: number for number in reversed(NUMBERS_OF[exam](seen))}


def _predicted(engine: Engine, entry: SpecialistEntry, image: Image) -> Result | None:
    """The answer that a report would get; null where the specialist declines."""
    try:
        return engine.run(entry.id, image, region_for(engine, entry, image))
    except Declined:
        return None


def label_of(entry: SpecialistEntry, sample: Sample, image: Image) -> Result | None:
    """The label of an image as the result of a specialist that is never wrong; null without one."""
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
    mask = read_grey(sample.masks[entry.id])
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
