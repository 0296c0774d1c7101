"""Label maps and their outlines: rings from a raster, which the reports' geometry measures."""

from pathlib import Path
from typing import cast

import contourpy
import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

from reports.measure.geometry import area
from reports.model import Ring
from specialists.errors import TrainingError

Mask = npt.NDArray[np.bool_]
LabelMap = npt.NDArray[np.uint8]

_WITHIN = 1e-6
"""Distance from a pixel's corners, in pixels, from which its value is taken to hold inside."""


def mask_rings(mask: Mask) -> list[tuple[Ring, ...]]:
    """Return the components of a (H, W) mask along pixel borders: outer ring first, then holes.

    Second moments of such a ring are those of the pixels, each taken as a full square.
    """
    if not mask.any():
        return []
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    levels = np.pad(inside, 1).astype(np.float64).repeat(2, 0).repeat(2, 1)
    x, y = (
        np.repeat(np.arange(count) + first - 1.0, 2) + np.tile([_WITHIN, 1 - _WITHIN], count)
        for first, count in ((columns[0], inside.shape[1] + 2), (rows[0], inside.shape[0] + 2))
    )
    generator = contourpy.contour_generator(x, y, levels, fill_type=contourpy.FillType.OuterOffset)
    found = cast(
        "tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.uint32]]]",
        generator.filled(0.5, np.inf),
    )
    return [
        tuple(
            _corners(points[start : stop - 1])
            for start, stop in zip(offsets[:-1], offsets[1:], strict=True)
        )
        for points, offsets in zip(*found, strict=True)
    ]


def largest_rings(mask: Mask) -> tuple[Ring, ...] | None:
    """Return the component with the greatest area, which a report measures.

    It is None for an empty mask.
    """
    return max(mask_rings(mask), key=area, default=None)


def read_label_map(path: Path, shape: tuple[int, ...]) -> LabelMap:
    """Return a (H, W) label map from a file.

    Raises:
        TrainingError: it is missing, unreadable, or not of `shape`.
    """
    if not path.exists():
        raise TrainingError("there is no mask")
    try:
        with PILImage.open(path) as image:
            mask = np.asarray(image)
    except (OSError, ValueError, PILImage.DecompressionBombError) as error:
        raise TrainingError(f"the mask cannot be read: {error}") from error
    if mask.shape != shape:
        given, wanted = ("×".join(map(str, size)) for size in (mask.shape, shape))
        raise TrainingError(f"the mask is {given} (height × width) where the label is {wanted}")
    return mask


def _corners(points: npt.NDArray[np.float64]) -> Ring:
    """Return the ring's points, on pixel corners, without those between collinear neighbours."""
    moved = points.round()
    moved = moved[(moved != np.roll(moved, 1, axis=0)).any(1)]
    before, after = moved - np.roll(moved, 1, axis=0), np.roll(moved, -1, axis=0) - moved
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return tuple((float(x), float(y)) for x, y in moved[turns])
