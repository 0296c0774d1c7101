"""Whether the breast classifiers lean on burnt-in marks: the same images as they are, without marks, with others' marks."""

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
from specialists.training.arms import Estimate, estimate
from specialists.training.marks import Grey, Mask, marks, pasted, without
from specialists.training.metrics import accuracy, auc
from specialists.training.predict import answering
from specialists.training.tables import Sample, read_grey, read_samples

CLASSIFIERS = ("breast_2cls", "breast_3cls")
SIGN_PX = 24
"""The corner with the maker's sign, which nearly every image carries: removed too, but no mark of a reader."""

LEAST_PX = 40
"""Pixels of marks from which an image counts as marked."""

PASTED = 1
"""How many images' marks are drawn in turn on each image without any; more would only narrow what the draw adds."""

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """What a change of marks does to a classifier: figures after it, and paired differences to before."""

    specialist: str
    change: str
    n: int
    figures: dict[str, Estimate]
    differences: dict[str, Estimate]


@dataclass(frozen=True, kw_only=True)
class CaliperTrial:
    """The trial: how many images of each class carry marks, and what changing them does."""

    marked: dict[str, tuple[int, int]]
    """By class, images with marks and all images."""
    shifts: tuple[Shift, ...]

    @property
    def leans(self) -> bool:
        """Whether an interval of a change of the malignant score, or of accuracy or AUC downwards, excludes none."""
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
        """The marks apart from the maker's sign."""
        where = self.where.copy()
        where[:SIGN_PX, :SIGN_PX] = False
        return where


def caliper_trial(manifest: Manifest, data: Path, seed: int = 0) -> CaliperTrial:
    """The trial on the images of val.

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
    """(n, classes) calibrated scores, each with the region that the image's own detector gives."""
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
