"""Scores of FMC-UIA prediction files against the labels of their folder, per task and data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from specialists.errors import TrainingError
from specialists.manifest import Kind, Metric, SpecialistEntry
from specialists.training.data.csv_lines import file_of
from specialists.training.data.tables import Row, counts, rows_by_task
from specialists.training.evaluation import metrics
from specialists.training.evaluation.clinical import Agreement
from specialists.training.evaluation.judge import Figure, Judged, height_px
from specialists.training.evaluation.judge_masks import judge_masks
from specialists.training.evaluation.judge_records import judge_boxes, judge_classes, judge_marks

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one task was predicted; a row without a readable prediction counts as wrong."""

    rows: int
    missing: int
    metrics: list[Metric]
    by_dataset: dict[str, list[Metric]]
    """The same figures of each data set, where the rows come from several."""
    problems: list[str]
    """A line for each row without a readable prediction or image, and for each invalid record."""
    judged: Judged
    """The data of the figures, image by image."""


def score_task(
    entry: SpecialistEntry, predictions: Path, data_root: Path, split: str | None
) -> Score:
    """Score one task.

    Raises:
        TrainingError: labels are missing or cannot be read, or no row has that task and split.
    """
    found, problems = rows_by_task(data_root, ("image_path",))
    share_columns(found)
    rows = rows_of_split(entry.task_id, found.get(entry.task_id, []), split, problems)
    rows = [row for row in rows if counts(row, entry)]
    return score_rows(entry, rows, predictions, data_root)


SHARED = ("mm_per_px", "hc_mm", "aop_deg", "pixel_aspect")
"""Columns that belong to the image, whichever task's CSV states them."""


def share_columns(found: Mapping[str, Sequence[Row]]) -> None:
    """Add to every row of an image the `SHARED` columns that other tasks' rows of it state."""
    stated: dict[tuple[object, str], object] = {}
    rows = [row for of_task in found.values() for row in of_task]
    for row in rows:
        for name in SHARED:
            if name in row and not pd.isna(row[name]):  # type: ignore[call-overload]
                stated.setdefault((row["image_path"], name), row[name])
    for row in rows:
        for name in SHARED:
            if (row["image_path"], name) in stated and pd.isna(row.get(name, np.nan)):  # type: ignore[call-overload]
                row[name] = stated[row["image_path"], name]


def rows_of_split(
    task: str, rows: list[Row], split: str | None, problems: Sequence[str] = ()
) -> list[Row]:
    """Return the rows of a task in the split, or all rows where it is None.

    Raises:
        TrainingError: there are none; the message goes on with `problems`.
    """
    rows = [row for row in rows if split is None or row.get("split") == split]
    if not rows:
        what = f"the task {task!r}" + ("" if split is None else f" and the split {split!r}")
        raise TrainingError(" ".join([f"There is no row of {what}.", *problems]))
    return rows


