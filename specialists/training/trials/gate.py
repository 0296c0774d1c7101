"""The gate's results on images of exams, of scanners and organs left out, and of neither."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from reports.model import ExamCode
from specialists.admission.limits import REFUSED, UNNAMED, limit_of
from specialists.admission.novelty import Novelty
from specialists.checkpoints import read_tensors, save_tensors
from specialists.engine import Engine
from specialists.errors import Declined, TrainingError
from specialists.image import image_of
from specialists.load import load_backbone, load_engine, load_novelty
from specialists.manifest import GeometryPolicy, Manifest, ModelEntry, SpecialistEntry
from specialists.result import ClassifyResult
from specialists.training.calibration.gate import (
    Described,
    Unseen,
    deepest_widths,
    described_of,
    unseen,
)
from specialists.training.calibration.novelty import descriptions, statistics_of
from specialists.training.data.pack import build_pack
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import Sample, read_samples
from specialists.training.trials.arms import Estimate, estimate
from specialists.training.trials.foreign_images import Foreign, foreign_images

PACK_PX = 320
EVERY = 5
"""Interval between the val images that are used for panels and colour."""

SERVED, SCANNER, ORGAN, NEITHER = (
    "exam, known scanners",
    "exam, scanner left out",
    "organ left out",
    "no image of an exam",
)
"""Kinds of images, in the order of the table."""

Grey = npt.NDArray[np.uint8]
Told = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The gate's results on one group of images.

    The shares that do not depend on a named exam add up to 1.
    """

    kind: str
    group: str
    n: int
    right: Estimate | None
    """Share assigned to its own exam where no request names one; None where it is of none."""
    wrong: Estimate
    """Share assigned to another exam."""
    refused: float
    """Share assigned to no exam."""
    flagged: float
    """Share of what is analysed, named or not, that is flagged as unlike the training images."""
    named: float
    """Share analysed where a request names its own exam, or else the nearest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """One group of n images: the gate's result for each."""

    kind: str
    group: str
    right: Told
    wrong: Told
    unlike: Told
    named: Told
    groups: list[str]
    """Patients; for images of no patient, one name each."""

    def row(self) -> Row:
        taken = self.right | self.wrong
        analysed = taken | self.named
        return Row(
            kind=self.kind,
            group=self.group,
            n=len(taken),
            right=None
            if self.kind in (ORGAN, NEITHER)
            else estimate(self.groups, lambda rows: float(self.right[rows].mean())),
            wrong=estimate(self.groups, lambda rows: float(self.wrong[rows].mean())),
            refused=float(1 - taken.mean()),
            flagged=float(self.unlike[analysed].mean()) if analysed.any() else 0.0,
            named=float(self.named.mean()),
        )


def gate_trial(
    manifest: Manifest,
    data: Path,
    policy: GeometryPolicy,
    coloured: Callable[[Grey], bool],
    *,
    dicom: Path | None = None,
    cache: Path | None = None,
) -> tuple[Row, ...]:
    """Return the table of the installed backbone's gate and router.

    What is left out is left out of the statistics alone. The backbone was trained on it; so was the
    router, for which the nearest exam stands in there.

    Args:
        manifest: with the router, whose data are all images and whose classes are the exams.
        data: the data root.
        policy: how far the views are moved, as when the statistics were fitted.
        coloured: whether the service refuses (H, W, 3) pixels for their colour.
        dicom: a folder of further DICOM files.
        cache: a folder in which the descriptions are kept for another run.

    Raises:
        TrainingError: the data cannot be used, or the backbone has no gate.
        WeightsError: weights are missing or altered.
    """
    router = next(e for e in manifest.specialists.values() if "scores:exam" in e.provides)
    model = manifest.models[router.model]
    novelty = load_novelty(model)
    if novelty is None or novelty.exams is None:
        raise TrainingError(f"The backbone {model.id} has no gate to judge.")
    others = [
        entry
        for entry in manifest.specialists.values()
        if entry.id != router.id and (data / "csv_files" / f"{entry.task_id}.csv").exists()
    ]
    images = _Images(
        model=model, router=router, others=others, data=data, policy=policy, cache=cache
    )
    train, val = images.read("train"), images.read("val")
    gated = _GatedRouter(load_engine(manifest.only([router.id]), "cpu"), router, model)
    found = list(_served(gated, val))
    found += _left_out(train, val, novelty, model)
    known = [read_grey(sample.path) for sample in val.samples[::EVERY]]
    found += _foreign(gated, foreign_images(known, dicom), coloured)
    return tuple(seen.row() for seen in found)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Split:
    """The router's samples of a split, with descriptions of each sample and of one view of it."""

    samples: list[Sample]
    described: Described
    widths: list[int]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Images:
    """The source of descriptions."""

    model: ModelEntry
    router: SpecialistEntry
    others: list[SpecialistEntry]
    """Specialists whose CSVs may name the device of an image."""
    data: Path
    policy: GeometryPolicy
    cache: Path | None

    def read(self, split: str) -> _Split:
        """Return a split, from the cache where it is kept."""
        rows = read_samples(self.data, [self.router, *self.others], split)
        samples = [sample for sample in rows if self.router.id in sample.classes]
        backbone = load_backbone(self.model)
        path = None
        if self.cache is not None:
            path = self.cache / f"{split}-{str(self.model.sha256)[:12]}.safetensors"
        if path is not None and path.exists():
            values = read_tensors(path)["descriptions"]
        else:
            seed, side_px = (0, PACK_PX) if split == "train" else (1, self.model.input_px)
            pack = build_pack(samples, side_px)
            values = descriptions(backbone, self.model, pack, self.policy, seed=seed)
            if path is not None:
                save_tensors(path, {"descriptions": values}, {})
        if len(values) != 2 * len(samples):
            raise TrainingError(f"{path} holds descriptions of other images; remove it.")
        return _Split(
            samples=samples,
            described=described_of(values, samples),
            widths=deepest_widths(backbone),
        )


