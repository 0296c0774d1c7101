"""The analysed frame as every specialist reads it: grey pixels and what is known of their size."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.model import Box, ImageInfo, PixelAspect

ASPECT_MIN, ASPECT_MAX = 0.1, 10.0
"""Plausible height over width of a pixel; beyond this range what states it is a mistake."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """One grey image; `pixels` is (H, W) uint8 after EXIF orientation is applied."""

    pixels: npt.NDArray[np.uint8]
    key: str
    """SHA-256 of shape and pixels, in hexadecimal; identifies the content in the feature cache."""
    info: ImageInfo

    @property
    def aspect(self) -> float:
        """A pixel's height over its width, by which every network sees square pixels."""
        return aspect_of(self.info)


def aspect_of(info: ImageInfo) -> float:
    """Return a pixel's height over its width, 1 where the source does not state it.

    Millimetres come before `aspect_ratio`, as they do for measurements. Of regions with different
    pixels the largest decides: a frame has one letterbox.
    """
    stated = [region for region in info.regions if region.spacing_mm is not None]
    largest = max(stated, key=lambda region: _area(region.box), default=None)
    spacing = info.spacing_mm if largest is None else largest.spacing_mm
    if spacing is not None:
        return spacing.y / spacing.x
    return 1.0 if info.aspect_ratio is None else info.aspect_ratio


def _area(box: Box) -> float:
    x_min, y_min, x_max, y_max = box
    return (x_max - x_min) * (y_max - y_min)


def pixel_key(pixels: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of an image's shape and pixels, in hexadecimal."""
    digest = hashlib.sha256("x".join(str(side) for side in pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def image_of(pixels: npt.NDArray[np.uint8], aspect: float | None = None) -> Image:
    """Return an image of which only the pixels are known, and their height over width if stated."""
    height_px, width_px = pixels.shape
    key = pixel_key(pixels)
    info = ImageInfo(
        sha256=key,
        width_px=width_px,
        height_px=height_px,
        frame=None,
        spacing_mm=None,
        spacing_source=None,
        pixel_aspect=PixelAspect.ASSUMED_SQUARE if aspect is None else PixelAspect.KNOWN,
        aspect_ratio=aspect,
    )
    return Image(pixels=pixels, key=key, info=info)
