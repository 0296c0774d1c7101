"""The rows of FMC-UIA style CSV files as typed samples, read once per training."""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from specialists.errors import TrainingError
from specialists.image import ASPECT_MAX, ASPECT_MIN
from specialists.manifest import Kind, SpecialistEntry
from specialists.training.data.csv_lines import file_of, read_lines
from specialists.training.data.problems import Problems
from specialists.training.data.split import completed

Array = npt.NDArray[np.float64]
Row = dict[str, object]
"""One row of a CSV by column."""


@dataclass(kw_only=True)
class Sample:
    """One image with its labels of all tasks; geometry in the stored image's pixels."""

    path: Path
    dataset: str
    group: str
    split: str
    device: str = ""
    """The scanner, where its row states one."""
    source: str = ""
    """The page or clinic within the data set, where its row states one."""
    masks: dict[str, Path] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, tuple[float, float, float, float] | None] = field(default_factory=dict)
    points: dict[str, Array] = field(default_factory=dict)
    columns: dict[str, float] = field(default_factory=dict)
    """Further numbers of its rows: `mm_per_px`, `hc_mm`, `aop_deg`, source size, pixel aspect."""

    @property
    def aspect(self) -> float | None:
        """A pixel's height over its width; None where no row states it."""
        return self.columns.get("pixel_aspect")

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that it carries a label of."""
        return frozenset((*self.masks, *self.classes, *self.boxes, *self.points))


TRAINING_COLUMNS = ("task_id", "image_path")
EXTRA = ("mm_per_px", "hc_mm", "aop_deg", "source_width", "source_height", "pixel_aspect")


def read_samples(data: Path, entries: list[SpecialistEntry], split: str | None) -> list[Sample]:
    """Return samples of all `entries` whose CSV lies under `data/csv_files`, one per image path.

    Raises:
        TrainingError: a CSV, a column or a label is missing or cannot be read, or an image is in
            two splits.
    """
    samples: dict[Path, Sample] = {}
    for entry in entries:
        for row in read_table(data, entry.task_id).to_dict("records"):
            record = {str(key): value for key, value in row.items()}
            if record["task_id"] != entry.task_id:
                continue
            if split is not None and record["split"] != split:
                continue
            if not counts(record, entry):
                continue
            path = _file(data, entry, record, "image_path")
            sample = samples.setdefault(
                path,
                Sample(
                    path=path,
                    dataset=str(record.get("dataset", entry.task_id)),
                    group=str(record["group_id"]),
                    split=str(record["split"]),
                    device=text_of(record, "device"),
                    source=text_of(record, "source"),
                ),
            )
            if sample.split != record["split"]:
                raise TrainingError(f"{path} stands in two splits ({entry.task_id}.csv).")
            sample.device = sample.device or text_of(record, "device")
            try:
                _add_label(sample, entry, record, data)
            except (KeyError, ValueError) as error:
                raise TrainingError(
                    f"{entry.task_id}.csv: the label of {path.name} cannot be read: {error}"
                ) from error
    return list(samples.values())


def text_of(record: Row, column: str) -> str:
    """Return a row's text in that column; "" where it is empty or missing."""
    value = record.get(column)
    return "" if value is None or pd.isna(value) else str(value)  # type: ignore[call-overload]


def stated_aspect(record: Row) -> float | None:
    """Return a row's `pixel_aspect`, height over width; None where it is empty or missing.

    Raises:
        TrainingError: it is no aspect that a pixel can have.
    """
    stated = text_of(record, "pixel_aspect")
    if not stated:
        return None
    if not is_aspect(stated):
        raise TrainingError(f"pixel_aspect is {stated!r}. {ASPECT_WANTED}")
    return float(stated)


ASPECT_WANTED = (
    f"Write a pixel's height divided by its width, from {ASPECT_MIN:g} to {ASPECT_MAX:g}, "
    "or leave it empty."
)


def is_aspect(text: str) -> bool:
    """Return whether the text is a plausible height over width of a pixel."""
    try:
        return ASPECT_MIN <= float(text) <= ASPECT_MAX
    except ValueError:
        return False


