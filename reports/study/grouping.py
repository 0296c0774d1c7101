"""The values of a study's reports, put together by what they measure.

Values are put together where exam, side, site, structure, name and unit are the same. A value of
another side or another site measures something else, and one in another unit cannot be compared.

Of these values one is taken, from the best image: reliable before unreliable, then the narrowest
interval relative to its value, then the higher score of what it rests on, then the earlier image.

A value is an outlier where its interval and that of the value taken do not overlap. Where one of
the two has no interval, it is an outlier where it differs by more than `OUTLIER_SHARE` from the
median of all values (of two, from the value taken); angles, which may be near zero, by more than
`OUTLIER_DEG`.

Not everything that has the same name is the same thing. Outlines of lesions in different images
are not assumed to be the same lesion, and the sizes of a heart change with its beat and the view:
these values are listed, none is taken, and none is called an outlier. So are values of which one
image shows several. Lengths and areas in pixels have no common scale over several images: one is
taken, and none is called an outlier.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from reports.layout import structure_of
from reports.measure.numbers import DEGREES
from reports.model import (
    ExamCode,
    Laterality,
    Measurement,
    Outcome,
    PointsEvidence,
    Report,
    Score,
)
from reports.study.model import StudyMeasurement, StudyValue
from reports.wording.numbers import figure
from reports.wording.phrases import capital
from reports.wording.templates import text

OUTLIER_SHARE = 0.2
"""A choice of ours: beyond it, another plane is likelier than an error of measuring."""

OUTLIER_DEG = 10.0
"""The same for angles."""

PIXELS = frozenset({"px", "px²"})

LESIONS = frozenset({"lesion", "nodule", "ovary", "ovary or tumour"})
"""Structures of which a patient may have several."""

LESIONS_APART = "outlines in different images are not assumed to be the same lesion"
HEART_APART = "the sizes of a heart change with its beat and with the view"
SEVERAL_APART = "an image shows several of them"
PIXELS_APART = "lengths in pixels have no common scale over several images"


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A report, and the number of its image in the study, from 1."""

    image: int
    report: Report


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: the same in two images, or in two studies, if all of this is the same."""

    exam: ExamCode | None
    laterality: Laterality | None
    site: str
    structure: str
    name: str

    @classmethod
    def of(cls, item: StudyMeasurement) -> "Subject":
        """Return what a measurement of a study is of."""
        return cls(
            exam=item.exam.code,
            laterality=item.laterality,
            site=_folded(item.site),
            structure=item.structure,
            name=item.name,
        )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    image: Numbered
    measurement: Measurement


def measurements_of(reports: Sequence[Numbered]) -> tuple[StudyMeasurement, ...]:
    """Return the measurements over these reports, in the order in which the reports name them."""
    seen: dict[Subject, list[_Seen]] = {}
    for one in reports:
        for subject, item in _subjects(one):
            seen.setdefault(subject, []).append(_Seen(image=one, measurement=item))
    made = [
        _of_unit(subject, found, unit) for subject, found in seen.items() for unit in _units(found)
    ]
    return tuple(item.model_copy(update={"id": f"s{at}"}) for at, item in enumerate(made, start=1))


def overlapping(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two intervals have a value in common."""
    return one[0] <= other[1] and other[0] <= one[1]


def _subjects(one: Numbered) -> Iterator[tuple[Subject, Measurement]]:
    report = one.report
    if report.outcome is Outcome.REFUSED:
        return
    for item in report.measurements:
        subject = Subject(
            exam=report.exam.code,
            laterality=report.request.laterality,
            site=_folded(report.request.site),
            structure=structure_of(item, report),
            name=item.name,
        )
        yield subject, item


def _units(found: Sequence[_Seen]) -> list[str | None]:
    """Return the units of the values, in order; [None] where there is no value."""
    units = dict.fromkeys(
        one.measurement.unit for one in found if one.measurement.value is not None
    )
    return list(units) or [None]


