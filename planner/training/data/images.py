"""Images to train and evaluate the planner on.

They are real images, moved views of them, drawn test images, and images of no known exam.
"""

import enum
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from PIL import ImageDraw
from sklearn.datasets import load_sample_image

from specialists.phantom.draw import draw
from specialists.phantom.truth import PhantomKind

Pixels = npt.NDArray[np.uint8]
"""Grey values, (H, W)."""


class Kind(enum.StrEnum):
    """The kind of an image; all but `foreign` show an exam.

    `drawn` images show it as the test images of `specialists.phantom.draw` do.
    """

    REAL = "real"
    VIEW = "view"
    DRAWN = "drawn"
    FOREIGN = "foreign"


def moved_view(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image with another crop, aspect, border, tone and side.

    Its shape then no longer reveals its exam.
    """
    height, width = pixels.shape
    keep_y, keep_x = rng.uniform(0.72, 1.0, 2)
    tall, wide = max(32, round(height * keep_y)), max(32, round(width * keep_x))
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    view = pixels[top : top + tall, left : left + wide]
    if rng.random() < 0.5:
        view = view[:, ::-1]
    stretch = float(np.exp(rng.uniform(np.log(0.7), np.log(1.45))))
    size = (max(32, round(wide * stretch)), tall)
    view = np.asarray(PILImage.fromarray(np.ascontiguousarray(view)).resize(size))
    toned = 255 * (view / 255.0) ** float(np.exp(rng.uniform(-0.35, 0.35)))
    toned = toned * rng.uniform(0.8, 1.1) + rng.normal(0, rng.uniform(0, 6), view.shape)
    border = [(int(rng.integers(0, max(2, side // 6))), 0) for side in view.shape]
    padded = np.pad(np.clip(toned, 0, 255), [(a, int(rng.integers(0, a + 1))) for a, _ in border])
    return padded.astype(np.uint8)


DRAWN_EXAMS: tuple[PhantomKind, ...] = ("breast", "intrapartum")
"""The exams that can be drawn."""


def drawn(kind: PhantomKind, rng: np.random.Generator) -> Pixels:
    """Draw an image of that exam, of any size and look; half of them are moved like a view."""
    height_px, width_px = (int(side) for side in rng.integers(240, 640, 2))
    seed = int(rng.integers(1000, 1_000_000))  # beyond the seeds of demo and tests
    pixels = draw(kind, seed=seed, height_px=height_px, width_px=width_px).pixels
    return moved_view(pixels, rng) if rng.random() < 0.5 else pixels


def foreign(name: str, source: Pixels, rng: np.random.Generator) -> Pixels:
    """Return an image of that name from `FOREIGN`; some are made of a real image's pixels."""
    return FOREIGN[name](source, rng)


def _white(source: Pixels, rng: np.random.Generator) -> Pixels:
    return rng.integers(0, 256, source.shape).astype(np.uint8)


def _speckle(source: Pixels, rng: np.random.Generator) -> Pixels:
    blurred = _low_pass(rng.rayleigh(1.0, source.shape), rng.uniform(0.05, 0.35))
    return _scaled(blurred)


def _clouds(source: Pixels, rng: np.random.Generator) -> Pixels:
    return _scaled(_low_pass(rng.normal(size=source.shape), rng.uniform(0.004, 0.03)))


def _shuffled(source: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image's own tiles in another order."""
    side = int(rng.choice([8, 16, 24]))
    rows, columns = source.shape[0] // side, source.shape[1] // side
    tiles = source[: rows * side, : columns * side].reshape(rows, side, columns, side)
    flat = tiles.transpose(0, 2, 1, 3).reshape(-1, side, side)
    mixed = flat[rng.permutation(len(flat))].reshape(rows, columns, side, side)
    return np.ascontiguousarray(mixed.transpose(0, 2, 1, 3).reshape(rows * side, columns * side))


def _pixels_shuffled(source: Pixels, rng: np.random.Generator) -> Pixels:
    return rng.permutation(source.ravel()).reshape(source.shape)


def _phase(source: Pixels, rng: np.random.Generator) -> Pixels:
    """Return the image's amplitude spectrum with the phases of noise."""
    noise = np.fft.fft2(rng.normal(size=source.shape))
    amplitude = np.abs(np.fft.fft2(source.astype(float)))
    mixed = np.real(np.fft.ifft2(amplitude * noise / np.maximum(np.abs(noise), 1e-9)))
    return np.clip(mixed, 0, 255).astype(np.uint8)


def _page(source: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw a page of text, or a form."""
    height, width = source.shape
    page = PILImage.new("L", (width, height), int(rng.integers(200, 256)))
    pen = ImageDraw.Draw(page)
    for y in range(8, height - 10, int(rng.integers(11, 18))):
        words = "".join(
            rng.choice(list("abcdefghij klmnop qrstu "), size=int(rng.integers(5, width // 6 + 6)))
        )
        pen.text((int(rng.integers(4, 20)), y), words, fill=int(rng.integers(0, 90)))
    return np.asarray(page)


def _shapes(source: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw flat boxes and discs, as on a drawing or a user interface."""
    height, width = source.shape
    page = PILImage.new("L", (width, height), int(rng.integers(0, 256)))
    pen = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(3, 14))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        box = (
            x,
            y,
            x + int(rng.integers(5, width // 2 + 6)),
            y + int(rng.integers(5, height // 2 + 6)),
        )
        draw = pen.rectangle if rng.random() < 0.5 else pen.ellipse
        draw(box, fill=int(rng.integers(0, 256)))
    return np.asarray(page)


def _stripes(source: Pixels, rng: np.random.Generator) -> Pixels:
    y, x = np.mgrid[: source.shape[0], : source.shape[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 40)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    return _scaled(np.sign(wave) if rng.random() < 0.5 else wave)


def _gradient(source: Pixels, rng: np.random.Generator) -> Pixels:
    y, x = np.mgrid[: source.shape[0], : source.shape[1]]
    return _scaled(x * rng.normal() + y * rng.normal() + rng.normal(0, 0.5, source.shape))


def _photograph(name: str) -> Callable[[Pixels, np.random.Generator], Pixels]:
    """Return a function that crops one of the two photographs that come with scikit-learn."""

    def crop(source: Pixels, rng: np.random.Generator) -> Pixels:
        photo = np.asarray(PILImage.fromarray(load_sample_image(name)).convert("L"))
        height, width = (
            min(side, most) for side, most in zip(source.shape, photo.shape, strict=True)
        )
        top = int(rng.integers(photo.shape[0] - height + 1))
        left = int(rng.integers(photo.shape[1] - width + 1))
        return np.ascontiguousarray(photo[top : top + height, left : left + width])

    return crop


def _blank(source: Pixels, rng: np.random.Generator) -> Pixels:
    level = rng.integers(0, 256)
    noise = rng.normal(0, rng.uniform(0, 3), source.shape)
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def _low_pass(values: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    frequencies = [np.fft.fftfreq(side) for side in values.shape]
    distance = np.hypot(frequencies[0][:, None], frequencies[1][None, :])
    smooth = np.fft.ifft2(np.fft.fft2(values) * np.exp(-((distance / share) ** 2)))
    return np.real(smooth)


def _scaled(values: npt.NDArray[np.float64]) -> Pixels:
    low, high = np.percentile(values, [0.5, 99.5])
    unit = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    scaled: Pixels = (unit * 255).astype(np.uint8)
    return scaled


FOREIGN: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "white noise": _white,
    "speckle": _speckle,
    "tiles shuffled": _shuffled,
    "page": _page,
    "stripes": _stripes,
    "blank": _blank,
    "buildings": _photograph("china.jpg"),
    "pixels shuffled": _pixels_shuffled,
    "clouds": _clouds,
    "phases scrambled": _phase,
    "shapes": _shapes,
    "gradient": _gradient,
    "flower": _photograph("flower.jpg"),
}
"""Generators of images that show no known exam, by name."""

FOREIGN_HELD_OUT = ("pixels shuffled", "clouds", "phases scrambled", "shapes", "gradient", "flower")
"""Kinds that the planner is never trained on; it is evaluated on all of them."""
