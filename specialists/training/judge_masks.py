"""Predicted masks against labels: Dice, Hausdorff distances, and what a report measures in them."""

from pathlib import Path

import numpy as np

from specialists.manifest import SpecialistEntry
from specialists.training import metrics
from specialists.training.clinical import Masks, agreements_of_masks
from specialists.training.judge import Figure, Judged, PerImage
from specialists.training.masks import LabelMap
from specialists.training.predicted import Given, read_masks
from specialists.training.tables import Row, read_grey


def judge_masks(
    entry: SpecialistEntry, rows: list[Row], predictions: Path, data_root: Path
) -> Judged:
    """The judgement of one segmentation task.

    Raises:
        TrainingError: a label mask cannot be read.
    """
    truths = [read_grey((data_root / "csv_files" / str(r["mask_path"])).resolve()) for r in rows]
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
        # of the masks the paths are enough from here on
        given=Given(guesses=dict.fromkeys(given.masks), faults=given.faults),
        figures=figures,
        per_image=PerImage(name="mean Dice", values=dices.mean(1)),
        agreements=agreements_of_masks(entry, Masks(rows=rows, guesses=maps, truths=truths)),
    )


def _dice(guess: LabelMap | None, truth: LabelMap, index: int) -> float:
    """Dice of one class; 0 where the mask is missing, even if there is nothing to outline."""
    return 0.0 if guess is None else metrics.dice(guess == index, truth == index)


def _of_label(
    index: int, label: str, maps: list[LabelMap | None], truths: list[LabelMap]
) -> list[Figure]:
    held = [row for row, truth in enumerate(truths) if (truth == index).any()]
    empty = [row for row in range(len(truths)) if row not in set(held)]
    distances = []
    for row in held:
        guess, truth = maps[row], truths[row]
        outlined = np.zeros_like(truth, dtype=np.bool_) if guess is None else guess == index
        distances.append(metrics.hausdorff_px(outlined, truth == index))
    figures = [
        Figure.mean(f"dice {label}", held, [_dice(maps[r], truths[r], index) for r in held]),
        Figure.mean(f"hausdorff_px {label}", held, [greatest for greatest, _ in distances]),
        Figure.mean(f"hd95_px {label}", held, [most for _, most in distances]),
    ]
    given = [maps[row] for row in empty]
    silent = [guess is not None and not np.any(guess == index) for guess in given]
    if empty:
        figures.append(
            Figure.mean(
                f"share of images without {label} left empty", empty, np.array(silent, float)
            )
        )
    return figures
