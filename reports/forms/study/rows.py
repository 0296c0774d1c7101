"""What page, text and PDF say beside the measurements and the images of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.layout import SIDES
from reports.model import Laterality
from reports.study.grouping import called
from reports.study.model import (
    Comparison,
    MemberState,
    StudyImage,
    StudyMeasurement,
    StudyReport,
    StudyValue,
)
from reports.wording.phrases import capital, listed

LISTED = "listed, none taken"
NOT_ASSESSED = "not assessed"


@dataclass(frozen=True, kw_only=True)
class MeasurementRow:
    """One measurement as a row: the value taken, all values, and what a reader must know."""

    item: StudyMeasurement
    name: str
    taken: str
    source: str
    note: str


@dataclass(frozen=True, kw_only=True)
class MeasurementTable:
    """The measurements of one exam, side and site; `note` is true of all that are not compared."""

    title: str
    note: str
    rows: tuple[MeasurementRow, ...]


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One measurement then and now; `date` is the day on which the earlier study arrived."""

    item: Comparison
    name: str
    date: str
    then: str
    now: str
    change: str
    intervals: str


def title_of(report: StudyReport) -> str:
    """Return what the study is called, else the beginning of its id."""
    return f"Study {report.label or report.study.id[:8]}"


def measurement_tables(report: StudyReport) -> tuple[MeasurementTable, ...]:
    """Return a table for each exam, side and site, in the order of the measurements."""
    found: dict[str, list[StudyMeasurement]] = {}
    for item in report.measurements:
        where = _listed(item.exam.title, _side(item.laterality), item.site)
        found.setdefault(where, []).append(item)
    return tuple(_table(where, items) for where, items in found.items())


def comparison_rows(report: StudyReport) -> tuple[ComparisonRow, ...]:
    """Return a row for each measurement that an earlier study has too."""
    items = {item.id: item for item in report.measurements}
    return tuple(_comparison(made, items[made.measurement]) for made in report.comparisons)


def image_words(image: StudyImage) -> str:
    """Return what an image is, for a list: its exam, side, site, frame and label."""
    if image.state is not MemberState.REPORTED:
        failed = image.state is MemberState.FAILED
        return f"No report: {image.problem or 'given up'}" if failed else "Not reported yet"
    exam = "Exam not recognised" if image.exam is None else image.exam.title
    frame = None if image.frame is None else f"frame {image.frame + 1}"
    return _listed(exam, _side(image.laterality), image.site, frame, image.label)


def all_values(values: Sequence[StudyValue]) -> str:
    """Return all values in words, each with its image, and which of them are outliers."""
    return "; ".join(
        f"image {value.image}: {value.text}" + (", outlier" if value.outlier else "")
        for value in values
    )


def _table(title: str, items: Sequence[StudyMeasurement]) -> MeasurementTable:
    reasons = [item.not_compared for item in items if item.not_compared]
    shared = reasons[0] if len(reasons) > 1 and len(set(reasons)) == 1 else None
    return MeasurementTable(
        title=title,
        note="" if shared is None else f"Not compared: {shared}.",
        rows=tuple(_row(item, shared) for item in items),
    )


def _row(item: StudyMeasurement, shared: str | None) -> MeasurementRow:
    taken = item.taken
    outliers = [str(value.image) for value in item.values if value.outlier]
    notes = (
        item.not_compared and item.not_compared != shared and f"Not compared: {item.not_compared}.",
        outliers and f"Outlier: image {listed(outliers)}.",
        item.values and item.missing and f"Not assessed in image {listed(_texts(item.missing))}.",
    )
    return MeasurementRow(
        item=item,
        name=capital(called(item)),
        taken=taken.text if taken is not None else LISTED if item.values else NOT_ASSESSED,
        source="" if item.best is None else f"image {item.best}",
        note=" ".join(note for note in notes if note),
    )


def _comparison(made: Comparison, item: StudyMeasurement) -> ComparisonRow:
    overlap = {None: "not known", True: "overlap", False: "do not overlap"}[made.overlap]
    side = _side(item.laterality)
    return ComparisonRow(
        item=made,
        name=_listed(capital(called(item)), side, item.site),
        date=made.received_at[:10],
        then="; ".join(value.text for value in made.then),
        now="; ".join(value.text for value in made.now),
        change=made.change_text or "not computed",
        intervals=overlap if made.not_compared is None else capital(made.not_compared),
    )


def _side(laterality: Laterality | None) -> str | None:
    return None if laterality is None else SIDES[laterality]


def _listed(*words: str | None) -> str:
    return ", ".join(word for word in words if word)


def _texts(numbers: Sequence[int]) -> list[str]:
    return [str(number) for number in numbers]
