"""Fits the novelty statistics of a backbone on training features, and its limit on val."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor
from tqdm import tqdm

from specialists.manifest import ModelEntry, Threshold
from specialists.model import Frozen
from specialists.novelty import Novelty, describe
from specialists.training.augment import identity_affine, make_batch
from specialists.training.pack import Pack

KEPT = 0.985
"""Share of val images that the limit keeps."""

CHUNK = 16


@torch.inference_mode()
def descriptions(backbone: Frozen, model: ModelEntry, pack: Pack) -> Tensor:
    """(N, D) descriptions of all images of a pack, unaugmented."""
    found = []
    for start in tqdm(range(0, len(pack.samples), CHUNK), desc="describing", unit="batch"):
        indices = np.arange(start, min(start + CHUNK, len(pack.samples)))
        affines = np.array([identity_affine(model.input_px, pack.side_px)] * len(indices))
        batch = make_batch(pack, indices, affines, model.input_px)
        features = backbone((batch.images - model.mean) / model.std)
        found.append(describe(features, batch.field))
    return torch.cat(found)


def fit_novelty(train: Tensor, datasets: Sequence[str], val: Tensor) -> tuple[Novelty, Threshold]:
    """Statistics of (N, D) training descriptions grouped by data set, and the limit with its source."""
    names = sorted(set(datasets))
    rows = np.array([names.index(name) for name in datasets])
    values = train.double().numpy()
    means = np.stack([values[rows == index].mean(0) for index in range(len(names))])
    covariance = LedoitWolf(assume_centered=True).fit(values - means[rows]).covariance_
    scale, axes = np.linalg.eigh(covariance)
    whitening = axes / np.sqrt(np.maximum(scale, scale.max() * 1e-7))
    fitted = Novelty(
        means=torch.from_numpy(means).float(),
        whitening=torch.from_numpy(np.ascontiguousarray(whitening)).float(),
        limit=float("inf"),
    )
    distances = fitted.distance(val).double().numpy()
    limit = round(float(np.quantile(distances, KEPT)), 4)
    source = f"keeps {KEPT:.1%} of {len(distances)} val images; distance per root of the dimension"
    return (
        Novelty(means=fitted.means, whitening=fitted.whitening, limit=limit),
        Threshold(value=limit, source=source),
    )
