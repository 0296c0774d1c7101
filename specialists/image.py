"""The analysed frame as every specialist reads it: grey pixels and what is known of their size."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.model import ImageInfo, PixelAspect


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """One grey image; `pixels` is (H, W) uint8 after EXIF orientation is applied."""

    pixels: npt.NDArray[np.uint8]
    key: str
    """SHA-256 of shape and pixels, in hexadecimal; identifies the content in the feature cache."""
    info: ImageInfo


def pixel_key(pixels: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of an image's shape and pixels, in hexadecimal."""
    digest = hashlib.sha256("x".join(str(side) for side in pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def image_of(pixels: npt.NDArray[np.uint8]) -> Image:
    """Return an image of which only the pixels are known."""
    height_px, width_px = pixels.shape
    key = pixel_key(pixels)
    info = ImageInfo(
        sha256=key,
        width_px=width_px,
        height_px=height_px,
        frame=None,
        spacing_mm=None,
        spacing_source=None,
        pixel_aspect=PixelAspect.ASSUMED_SQUARE,
    )
    return Image(pixels=pixels, key=key, info=info)