class _GatedRouter:
    """The installed router and gate, run as the service runs them."""

    def __init__(self, engine: Engine, router: SpecialistEntry, model: ModelEntry) -> None:
        self.engine, self.router, self.model = engine, router, model
        self.accept, self.contradiction = (
            router.thresholds[name].value for name in ("accept", "contradiction")
        )

    def seen(
        self, kind: str, group: str, pictures: Sequence[Grey], exam: str | None, names: list[str]
    ) -> _Seen:
        """Return the results for images of one exam, or of none."""
        found = np.array([self._picture(pixels, exam) for pixels in pictures], np.bool_)
        right, wrong, unlike, named = found.T
        return _Seen(
            kind=kind,
            group=group,
            right=right,
            wrong=wrong,
            unlike=unlike,
            named=named,
            groups=names,
        )

    def _picture(self, pixels: Grey, exam: str | None) -> tuple[bool, bool, bool, bool]:
        """Return whether it is assigned to its exam, to another, flagged, and analysed if named."""
        try:
            result = self.engine.run(self.router.id, image_of(np.ascontiguousarray(pixels)))
        except Declined:
            return False, False, False, False
        if not isinstance(result, ClassifyResult) or result.exam_distances is None:
            raise TrainingError(f"{self.router.id} gave no scores and distances of exams.")
        scores, distances = result.scores, result.exam_distances
        best = max(scores, key=scores.__getitem__)
        near = distances.get(best, np.inf) <= limit_of(self.model, UNNAMED, best)
        taken = bool(near and scores[best] >= self.accept)
        asked = exam or min(distances, key=distances.__getitem__)
        contradicted = best != asked and scores[best] >= self.contradiction
        close = distances.get(asked, np.inf) <= limit_of(self.model, REFUSED, asked)
        unlike = (result.novelty or 0.0) > self.model.thresholds["novelty"].value
        return taken and best == exam, taken and best != exam, unlike, close and not contradicted


def _served(gated: _GatedRouter, val: _Split) -> Iterator[_Seen]:
    """Yield the val images of each exam."""
    labels = gated.router.labels
    for exam, label in enumerate(labels):
        samples = [s for s in val.samples if s.classes[gated.router.id] == exam]
        if samples:
            pictures = [read_grey(s.path) for s in tqdm(samples, desc=label, unit="image")]
            groups = [s.group for s in samples]
            yield gated.seen(SERVED, label, pictures, label, groups)


def _left_out(train: _Split, val: _Split, novelty: Novelty, model: ModelEntry) -> Iterator[_Seen]:
    """Yield the val images of each scanner and organ, by statistics without its train images."""
    plain = val.described.where(~val.described.views)
    patients = np.array([sample.group for sample in val.samples])
    codes = [code.value for code in ExamCode]
    found = list(unseen(train.described, plain, train.widths))
    for one in sorted(found, key=lambda one: one.exam is None):
        if one.group is None:
            continue
        kept = train.described.where(~one.group.rows(train.described))
        statistics = statistics_of(kept.values, kept.datasets.tolist())
        apart = statistics.distance(plain.values[torch.from_numpy(one.rows)])
        names = [codes[exam] for exam in one.known]
        yield _placed(one, names, apart > novelty.limit, model, patients[one.rows].tolist())


def _placed(
    one: Unseen, names: list[str], unlike: Tensor, model: ModelEntry, patients: list[str]
) -> _Seen:
    """Apply the shipped limits to distances by statistics without the group."""
    unnamed, refused = (
        np.array([limit_of(model, kind, name) for name in names]) for kind in (UNNAMED, REFUSED)
    )
    nearest = one.distances.argmin(1)
    own = nearest if one.exam is None else np.full(len(nearest), one.known.index(one.exam))
    rows = np.arange(len(nearest))
    taken = one.distances[rows, nearest] <= unnamed[nearest]
    right = taken & (nearest == own) & (one.exam is not None)
    return _Seen(
        kind=ORGAN if one.exam is None else SCANNER,
        group=one.name,
        right=right,
        wrong=taken & ~right,
        unlike=unlike.numpy(),
        named=one.distances[rows, own] <= refused[own],
        groups=patients,
    )


def _foreign(
    gated: _GatedRouter, pictures: Sequence[Foreign], coloured: Callable[[Grey], bool]
) -> Iterator[_Seen]:
    """Yield each group of images that show no exam; the service refuses coloured ones first."""
    by_group: dict[str, list[Foreign]] = {}
    for picture in pictures:
        by_group.setdefault(picture.group, []).append(picture)
    for group, found in by_group.items():
        names = [f"picture {index}" for index in range(len(found))]
        seen = gated.seen(NEITHER, group, [picture.grey for picture in found], None, names)
        grey = np.array([p.rgb is None or not coloured(p.rgb) for p in found])
        yield replace(seen, wrong=seen.wrong & grey, named=seen.named & grey)
