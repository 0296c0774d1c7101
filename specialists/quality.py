"""Whether a picture can be read at all: named scores of its grey pixels, judged by thresholds of the manifest.

Pure numpy and some milliseconds, before any network. A fault either refuses the picture (there is nothing to read) or
warns (what is read is less sure). The limits come from val (`specialists.training.quality`); where a manifest states
none of a fault, that fault is not judged.
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
"""The longer side of what is looked at; a larger picture is read by every second, third … pixel."""

SHARP_AT_PX = 256
"""The longer side at which sharpness is judged, about that of the networks: a finer blur changes nothing."""

BLOCK = 8
"""Side of the blocks by which the scanned field is found."""

BLACK = 12
"""Grey levels up to here are dark whatever the display."""

GLARE = 250
"""Grey levels from here on have lost what was brighter."""

PREFIX, EXTREME = "quality_", "_extreme"
"""Of the names of the gate's thresholds in a model's manifest entry: of all, and of where a warning refuses."""


class Fault(StrEnum):
    """What can be wrong with a picture, in the order in which it is told."""

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
    """What a fault means; the fault is there from the limit on, upwards or downwards."""

    upwards: bool
    says: str
    """What is wrong and what to do, as a clause that follows "the image …"."""
    margin: float
    """How many times further than val's own extremes the limit stands: other scanners differ more than val shows."""
    refuses: bool = True
    """Else it warns, and refuses only beyond the limit that `<fault>_extreme` states."""


RULES: dict[Fault, Rule] = {
    Fault.BLACK: Rule(
        upwards=False,
        margin=4.0,
        says="is black or nearly so: check that the frame was saved while scanning, and raise the gain",
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
        says="is mostly border, the scanned field is too small to read: crop to the field or save it larger",
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
    """The scores of a picture, and its faults: those that refuse it, and those that warn."""

    scores: Mapping[str, float]
    refused: tuple[Fault, ...]
    warned: tuple[Fault, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a report must say of the image, as sentences."""
        return tuple(f"The image {RULES[fault].says}." for fault in self.warned)

    def check(self) -> None:
        """Nothing, where the picture can be read.

        Raises:
            Illegible: it cannot; the message says what is wrong and what to do.
        """
        if self.refused:
            faults = "; it ".join(RULES[fault].says for fault in self.refused)
            raise Illegible(f"the image {faults}")


def scores_of(pixels: Grey, beside: Executor | None = None) -> dict[Fault, float]:
    """Every fault's score of (H, W) grey pixels; with `beside`, sharpness is judged there meanwhile."""
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
    """The faults of those scores under the limits of a model's entry."""
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
    """The quality of (H, W) grey pixels; null where the limits of a model state nothing of it."""
    if not any(name.startswith(PREFIX) for name in limits):
        return None
    return judge(scores_of(pixels, beside), limits)


def _beyond(score: float, limit: float, rule: Rule) -> bool:
    return score > limit if rule.upwards else score < limit


def _histogram(grey: Grey) -> Counts:
    """(256,) how many pixels have each grey level; Pillow counts bytes as they are, numpy widens each first."""
    return np.array(PILImage.fromarray(grey).histogram(), np.intp)


def _percentile(counts: Counts, percent: float) -> float:
    """The percentile of grey levels counted, between levels as numpy's."""
    place = percent / 100 * (int(counts.sum()) - 1)
    low, high = np.searchsorted(np.cumsum(counts), [math.floor(place), math.ceil(place)], "right")
    return float(low + (high - low) * (place - math.floor(place)))


def _spread(counts: Counts) -> float:
    """The standard deviation of grey levels counted."""
    levels = np.arange(len(counts))
    total, first = int(counts.sum()), int(counts @ levels)
    return math.sqrt(total * int(counts @ levels**2) - first**2) / total  # of whole numbers: exact


def _content(seen: Grey) -> npt.NDArray[np.bool_]:
    """(h, w) blocks that are neither dark nor even: the scanned field, and whatever else there is."""
    height, width = (max(1, side // BLOCK) for side in seen.shape)
    whole = seen[: height * BLOCK, : width * BLOCK]
    if whole.shape != (height * BLOCK, width * BLOCK):  # smaller than a block
        return np.ones((1, 1), np.bool_)
    grey = whole.astype(np.float32)
    total, squares = _block_sums(grey), _block_sums(np.square(grey, out=grey))
    pixels = BLOCK**2
    spread = squares * pixels - total**2  # pixels² times the variance
    there: npt.NDArray[np.bool_] = (total > BLACK * pixels) & (spread > 2 * pixels**2)
    return there


def _block_sums(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """(h, w) sums over blocks of (H, W) whole numbers, which float32 holds exactly and adds fastest."""
    height, width = values.shape
    rows = values.reshape(-1, BLOCK, width).sum(1)
    blocks = rows.reshape(len(rows), -1, BLOCK) @ np.ones(BLOCK, np.float32)
    return np.asarray(blocks, np.int64)


def _extent(content: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The pixels around the middle 98 % of the content in each direction; all where there is none."""
    if not content.any():
        return slice(None), slice(None)
    found = []
    for axis in (1, 0):
        share = np.cumsum(content.sum(axis)) / content.sum()
        first, last = np.searchsorted(share, [0.01, 0.99])
        found.append(slice(int(first) * BLOCK, (int(last) + 1) * BLOCK))
    return found[0], found[1]


def _lettering(seen: Grey) -> float:
    """The share of grey steps that are as abrupt as print: tissue is soft, letters and frames are not."""
    left, right = seen[:, :-1], seen[:, 1:]
    step = np.maximum(left, right) - np.minimum(left, right)
    some = int(np.count_nonzero(step > 3))
    if some < 32:
        return 0.0
    even = np.count_nonzero(step <= 1) / step.size
    return even * np.count_nonzero(step > 70) / some


def _panels(seen: Grey) -> int:
    """How many upright pictures stand apart: large textured regions between straight, even gaps."""
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
    small = squares > 4 * 25**3  # their mean square is above 4
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
    """25 times how far each of (H, W) values is from the mean of the 5 × 5 around it, mirrored beyond the edge."""
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
    """How much of the contrast is finer than some pixels of a small copy: grey steps over the spread of grey."""
    small = PILImage.fromarray(pixels)
    small.thumbnail((SHARP_AT_PX, SHARP_AT_PX), PILImage.Resampling.BOX, reducing_gap=None)
    values = np.asarray(small, dtype=np.float32)
    spread = float(values.std())
    if spread < 1 or min(values.shape) < 3:
        return 1.0  # nothing is there to be blurred
    steps = np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean()
    return float(steps) / (2 * spread)
