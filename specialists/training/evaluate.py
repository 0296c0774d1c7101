"""Scores of FMC-UIA prediction files against the labels of their folder, per task and data set."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from reports.geometry import box_iou
from specialists.errors import TrainingError
from specialists.manifest import Kind, Metric, SpecialistEntry
from specialists.training import metrics
from specialists.training.predict import FILES
from specialists.training.tables import label_box, label_points, read_grey, read_table

Row = dict[str, object]
Rows = npt.NDArray[np.int64]


def score_task(
    entry: SpecialistEntry, predictions: Path, data_root: Path, split: str | None
) -> list[Metric]:
    """The metrics of one task; a missing or unreadable prediction counts as wrong.

    Raises:
        TrainingError: the labels or the prediction file are missing, or no row has that split.
    """
    table = read_table(data_root, entry.task_id).to_dict("records")
    rows = [{str(k): v for k, v in row.items()} for row in table]
    rows = [row for row in rows if split is None or row["split"] == split]
    if not rows:
        raise TrainingError(f"{entry.task_id}.csv has no row of the split {split!r}.")
    match entry.kind:
        case Kind.SEGMENT:
            return _segmentation(entry, rows, predictions, data_root, split)
        case Kind.CLASSIFY:
            return _classification(entry, rows, predictions, split)
        case Kind.DETECT:
            return _detection(entry, rows, predictions, split)
        case Kind.REGRESS:
            return _regression(entry, rows, predictions, split)


class _Scorer:
    """Metrics of one set of rows, each with its bootstrap interval over groups."""

    def __init__(self, rows: Sequence[Row], split: str | None) -> None:
        self.groups = [str(row["group_id"]) for row in rows]
        self.split = split or "all"
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
    split: str | None,
) -> list[Metric]:
    found: list[Metric] = []
    truths = [_mask((data_root / "csv_files" / str(row["mask_path"])).resolve()) for row in rows]
    guesses = [
        _predicted_mask(predictions / str(row["mask_path"]).removeprefix("../"), truth.shape)
        for row, truth in zip(rows, truths, strict=True)
    ]
    for index, label in enumerate(entry.labels[1:], start=1):
        pairs = [(g == index, t == index) for g, t in zip(guesses, truths, strict=True)]
        held = [i for i, (_, truth) in enumerate(pairs) if truth.any()]
        scorer = _Scorer([rows[i] for i in held], split)
        scorer.add_mean(f"dice {label}", [metrics.dice(*pairs[i]) for i in held])
        scorer.add_mean(f"hausdorff_px {label}", [metrics.hausdorff_px(*pairs[i]) for i in held])
        empty = [i for i, (_, truth) in enumerate(pairs) if not truth.any()]
        if empty:
            without = _Scorer([rows[i] for i in empty], split)
            silent = [float(not pairs[i][0].any()) for i in empty]
            without.add_mean(f"share of images without {label} left empty", silent)
            scorer.metrics += without.metrics
        found += scorer.metrics
    return found


def _classification(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, split: str | None
) -> list[Metric]:
    given = _by_path(predictions, "classification", entry.task_id)
    truth = np.array([int(str(row["mask"])) for row in rows])
    scores = np.zeros((len(rows), len(entry.labels)))
    for index, row in enumerate(rows):
        guess = given.get(str(row["image_path"]))
        if guess is None:  # a missing prediction is certain of a wrong class
            scores[index, (truth[index] + 1) % len(entry.labels)] = 1.0
        else:
            scores[index] = guess["predicted_probs"]
    scorer = _Scorer(rows, split)
    for name, metric in (
        ("auc", metrics.auc),
        ("f1", metrics.macro_f1),
        ("mcc", metrics.mcc),
        ("accuracy", metrics.accuracy),
    ):
        scorer.add(name, lambda chosen, metric=metric: metric(scores[chosen], truth[chosen]))  # type: ignore[misc]
    return scorer.metrics


def _detection(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, split: str | None
) -> list[Metric]:
    given = _by_path(predictions, "detection", entry.task_id)
    there, overlaps, absent, silent = [], [], [], []
    for row in rows:
        guess = given.get(str(row["image_path"]))
        box = None if guess is None else guess["bbox_pixels"]
        truth = label_box(row)
        if truth is None:
            absent.append(row)
            silent.append(float(guess is not None and box is None))
        else:
            there.append(row)
            overlaps.append(
                0.0 if box is None else box_iou((box[0], box[1], box[2], box[3]), truth)
            )
    scorer = _Scorer(there, split)
    scorer.add_mean("iou", overlaps)
    scorer.add_mean("sensitivity", [float(overlap > 0) for overlap in overlaps])
    if absent:
        without = _Scorer(absent, split)
        without.add_mean("share of images without it answered none", silent)
        scorer.metrics += without.metrics
    return scorer.metrics


def _regression(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, split: str | None
) -> list[Metric]:
    given = _by_path(predictions, "regression", entry.task_id)
    truths = [label_points(row, len(entry.landmarks)) for row in rows]
    known = [i for i, truth in enumerate(truths) if np.isfinite(truth).all(1).any()]
    # a landmark that was not given is as wrong as the images are large
    farthest = max((float(np.nanmax(np.linalg.norm(truths[i], axis=1))) for i in known), default=0)
    errors = []
    for index in known:
        guess = given.get(str(rows[index]["image_path"]))
        points = np.full_like(truths[index], np.nan)
        if guess is not None:
            points = np.array(guess["predicted_points_pixels"], dtype=float).reshape(-1, 2)
        marked = np.isfinite(truths[index]).all(1)
        distances = np.linalg.norm(points - truths[index], axis=1)[marked]
        errors.append(float(np.nan_to_num(distances, nan=farthest).mean()))
    scorer = _Scorer([rows[i] for i in known], split)
    scorer.add_mean("mre_px", errors)
    return scorer.metrics


def _by_path(predictions: Path, part: str, task_id: str) -> dict[str, dict[str, list[float]]]:
    path = predictions / FILES[part]
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    return {row["image_path"]: row for row in rows if row["task_id"] == task_id}


def _mask(path: Path) -> npt.NDArray[np.uint8]:
    return read_grey(path)


def _predicted_mask(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """The written mask; 255, which is no class, where it is missing or of another size."""
    wrong = np.full(shape, 255, np.uint8)
    try:
        with PILImage.open(path) as image:
            mask = np.asarray(image)
    except OSError:
        return wrong
    return mask if mask.shape == shape else wrong
