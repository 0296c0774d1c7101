"""Fits the novelty statistics of a backbone on training features, and its limit on val."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor
from tqdm import tqdm

from specialists.load import load_novelty
from specialists.manifest import GeometryPolicy, ModelEntry, Threshold
from specialists.model import Frozen
from specialists.novelty import Background, Novelty, describe, novelty_from, tensors_of
from specialists.training.augment import identity_affine, make_batch, random_affine
from specialists.training.pack import Pack
from specialists.training.tone import change_tone

KEPT = 0.97
"""Share of val images and of their random views that the limit keeps."""

EXAM_TASK = "exam_cls"
"""The task whose class is an image's exam."""

KEPT_UNSEEN = 0.95
"""Share of the images of an unseen data set of a known exam that are not refused."""

CHUNK = 16


@torch.inference_mode()
def descriptions(
    backbone: Frozen, model: ModelEntry, pack: Pack, policy: GeometryPolicy, seed: int
) -> Tensor:
    """(2 N, D) descriptions of a pack: of all images as they are, then of one random view of each.

    The views, changed in tone, aspect and crop, stand for scanners that are in no training set.
    """
    plain = _described(backbone, model, pack, None, np.random.default_rng(seed))
    views = _described(backbone, model, pack, policy, np.random.default_rng(seed))
    return torch.cat([plain, views])


def _described(
    backbone: Frozen,
    model: ModelEntry,
    pack: Pack,
    policy: GeometryPolicy | None,
    rng: np.random.Generator,
) -> Tensor:
    found = []
    for start in tqdm(range(0, len(pack.samples), CHUNK), desc="describing", unit="batch"):
        indices = np.arange(start, min(start + CHUNK, len(pack.samples)))
        sides = (model.input_px, pack.side_px)
        affines = np.array(
            [
                random_affine(rng, policy, *sides) if policy else identity_affine(*sides)
                for _ in indices
            ]
        )
        batch = make_batch(pack, indices, affines, model.input_px)
        images = change_tone(batch.images, batch.field, rng) if policy else batch.images
        features = backbone((images - model.mean) / model.std)
        found.append(describe(features, batch.field))
    return torch.cat(found)


def own_limit(
    backbone: Frozen, entry: ModelEntry, packs: Sequence[Pack], policy: GeometryPolicy
) -> Threshold | None:
    """The limit for images of a task that the backbone's statistics do not know; null where it has none.

    Its own images may all be far from them. The backbone never learned from these, so that those of
    train say as much as those of val.
    """
    known = load_novelty(entry)
    if known is None:
        return None
    described = [descriptions(backbone, entry, pack, policy, seed=2) for pack in packs]
    distances = known.distance(torch.cat(described)).double().numpy()
    value = round(float(np.quantile(distances, KEPT)), 4)
    return Threshold(
        value=max(value, known.limit),
        source=f"keeps {KEPT:.1%} of {len(distances)} views of the task's own images, half of them with "
        f"random tone, aspect and crop; at least the backbone's {known.limit:g}",
    )


def fit_novelty(train: Tensor, datasets: Sequence[str], val: Tensor) -> tuple[Novelty, Threshold]:
    """Statistics of (N, D) training descriptions grouped by data set, and the limit with its source.

    Args:
        train: of the training images and their views.
        datasets: the data set of each row of `train`.
        val: of the validation images and their views, which set the limit.
    """
    stored = statistics_of(train, datasets)
    distances = stored.distance(val).double().numpy()
    limit = round(float(np.quantile(distances, KEPT)), 4)
    source = (
        f"keeps {KEPT:.1%} of {len(distances)} views of val, half of them with random tone, aspect and "
        "crop; distance to the nearest data set less that to all"
    )
    return replace(stored, limit=limit), Threshold(value=limit, source=source)


def statistics_of(described: Tensor, datasets: Sequence[str]) -> Novelty:
    """Return statistics of (N, D) descriptions grouped by data set, as they are served, without a limit."""
    names = sorted(set(datasets))
    rows = np.array([names.index(name) for name in datasets])
    values = described.double().numpy()
    means = np.stack([values[rows == index].mean(0) for index in range(len(names))])
    centre = values.mean(0)
    fitted = Novelty(
        means=torch.from_numpy(means).float(),
        whitening=_whitening(values - means[rows]),
        limit=float("inf"),
        background=Background(
            mean=torch.from_numpy(centre).float(), whitening=_whitening(values - centre)
        ),
    )
    return novelty_from(tensors_of(fitted), fitted.limit)


def refusal_limit(train: Tensor, datasets: Sequence[str], exams: Sequence[int]) -> Threshold | None:
    """Return the distance from which an image is refused: beyond what another hospital's images of a known exam have.

    Each data set whose exam has another one is left out of the statistics in turn; the limit keeps `KEPT_UNSEEN` of the
    worst of them. Null where no exam has two data sets.

    Args:
        train: (N, D) descriptions of training images.
        datasets: the data set of each.
        exams: the exam of each, as a class.
    """
    sets = np.array(datasets)
    exam_of = {name: int(np.array(exams)[sets == name][0]) for name in set(datasets)}
    found: dict[str, float] = {}
    for name in sorted(exam_of):
        if list(exam_of.values()).count(exam_of[name]) < 2:
            continue
        others = sets != name
        statistics = statistics_of(train[torch.from_numpy(others)], sets[others].tolist())
        unseen = statistics.distance(train[torch.from_numpy(~others)]).double().numpy()
        found[name] = float(np.quantile(unseen, KEPT_UNSEEN))
    if not found:
        return None
    worst = max(found, key=found.__getitem__)
    each = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return Threshold(
        value=round(found[worst], 4),
        source=f"keeps {KEPT_UNSEEN:.0%} of the images of each data set that was left out of the statistics while "
        f"another of its exam stayed in: {each}",
    )


def _whitening(centred: npt.NDArray[np.float64]) -> Tensor:
    """(D, D) under which (N, D) deviations have unit covariance."""
    covariance = LedoitWolf(assume_centered=True).fit(centred).covariance_
    scale, axes = np.linalg.eigh(covariance)
    whitening = axes / np.sqrt(np.maximum(scale, scale.max() * 1e-7))
    return torch.from_numpy(np.ascontiguousarray(whitening)).float()


def fit_for(
    backbone: Frozen, model: ModelEntry, train: Pack, val: Pack, policy: GeometryPolicy
) -> tuple[Novelty, dict[str, Threshold]]:
    """Return the statistics of a backbone over its packs, and the thresholds of the distance by name.

    From `novelty` on an image is flagged as unlike the training images, from `novelty_refused` on it is refused.
    """
    described = descriptions(backbone, model, train, policy, seed=0)
    datasets = [sample.dataset for sample in train.samples] * 2
    fitted, limit = fit_novelty(
        described, datasets, descriptions(backbone, model, val, policy, seed=1)
    )
    exams = [sample.classes.get(EXAM_TASK, -1) for sample in train.samples]
    known = [index for index, exam in enumerate(exams) if exam >= 0]
    refused = refusal_limit(
        described[torch.tensor(known, dtype=torch.long)],
        [datasets[index] for index in known],
        [exams[index] for index in known],
    )
    limits = {"novelty": limit}
    if refused is not None and refused.value > limit.value:
        limits["novelty_refused"] = refused
    return fitted, limits
