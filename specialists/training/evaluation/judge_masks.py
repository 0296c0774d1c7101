"""Predicted masks against labels: Dice, Hausdorff distances, and a report's measurements."""

from pathlib import Path

import numpy as np

from specialists.manifest import SpecialistEntry
from specialists.training.data.csv_lines import file_of
from specialists.training.data.masks import LabelMap
from specialists.training.data.readable import read_mask
from specialists.training.data.tables import Row
from specialists.training.evaluation import metrics
from specialists.training.evaluation.clinical import Masks, agreements_of_masks
from specialists.training.evaluation.judge import Figure, Judged, PerImage
from specialists.training.evaluation.prediction_files import Given, read_masks


def judge_masks(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> Judged:
    """Score one segmentation task.

    Raises:
        TrainingError: a label mask cannot be read.
    """
    truths = [read_mask(file_of(data_root, str(r["mask_path"]))) for r in rows]
    given = read_masks(rows, truths, predictions)
    maps = [given.masks.get(str(row["image_path"])) for row in rows]
    figures: list[Figure] = []
    dices = np.full((len(rows), len(entry.labels) - 1), np.nan)
    for index, label in enumerate(entry.labels[1:], start=1):
        figures += _of_label(index, label, maps, truths)
        for row, (guess, truth) in enumerate(zip(maps, truths, strict=True)):
            dices[row, index - 1] = _dice(guess, truth, index)
    return Judged(
        entry=entry,
        rows=rows,
        # from here on the paths of the masks are enough
        given=Given(guesses=dict.fromkeys(given.masks), faults=given.faults),
        figures=figures,
        per_image=PerImage(name="mean Dice", values=dices.mean(1)),
        agreements=agreements_of_masks(entry, Masks(rows=rows, guesses=maps, truths=truths)),
    )


def _dice(guess: LabelMap | None, truth: LabelMap, index: int) -> float:
    """Return the Dice of one class; 0 where the mask is missing, even if the label is empty."""
    return 0.0 if guess is None else metrics.dice(guess == index, truth == index)


def _of_label(
    index: int, label: str, maps: list[LabelMap | None], truths: list[LabelMap]
) -> list[Figure]:
    held = [row for row, truth in enumerate(truths) if (truth == index).any()]
    empty = [row for row in range(len(truths)) if row not in set(held)]
    distances = [_hausdorff_px(maps[row], truths[row], index) for row in held]
    figures = [
        Figure.mean(f"dice {label}", held, [_dice(maps[r], truths[r], index) for r in held]),
        Figure.mean(f"hausdorff_px {label}", held, [greatest for greatest, _ in distances]),
        Figure.mean(f"hd95_px {label}", held, [most for _, most in distances]),
    ]
    if empty:
        silent = [_silent(maps[row], index) for row in empty]
        figures.append(Figure.mean(f"share of images without {label} left empty", empty, silent))
        figures += _with_empty(index, label, maps, truths)
    return figures


def _with_empty(
    index: int, label: str, maps: list[LabelMap | None], truths: list[LabelMap]
) -> list[Figure]:
    """Return Dice and Hausdorff distance over all images, as the challenge defines them.

    They are 1 and 0 where both label and prediction are empty.
    """
    every = range(len(truths))
    distances = [
        _hausdorff_px(guess, truth, index)[0] for guess, truth in zip(maps, truths, strict=True)
    ]
    dices = [_dice(maps[row], truths[row], index) for row in every]
    return [
        Figure.mean(f"dice {label}, empty masks too", every, dices),
        Figure.mean(f"hausdorff_px {label}, empty masks too", every, distances),
    ]


def _silent(guess: LabelMap | None, index: int) -> float:
    """Return 1 where a mask leaves the class empty, 0 where it does not or is missing."""
    return float(guess is not None and not np.any(guess == index))


def _hausdorff_px(guess: LabelMap | None, truth: LabelMap, index: int) -> tuple[float, float]:
    """Return both distances of one class; the image's diagonal where the mask is missing."""
    if guess is None:
        diagonal = float(np.hypot(*truth.shape))
        return diagonal, diagonal
    return metrics.hausdorff_px(guess == index, truth == index)
