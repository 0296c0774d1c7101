"""Scores of FMC-UIA prediction files against the labels of their folder, per task and data set."""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from reports.geometry import box_iou
from specialists.errors import TrainingError
from specialists.manifest import Kind, Metric, SpecialistEntry
from specialists.training import metrics
from specialists.training.predict import FILES, mask_target
from specialists.training.tables import (
    Row,
    label_box,
    label_class,
    label_points,
    read_grey,
    rows_by_task,
)

Rows = npt.NDArray[np.int64]
Guesses = dict[str, npt.NDArray[np.float64] | None]
"""By image path, class scores, a box, null for none, or points; what cannot be read is not in it."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one task was predicted; a row without a readable prediction counts as wrong."""

    rows: int
    missing: int
    metrics: list[Metric]


def score_task(
    entry: SpecialistEntry, predictions: Path, data_root: Path, split: str | None
) -> Score:
    """The score of one task.

    Raises:
        TrainingError: labels are missing or cannot be read, or no row has that task and split.
    """
    found, problems = rows_by_task(data_root, ("image_path",))
    rows = rows_of_split(entry.task_id, found.get(entry.task_id, []), split, problems)
    return score_rows(entry, rows, predictions, data_root)


def rows_of_split(
    task: str, rows: list[Row], split: str | None, problems: Sequence[str] = ()
) -> list[Row]:
    """Those rows of a task that are of the split, all where none is named.

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
    """The score over those rows, whose `split` the metrics name where they share one.

    Raises:
        TrainingError: a label or the prediction file cannot be read.
    """
    try:
        match entry.kind:
            case Kind.SEGMENT:
                return _segmentation(entry, rows, predictions, data_root)
            case Kind.CLASSIFY:
                return _classification(entry, rows, predictions)
            case Kind.DETECT:
                return _detection(entry, rows, predictions)
            case Kind.REGRESS:
                return _regression(entry, rows, predictions)
    except (KeyError, ValueError) as error:
        raise TrainingError(f"The labels of {entry.task_id!r} cannot be read: {error}") from error


def any_prediction(entry: SpecialistEntry, rows: list[Row], predictions: Path) -> bool:
    """Whether there is a prediction of the task, readable or not.

    Raises:
        TrainingError: the prediction file or a row's mask path cannot be read.
    """
    if entry.kind is Kind.SEGMENT:
        return any(mask_target(row, predictions).exists() for row in rows)
    return bool(_own(entry, predictions))


class _Scorer:
    """Metrics of one set of rows, each with its bootstrap interval over groups."""

    def __init__(self, rows: Sequence[Row]) -> None:
        # where no groups are known each image is its own
        self.groups = [str(row.get("group_id", row["image_path"])) for row in rows]
        splits = {str(row.get("split")) for row in rows}
        self.split = splits.pop() if len(splits) == 1 and "split" in rows[0] else "all"
        self.metrics: list[Metric] = []

    def add(self, name: str, statistic: Callable[[Rows], float]) -> None:
        """Adds one metric; one that is not defined on these rows is left out."""
        if not self.groups:
            return
        value = statistic(np.arange(len(self.groups)))
        if not np.isfinite(value):
            return
        interval = metrics.bootstrap(self.groups, statistic)
        low, high = interval or (None, None)
        self.metrics.append(
            Metric(
                name=name,
                value=round(value, 4),
                low=None if low is None else round(low, 4),
                high=None if high is None else round(high, 4),
                n=len(self.groups),
                split=self.split,
            )
        )

    def add_mean(self, name: str, values: Sequence[float]) -> None:
        """Adds the mean of one value per row."""
        array = np.array(values)
        self.add(name, lambda chosen: float(array[chosen].mean()))


def _segmentation(
    entry: SpecialistEntry,
    rows: list[Row],
    predictions: Path,
    data_root: Path,
) -> Score:
    found: list[Metric] = []
    truths = [_mask((data_root / "csv_files" / str(row["mask_path"])).resolve()) for row in rows]
    given = [
        _predicted_mask(mask_target(row, predictions), truth.shape)
        for row, truth in zip(rows, truths, strict=True)
    ]
    # 255, which is no class, where a mask is missing
    guesses = [
        np.full(truth.shape, 255, np.uint8) if guess is None else guess
        for guess, truth in zip(given, truths, strict=True)
    ]
    for index, label in enumerate(entry.labels[1:], start=1):
        pairs = [(g == index, t == index) for g, t in zip(guesses, truths, strict=True)]
        held = [i for i, (_, truth) in enumerate(pairs) if truth.any()]
        scorer = _Scorer([rows[i] for i in held])
        scorer.add_mean(f"dice {label}", [metrics.dice(*pairs[i]) for i in held])
        scorer.add_mean(f"hausdorff_px {label}", [metrics.hausdorff_px(*pairs[i]) for i in held])
        empty = [i for i, (_, truth) in enumerate(pairs) if not truth.any()]
        if empty:
            without = _Scorer([rows[i] for i in empty])
            silent = [float(not pairs[i][0].any()) for i in empty]
            without.add_mean(f"share of images without {label} left empty", silent)
            scorer.metrics += without.metrics
        found += scorer.metrics
    missing = sum(guess is None for guess in given)
    return Score(rows=len(rows), missing=missing, metrics=found)


def _classification(entry: SpecialistEntry, rows: list[Row], predictions: Path) -> Score:
    classes = len(entry.labels)
    given = _predicted(entry, predictions)
    truth = np.array([label_class(row, classes) for row in rows])
    scores = np.zeros((len(rows), classes))
    for index, row in enumerate(rows):
        guess = given.get(str(row["image_path"]))
        if guess is None:  # a missing prediction is certain of a wrong class
            scores[index, (truth[index] + 1) % classes] = 1.0
        else:
            scores[index] = guess
    scorer = _Scorer(rows)
    for name, metric in (
        ("auc", metrics.auc),
        ("f1", metrics.macro_f1),
        ("mcc", metrics.mcc),
        ("accuracy", metrics.accuracy),
    ):
        scorer.add(name, lambda chosen, metric=metric: metric(scores[chosen], truth[chosen]))  # type: ignore[misc]
    return _score(scorer.metrics, rows, given)


def _detection(entry: SpecialistEntry, rows: list[Row], predictions: Path) -> Score:
    given = _predicted(entry, predictions)
    there, overlaps, absent, silent = [], [], [], []
    for row in rows:
        path, truth = str(row["image_path"]), label_box(row)
        box = given.get(path)
        if truth is None:
            absent.append(row)
            silent.append(float(path in given and box is None))
        else:
            there.append(row)
            overlaps.append(
                0.0 if box is None else box_iou((box[0], box[1], box[2], box[3]), truth)
            )
    scorer = _Scorer(there)
    scorer.add_mean("iou", overlaps)
    scorer.add_mean("sensitivity", [float(overlap > 0) for overlap in overlaps])
    if absent:
        without = _Scorer(absent)
        without.add_mean("share of images without it answered none", silent)
        scorer.metrics += without.metrics
    return _score(scorer.metrics, rows, given)


def _regression(entry: SpecialistEntry, rows: list[Row], predictions: Path) -> Score:
    given = _predicted(entry, predictions)
    truths = [label_points(row, len(entry.landmarks)) for row in rows]
    known = [i for i, truth in enumerate(truths) if np.isfinite(truth).all(1).any()]
    # a landmark that was not given is as wrong as the images are large
    farthest = max((float(np.nanmax(np.linalg.norm(truths[i], axis=1))) for i in known), default=0)
    errors = []
    for index in known:
        guess = given.get(str(rows[index]["image_path"]))
        points = np.full_like(truths[index], np.nan) if guess is None else guess.reshape(-1, 2)
        marked = np.isfinite(truths[index]).all(1)
        distances = np.linalg.norm(points - truths[index], axis=1)[marked]
        errors.append(float(np.nan_to_num(distances, nan=farthest).mean()))
    scorer = _Scorer([rows[i] for i in known])
    scorer.add_mean("mre_px", errors)
    return _score(scorer.metrics, rows, given)


def _score(found: list[Metric], rows: list[Row], given: Guesses) -> Score:
    missing = sum(str(row["image_path"]) not in given for row in rows)
    return Score(rows=len(rows), missing=missing, metrics=found)


PARTS = {
    Kind.CLASSIFY: ("classification", "predicted_probs"),
    Kind.DETECT: ("detection", "bbox_pixels"),
    Kind.REGRESS: ("regression", "predicted_points_pixels"),
}
"""File and key of a kind's predictions."""


