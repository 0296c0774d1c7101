"""Reading of a training's image files, by the decoder of the service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from specialists.errors import PictureRejected, TrainingError
from specialists.pictures.decode import Decoded, decode, luma

LIMIT_PIXELS = 100_000_000
"""Most pixels of an image; one file of a training is trusted more than an upload."""

Blacken = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
"""Returns (H, W) or (H, W, 3) pixels with what is to be hidden set to black."""


@dataclass(kw_only=True)
class _Reading:
    """How images are read in this process, by all threads."""

    blacken: Blacken | None = None


_READING = _Reading()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded image file."""

    size: tuple[int, int]
    """(height, width)."""
    mode: str
    lossy: bool
    """Whether it is a JPEG, whose values are not those that were saved."""
    pixels: npt.NDArray[np.uint8]
    """(height, width) grey."""


@contextmanager
def blackening(blacken: Blacken | None) -> Iterator[None]:
    """Blacken every image that is read inside, but no mask; None leaves images as they are."""
    before, _READING.blacken = _READING.blacken, blacken
    try:
        yield
    finally:
        _READING.blacken = before


def reading_options() -> list[str]:
    """Return the options of a training command that read images as they are read now."""
    return [] if _READING.blacken is None else ["--blacken-text"]


def read_grey(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as (H, W) uint8 grey pixels, the same that the service analyses.

    Raises:
        TrainingError: the file is missing, or is no image that the service reads.
    """
    return _read(path, _READING.blacken)


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """Read a mask as (H, W) uint8 classes.

    Raises:
        TrainingError: the file is missing, or is no image that the service reads.
    """
    return _read(path, None)


def _read(path: Path, blacken: Blacken | None) -> npt.NDArray[np.uint8]:
    try:
        pixels = _decoded(path).pixels
        return luma(pixels if blacken is None else blacken(pixels))
    except (OSError, ValueError, PictureRejected) as error:
        raise TrainingError(f"{path} cannot be read: {error}") from error


def picture_of(path: Path) -> Picture | str:
    """Return the image in that file, or what is wrong with it and what to do."""
    try:
        decoded = _decoded(path)
    except FileNotFoundError:
        return f"{path} is missing. Put it there, or delete the row."
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error}). Replace it, or delete the row."
    except (ValueError, PictureRejected) as error:
        why = str(error).rstrip(".")
        return f"{path} cannot be read ({why}). Replace it, or delete the row."
    if decoded.turned:
        return f"{path} is turned by its EXIF orientation. Save it upright, and its labels with it."
    pixels, lossy = luma(decoded.pixels), decoded.lossy
    return Picture(size=pixels.shape, mode=decoded.mode, lossy=lossy, pixels=pixels)


def _decoded(path: Path) -> Decoded:
    return decode(path.read_bytes(), LIMIT_PIXELS)
