"""Fitting of a backbone's novelty statistics to training features, and of its limit to val."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from reports.model import ExamCode
from specialists.admission.novelty import Background, Novelty, describe, novelty_from, tensors_of
from specialists.load import load_novelty
from specialists.manifest import GeometryPolicy, ModelEntry, Threshold
from specialists.model import Frozen
from specialists.training.augmentation.augment import identity_affine, make_batch, random_affine
from specialists.training.augmentation.tone import change_tone
from specialists.training.calibration.gate import deepest_widths, described_of, fit_gate
from specialists.training.calibration.whitening import whitening_of
from specialists.training.data.pack import Pack

KEPT = 0.97
"""Share of val images and of their random views that the limit keeps."""

CHUNK = 16


@torch.inference_mode()
def descriptions(
    backbone: Frozen, model: ModelEntry, pack: Pack, policy: GeometryPolicy, seed: int
) -> Tensor:
    """Return (2 N, D) descriptions of a pack: of all images, then of one random view of each.

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
    """Return the limit for images of a task that the backbone's statistics do not know.

    It is None where the backbone has no statistics. The task's images may all be far from them. The
    backbone never learned from these images, so those of train are as informative as those of val.
    """
    known = load_novelty(entry)
    if known is None:
        return None
    described = [descriptions(backbone, entry, pack, policy, seed=2) for pack in packs]
    distances = known.distance(torch.cat(described)).double().numpy()
    value = round(float(np.quantile(distances, KEPT)), 4)
    return Threshold(
        value=max(value, known.limit),
        source=f"keeps {KEPT:.1%} of {len(distances)} views of the task's own images, "
        "half of them with "
        f"random tone, aspect and crop; at least the backbone's {known.limit:g}",
    )


def fit_novelty(train: Tensor, datasets: Sequence[str], val: Tensor) -> tuple[Novelty, Threshold]:
    """Fit novelty statistics and their limit to (N, D) descriptions; return them and the limit.

    Args:
        train: of the training images and their views.
        datasets: the data set of each row of `train`.
        val: of the validation images and their views, which set the limit.
    """
    stored = statistics_of(train, datasets)
    distances = stored.distance(val).double().numpy()
    limit = round(float(np.quantile(distances, KEPT)), 4)
    source = (
        f"keeps {KEPT:.1%} of {len(distances)} views of val, "
        "half of them with random tone, aspect and "
        "crop; distance to the nearest data set less that to all"
    )
    return replace(stored, limit=limit), Threshold(value=limit, source=source)


def statistics_of(described: Tensor, datasets: Sequence[str]) -> Novelty:
    """Return statistics of (N, D) descriptions by data set, as they are served, without a limit."""
    names = sorted(set(datasets))
    rows = np.array([names.index(name) for name in datasets])
    values = described.double().numpy()
    means = np.stack([values[rows == index].mean(0) for index in range(len(names))])
    centre = values.mean(0)
    fitted = Novelty(
        means=torch.from_numpy(means).float(),
        whitening=whitening_of(values - means[rows]),
        limit=float("inf"),
        background=Background(
            mean=torch.from_numpy(centre).float(), whitening=whitening_of(values - centre)
        ),
    )
    return novelty_from(tensors_of(fitted), fitted.limit)


def fit_for(
    backbone: Frozen, model: ModelEntry, train: Pack, val: Pack, policy: GeometryPolicy
) -> tuple[Novelty, dict[str, Threshold], tuple[ExamCode, ...]]:
    """Return a backbone's novelty statistics, limits with their sources, and separable exams."""
    described = descriptions(backbone, model, train, policy, seed=0)
    others = descriptions(backbone, model, val, policy, seed=1)
    datasets = [sample.dataset for sample in train.samples] * 2
    fitted, limit = fit_novelty(described, datasets, others)
    gate = fit_gate(
        described_of(described, train.samples),
        described_of(others, val.samples),
        deepest_widths(backbone),
    )
    return replace(fitted, exams=gate.distance), {"novelty": limit, **gate.limits}, gate.exams
