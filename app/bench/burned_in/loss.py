"""What blackening takes from a folder of images: nothing, where they are free of text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from app.errors import RequestRejected
from app.images.burned_in.finder import FindText, blacken
from specialists.errors import PictureRejected
from specialists.pictures.decode import decode

SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What was blackened in the images of a folder."""

    folder: str
    images: int
    touched: int
    """Images in which something was blackened."""
    places: int
    share: float
    """Share of all pixels that were blackened, images counting alike."""


def sample_of(folder: Path, most: int) -> list[Path]:
    """Return at most that many image files of a folder, evenly spread over the sorted names.

    Raises:
        RequestRejected: the folder holds none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise RequestRejected(f"{folder} holds no PNG or JPEG file.")
    return paths[:: -(-len(paths) // most)]


def loss_of(
    find_text: FindText, folder: Path, paths: Sequence[Path], limit_pixels: int, look: Path | None
) -> Loss:
    """Return what is blackened in these images of a folder.

    `look` is a folder that gets each touched image, before and after side by side.

    Raises:
        RequestRejected: an image cannot be read.
    """
    shares, places = [], []
    for path in paths:
        try:
            pixels = decode(path.read_bytes(), limit_pixels).pixels
        except PictureRejected as error:
            raise RequestRejected(f"{path}: {error}") from error
        boxes = find_text(pixels)
        black = np.zeros(pixels.shape[:2], np.bool_)
        for x_min, y_min, x_max, y_max in boxes:
            black[y_min:y_max, x_min:x_max] = True
        shares.append(float(black.mean()))
        places.append(len(boxes))
        if look is not None and boxes:
            pair = np.concatenate([pixels, blacken(pixels, boxes)], axis=1)
            PIL.Image.fromarray(pair).save(look / f"{path.stem}.png")
    return Loss(
        folder=str(folder),
        images=len(paths),
        touched=sum(count > 0 for count in places),
        places=sum(places),
        share=float(np.mean(shares)),
    )
