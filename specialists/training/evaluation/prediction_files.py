"""Reading of FMC-UIA prediction files, from USTri or elsewhere.

What cannot be read is reported with the reason.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from specialists.errors import TrainingError
from specialists.manifest import Kind, SpecialistEntry
from specialists.training.data.masks import LabelMap, read_label_map
from specialists.training.data.tables import Row
from specialists.training.evaluation.predict import FILES, mask_target

Guess = npt.NDArray[np.float64] | None
"""Class scores, a box, or points; None for the answer "none" without a box."""

PARTS = {
    Kind.CLASSIFY: ("classification", "predicted_probs"),
    Kind.DETECT: ("detection", "bbox_pixels"),
    Kind.REGRESS: ("regression", "predicted_points_pixels"),
}
"""File and key of a kind's predictions."""

NO_PREDICTION = "there is no prediction"


@dataclass(frozen=True, kw_only=True)
class Given:
    """The predictions of one task; `faults` holds by image path why a prediction cannot be used."""

    guesses: dict[str, Guess] = field(default_factory=dict)
    masks: dict[str, LabelMap] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    """The images for which the answer is "none", whether or not the best box is given with it."""
    faults: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """Faults of the file that leave no image without a prediction."""

    def has(self, path: str) -> bool:
        """Return whether there is a readable prediction of that image."""
        return path in self.guesses or path in self.masks

    def missing(self, rows: list[Row]) -> dict[int, str]:
        """Return the rows without a readable prediction, by index, and why."""
        paths = [str(row["image_path"]) for row in rows]
        return {
            index: self.faults.get(path, NO_PREDICTION)
            for index, path in enumerate(paths)
            if not self.has(path)
        }


def any_prediction(entry: SpecialistEntry, rows: list[Row], predictions: Path) -> bool:
    """Return whether there is a prediction of the task, readable or not.

    Raises:
        TrainingError: the prediction file or a row's mask path cannot be read.
    """
    if entry.kind is Kind.SEGMENT:
        return any(mask_target(row, predictions).exists() for row in rows)
    return any(
        isinstance(record, dict) and record.get("task_id") == entry.task_id
        for record in _records(entry, predictions)
    )


def read_predictions(entry: SpecialistEntry, predictions: Path) -> Given:
    """Read the valid predictions of a task from the file of its kind.

    Raises:
        TrainingError: the file is not a list of records.
    """
    key = PARTS[entry.kind][1]
    given = Given()
    for index, record in enumerate(_records(entry, predictions)):
        if not isinstance(record, dict):
            given.remarks.append(f"Record {index} of {FILES[PARTS[entry.kind][0]]} is none.")
            continue
        if record.get("task_id") != entry.task_id:
            continue
        path = record.get("image_path")
        if not isinstance(path, str):
            given.remarks.append(f"Record {index} names no image_path.")
            continue
        if path in given.guesses:
            given.remarks.append(f"{path} is predicted more than once; the last one counts.")
        try:
            guess = _guess(entry, record[key])
            there = entry.kind is not Kind.DETECT or _present(record, guess)
            given.guesses[path] = guess
            (given.absent.discard if there else given.absent.add)(path)
        except KeyError:
            given.faults[path] = f"its record has no {key}"
        except (TypeError, ValueError) as error:
            given.faults[path] = f"its {key} cannot be used: {error}"
    return given


def read_masks(rows: list[Row], truths: list[LabelMap], predictions: Path) -> Given:
    """Read the valid masks of rows, each in the size of its label."""
    given = Given()
    for row, truth in zip(rows, truths, strict=True):
        path = str(row["image_path"])
        try:
            given.masks[path] = read_label_map(mask_target(row, predictions), truth.shape)
        except TrainingError as error:
            given.faults[path] = str(error)
    return given


def _records(entry: SpecialistEntry, predictions: Path) -> list[object]:
    """Return the records in the prediction file of a kind; empty where that file is missing."""
    path = predictions / FILES[PARTS[entry.kind][0]]
    if not path.exists():
        return []
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error
    if not isinstance(records, list):
        raise TrainingError(f"{path} holds no list of predictions.")
    return records


def _present(record: dict[str, object], box: Guess) -> bool:
    """Return whether a detection is positive: by `present`, or by the box in a file without it.

    Raises:
        ValueError: `present` is neither true nor false, or true without a box.
    """
    present = record.get("present", box is not None)
    if not isinstance(present, bool):
        raise ValueError("present is neither true nor false")
    if present and box is None:
        raise ValueError("it is said to be present, and has no box")
    return present


def _guess(entry: SpecialistEntry, value: object) -> Guess:
    """Return the numbers of one prediction.

    Raises:
        ValueError: their number is not the one that the task needs, or they are not finite where
            they must be.
        TypeError: they are not numbers.
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
