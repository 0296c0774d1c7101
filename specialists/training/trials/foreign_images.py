"""Foreign images, which show no known exam, for evaluating what refuses them.

Some are real, most are synthetic.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont
from pydicom.data import get_testdata_files
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

Grey = npt.NDArray[np.uint8]
"""(H, W)."""

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, as uploads are converted to grey."""

MODALITIES = {"CT": "CT and MR slices", "MR": "CT and MR slices"}
SLICES = ("693_J2KI.dcm", "CT_small.dcm", "examples_overlay.dcm", "MR_small.dcm")
"""Files that pydicom installs; a modality's other files are the same slices in other encodings."""

WORDS = """Patient Name Date Result Report Total Search Exam Room Doctor Time Open Save Cancel Next
Previous Page Measure Archive Export Login File Edit View Help Settings"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Foreign:
    """An image with the group that it represents; `rgb` where the original has colour."""

    group: str
    grey: Grey
    rgb: npt.NDArray[np.uint8] | None = None


def foreign_images(
    known: Sequence[Grey], dicom: Path | None = None, seed: int = 0
) -> list[Foreign]:
    """Return the images of all groups.

    Args:
        known: images of known exams, on which colour is drawn and which panels show.
        dicom: a folder of further DICOM files: colour ultrasound, and exams that are not known.
        seed: of the synthetic images.
    """
    rng = np.random.default_rng(seed)
    found = [*_photographs(rng), *_slices(), *_screenshots(rng), *_panels(known, rng)]
    found += [*_noise(rng), *_blank(rng), *_gradients(rng), *_doppler(known, rng)]
    return found + ([] if dicom is None else list(_dicom(dicom)))


def grey_of(rgb: npt.NDArray[np.uint8]) -> Grey:
    """Return the (H, W) luma of (H, W, 3)."""
    luma: Grey = np.rint(rgb @ LUMA).astype(np.uint8)
    return luma


def _photographs(rng: np.random.Generator) -> Iterator[Foreign]:
    """Yield grey versions of scikit-learn's two photographs: cropped, dark, soft, mirrored."""
    for photo in load_sample_images().images:
        grey = grey_of(photo).astype(np.float64) / 255
        height, width = grey.shape
        views = [grey]
        for _ in range(9):
            high = int(height * rng.uniform(0.35, 0.9))
            wide = int(width * rng.uniform(0.35, 0.9))
            y, x = rng.integers(0, height - high), rng.integers(0, width - wide)
            views.append(grey[y : y + high, x : x + wide])
        for index, view in enumerate(views):
            changed = view[:, ::-1] if index % 2 else view
            for gamma, soft in ((1.0, 0.0), (2.2, 0.0), (1.0, 2.0)):
                pixels = _byte(gaussian_filter(changed**gamma, soft))
                yield Foreign(group="photographs, grey", grey=pixels)


def _slices() -> Iterator[Foreign]:
    for name in SLICES:
        for path in get_testdata_files(name):
            found = _pixels(Path(path))
            if found is not None and found[0] in MODALITIES:
                yield Foreign(group=MODALITIES[found[0]], grey=found[1])


def _pixels(path: Path) -> tuple[str, npt.NDArray[np.uint8]] | None:
    """Return modality and first frame, scaled by its percentiles; None where there is no image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            file = pydicom.dcmread(path)
            values = pixel_array(file, index=0)
        except (InvalidDicomError, AttributeError, ValueError, OSError, RuntimeError, KeyError):
            return None
    modality = str(file.get("Modality", ""))
    if values.dtype == np.uint8:
        return modality, values
    low, high = np.percentile(values, [1, 99])
    return modality, _byte((values - low) / max(float(high - low), 1.0))


def _screenshots(rng: np.random.Generator) -> Iterator[Foreign]:
    for index in range(24):
        width, height = int(rng.integers(480, 1100)), int(rng.integers(400, 800))
        dark = index % 2 == 0
        ground, ink = (int(rng.integers(0, 50)), 220) if dark else (int(rng.integers(225, 256)), 30)
        page = PILImage.new("L", (width, height), ground)
        pen = ImageDraw.Draw(page)
        pen.rectangle((0, 0, width, 28), fill=(ground + 40) % 256)
        size = int(rng.integers(11, 22))
        font = ImageFont.load_default(size)
        left = int(rng.integers(10, 140))
        share = rng.uniform(0.4, 1.0)
        for top in range(40, height - size, int(size * 1.6)):
            if rng.random() < 0.85:
                words = " ".join(
                    rng.choice(WORDS.split(), int(share * (width - left) / (4.2 * size)))
                )
                pen.text((left, top), words, fill=ink, font=font)
        for _ in range(int(rng.integers(0, 6))):
            x, y = int(rng.integers(0, width - 120)), int(rng.integers(40, height - 40))
            pen.rectangle((x, y, x + 110, y + 28), outline=ink, fill=(ground + 60) % 256)
        yield Foreign(group="text screenshots", grey=np.asarray(page))


def _panels(known: Sequence[Grey], rng: np.random.Generator) -> Iterator[Foreign]:
    """Yield several images side by side with a viewer's captions, as in a screenshot of it."""
    for index in range(16):
        rows, columns = ((1, 2), (2, 2), (2, 3), (1, 3))[index % 4]
        side, gap = 220, int(rng.integers(6, 20))
        ground = (0, 40, 235)[index % 3]
        page = PILImage.new(
            "L", (columns * (side + gap) + gap, rows * (side + gap + 18) + gap + 40)
        )
        page.paste(ground, (0, 0, *page.size))
        pen = ImageDraw.Draw(page)
        ink = 20 if ground > 128 else 230
        pen.text(
            (10, 12),
            " ".join(rng.choice(WORDS.split(), 9)),
            fill=ink,
            font=ImageFont.load_default(16),
        )
        for cell in range(rows * columns):
            image = PILImage.fromarray(known[int(rng.integers(len(known)))]).resize((side, side))
            x, y = gap + cell % columns * (side + gap), 40 + cell // columns * (side + gap + 18)
            page.paste(image, (x, y))
            caption = " ".join(rng.choice(WORDS.split(), 3))
            pen.text((x, y + side + 2), caption, fill=ink, font=ImageFont.load_default(12))
        yield Foreign(group="several panels", grey=np.asarray(page))


