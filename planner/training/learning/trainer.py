"""Shared parts of the small planner's trainings: schedule, batching and the training steps."""

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm
from transformers import LlamaModel

from specialists.training.precision import ComputeOptions, Step, trial_loss
from specialists.training.state import Average, load_state, save_state

SORTED_BATCHES = 8
"""The number of batches whose examples are sorted by length together, so that little is padded."""
BETAS = (0.9, 0.98)
"""AdamW's betas, for every part of the training."""
LARGEST_GRADIENT = 1.0
TRIAL_PROMPTS, TRIAL_TOKENS = 16, 80

T = TypeVar("T")
Told = dict[str, float | list[float]]
"""The log entry of a step."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """The length and the rates of a training; everything else follows from the seed."""

    steps: int
    batch: int
    rate: float = 1e-3
    decay: float = 0.05
    warmup: int = 100
    seed: int = 0
    save_every: int = 100
    compute: ComputeOptions = field(default_factory=ComputeOptions)


class Pupil:
    """A module in training with its optimiser; state and `log.jsonl` lie in `folder`.

    The optimiser's groups may learn at a share `times` of the rate. The module must already be on
    the device that it is trained on.
    """

    def __init__(
        self, module: nn.Module, optimizer: Optimizer, config: Course, folder: Path
    ) -> None:
        self.module, self.optimizer = module, optimizer
        self.config, self.folder = config, folder
        self.average = Average(module)

    def stand(self, *, resume: bool) -> int:
        """Return the step to begin with, and load the state if the training is resumed.

        Raises:
            TrainingError: there is nothing to resume.
        """
        if not resume:
            return 0
        return load_state(self.folder, self.module, self.average, self.optimizer)

    def learn(self, learnt: Callable[[], tuple[Tensor, Told]], start: int) -> None:
        """Train to the last step, and leave the moving average of the weights in the module.

        Args:
            learnt: returns the loss of the next batch, and its log entry.
            start: the step to begin with.
        """
        began = time.perf_counter()
        self.module.train()
        steps = range(start, self.config.steps)
        for step in tqdm(steps, initial=start, total=self.config.steps, disable=None):
            loss, told = learnt()
            self._descend(loss, step)
            done = step + 1
            if done % self.config.save_every == 0 or done == self.config.steps:
                save_state(self.folder, done, self.module, self.average, self.optimizer)
                self._log({"step": done, **told, "s": round(time.perf_counter() - began, 1)})
        self.module.load_state_dict(self.average.tensors)

    def _descend(self, loss: Tensor, step: int) -> None:
        rate = self.config.rate * rate_at(step, self.config.steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group.get("times", 1.0) * rate
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.module.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.average.update(self.module, step)

    def _log(self, line: Told) -> None:
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def trial(speech: LlamaModel) -> Step:
    """Return a step of those layers on a few prompts of the usual length."""
    tried = copy.deepcopy(speech).train()
    tokens = torch.randint(0, tried.config.vocab_size, (TRIAL_PROMPTS, TRIAL_TOKENS))

    def step() -> Tensor:
        held = tried(input_ids=tokens, use_cache=False).last_hidden_state
        return trial_loss([held])

    return step


def rate_at(step: int, steps: int, warmup: int) -> float:
    """Return the share of the learning rate at that step: linear warm-up, then cosine to 0.02."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * done)))


def of_like_length(
    made: list[T], length: Callable[[T], int], rng: np.random.Generator
) -> Iterator[list[T]]:
    """Yield `SORTED_BATCHES` equal parts of `made` in random order.

    Entries of similar length are in the same part; `made` is sorted in place.
    """
    made.sort(key=length)
    size = len(made) // SORTED_BATCHES
    for start in rng.permutation(SORTED_BATCHES) * size:
        yield made[int(start) : int(start) + size]


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return (B, L) tokens padded at the end, and the (B, L) mask of those that are no padding."""
    longest = max(len(row) for row in rows)
    tokens = torch.full((len(rows), longest), pad)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = 1
    return tokens, mask


def made_ahead(batches: Iterator[T]) -> Iterator[T]:
    """Yield the same batches, each composed by another thread while the one before is in use."""
    with ThreadPoolExecutor(1, "composer") as pool:
        coming = pool.submit(next, batches)
        while True:
            batch = coming.result()
            coming = pool.submit(next, batches)
            yield batch
