"""Detection of colour that carries meaning in an image.

Doppler maps and overlays carry meaning; a uniform tint or a coloured caliper does not.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from reports.model import Colour

SATURATED_CHROMA = 80
"""Chroma (largest minus smallest channel) from which a colour counts as deliberate.

Colour maps reach 150 and more, while JPEG's colour noise on grey tissue stays under 30.
"""

TINT_CHROMA = 12
"""Chroma from which a lit pixel counts as tinted: a sepia or blue grey-map has 15 and more."""

LIT = 48
"""Brightness (largest channel) below which hue is noise."""

COLOUR_SHARE = 0.005
"""Share of the image from which solid, saturated colour counts as Doppler or an overlay.

It corresponds to a vessel 30 pixels across in 400 × 400. Icons and logos stay below it. Caliper
crosses, dotted lines and text are thinner than `STROKE_PX` and are removed before the area is
measured, so that a marked B-mode image (BUSI has such images) is not refused.
"""

STROKE_PX = 3
"""Marks up to this thickness, less one pixel, are strokes and not areas."""

TINT_SHARE = 0.6
"""Share of lit pixels that a tint covers: it lies on all tissue, a colour box only on part."""

TINT_WIDTH_DEG = 60.0
"""Width of the hue range of a tint: it holds `TINT_AGREEMENT` of the tinted pixels."""

TINT_AGREEMENT = 0.95

_SAMPLE_PX = 2_000_000


def colour_of(pixels: npt.NDArray[np.uint8]) -> Colour:
    """Classify the colours of an (H, W, 3) image."""
    step = max(1, int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / _SAMPLE_PX))))
    channels = pixels[::step, ::step].astype(np.int16)
    brightest = channels.max(axis=2)
    chroma = brightest - channels.min(axis=2)
    lit = brightest >= LIT
    tinted = lit & (chroma >= TINT_CHROMA)
    uniform = False
    if lit.any() and tinted.sum() >= TINT_SHARE * lit.sum():
        uniform = _has_one_hue(channels[tinted])
    if uniform:
        return Colour.TINTED
    solid = ndimage.binary_opening(
        chroma >= SATURATED_CHROMA, structure=np.ones((STROKE_PX, STROKE_PX), dtype=np.bool_)
    )
    return Colour.COLOUR if solid.mean() > COLOUR_SHARE else Colour.GREY


def _has_one_hue(colours: npt.NDArray[np.int16]) -> bool:
    """Return whether (N, 3) colours lie within one narrow part of the hue circle."""
    red, green, blue = (colours[:, index].astype(np.float64) for index in range(3))
    hue_deg = np.degrees(np.arctan2(np.sqrt(3.0) * (green - blue), 2.0 * red - green - blue))
    histogram, _ = np.histogram(hue_deg % 360.0, bins=72, range=(0.0, 360.0))
    width = round(TINT_WIDTH_DEG / 5.0)
    around = np.concatenate([histogram, histogram[: width - 1]])
    best = np.convolve(around, np.ones(width), mode="valid").max()
    return bool(best >= TINT_AGREEMENT * len(colours))