def score_rows(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> Score:
    """Score those rows; the metrics name their `split` where the rows share one.

    Raises:
        TrainingError: a label or the prediction file cannot be read.
    """
    figures, judged = _judged(entry, rows, predictions, data_root)
    missing = judged.given.missing(rows)
    return Score(
        rows=len(rows),
        missing=len(missing),
        metrics=_measured(figures, rows, None),
        by_dataset={name: _measured(figures, rows, name) for name in datasets_of(rows)},
        problems=[*_row_problems(rows, data_root, missing), *judged.given.remarks],
        judged=judged,
    )


def _judged(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> tuple[list[Figure], Judged]:
    judge = {
        Kind.SEGMENT: judge_masks,
        Kind.CLASSIFY: judge_classes,
        Kind.DETECT: judge_boxes,
        Kind.REGRESS: judge_marks,
    }[entry.kind]
    try:
        judged = judge(entry, rows, predictions, data_root)
    except (KeyError, ValueError) as error:
        raise TrainingError(f"The labels of {entry.task_id!r} cannot be read: {error}") from error
    figures = [*judged.figures, *(f for a in judged.agreements for f in figures_of(a))]
    return figures, judged


def values_of(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> dict[str, float]:
    """Return the figures of those rows by name, without their intervals, which take longer.

    Raises:
        TrainingError: a label or the prediction file cannot be read.
    """
    figures, _ = _judged(entry, rows, predictions, data_root)
    values = (
        (one.name, one.statistic(np.arange(len(one.rows)))) for one in figures if len(one.rows)
    )
    return {name: value for name, value in values if np.isfinite(value)}


def datasets_of(rows: Sequence[Row]) -> list[str]:
    """Return the data sets of the rows, where they come from several."""
    found = sorted({str(row["dataset"]) for row in rows if "dataset" in row})
    return found if len(found) > 1 else []


def figures_of(agreement: Agreement) -> list[Figure]:
    """Return mean absolute error and bias of a measurement, and an angle's 95th percentile."""
    unit, source = agreement.unit, agreement.source
    tail = f" ({source})" if source else ""
    short, errors = f"{agreement.short} {{}} {unit}{tail}", agreement.errors
    seen = np.flatnonzero(np.isfinite(agreement.measured))
    differences = agreement.differences[seen]
    found = [Figure.mean(short.format("error"), agreement.rows, errors)]
    if unit == "deg":
        name = short.format("error, 95th percentile,")
        rows = agreement.rows
        found.append(Figure(name, rows, lambda chosen: float(np.percentile(errors[chosen], 95))))
    return [*found, Figure.mean(short.format("bias"), agreement.rows[seen], differences)]


def limits_of(agreement: Agreement, rows: Sequence[Row]) -> list[Metric]:
    """Return bias and 95 % limits of agreement (bias ± 1.96 SD), over the images measured.

    Bland and Altman 1986, Lancet 327:307.
    """
    seen = np.flatnonzero(np.isfinite(agreement.measured))
    found = agreement.differences[seen]

    def at(shift: float) -> Callable[[Rows], float]:
        return lambda chosen: float(
            found[chosen].mean()
            + (shift * found[chosen].std(ddof=1) if shift and len(chosen) > 1 else 0)
        )

    named = (("bias", 0.0), ("lower limit", -1.96), ("upper limit", 1.96))
    of = agreement.rows[seen]
    return _measured([Figure(name, of, at(shift)) for name, shift in named], rows, None)


def _measured(figures: Sequence[Figure], rows: Sequence[Row], dataset: str | None) -> list[Metric]:
    """Return each figure with its bootstrap interval over groups.

    A figure that is not defined on these rows is left out.
    """
    found = (_metric(figure, rows, dataset) for figure in figures)
    return [metric for metric in found if metric is not None]


def _metric(figure: Figure, rows: Sequence[Row], dataset: str | None) -> Metric | None:
    places = np.array(
        [
            place
            for place, row in enumerate(figure.rows)
            if dataset is None or str(rows[row].get("dataset")) == dataset
        ],
        dtype=np.int64,
    )
    if not len(places):
        return None
    value = figure.statistic(places)
    if not np.isfinite(value):
        return None
    of = [rows[figure.rows[place]] for place in places]
    # where no groups are known, each image is its own
    groups = [str(row.get("group_id", row["image_path"])) for row in of]
    splits = {str(row.get("split")) for row in of}
    interval = metrics.bootstrap(groups, lambda chosen: figure.statistic(places[chosen]))
    low, high = interval or (None, None)
    return Metric(
        name=figure.name,
        value=round(value, 4),
        low=None if low is None else round(low, 4),
        high=None if high is None else round(high, 4),
        n=len(of),
        split=splits.pop() if len(splits) == 1 and "split" in of[0] else "all",
    )


def _row_problems(rows: Sequence[Row], data_root: Path, missing: dict[int, str]) -> list[str]:
    """Return a line for each row whose prediction or image cannot be read."""
    lines = []
    for index, row in enumerate(rows):
        path = str(row["image_path"])
        faults = [missing[index]] if index in missing else []
        if np.isnan(height_px(file_of(data_root, path))):
            faults.append("the image is missing or unreadable")
        if faults:
            lines.append(f"{path}: {'; '.join(faults)}")
    return lines
