"""How well foreign pictures are told: AUROC of the novelty score, and what is refused, of them and of val."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from torch import Tensor
from tqdm import tqdm

from specialists.checkpoints import read_tensors, save_tensors
from specialists.engine import network_input
from specialists.errors import TrainingError
from specialists.image import image_of
from specialists.letterbox import letterbox
from specialists.load import load_backbone, load_novelty
from specialists.manifest import GeometryPolicy, Manifest, ModelEntry, SpecialistEntry, Threshold
from specialists.model import Frozen
from specialists.novelty import Novelty, describe
from specialists.quality import judge, scores_of
from specialists.training.arms import Estimate, estimate
from specialists.training.foreign import Foreign, foreign_images
from specialists.training.novelty import descriptions, fit_novelty
from specialists.training.pack import build_pack
from specialists.training.tables import Sample, read_grey, read_samples

PACK_PX = 320
EVERY = 5
"""One in so many val images lends itself to panels and colour."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Told:
    """One group of pictures against val."""

    group: str
    n: int
    auroc: Estimate | None
    """Of the novelty score against val; null for val itself."""
    novelty: Estimate
    """Share refused by the novelty score."""
    quality: float
    """Share refused by the quality gate."""
    either: Estimate
    """Share refused by one of them; where colour is refused before, by that too."""


