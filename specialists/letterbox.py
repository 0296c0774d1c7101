"""The only place that resizes images: into the network's square and exactly back.

The geometry of the tissue is kept: the network sees square pixels. Both axes have the same scale
where the image's pixels are square, and a scale each where they are known not to be.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """Maps image pixels (x, y) to network pixels, which are square; content centred.

    `scale` is network pixels per width of an image pixel, `aspect` an image pixel's height over its
    width.
    """

    scale: float
    offset_x: float
    offset_y: float
    height_px: int
    width_px: int
    input_px: int
    aspect: float = 1.0

    @property
    def scales(self) -> tuple[float, float]:
        """Network pixels per image pixel, along x and y."""
        return self.scale, self.scale * self.aspect

    def to_network(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert (..., 2) points (x, y) from image pixels to network pixels."""
        return np.add(points * self.scales, [self.offset_x, self.offset_y])

    def to_image(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Convert (..., 2) points (x, y) from network pixels to image pixels."""
        return np.subtract(points, [self.offset_x, self.offset_y]) / self.scales

    def field(self) -> tuple[float, float, float, float]:
        """Return x_min, y_min, x_max, y_max of the image in network pixels."""
        return (
            self.offset_x,
            self.offset_y,
            self.offset_x + self.width_px * self.scale,
            self.offset_y + self.height_px * self.scales[1],
        )


def letterbox(
    height_px: int, width_px: int, input_px: int, zoom: float = 1.0, aspect: float = 1.0
) -> Letterbox:
    """Return the letterbox of an image of that size; its longer side fills the square.

    With a zoom below 1 the longer side fills that share of the square, rounded to whole network
    pixels, with the same border on both sides. With pixels of another `aspect` (height over width)
    than 1, the longer side is that of the tissue.
    """
    border_px = round(input_px * (1 - zoom) / 2)
    scale = (input_px - 2 * border_px) / max(height_px * aspect, width_px)
    return Letterbox(
        scale=scale,
        offset_x=(input_px - width_px * scale) / 2,
        offset_y=(input_px - height_px * (scale * aspect)) / 2,
        height_px=height_px,
        width_px=width_px,
        input_px=input_px,
        aspect=aspect,
    )


def resize(
    pixels: npt.NDArray[np.uint8], box: Letterbox, *, nearest: bool = False
) -> npt.NDArray[np.uint8]:
    """Resample the image into its letterbox: (input_px, input_px) uint8, black around the image.

    Each network pixel is sampled at its own centre, so fractional offsets and sizes are exact.
    Shrinking averages over the area that a network pixel covers.
    """
    scale_x, scale_y = box.scales
    if not nearest and min(scale_x, scale_y) < 1:
        long_px = round(scale_x * max(box.height_px * box.aspect, box.width_px))
        return np.pad(_shrunk(pixels, box, long_px), (box.input_px - long_px) // 2)
    moved = PILImage.fromarray(pixels).transform(
        (box.input_px, box.input_px),
        PILImage.Transform.AFFINE,
        (
            *(1 / scale_x, 0.0, -box.offset_x / scale_x),
            *(0.0, 1 / scale_y, -box.offset_y / scale_y),
        ),
        resample=PILImage.Resampling.NEAREST if nearest else PILImage.Resampling.BILINEAR,
        fillcolor=0,
    )
    return np.asarray(moved)


def _shrunk(pixels: npt.NDArray[np.uint8], box: Letterbox, long_px: int) -> npt.NDArray[np.uint8]:
    """Return the shrunk image in a square of side `long_px`.

    The long side is shrunk first, because a square canvas of the full length could fill the memory.
    """
    tall = box.height_px * box.aspect >= box.width_px
    along, across = (_rows, _columns) if tall else (_columns, _rows)
    long, short = (box.height_px, box.width_px) if tall else (box.width_px, box.height_px)
    square = long * box.aspect if tall else long / box.aspect  # the long side in short-side pixels
    pad = math.ceil((square - short) / 2)
    narrow = along(pixels, long_px, (0.0, float(long)))
    if pad > 0:
        narrow = np.pad(narrow, ((0, 0), (pad, pad)) if tall else ((pad, pad), (0, 0)))
    first = pad - (square - short) / 2
    return across(narrow, long_px, (first, first + square))


def _columns(
    pixels: npt.NDArray[np.uint8], count: int, span: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Resample the columns of (H, W) pixels between the two positions of `span` to (H, count)."""
    height = len(pixels)
    box = (span[0], 0, span[1], height)
    image = PILImage.fromarray(pixels)
    return np.asarray(image.resize((count, height), PILImage.Resampling.BILINEAR, box=box))


def _rows(
    pixels: npt.NDArray[np.uint8], count: int, span: tuple[float, float]
) -> npt.NDArray[np.uint8]:
    """Resample the rows of (H, W) pixels between the two positions of `span` to (count, W).

    Pillow averages the four bytes of a CMYK pixel at once, each byte separately. Taking four
    columns as one CMYK pixel gives the same rows as one column at a time, but faster.
    """
    height, width = pixels.shape
    wide = np.pad(pixels, ((0, 0), (0, -width % 4))) if width % 4 else pixels
    fours = wide.shape[1] // 4
    buffer = np.ascontiguousarray(wide)
    image = PILImage.frombuffer("CMYK", (fours, height), buffer, "raw", "CMYK", 0, 1)
    box = (0, span[0], fours, span[1])
    moved = image.resize((fours, count), PILImage.Resampling.BILINEAR, box=box)
    return np.asarray(moved).reshape(count, -1)[:, :width]
