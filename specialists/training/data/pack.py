"""All training images and masks in memory at one size, so that an epoch never reads the disk."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from specialists.errors import TrainingError
from specialists.letterbox import Letterbox, letterbox, resize
from specialists.training.data.readable import read_grey, read_mask
from specialists.training.data.tables import Sample


@dataclass(kw_only=True)
class Pack:
    """Images (N, P, P) uint8 and labels; geometry in pixels of the letterbox of side P."""

    side_px: int
    samples: list[Sample]
    images: npt.NDArray[np.uint8]
    boxes: list[Letterbox]
    masks: dict[str, dict[int, npt.NDArray[np.uint8]]]
    """Task id to sample index to (P, P) uint8 label map."""

    def sources(self) -> dict[str, list[int]]:
        """Return the sample indices by data set, for the rotation."""
        found: dict[str, list[int]] = {}
        for index, sample in enumerate(self.samples):
            found.setdefault(sample.dataset, []).append(index)
        return found


def build_pack(samples: list[Sample], side_px: int) -> Pack:
    """Return the pack of those samples.

    Raises:
        TrainingError: an image or mask is missing, unreadable, or a mask's size differs from its
            image's.
    """
    images = np.zeros((len(samples), side_px, side_px), np.uint8)
    boxes: list[Letterbox] = []
    masks: dict[str, dict[int, npt.NDArray[np.uint8]]] = {}
    for index, sample in enumerate(tqdm(samples, desc="packing images", unit="image")):
        pixels = read_grey(sample.path)
        box = letterbox(pixels.shape[0], pixels.shape[1], side_px, aspect=sample.aspect or 1.0)
        images[index] = resize(pixels, box)
        boxes.append(box)
        for task, path in sample.masks.items():
            mask = read_mask(path)
            if mask.shape != pixels.shape:
                raise TrainingError(f"{path} has another size than its image {sample.path}.")
            masks.setdefault(task, {})[index] = resize(mask, box, nearest=True)
    return Pack(side_px=side_px, samples=samples, images=images, boxes=boxes, masks=masks)