def _own(entry: SpecialistEntry, predictions: Path) -> list[dict[str, object]]:
    """A task's records in the prediction file of its kind; none where that file is missing."""
    path = predictions / FILES[PARTS[entry.kind][0]]
    if not path.exists():
        return []
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    if not isinstance(records, list):
        raise TrainingError(f"{path} holds no list of predictions.")
    return [
        record
        for record in records
        if isinstance(record, dict) and record.get("task_id") == entry.task_id
    ]


def _predicted(entry: SpecialistEntry, predictions: Path) -> Guesses:
    """The readable predictions of a task by image path."""
    key = PARTS[entry.kind][1]
    found: Guesses = {}
    for record in _own(entry, predictions):
        with contextlib.suppress(KeyError, TypeError, ValueError):  # left out, it is missing
            found[str(record["image_path"])] = _guess(entry, record[key])
    return found


def _guess(entry: SpecialistEntry, value: object) -> npt.NDArray[np.float64] | None:
    """The numbers of one prediction.

    Raises:
        ValueError: they are of another count than the task asks for, or not finite where they must be.
        TypeError: they are no numbers.
    """
    if value is None and entry.kind is Kind.DETECT:
        return None
    numbers = np.array(value, dtype=np.float64)
    count = {
        Kind.CLASSIFY: len(entry.labels),
        Kind.DETECT: 4,
        Kind.REGRESS: 2 * len(entry.landmarks),
    }[entry.kind]
    if numbers.shape != (count,):
        raise ValueError(f"{count} numbers were asked for")
    if entry.kind is not Kind.REGRESS and not np.isfinite(numbers).all():
        raise ValueError("not finite")  # a landmark may be null
    return numbers


def _mask(path: Path) -> npt.NDArray[np.uint8]:
    return read_grey(path)


def _predicted_mask(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """The written mask; null where it is missing, unreadable or of another size."""
    try:
        with PILImage.open(path) as image:
            mask = np.asarray(image)
    except (OSError, ValueError, PILImage.DecompressionBombError):
        return None
    return mask if mask.shape == shape else None
