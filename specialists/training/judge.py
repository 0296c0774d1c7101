"""What every judgement of predictions gives back: figures over rows, and how wrong each image is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from specialists.manifest import SpecialistEntry
from specialists.training.clinical import Agreement
from specialists.training.predicted import Given
from specialists.training.tables import Row

Array = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Figure:
    """One figure: of which rows it is made, and its value for a choice of them."""

    name: str
    rows: Rows
    """(N,) indices of the rows that it is defined on."""
    statistic: Callable[[Rows], float]
    """Its value for places in `rows`, some of them perhaps repeated."""

    @classmethod
    def mean(
        cls, name: str, rows: Sequence[int] | Rows, values: Sequence[float] | Array
    ) -> "Figure":
        """The mean of one value per row."""
        array = np.asarray(values, dtype=np.float64)
        return cls(
            name, np.asarray(rows, dtype=np.int64), lambda chosen: float(array[chosen].mean())
        )


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What a classifier said of every row; `scores` of a missing prediction are certain of a wrong class."""

    scores: Array
    """(rows, classes)."""
    truth: Rows
    """(rows,)."""


@dataclass(frozen=True, kw_only=True)
class PerImage:
    """How right each image is, by one name; the worst are shown."""

    name: str
    values: Array
    """(rows,) NaN where a row has no label."""
    larger_is_worse: bool = False

    def worst(self, count: int) -> list[int]:
        """The rows with the worst values, worst first; none that has no label."""
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
    """The height of a stored image, from its header; NaN where that cannot be read."""
    try:
        with PILImage.open(path) as image:
            return float(image.height)
    except (OSError, ValueError, PILImage.DecompressionBombError):
        return float("nan")
