"""Endless augmented batches, mixed from all data sets in rotation; batch i is the same in every run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from specialists.errors import TrainingError
from specialists.manifest import GeometryPolicy
from specialists.training.augment import Batch, make_batch, policy_of, random_affine
from specialists.training.pack import Pack
from specialists.training.tables import Sample
from specialists.training.tone import change_tone


@dataclass(frozen=True, kw_only=True)
class Phase:
    """So many steps at one network size."""

    steps: int
    side_px: int
    batch: int


class Rotation(IterableDataset[Batch]):
    """Batches drawn by share from the data sets, so that every step sees several of them.

    Rotating inside the batch, not from step to step, keeps the statistics of batch norm those of all data.

    Raises:
        TrainingError: a data set has no share.
    """

    def __init__(
        self,
        pack: Pack,
        policies: Mapping[str, GeometryPolicy],
        shares: Mapping[str, float],
        phases: list[Phase],
        *,
        seed: int,
        first_step: int = 0,
    ) -> None:
        self.pack = pack
        self.policies = [_sample_policy(sample, policies) for sample in pack.samples]
        sources = pack.sources()
        if missing := sorted(sources.keys() - shares.keys()):
            raise TrainingError(f"The configuration states no share for {missing[0]!r}.")
        total = sum(shares[name] for name in sources)
        self.sources = [
            (np.array(indices), shares[name] / total) for name, indices in sources.items()
        ]
        self.phases, self.seed, self.first_step = phases, seed, first_step

    def __iter__(self) -> Iterator[Batch]:
        """Batches from `first_step` to the end of the last phase."""
        torch.set_num_threads(1)
        step = 0
        for phase in self.phases:
            for _ in range(phase.steps):
                if step >= self.first_step:
                    yield self._make(step, phase)
                step += 1

    def _make(self, step: int, phase: Phase) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        shares = [share for _, share in self.sources]
        counts = rng.multinomial(phase.batch, shares)
        indices = np.concatenate(
            [
                rng.choice(found, count)
                for (found, _), count in zip(self.sources, counts, strict=True)
            ]
        )
        affines = np.array(
            [
                random_affine(rng, self.policies[i], phase.side_px, self.pack.side_px)
                for i in indices
            ]
        )
        batch = make_batch(self.pack, indices, affines, phase.side_px)
        batch.images = change_tone(batch.images, batch.field, rng)
        return batch


def loader(rotation: Rotation, *, pinned: bool) -> Iterator[Batch]:
    """Return the rotation's batches, made ahead by one worker process, in pinned memory where a card reads them."""
    loading = DataLoader(
        rotation, batch_size=None, num_workers=1, prefetch_factor=6, pin_memory=pinned
    )
    return iter(loading)


def _sample_policy(sample: Sample, policies: Mapping[str, GeometryPolicy]) -> GeometryPolicy:
    tasks = [*sample.masks, *sample.classes, *sample.boxes, *sample.points]
    return policy_of([policies[task] for task in tasks])