def _of_unit(subject: Subject, found: Sequence[_Seen], unit: str | None) -> StudyMeasurement:
    measured = [one for one in found if one.measurement.value is not None]
    values = tuple(_value(one) for one in measured if one.measurement.unit == unit)
    first = found[0].image.report
    apart = _apart(subject, values)
    best = None if apart in (LESIONS_APART, HEART_APART, SEVERAL_APART) else _best(values)
    if apart is None and best is not None:
        values = _with_outliers(values, best)
    having = {one.image.image for one in measured}
    item = StudyMeasurement(
        id="",
        exam=first.exam,
        laterality=subject.laterality,
        site=first.request.site,
        structure=subject.structure,
        name=subject.name,
        unit=unit,
        values=values,
        best=None if best is None else best.image,
        not_compared=apart,
        missing=tuple(one.image.image for one in found if one.image.image not in having),
        statement="",
    )
    statement = text("study_measurement.j2", item=item, called=capital(called(item)))
    return item.model_copy(update={"statement": statement})


def called(item: StudyMeasurement) -> str:
    """Return the name of a measurement, with its structure where the name alone says too little."""
    if item.structure in item.name or item.structure == item.name:
        return item.name
    return f"{item.structure}, {item.name}"


def _value(seen: _Seen) -> StudyValue:
    item, report = seen.measurement, seen.image.report
    if item.value is None:
        raise ValueError("it was not measured")
    return StudyValue(
        image=seen.image.image,
        analysis_id=report.analysis_id,
        report_id=report.report_id,
        measurement=item.id,
        value=item.value,
        unit=item.unit,
        interval=item.interval,
        coverage=item.coverage,
        score=_score(item, report),
        unreliable=item.unreliable,
        text=figure(item).full,
    )


def _score(item: Measurement, report: Report) -> Score | None:
    """Return the lowest score of what a number rests on."""
    scores: list[float] = []
    for evidence in report.evidence:
        if evidence.id not in item.evidence:
            continue
        if evidence.score is not None:
            scores.append(evidence.score)
        if isinstance(evidence, PointsEvidence):
            scores += [point.score for point in evidence.points if point.score is not None]
    return min(scores, default=None)


def _apart(subject: Subject, values: Sequence[StudyValue]) -> str | None:
    """Return why these values are not compared with each other, as a clause; None: they are."""
    images = [value.image for value in values]
    if len(images) < 2:
        return None
    if len(set(images)) < len(images):
        return SEVERAL_APART
    if subject.structure in LESIONS:
        return LESIONS_APART
    if subject.exam is ExamCode.HEART:
        return HEART_APART
    return PIXELS_APART if values[0].unit in PIXELS else None


def never_compared(item: StudyMeasurement) -> str | None:
    """Return why this measurement of two studies is not compared, as a clause; None: it is."""
    if item.structure in LESIONS:
        return "it is not known to be the same lesion"
    if item.exam.code is ExamCode.HEART:
        return HEART_APART
    return "pixels have no common scale over two studies" if item.unit in PIXELS else None


def _best(values: Sequence[StudyValue]) -> StudyValue | None:
    return min(values, key=_rank, default=None)


def _rank(value: StudyValue) -> tuple[bool, float, float, int]:
    width = math.inf
    if value.interval is not None and value.value:
        width = (value.interval[1] - value.interval[0]) / abs(value.value)
    return (value.unreliable is not None, width, -(value.score or 0.0), value.image)


def _with_outliers(values: Sequence[StudyValue], best: StudyValue) -> tuple[StudyValue, ...]:
    several = [value.value for value in values]
    middle = median(several) if len(several) > 2 else best.value
    words = {value.image: _outlier(value, best, middle, len(several)) for value in values}
    return tuple(value.model_copy(update={"outlier": words[value.image]}) for value in values)


def _outlier(value: StudyValue, best: StudyValue, middle: float, several: int) -> str | None:
    """Return why a value does not fit, as a clause; None: it does."""
    if value.interval is not None and best.interval is not None:
        if overlapping(value.interval, best.interval):
            return None
        return f"its interval does not overlap that of image {best.image}"
    of = "the median of all values" if several > 2 else f"the value of image {best.image}"
    if value.unit == DEGREES:
        far = abs(value.value - middle) > OUTLIER_DEG
        return f"it differs by more than {OUTLIER_DEG:.0f}° from {of}" if far else None
    far = abs(value.value - middle) > OUTLIER_SHARE * abs(middle)
    return f"it differs by more than {100 * OUTLIER_SHARE:.0f} % from {of}" if far else None


def _folded(site: str | None) -> str:
    return " ".join((site or "").casefold().split())
