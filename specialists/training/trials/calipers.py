"""Whether the breast classifiers depend on burnt-in marks.

The same images are scored as they are, without marks, and with others' marks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from specialists.engine import Engine
from specialists.errors import TrainingError
from specialists.image import image_of
from specialists.load import load_engine
from specialists.manifest import Manifest, SpecialistEntry
from specialists.result import ClassifyResult
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import Sample, read_samples
from specialists.training.evaluation.metrics import accuracy, auc
from specialists.training.evaluation.predict import answering
from specialists.training.trials.arms import Estimate, estimate
from specialists.training.trials.caliper_marks import Grey, Mask, marks, pasted, without

CLASSIFIERS = ("breast_2cls", "breast_3cls")
SIGN_PX = 24
"""Side of the corner with the manufacturer's logo, which nearly every image carries.

It is removed too, but is not a reader's mark.
"""

LEAST_PX = 40
"""Pixels of marks from which an image counts as marked."""

PASTED = 1
"""Number of images whose marks are drawn in turn on each image without any.

A larger number would only reduce the variance from the draw.
"""

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The effect of a change of marks on a classifier: figures after it, paired differences.

    The differences are from the figures before it.
    """

    specialist: str
    change: str
    n: int
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class CaliperTrial:
    """The result: how many images of each class carry marks, and what changing them does."""

    marked: dict[str, tuple[int, int]]
    """By class, images with marks and all images."""
    shifts: tuple[Shift, ...]

    @property
    def leans(self) -> bool:
        """Whether the classifiers depend on marks.

        They do where an interval of a change excludes zero: of the malignant score in either
        direction, or of accuracy or AUC downwards.
        """
        return any(
            (name == SCORE and apart.low is not None and not apart.low <= 0 <= (apart.high or 0))
            or (name != SCORE and apart.high is not None and apart.high < 0)
            for shift in self.shifts
            for name, apart in shift.differences.items()
        )


SCORE = "mean score for malignant"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Marked:
    sample: Sample
    pixels: Grey
    where: Mask

    @property
    def any(self) -> bool:
        """Whether a reader marked the image."""
        return int(self.read.sum()) >= LEAST_PX

    @property
    def read(self) -> Mask:
        """The marks apart from the manufacturer's logo."""
        where = self.where.copy()
        where[:SIGN_PX, :SIGN_PX] = False
        return where


def caliper_trial(manifest: Manifest, data: Path, seed: int = 0) -> CaliperTrial:
    """Run the trial on the images of val.

    Raises:
        TrainingError: none of the classifiers is installed, or val cannot be read.
        WeightsError: weights are missing or altered.
    """
    entries = [manifest.specialist(name) for name in CLASSIFIERS]
    entries = [entry for entry in entries if entry.installed]
    if not entries:
        raise TrainingError(f"None of {', '.join(CLASSIFIERS)} is installed.")
    slots = {entry.roi_slot for entry in entries}
    sources = {e.id for e in manifest.installed() if slots.intersection(e.provides)}
    engine = load_engine(answering(manifest.only({e.id for e in entries} | sources)), "cpu")
    shifts: list[Shift] = []
    marked: dict[str, tuple[int, int]] = {}
    for entry in entries:
        images = [
            _Marked(sample=s, pixels=(pixels := read_grey(s.path)), where=marks(pixels))
            for s in read_samples(data, [entry], "val")
        ]
        for index, name in enumerate(entry.labels):
            own = [image for image in images if image.sample.classes[entry.id] == index]
            marked[name] = (sum(image.any for image in own), len(own))
        shifts += _shifts(engine, entry, images, np.random.default_rng(seed))
    return CaliperTrial(marked=marked, shifts=tuple(shifts))


def _shifts(
    engine: Engine, entry: SpecialistEntry, images: list[_Marked], rng: np.random.Generator
) -> list[Shift]:
    before = _scores(engine, entry, [image.pixels for image in images])
    cleaned = _scores(engine, entry, [without(i.pixels, i.where) for i in images])
    everything = np.arange(len(images))
    found = [
        _shift(entry, "as they are", images, everything, before, before),
        _shift(entry, "all marks filled in", images, everything, before, cleaned),
    ]
    with_marks = [i for i, image in enumerate(images) if image.any]
    if with_marks:
        rows = np.array(with_marks)
        found.append(_shift(entry, "filled in, marked ones only", images, rows, before, cleaned))
    bare = [i for i, image in enumerate(images) if not image.any]
    for label in ("benign", "malignant"):
        index = entry.labels.index(label)
        givers = [i for i in with_marks if images[i].sample.classes[entry.id] == index]
        if not givers or not bare:
            continue
        after = np.zeros_like(before[bare])
        for _ in range(PASTED):
            drawn = rng.choice(givers, len(bare))
            after += _scores(
                engine,
                entry,
                [
                    pasted(images[i].pixels, images[g].pixels, images[g].read)
                    for i, g in zip(bare, drawn, strict=True)
                ],
            )
        moved = before.copy()
        moved[bare] = after / PASTED
        change = f"marks of {label} images drawn on bare ones"
        found.append(_shift(entry, change, images, np.array(bare), before, moved))
    return found


def _shift(
    entry: SpecialistEntry,
    change: str,
    images: list[_Marked],
    rows: npt.NDArray[np.int64],
    before: Scores,
    after: Scores,
) -> Shift:
    truth = np.array([images[i].sample.classes[entry.id] for i in rows])
    groups = [images[i].sample.group for i in rows]
    old, new = before[rows], after[rows]
    column = entry.labels.index("malignant")
    statistics = {
        "AUC": lambda s, chosen: auc(s[chosen], truth[chosen]),
        "accuracy": lambda s, chosen: accuracy(s[chosen], truth[chosen]),
        SCORE: lambda s, chosen: float(s[chosen, column].mean()),
    }
    figures, differences = {}, {}
    for name, statistic in statistics.items():
        value = estimate(groups, lambda chosen, f=statistic: f(new, chosen))  # type: ignore[misc]
        if not np.isfinite(value.value):
            continue
        figures[name] = value
        if after is not before:
            differences[name] = estimate(
                groups,
                lambda chosen, f=statistic: f(new, chosen) - f(old, chosen),  # type: ignore[misc]
            )
    return Shift(
        specialist=entry.id, change=change, n=len(rows), figures=figures, differences=differences
    )


def _scores(engine: Engine, entry: SpecialistEntry, images: Sequence[Grey]) -> Scores:
    """Return (n, classes) calibrated scores, each with the region from the image's own detector."""
    found = np.zeros((len(images), len(entry.labels)))
    source = engine.manifest.provider(entry.roi_slot) if entry.roi_slot else None
    for row, pixels in enumerate(tqdm(images, desc=entry.id, unit="image", leave=False)):
        image = image_of(np.ascontiguousarray(pixels))
        box = None
        if source is not None and source.installed:
            answer = engine.run(source.id, image)
            box = answer.box if answer.kind == "detect" else None
        result = engine.run(entry.id, image, box)
        if not isinstance(result, ClassifyResult):
            raise TrainingError(f"{entry.id} is no classifier.")
        found[row] = [result.scores[label] for label in entry.labels]
    return found