def _noise(rng: np.random.Generator) -> Iterator[Foreign]:
    for index in range(20):
        shape = (int(rng.integers(200, 500)), int(rng.integers(200, 600)))
        kind = index % 5
        if kind == 0:
            values = rng.uniform(0, 1, shape)
        elif kind == 1:
            values = rng.rayleigh(0.25, shape)
        elif kind == 2:
            values = 0.5 + 0.18 * rng.standard_normal(shape)
        elif kind == 3:
            values = (rng.random(shape) < rng.uniform(0.02, 0.5)).astype(np.float64)
        else:
            soft = gaussian_filter(rng.standard_normal(shape), rng.uniform(1, 4))
            values = 0.4 + 0.2 * soft / soft.std()
        yield Foreign(group="noise", grey=_byte(values))


def _blank(rng: np.random.Generator) -> Iterator[Foreign]:
    for index in range(12):
        shape = (int(rng.integers(200, 500)), int(rng.integers(200, 600)))
        level = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)[index % 6]
        values = np.full(shape, level)
        if index >= 6:
            values += 0.006 * rng.standard_normal(shape)
        yield Foreign(group="blank frames", grey=_byte(values))


def _gradients(rng: np.random.Generator) -> Iterator[Foreign]:
    for index in range(12):
        height, width = int(rng.integers(200, 500)), int(rng.integers(200, 600))
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.cos(angle) * x + np.sin(angle) * y
        radial = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.0, 0.8))
        values = (ramp, radial, ramp**2 + radial)[index % 3]
        values = (values - values.min()) / np.ptp(values)
        yield Foreign(group="gradients", grey=_byte(values * rng.uniform(0.4, 1.0)))


def _doppler(known: Sequence[Grey], rng: np.random.Generator) -> Iterator[Foreign]:
    """Yield real images with a colour box of red and blue flow, and the scale beside it."""
    for _ in range(min(40, len(known))):
        grey = known[int(rng.integers(len(known)))]
        height, width = grey.shape
        rgb = np.repeat(grey[..., None], 3, axis=2).astype(np.float64) / 255
        high, wide = int(height * rng.uniform(0.25, 0.5)), int(width * rng.uniform(0.25, 0.5))
        top, left = rng.integers(0, height - high), rng.integers(0, width - wide)
        flow = gaussian_filter(rng.standard_normal((high, wide)), min(high, wide) / 10)
        flow /= max(float(np.abs(flow).max()), 1e-6)
        there = np.abs(flow) > rng.uniform(0.2, 0.45)
        speed = np.abs(flow)[..., None]
        warm = np.array([0.9, 0.15, 0.1]) * (0.4 + 0.6 * speed) + np.array([0, 0.5, 0]) * speed**2
        cold = np.array([0.1, 0.2, 0.95]) * (0.4 + 0.6 * speed) + np.array([0, 0.5, 0]) * speed**2
        part = rgb[top : top + high, left : left + wide]
        part[there] = np.where((flow > 0)[..., None], warm, cold)[there]
        bar = np.linspace(1, -1, height // 3)[:, None, None]
        scale = np.where(bar > 0, bar * [0.9, 0.3, 0.1], -bar * [0.1, 0.3, 0.95])
        rgb[8 : 8 + len(scale), 4 : 4 + max(4, width // 50)] = scale[: height - 8]
        pixels = _byte(rgb)
        yield Foreign(group="colour Doppler, drawn", grey=grey_of(pixels), rgb=pixels)


def _dicom(folder: Path) -> Iterator[Foreign]:
    for path in sorted(folder.rglob("*.dcm")):
        found = _pixels(path)
        if found is None or found[0] != "US":
            continue
        pixels = found[1]
        if pixels.ndim == 3 and (pixels != pixels[..., :1]).any():
            group = "ultrasound in colour, DICOM files"
            yield Foreign(group=group, grey=grey_of(pixels), rgb=pixels)
        else:
            grey = pixels[..., 0] if pixels.ndim == 3 else pixels
            yield Foreign(group="ultrasound of other exams, DICOM files", grey=grey)


def _byte(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    found: npt.NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return found
