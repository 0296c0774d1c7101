"""The result of scoring any kind of prediction: figures over rows, and each image's score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from specialists.manifest import SpecialistEntry
from specialists.training.data.tables import Row
from specialists.training.evaluation.clinical import Agreement
from specialists.training.evaluation.prediction_files import Given

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """One figure: the rows it is defined on, and its value for a choice of them."""

    name: str
    rows: Rows
    """(N,) indices of the rows that it is defined on."""
    statistic: Callable[[Rows], float]
    """Its value for places in `rows`, some of them possibly repeated."""

    @classmethod
    def mean(
        cls, name: str, rows: Sequence[int] | Rows, values: Sequence[float] | Array
    ) -> "Figure":
        """Return the figure that is the mean of one value per row."""
        array = np.asarray(values, dtype=np.float64)
        return cls(
            name, np.asarray(rows, dtype=np.int64), lambda chosen: float(array[chosen].mean())
        )


@dataclass(frozen=True, kw_only=True)
class Classes:
    """A classifier's scores of every row.

    The score of a missing prediction is 1 for a wrong class.
    """

    scores: Array
    """(rows, classes)."""
    truth: Rows
    """(rows,)."""


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """The score of each image under one name, from which the worst are chosen."""

    name: str
    values: Array
    """(rows,) NaN where a row has no label."""
    larger_is_worse: bool = False

    def worst(self, count: int) -> list[int]:
        """Return the rows with the worst values, worst first; rows without a label are left out."""
        known = np.flatnonzero(np.isfinite(self.values))
        order = np.argsort(self.values[known], kind="stable")
        chosen = known[order[::-1] if self.larger_is_worse else order]
        return [int(index) for index in chosen[:count]]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One task's rows with their predictions, figures and clinical measurements."""

    entry: SpecialistEntry
    rows: list[Row]
    given: Given
    figures: list[Figure]
    per_image: PerImage
    agreements: list[Agreement] = field(default_factory=list)
    classes: Classes | None = None


def height_px(path: Path) -> float:
    """Return the height of a stored image, from its header; NaN where that cannot be read."""
    try:
        with PILImage.open(path) as image:
            return float(image.height)
    except (OSError, ValueError, PILImage.DecompressionBombError):
        return float("nan")