@dataclass(frozen=True, kw_only=True)
class NoveltyTrial:
    """The trial; exams left out are foreign to statistics that were fitted without them."""

    val: tuple[Told, ...]
    foreign: tuple[Told, ...]
    left_out: tuple[Told, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Described:
    """(n, D) descriptions of a split and as many of its views, with samples and exams in order."""

    plain: Tensor
    views: Tensor
    samples: list[Sample]
    exams: list[str]

    def only(self, keep: Sequence[int]) -> "_Described":
        """Those rows."""
        return _Described(
            plain=self.plain[list(keep)],
            views=self.views[list(keep)],
            samples=[self.samples[i] for i in keep],
            exams=[self.exams[i] for i in keep],
        )


def novelty_trial(
    manifest: Manifest,
    data: Path,
    policy: GeometryPolicy,
    coloured: Callable[[npt.NDArray[np.uint8]], bool],
    *,
    dicom: Path | None = None,
    cache: Path | None = None,
) -> NoveltyTrial:
    """The trial of the installed backbone's statistics.

    Args:
        manifest: with the router, whose data are all images and whose classes are the exams.
        data: the data root.
        policy: how far the views are moved, as when the statistics were fitted.
        coloured: whether the service refuses (H, W, 3) pixels for their colour.
        dicom: a folder of further DICOM files.
        cache: a folder in which the descriptions are kept for another run.

    Raises:
        TrainingError: the data cannot be used, or the backbone has no statistics.
        WeightsError: weights are missing or altered.
    """
    router = next(e for e in manifest.specialists.values() if "scores:exam" in e.provides)
    model = manifest.models[router.model]
    novelty = load_novelty(model)
    if novelty is None:
        raise TrainingError(f"The backbone {model.id} has no novelty statistics to judge.")
    backbone = load_backbone(model)
    images = _Images(
        backbone=backbone, model=model, router=router, data=data, policy=policy, cache=cache
    )
    train, val = images.described("train"), images.described("val")
    known = [read_grey(sample.path) for sample in val.samples]
    pictures = foreign_images(known[::EVERY], dicom)
    by_group: dict[str, list[Foreign]] = {}
    for picture in pictures:
        by_group.setdefault(picture.group, []).append(picture)
    judge_ = _Judge(novelty, model.thresholds, coloured)
    inside = judge_.known(val, known)
    foreign = tuple(
        judge_.foreign(group, found, _describe_all(backbone, model, found), inside)
        for group, found in by_group.items()
    )
    left_out = tuple(_left_out(exam, train, val) for exam in sorted(set(val.exams)))
    return NoveltyTrial(val=tuple(judge_.shares(val, inside)), foreign=foreign, left_out=left_out)


def auroc(inside: Values, outside: Values) -> float:
    """The chance that a foreign picture's score is above a known one's, ties half; NaN where one is empty."""
    if not len(inside) or not len(outside):
        return float("nan")
    ranks = rankdata(np.concatenate([inside, outside]))[len(inside) :]
    n, m = len(outside), len(inside)
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Inside:
    """Val: distances, whether novelty refuses and whether the gate refuses."""

    distances: Values
    strange: npt.NDArray[np.bool_]
    poor: npt.NDArray[np.bool_]
    groups: list[str]


class _Judge:
    """What refuses a picture."""

    def __init__(
        self,
        novelty: Novelty,
        limits: dict[str, Threshold],
        coloured: Callable[[npt.NDArray[np.uint8]], bool],
    ) -> None:
        self.novelty, self.limits, self.coloured = novelty, limits, coloured

    def known(self, val: _Described, pixels: Sequence[npt.NDArray[np.uint8]]) -> _Inside:
        distances = self.novelty.distance(val.plain).double().numpy()
        return _Inside(
            distances=distances,
            strange=distances > self.novelty.limit,
            poor=self._poor(pixels),
            groups=[sample.group for sample in val.samples],
        )

    def shares(self, val: _Described, inside: _Inside) -> list[Told]:
        """All of val, then exam by exam."""
        exams = np.array(val.exams)
        found = []
        for name in ["all", *sorted(set(val.exams))]:
            rows = np.flatnonzero((exams == name) | (name == "all"))
            groups = [inside.groups[i] for i in rows]
            found.append(_told(name, groups, inside.strange[rows], inside.poor[rows], None, None))
        return found

    def foreign(
        self, group: str, pictures: Sequence[Foreign], described: Tensor, inside: _Inside
    ) -> Told:
        distances = self.novelty.distance(described).double().numpy()
        colour = np.array([p.rgb is not None and self.coloured(p.rgb) for p in pictures])
        names = [f"picture {index}" for index in range(len(pictures))]
        return _told(
            group,
            names,
            distances > self.novelty.limit,
            self._poor([p.grey for p in pictures]),
            _auroc(inside.distances, inside.groups, distances, names),
            colour,
        )

    def _poor(self, pixels: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.bool_]:
        return np.array([bool(judge(scores_of(p), self.limits).refused) for p in pixels])


def _told(
    group: str,
    groups: list[str],
    strange: npt.NDArray[np.bool_],
    poor: npt.NDArray[np.bool_],
    area: Estimate | None,
    colour: npt.NDArray[np.bool_] | None,
) -> Told:
    either = strange | poor if colour is None else strange | poor | colour
    return Told(
        group=group,
        n=len(groups),
        auroc=area,
        novelty=estimate(groups, lambda rows: float(strange[rows].mean())),
        quality=float(poor.mean()),
        either=estimate(groups, lambda rows: float(either[rows].mean())),
    )


def _auroc(
    inside: Values, inside_groups: list[str], outside: Values, outside_groups: list[str]
) -> Estimate:
    scores = np.concatenate([inside, outside])
    foreign = np.arange(len(scores)) >= len(inside)
    return estimate(
        [*inside_groups, *(f"foreign {name}" for name in outside_groups)],
        lambda rows: auroc(scores[rows[~foreign[rows]]], scores[rows[foreign[rows]]]),
    )


def _left_out(exam: str, train: _Described, val: _Described) -> Told:
    """The exam against statistics that were fitted, and a limit that was set, without it."""
    kept = train.only([i for i, name in enumerate(train.exams) if name != exam])
    rest = val.only([i for i, name in enumerate(val.exams) if name != exam])
    own = val.only([i for i, name in enumerate(val.exams) if name == exam])
    fitted, _ = fit_novelty(
        torch.cat([kept.plain, kept.views]),
        [sample.dataset for sample in kept.samples] * 2,
        torch.cat([rest.plain, rest.views]),
    )
    inside, outside = (fitted.distance(x.plain).double().numpy() for x in (rest, own))
    groups, names = [s.group for s in rest.samples], [s.group for s in own.samples]
    refused = outside > fitted.limit
    return _told(
        exam,
        names,
        refused,
        np.zeros_like(refused),
        _auroc(inside, groups, outside, names),
        None,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Images:
    """What descriptions are made of: the router's images, the backbone, and how far views are moved."""

    backbone: Frozen
    model: ModelEntry
    router: SpecialistEntry
    data: Path
    policy: GeometryPolicy
    cache: Path | None

    def described(self, split: str) -> _Described:
        """The descriptions of a split, from the cache where they are kept."""
        samples = read_samples(self.data, [self.router], split)
        path = None
        if self.cache is not None:
            path = self.cache / f"{split}-{str(self.model.sha256)[:12]}.safetensors"
        if path is not None and path.exists():
            both = read_tensors(path)["descriptions"]
        else:
            seed, side_px = (0, PACK_PX) if split == "train" else (1, self.model.input_px)
            pack = build_pack(samples, side_px)
            both = descriptions(self.backbone, self.model, pack, self.policy, seed=seed)
            if path is not None:
                save_tensors(path, {"descriptions": both}, {})
        if len(both) != 2 * len(samples):
            raise TrainingError(f"{path} holds descriptions of other images; remove it.")
        labels = self.router.labels
        n = len(samples)
        return _Described(
            plain=both[:n],
            views=both[n:],
            samples=samples,
            exams=[labels[sample.classes[self.router.id]] for sample in samples],
        )


@torch.inference_mode()
def _describe_all(backbone: Frozen, model: ModelEntry, pictures: Sequence[Foreign]) -> Tensor:
    found = []
    for picture in tqdm(pictures, desc="describing foreign", unit="image", leave=False):
        pixels = np.ascontiguousarray(picture.grey)
        box = letterbox(pixels.shape[0], pixels.shape[1], model.input_px)
        values, field = network_input(image_of(pixels), box)
        found.append(describe(backbone((values - model.mean) / model.std), field))
    return torch.cat(found)