def counts(record: Row, entry: SpecialistEntry) -> bool:
    """Return whether the specialist is trained and evaluated on a row.

    It is where no column contradicts the entry's `rows`; a table without such a column has nothing
    to leave out.
    """
    return all(
        float(str(record[column])) == wanted
        for column, wanted in entry.rows.items()
        if column in record
    )


def read_table(
    data: Path, task_id: str, columns: Collection[str] = TRAINING_COLUMNS
) -> pd.DataFrame:
    """Read `csv_files/<task_id>.csv` as text, each row with a group and a split.

    An empty cell is NaN, and nothing else is: NA is a group like any other. Groups and splits are
    made where the table has none.

    Raises:
        TrainingError: the file or one of those columns is missing, or it is no CSV.
    """
    path = data / "csv_files" / f"{task_id}.csv"
    problems = Problems(file=path.name)
    names, lines = read_lines(path, tuple(columns), problems)
    problems.refuse()
    table = pd.DataFrame([line.cells for line in lines], columns=names, dtype=object)
    return completed(table.replace("", np.nan))


def rows_by_task(data: Path, needed: Collection[str]) -> tuple[dict[str, list[Row]], list[str]]:
    """Read the rows of every CSV under `csv_files`, by the task that each row names.

    The second value lists what could not be read.

    Args:
        data: the data root.
        needed: columns besides `task_id`.

    Raises:
        TrainingError: there is no CSV.
    """
    files = sorted((data / "csv_files").glob("*.csv"))
    if not files:
        raise TrainingError(f"There is no CSV under {data / 'csv_files'}.")
    found: dict[str, list[Row]] = {}
    problems: list[str] = []
    for path in files:
        try:
            table = read_table(data, path.stem, ("task_id", *needed))
        except TrainingError as error:
            problems.append(str(error))
            continue
        for row in table.to_dict("records"):
            task = "" if pd.isna(row["task_id"]) else str(row["task_id"])
            found.setdefault(task, []).append({str(key): value for key, value in row.items()})
    return found, problems


def label_points(record: Row, landmarks: int) -> Array:
    """Return the (landmarks, 2) points (x, y) of a row; a missing one is NaN."""
    points = np.full((landmarks, 2), np.nan)
    for index in range(landmarks):
        value = record[f"point_{index + 1}_xy"]
        if isinstance(value, str):
            points[index] = json.loads(value)
    return points


def label_box(record: Row) -> tuple[float, float, float, float] | None:
    """Return the box of a row, or None where its columns are empty: the structure is absent."""
    box = [float(str(record[key])) for key in ("x_min", "y_min", "x_max", "y_max")]
    return None if np.isnan(box).any() else (box[0], box[1], box[2], box[3])


def label_class(record: Row, classes: int) -> int:
    """Return the class of a row.

    Raises:
        ValueError: it is none of so many classes.
    """
    value = float(str(record["mask"]))
    if value not in range(classes):
        raise ValueError(f"{record['mask']} is none of {classes} classes")
    return int(value)


def _add_label(sample: Sample, entry: SpecialistEntry, record: Row, data: Path) -> None:
    match entry.kind:
        case Kind.SEGMENT:
            sample.masks[entry.id] = _file(data, entry, record, "mask_path")
        case Kind.CLASSIFY:
            sample.classes[entry.id] = label_class(record, len(entry.labels))
        case Kind.DETECT:
            sample.boxes[entry.id] = label_box(record)
        case Kind.REGRESS:
            sample.points[entry.id] = label_points(record, len(entry.landmarks))
    stated_aspect(record)
    for name in EXTRA:
        if name in record and not pd.isna(value := record[name]):  # type: ignore[call-overload]
            sample.columns[name] = float(str(value))


def _file(data: Path, entry: SpecialistEntry, record: Row, column: str) -> Path:
    """Return the file that a row names, with links followed, so that an image is one sample.

    Raises:
        KeyError: there is no such column.
        TrainingError: what stands there is no path in the data root.
    """
    try:
        return file_of(data, text_of({column: record[column]}, column))
    except TrainingError as error:
        raise TrainingError(f"{entry.task_id}.csv: {column} {error}") from error
