"""Whether an image can be read at all: scores of its grey pixels, judged by manifest thresholds.

The checks are pure numpy, take some milliseconds and run before any network. A fault either refuses
the image (there is nothing to read) or warns (what is read is less certain). The limits come from
the validation split (`specialists.training.calibration.quality`); a fault for which the manifest
states no limit is not judged.
"""

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image as PILImage
from scipy.ndimage import label

from specialists.errors import Illegible
from specialists.manifest import Threshold

Grey = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.intp]

LOOKED_AT_PX = 640
"""Largest longer side that is analysed.

A larger image is subsampled: only every second, third … pixel is read.
"""

SHARP_AT_PX = 256
"""The longer side at which sharpness is judged, about that of the networks' input.

A finer blur makes no difference to the networks.
"""

BLOCK = 8
"""Side of the blocks by which the scanned field is found."""

BLACK = 12
"""Grey levels up to here are dark on any display."""

GLARE = 250
"""Grey levels from here on are saturated: anything brighter was lost."""

PREFIX, EXTREME = "quality_", "_extreme"
"""Prefix and suffix of the quality thresholds in a model's manifest entry.

All names have the prefix; those from which a warning becomes a refusal also have the suffix.
"""


class Fault(StrEnum):
    """What can be wrong with an image, in the order in which faults are reported."""

    BLACK = "black"
    BLANK = "blank"
    SATURATED = "saturated"
    TINY_FIELD = "tiny_field"
    SCREENSHOT = "screenshot"
    PANELS = "panels"
    BLURRED = "blurred"
    LOW_CONTRAST = "low_contrast"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a fault means; it is present beyond the limit, upwards or downwards."""

    upwards: bool
    says: str
    """What is wrong and what to do, as a clause that follows "the image …"."""
    margin: float
    """Factor by which the limit lies further out than the extremes of the validation split.

    Other scanners differ more than that split shows.
    """
    refuses: bool = True
    """Whether the fault refuses the image.

    Otherwise it warns, and refuses only beyond the limit that `<fault>_extreme` states.
    """


RULES: dict[Fault, Rule] = {
    Fault.BLACK: Rule(
        upwards=False,
        margin=4.0,
        says="is black or nearly so: check that the frame was saved while scanning, "
        "and raise the gain",
    ),
    Fault.BLANK: Rule(
        upwards=False,
        margin=3.0,
        says="is one even grey and shows no tissue: save a frame while the probe is in contact",
    ),
    Fault.SATURATED: Rule(
        upwards=True,
        margin=20.0,
        says="is overexposed, large parts are pure white: lower the gain and save it again",
    ),
    Fault.TINY_FIELD: Rule(
        upwards=False,
        margin=2.0,
        says="is mostly border, the scanned field is too small to read: "
        "crop to the field or save it larger",
    ),
    Fault.SCREENSHOT: Rule(
        upwards=True,
        margin=20.0,
        says="looks like a screenshot of text or of a program: send the ultrasound image itself",
    ),
    Fault.PANELS: Rule(
        upwards=True,
        margin=1.0,
        says="holds several pictures side by side: send one of them at a time",
    ),
    Fault.BLURRED: Rule(
        upwards=False,
        margin=1.5,
        refuses=False,
        says="is blurred: outlines and lengths are less exact; check focus and export quality",
    ),
    Fault.LOW_CONTRAST: Rule(
        upwards=False,
        margin=1.5,
        refuses=False,
        says="has little contrast: faint structures may be missed; check gain and dynamic range",
    ),
}
"""Every fault with its meaning."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The scores of an image and its faults: those that refuse it and those that warn."""

    scores: Mapping[str, float]
    refused: tuple[Fault, ...]
    warned: tuple[Fault, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a report must say of the image, as sentences."""
        return tuple(f"The image {RULES[fault].says}." for fault in self.warned)

    def check(self) -> None:
        """Raise an error if the image cannot be read.

        Raises:
            Illegible: the image cannot be read; the message says what is wrong and what to do.
        """
        if self.refused:
            faults = "; it ".join(RULES[fault].says for fault in self.refused)
            raise Illegible(f"the image {faults}")


def scores_of(pixels: Grey, beside: Executor | None = None) -> dict[Fault, float]:
    """Return every fault's score of (H, W) grey pixels.

    With `beside`, sharpness is computed there at the same time.
    """
    detail = beside.submit(_detail, pixels).result if beside else partial(_detail, pixels)
    step = -(-max(pixels.shape) // LOOKED_AT_PX)
    seen = np.ascontiguousarray(pixels[::step, ::step])
    content = _content(seen)
    rows, columns = _extent(content)
    field = seen[rows, columns]
    of_all, of_field = _histogram(seen), _histogram(field)
    low, high = _percentile(of_field, 2), _percentile(of_field, 98)
    return {
        Fault.BLACK: _percentile(of_all, 99),
        Fault.BLANK: _spread(of_all),
        Fault.SATURATED: float(of_field[GLARE:].sum()) / field.size,
        Fault.TINY_FIELD: float(content.mean()),
        Fault.SCREENSHOT: _lettering(seen),
        Fault.PANELS: float(_panels(seen)),
        Fault.BLURRED: detail(),
        Fault.LOW_CONTRAST: high - low,
    }


def judge(scores: Mapping[Fault, float], limits: Mapping[str, Threshold]) -> Quality:
    """Return the faults that those scores have under the limits of a model's entry."""
    refused: list[Fault] = []
    warned: list[Fault] = []
    for fault, rule in RULES.items():
        limit = limits.get(PREFIX + fault)
        if limit is None or not _beyond(scores[fault], limit.value, rule):
            continue
        extreme = limits.get(PREFIX + fault + EXTREME)
        worst = extreme is not None and _beyond(scores[fault], extreme.value, rule)
        (refused if rule.refuses or worst else warned).append(fault)
    named = {fault.value: round(score, 4) for fault, score in scores.items()}
    return Quality(scores=named, refused=tuple(refused), warned=tuple(warned))


def inspected(
    pixels: Grey, limits: Mapping[str, Threshold], beside: Executor | None = None
) -> Quality | None:
    """Return the quality of (H, W) grey pixels.

    The result is None where the model's limits include none of quality.
    """
    if not any(name.startswith(PREFIX) for name in limits):
        return None
    return judge(scores_of(pixels, beside), limits)


def _beyond(score: float, limit: float, rule: Rule) -> bool:
    return score > limit if rule.upwards else score < limit


def _histogram(grey: Grey) -> Counts:
    """Return (256,) counts of the grey levels.

    Pillow counts bytes as they are, whereas numpy first converts each to a wider integer.
    """
    return np.array(PILImage.fromarray(grey).histogram(), np.intp)


def _percentile(counts: Counts, percent: float) -> float:
    """Return the percentile of counted grey levels, interpolated as numpy does."""
    place = percent / 100 * (int(counts.sum()) - 1)
    low, high = np.searchsorted(np.cumsum(counts), [math.floor(place), math.ceil(place)], "right")
    return float(low + (high - low) * (place - math.floor(place)))


def _spread(counts: Counts) -> float:
    """Return the standard deviation of counted grey levels."""
    levels = np.arange(len(counts))
    total, first = int(counts.sum()), int(counts @ levels)
    return math.sqrt(total * int(counts @ levels**2) - first**2) / total  # integers: exact


def _content(seen: Grey) -> npt.NDArray[np.bool_]:
    """Return (h, w) flags of blocks that are neither dark nor uniform.

    They cover the scanned field and any other content.
    """
    height, width = (max(1, side // BLOCK) for side in seen.shape)
    whole = seen[: height * BLOCK, : width * BLOCK]
    if whole.shape != (height * BLOCK, width * BLOCK):  # the image is smaller than a block
        return np.ones((1, 1), np.bool_)
    grey = whole.astype(np.float32)
    total, squares = _block_sums(grey), _block_sums(np.square(grey, out=grey))
    pixels = BLOCK**2
    spread = squares * pixels - total**2  # pixels² times the variance
    there: npt.NDArray[np.bool_] = (total > BLACK * pixels) & (spread > 2 * pixels**2)
    return there


def _block_sums(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return (h, w) sums over blocks of (H, W) integers.

    Float32 holds these integers exactly and adds them fastest.
    """
    height, width = values.shape
    rows = values.reshape(-1, BLOCK, width).sum(1)
    blocks = rows.reshape(len(rows), -1, BLOCK) @ np.ones(BLOCK, np.float32)
    return np.asarray(blocks, np.int64)


def _extent(content: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the pixels around the middle 98 % of the content in each direction.

    All pixels are returned where there is no content.
    """
    if not content.any():
        return slice(None), slice(None)
    found = []
    for axis in (1, 0):
        share = np.cumsum(content.sum(axis)) / content.sum()
        first, last = np.searchsorted(share, [0.01, 0.99])
        found.append(slice(int(first) * BLOCK, (int(last) + 1) * BLOCK))
    return found[0], found[1]


def _lettering(seen: Grey) -> float:
    """Return the share of grey steps that are as abrupt as print.

    Tissue is soft, letters and frames are not.
    """
    left, right = seen[:, :-1], seen[:, 1:]
    step = np.maximum(left, right) - np.minimum(left, right)
    some = int(np.count_nonzero(step > 3))
    if some < 32:
        return 0.0
    even = np.count_nonzero(step <= 1) / step.size
    return even * np.count_nonzero(step > 70) / some


def _panels(seen: Grey) -> int:
    """Count the upright images that stand apart.

    They are large textured regions between straight, uniform gaps.
    """
    apart = _apart(seen.astype(np.int16))
    height, width = seen.shape
    padded = np.pad(apart, 2, mode="symmetric")
    rows = np.zeros((-(-height // 4), width + 4), np.int32)
    for k in range(5):
        every = padded[k : k + height : 4]
        rows += np.multiply(every, every, dtype=np.int32)
    squares = rows[:, :width:4] + rows[:, 1 : 1 + width : 4]
    for k in range(2, 5):
        squares += rows[:, k : k + width : 4]
    small = squares > 4 * 25**3  # the mean squared difference is above 4
    parts, count = label(small)
    if count < 2:
        return count
    sizes = np.bincount(parts.ravel())[1:]
    large = 0
    for index in np.flatnonzero(sizes > 0.03 * small.size) + 1:
        y, x = np.nonzero(parts == index)
        filled = len(y) / ((np.ptp(y) + 1) * (np.ptp(x) + 1))
        large += int(filled > 0.55)
    return large


def _apart(grey: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return 25 times the difference of (H, W) values from the mean of the 5 × 5 around each.

    Values are mirrored beyond the edge.
    """
    height, width = grey.shape
    padded = np.pad(grey, 2, mode="symmetric")
    two = padded[:-1] + padded[1:]
    rows = two[:height] + two[2 : 2 + height]
    rows += padded[4:]
    two = rows[:, :-1] + rows[:, 1:]
    apart = grey * np.int16(25)
    apart -= two[:, :width]
    apart -= two[:, 2 : 2 + width]
    apart -= rows[:, 4:]
    return apart


def _detail(pixels: Grey) -> float:
    """Return how much of the contrast is finer than some pixels of a reduced copy.

    It is the grey step between neighbours over the spread of grey levels.
    """
    small = PILImage.fromarray(pixels)
    small.thumbnail((SHARP_AT_PX, SHARP_AT_PX), PILImage.Resampling.BOX, reducing_gap=None)
    values = np.asarray(small, dtype=np.float32)
    spread = float(values.std())
    if spread < 1 or min(values.shape) < 3:
        return 1.0  # nothing that could be blurred
    steps = np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean()
    return float(steps) / (2 * spread)
