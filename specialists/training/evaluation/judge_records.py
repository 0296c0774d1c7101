"""Predicted classes, boxes and landmarks against labels.

A row without a prediction counts as wrong.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reports.measure.geometry import box_iou
from specialists.manifest import SpecialistEntry
from specialists.training.data.csv_lines import file_of
from specialists.training.data.tables import Row, label_box, label_class, label_points
from specialists.training.evaluation import metrics
from specialists.training.evaluation.clinical import (
    Marks,
    agreements_of_marks,
    aspects_of,
    column,
    observers_px,
)
from specialists.training.evaluation.judge import Classes, Figure, Judged, PerImage, height_px
from specialists.training.evaluation.prediction_files import read_predictions

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def judge_classes(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> Judged:
    """Score one classification task."""
    classes = len(entry.labels)
    given = read_predictions(entry, predictions)
    truth = np.array([label_class(row, classes) for row in rows])
    scores = np.zeros((len(rows), classes))
    for index, row in enumerate(rows):
        guess = given.guesses.get(str(row["image_path"]))
        if guess is None:  # a missing prediction counts as certain of a wrong class
            scores[index, (truth[index] + 1) % classes] = 1.0
        else:
            scores[index] = guess
    every = np.arange(len(rows))

    def figure(name: str, metric: Callable[[Array, Rows], float], least: int) -> Figure:
        def statistic(chosen: Rows) -> float:
            known = len(np.unique(truth[chosen])) >= least
            return metric(scores[chosen], truth[chosen]) if known else float("nan")

        return Figure(name, every, statistic)

    return Judged(
        entry=entry,
        rows=rows,
        given=given,
        figures=[
            figure("auc", metrics.auc, classes),
            figure("f1", metrics.macro_f1, 2),
            figure("mcc", metrics.mcc, 2),
            figure("accuracy", metrics.accuracy, 1),
        ],
        per_image=PerImage(name="score of the true class", values=scores[every, truth]),
        classes=Classes(scores=scores, truth=truth),
    )


def judge_boxes(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> Judged:
    """Score one detection task; "none" is right where the label holds no box.

    The challenge scores the best box and has no "none"; where a prediction is "none", a further
    figure accounts for it.
    """
    given = read_predictions(entry, predictions)
    there, absent = [], []
    best, right, silent = np.zeros((3, len(rows)))
    for index, row in enumerate(rows):
        path, truth = str(row["image_path"]), label_box(row)
        box = given.guesses.get(path)
        silent[index] = float(path in given.absent)
        if truth is None:
            absent.append(index)
            right[index] = silent[index]
            continue
        there.append(index)
        best[index] = 0.0 if box is None else _overlap(box, truth)
        right[index] = 0.0 if silent[index] else best[index]
    found = [
        Figure.mean("iou", there, best[there]),
        Figure.mean("sensitivity", there, (right[there] > 0).astype(float)),
        Figure.mean("share of images with it answered none", there, silent[there]),
    ]
    if given.absent:
        found.append(Figure.mean("iou, 0 where none was said", there, right[there]))
    if absent:
        name = "share of images without it answered none"
        found.append(Figure.mean(name, absent, right[absent]))
    return Judged(
        entry=entry,
        rows=rows,
        given=given,
        figures=found,
        per_image=PerImage(name="IoU", values=right),
    )


def _overlap(box: Array, truth: tuple[float, float, float, float]) -> float:
    x_min, y_min, x_max, y_max = (float(value) for value in box)
    return box_iou((x_min, y_min, x_max, y_max), truth)


def judge_marks(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> Judged:
    """Score one landmark task; a row without any marked landmark is left out."""
    given = read_predictions(entry, predictions)
    truths = [label_points(row, len(entry.landmarks)) for row in rows]
    guesses = []
    for row, truth in zip(rows, truths, strict=True):
        guess = given.guesses.get(str(row["image_path"]))
        guesses.append(np.full_like(truth, np.nan) if guess is None else guess.reshape(-1, 2))
    errors = _radial_errors(guesses, truths)
    known = np.flatnonzero(np.isfinite(errors))
    spacing = column(rows, "mm_per_px")
    in_mm = np.flatnonzero(np.isfinite(errors) & np.isfinite(spacing))
    figures = [Figure.mean("mre_px", known, errors[known])]
    if len(in_mm):
        square = [np.array([1.0, aspect]) for aspect in aspects_of(rows)]
        widths = _radial_errors(_times(guesses, square), _times(truths, square))
        figures.append(Figure.mean("mre_mm", in_mm, widths[in_mm] * spacing[in_mm]))
    heights_px = [height_px(file_of(data_root, str(row["image_path"]))) for row in rows]
    if "points:thickness" in entry.provides:
        figures += _observers(rows, heights_px)
    marks = Marks(rows=rows, guesses=guesses, truths=truths, heights_px=heights_px)
    return Judged(
        entry=entry,
        rows=rows,
        given=given,
        figures=figures,
        per_image=PerImage(name="mean radial error in px", values=errors, larger_is_worse=True),
        agreements=agreements_of_marks(entry, marks),
    )


def _times(points: list[Array], scales: list[Array]) -> list[Array]:
    return [one * scale for one, scale in zip(points, scales, strict=True)]


def _radial_errors(guesses: list[Array], truths: list[Array]) -> Array:
    """Return the (rows,) mean distance in px to the marked landmarks; NaN where none is marked.

    The error of a landmark without a prediction is the largest distance of any marked landmark from
    its image's corner (0, 0).
    """
    norms = [float(np.linalg.norm(t, axis=1)[np.isfinite(t).all(1)].max(initial=0)) for t in truths]
    farthest = max(norms, default=0.0)
    errors = np.full(len(truths), np.nan)
    for index, (guess, truth) in enumerate(zip(guesses, truths, strict=True)):
        marked = np.isfinite(truth).all(1)
        if marked.any():
            distances = np.linalg.norm(guess - truth, axis=1)[marked]
            errors[index] = float(np.nan_to_num(distances, nan=farthest).mean())
    return errors


def _observers(rows: list[Row], heights_px: list[float]) -> list[Figure]:
    """Return the mean difference between two observers of one image, at source scale.

    An error can be compared with it.
    """
    marked = observers_px(rows)
    pairs = np.stack([abs(marked[:, one] - marked[:, other]) for one, other in _PAIRS], axis=1)
    between = np.full(len(rows), np.nan)
    several = np.isfinite(pairs).any(1)
    between[several] = np.nanmean(pairs[several], axis=1)
    between *= column(rows, "source_height") / np.array(heights_px)
    known = np.flatnonzero(np.isfinite(between))
    if not len(known):
        return []
    name = "difference between two observers px (at source scale)"
    return [Figure.mean(name, known, between[known])]


_PAIRS = ((0, 1), (0, 2), (1, 2))
