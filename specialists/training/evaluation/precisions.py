"""What a task's figures lose by another arithmetic, and what its networks gain in time."""

import math
import statistics
import tempfile
import time
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from reports.model import Box
from specialists.admission.limits import Refusals
from specialists.engine import Answer, Engine
from specialists.errors import TrainingError
from specialists.image import Image
from specialists.load import load_novelty
from specialists.manifest import Manifest
from specialists.result import Result
from specialists.runtime.runner import Runner
from specialists.training.data.tables import Row, counts, rows_by_task
from specialists.training.evaluation.evaluate import share_columns, values_of
from specialists.training.evaluation.predict import (
    Augmented,
    answering,
    entry_for,
    predict_rows,
)

LOSS_MAX = 0.005
"""Largest loss, as share of a figure, with which another arithmetic may become the default."""

GATE = "gate"
"""The name under which the share of images that are not refused as foreign stands."""

Figures = dict[tuple[str, str], float]
"""Figures by task and name."""

ROUNDS = 15


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What is predicted and judged: rows with labels, by task, under a data root."""

    data: Path
    rows: Mapping[str, list[Row]]


def judging(
    manifest: Manifest,
    data: Path,
    split: str,
    tasks: Collection[str] | None = None,
    most: int | None = None,
) -> Judging:
    """Return the rows of the installed specialists' tasks in the split.

    Args:
        manifest: lists the specialists.
        data: the data root.
        split: train, val or test.
        tasks: only these, else all.
        most: at most so many rows of a task, as many of each data set as there are; else all.

    Raises:
        TrainingError: there is no row.
    """
    found, problems = rows_by_task(data, ("image_path",))
    share_columns(found)
    chosen = {}
    for entry in manifest.installed():
        if tasks is not None and entry.task_id not in tasks:
            continue
        rows = [
            row
            for row in found.get(entry.task_id, [])
            if row.get("split") == split and counts(row, entry)
        ]
        if rows:
            chosen[entry.task_id] = rows if most is None else spread(rows, most)
    if not chosen:
        nothing = f"{data} holds no row of an installed specialist in {split}."
        raise TrainingError(" ".join([nothing, *problems]))
    return Judging(data=data, rows=chosen)


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """Return at most that many rows, taken evenly from each data set and evenly within it."""
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        by_source.setdefault(str(row.get("dataset")), []).append(row)
    taken = dict.fromkeys(by_source, 0)
    while sum(taken.values()) < min(most, len(rows)):
        for name, of_source in by_source.items():
            if taken[name] < len(of_source) and sum(taken.values()) < most:
                taken[name] += 1
    return [
        of_source[index * len(of_source) // taken[name]]
        for name, of_source in by_source.items()
        for index in range(taken[name])
    ]


class _Watched(Augmented):
    """An engine whose specialists answer for every image, and that notes which it would refuse."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(Engine(answering(engine.manifest), engine.runner, {}))
        models = engine.manifest.models
        loaded = {name: load_novelty(model) for name, model in models.items()}
        novelties = {name: one for name, one in loaded.items() if one is not None}
        self._refusals = Refusals(models, novelties) if novelties else None
        self._entries = engine.manifest.specialists
        self.admitted: dict[tuple[str, Hashable], bool] = {}

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Run a specialist as `Engine.run` does."""
        return self.answer(specialist_id, image, roi).result()

    def answer(self, specialist_id: str, image: Image, roi: Box | None = None) -> Answer:
        """Return a specialist's answer as `Engine.answer` does."""
        answer = self._engine.answer(specialist_id, image, roi)
        if self._refusals is not None:
            reason = self._refusals.reason(self._entries[specialist_id], answer.encoded.place)
            self.admitted[specialist_id, image.key] = reason is None
        return answer


def figures_of(engine: Engine, judging: Judging) -> Figures:
    """Predict the rows, every one of them, and return the figures of each task and of the gate."""
    tools = _Watched(engine)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        predict_rows(tools, judging.rows, (judging.data, Path(name)))
        for task, rows in judging.rows.items():
            entry = entry_for(engine.manifest, task, None)
            found = values_of(entry, rows, Path(name), judging.data)
            figures |= {(task, figure): value for figure, value in found.items()}
    if verdicts := tools.admitted.values():
        figures[GATE, "images admitted"] = sum(verdicts) / len(verdicts)
    return figures


def judged(name: str) -> bool:
    """Return whether a loss of this figure keeps an arithmetic from being the default.

    These are the figure by which the challenge ranks a kind of task, without the distance of the
    farthest pixel, and the errors of the numbers that reports state. Counts of images (accuracy,
    sensitivity) move by whole images, a bias is near zero, and tails and farthest pixels rest on
    few images: they are shown.
    """
    if "bias" in name or "percentile" in name:
        return False
    return name.startswith(("dice", "iou", "auc", "mre_", "images admitted")) or " error " in name


def loss(name: str, before: float, after: float) -> float:
    """Return the share of the figure that is lost; below zero where it is better than before."""
    worse = after - before if _is_error(name) else before - after
    return worse / max(abs(before), 1e-9)


def _is_error(name: str) -> bool:
    marks = ("error", "mre_", "hausdorff", "hd95", "bias", "with it answered none")
    return any(mark in name for mark in marks)


def losers(plain: Figures, other: Figures, most: float = LOSS_MAX) -> dict[str, float]:
    """Return the greatest loss of each task that loses more than `most` of a judged figure."""
    found: dict[str, float] = {}
    for (task, name), value in plain.items():
        lost = loss(name, value, other.get((task, name), math.nan))
        if judged(name) and not lost <= most:
            found[task] = max(lost, found.get(task, 0.0))  # a figure that is gone is NaN, and lost
    return found


def times_ms(runners: Mapping[str, Runner], manifest: Manifest) -> dict[tuple[str, str], float]:
    """Return the median time of each network by its id and the runner's key.

    The runners take turns, so that whatever else the machine does burdens all alike.
    """
    found: dict[tuple[str, str], list[float]] = {}
    entries = manifest.installed()
    for model in (manifest.models[name] for name in sorted({entry.model for entry in entries})):
        side = model.input_px
        pixels = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(0))
        field = torch.ones_like(pixels)
        for _ in range(ROUNDS):
            for key, runner in runners.items():
                began = time.perf_counter()
                features = runner.backbone(model.id, pixels)
                found.setdefault((model.id, key), []).append(time.perf_counter() - began)
                for entry in entries:
                    if entry.model == model.id:
                        began = time.perf_counter()
                        runner.head(entry.id, features, field, None)
                        found.setdefault((entry.id, key), []).append(time.perf_counter() - began)
    return {name: 1e3 * statistics.median(times) for name, times in found.items()}
