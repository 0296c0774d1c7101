"""Endless augmented batches, mixed from all data sets; batch i is the same in every run."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from specialists.errors import TrainingError
from specialists.manifest import GeometryPolicy
from specialists.training.augmentation.augment import Batch, make_batch, policy_of, random_affine
from specialists.training.augmentation.tone import change_tone
from specialists.training.data.pack import Pack
from specialists.training.data.tables import Sample


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A number of steps at one network size."""

    steps: int
    side_px: int
    batch: int


class Rotation(IterableDataset[Batch]):
    """Batches drawn from the data sets by share, so that every step has images of several of them.

    Mixing inside the batch, not from step to step, keeps the statistics of batch norm those of all
    data.

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
        """Yield batches from `first_step` to the end of the last phase."""
        torch.set_num_threads(1)
        step = 0
        for phase in self.phases:
            for _ in range(phase.steps):
                if step >= self.first_step:
                    yield self.make(step, phase)
                step += 1

    def only(self, tasks: Collection[str]) -> "Rotation":
        """Return the rotation over the samples that carry a label of one of those tasks."""
        chosen = copy(self)
        samples = self.pack.samples
        kept = {i for i, sample in enumerate(samples) if not sample.tasks.isdisjoint(tasks)}
        sources = [
            (np.array([i for i in indices if int(i) in kept], np.int64), share)
            for indices, share in self.sources
        ]
        total = sum(share for indices, share in sources if len(indices))
        chosen.sources = [(found, share / total) for found, share in sources if len(found)]
        return chosen

    def make(self, step: int, phase: Phase) -> Batch:
        """Return the batch of that step, the same in every run."""
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


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Tasks that are trained together in a step, whose batch holds only images of these tasks."""

    rotation: Rotation
    tasks: frozenset[str]
    """Tasks whose labels a batch keeps."""
    share: float
    """Share of the steps."""


class Turns(IterableDataset[Batch]):
    """Batches of one turn each: heads on a frozen backbone forget nothing while others are trained.

    Each batch of a head consists of its own images only, which its batch norm needs.
    """

    def __init__(
        self, turns: Sequence[Turn], phase: Phase, *, seed: int, first_step: int = 0
    ) -> None:
        self.turns, self.phase, self.seed, self.first_step = turns, phase, seed, first_step
        total = sum(turn.share for turn in turns)
        self.shares = [turn.share / total for turn in turns]

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from `first_step` to the end of the phase."""
        torch.set_num_threads(1)
        for step in range(self.first_step, self.phase.steps):
            rng = np.random.default_rng([self.seed, step, 1])
            turn = self.turns[int(rng.choice(len(self.turns), p=self.shares))]
            batch = turn.rotation.make(step, self.phase)
            batch.rows = {task: rows for task, rows in batch.rows.items() if task in turn.tasks}
            yield batch


def loader(rotation: Rotation | Turns, *, pinned: bool) -> Iterator[Batch]:
    """Return the rotation's batches, made ahead by one worker process.

    They are in pinned memory where a GPU reads them.
    """
    loading = DataLoader(
        rotation, batch_size=None, num_workers=1, prefetch_factor=6, pin_memory=pinned
    )
    return iter(loading)


def _sample_policy(sample: Sample, policies: Mapping[str, GeometryPolicy]) -> GeometryPolicy:
    return policy_of([policies[task] for task in sorted(sample.tasks)])
