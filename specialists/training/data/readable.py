"""Reading of a training's image files, by the decoder of the service."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from specialists.errors import PictureRejected, TrainingError
from specialists.pictures.decode import Decoded, decode, luma

LIMIT_PIXELS = 100_000_000
"""Most pixels of an image; one file of a training is trusted more than an upload."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded image file."""

    size: tuple[int, int]
    """(height, width)."""
    mode: str
    pixels: npt.NDArray[np.uint8]
    """(height, width) grey."""


def read_grey(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as (H, W) uint8 grey pixels, the same that the service analyses.

    Raises:
        TrainingError: the file is missing, or is no image that the service reads.
    """
    try:
        return luma(_decoded(path).pixels)
    except (OSError, ValueError, PictureRejected) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


def picture_of(path: Path) -> Picture | str:
    """Return the image in that file, or what is wrong with it and what to do."""
    try:
        decoded = _decoded(path)
    except FileNotFoundError:
        return f"{path} is missing. Put it there, or delete the row."
    except (OSError, ValueError, PictureRejected) as error:
        return f"{path} cannot be read ({error}). Replace it, or delete the row."
    if decoded.turned:
        return f"{path} is turned by its EXIF orientation. Save it upright, and its labels with it."
    pixels = luma(decoded.pixels)
    return Picture(size=pixels.shape, mode=decoded.mode, pixels=pixels)


def _decoded(path: Path) -> Decoded:
    return decode(path.read_bytes(), LIMIT_PIXELS)
