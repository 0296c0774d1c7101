"""Validation that training and the service decode an image file alike."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage

EXIF_ORIENTATION = 0x0112
EIGHT_BIT = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded image file."""

    size: tuple[int, int]
    """(height, width)."""
    mode: str
    pixels: npt.NDArray[np.uint8]
    """(height, width) grey."""


def picture_of(path: Path) -> Picture | str:
    """Return the image in that file, or what is wrong with it and what to do."""
    if not path.is_file():
        return f"{path} is missing. Put it there, or delete the row."
    try:
        with PILImage.open(path) as image:
            image.load()
            if image.mode not in EIGHT_BIT:
                return f"{path} has more than 8 bits per pixel (mode {image.mode}). Save it with 8."
            turned = image.getexif().get(EXIF_ORIENTATION, 1)
            if turned != 1:
                return (
                    f"{path} is turned by its EXIF orientation ({turned}). "
                    "Save it upright, and its labels with it."
                )
            pixels = np.asarray(image.convert("L"))
            return Picture(size=pixels.shape, mode=image.mode, pixels=pixels)
    except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError) as error:
        return f"{path} cannot be read ({error}). Replace it, or delete the row."
