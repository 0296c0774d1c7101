"""Effect and cost of test-time augmentation: the same rows predicted with and without it."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from specialists.engine import Engine
from specialists.errors import TrainingError
from specialists.load import load_engine
from specialists.manifest import Manifest, SpecialistEntry
from specialists.runtime.feature_cache import FeatureCache
from specialists.training.data.tables import Row, rows_by_task
from specialists.training.evaluation.evaluate import (
    figures_of,
    rows_of_split,
    score_rows,
    share_columns,
)
from specialists.training.evaluation.judge import Figure, Judged
from specialists.training.evaluation.metrics import bootstrap
from specialists.training.evaluation.predict import (
    Augmented,
    Tools,
    answering,
    entry_for,
    predict_folder,
)
from specialists.views import views_of


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One figure of a task without and with augmentation, and the difference's 95 % interval."""

    figure: str
    n: int
    plain: float
    augmented: float
    low: float | None
    """Of the difference, paired by image and resampled by groups; None with too few of them."""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The gains of one task, and the time per image."""

    task: str
    views: int
    plain_cpu_ms: float
    """CPU time for one image, reading and writing included."""
    augmented_cpu_ms: float
    gains: list[Gain]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """The trials, and a line for each task that could not be tried."""

    trials: list[Trial]
    problems: list[str]


def tta_trial(manifest: Manifest, data: Path, split: str, tasks: Collection[str] | None) -> Trials:
    """Run the trials of the tasks of `data` that have a specialist with weights, or of those named.

    Raises:
        TrainingError: nothing could be tried, or a named task could not.
        WeightsError: weights are missing or altered.
    """
    found, problems = rows_by_task(data, ("image_path",))
    share_columns(found)
    engine = load_engine(answering(manifest), "cpu")
    trials = []
    for entry in _entries(engine.manifest, found, tasks):
        try:
            rows = rows_of_split(entry.task_id, found[entry.task_id], split)
            trials.append(_trial(engine, entry, rows, data))
        except TrainingError as error:
            if tasks is not None:
                raise
            problems.append(str(error))
    if not trials:
        raise TrainingError(" ".join(["Nothing could be tried.", *problems]))
    return Trials(trials=trials, problems=problems)


def _trial(engine: Engine, entry: SpecialistEntry, rows: list[Row], data: Path) -> Trial:
    """Predict one task's rows, which are all of one split, twice and return the comparison."""
    split = str(rows[0]["split"])
    judged, cpu_ms = [], []
    tools: tuple[Tools, Tools] = (engine, Augmented(engine))
    for tool in tools:
        engine.cache = FeatureCache()  # no pass of one run saves the other a pass
        start = time.process_time()
        with TemporaryDirectory() as folder:
            out = Path(folder)
            predict_folder(tool, data, out, tasks=[entry.task_id], split=split)
            cpu_ms.append(round(1000 * (time.process_time() - start) / len(rows), 1))
            judged.append(score_rows(entry, rows, out, data).judged)
    return Trial(
        task=entry.task_id,
        views=len(views_of(entry.geometry)),
        plain_cpu_ms=cpu_ms[0],
        augmented_cpu_ms=cpu_ms[1],
        gains=gains_of(judged[0], judged[1], rows),
    )


def _entries(
    manifest: Manifest, found: dict[str, list[Row]], tasks: Collection[str] | None
) -> list[SpecialistEntry]:
    """Return the installed specialists of a folder's tasks, or of those named.

    Raises:
        TrainingError: there is none, or a named one has no weights or no rows.
    """
    if tasks is None:
        known = [e for e in manifest.specialists.values() if e.id == e.task_id and e.installed]
        entries = [entry for entry in known if entry.task_id in found]
    else:
        entries = [entry_for(manifest, task, None) for task in tasks if task in found]
        for entry in entries:
            if not entry.installed:
                raise TrainingError(f"The specialist {entry.id} is not installed.")
    if not entries or (tasks is not None and len(entries) < len(tasks)):
        missing = ", ".join(sorted(set(tasks or ()) - found.keys()))
        raise TrainingError(f"There are no rows to predict{f' of {missing}' if missing else ''}.")
    return entries


def gains_of(plain: Judged, augmented: Judged, rows: list[Row]) -> list[Gain]:
    """Return the gain of each figure that both results hold for the same images."""
    second = {figure.name: figure for figure in _figures(augmented)}
    gains = []
    for first in _figures(plain):
        other = second.get(first.name)
        if other is not None and np.array_equal(first.rows, other.rows) and len(first.rows):
            gains.append(_gain(first, other, rows))
    return [gain for gain in gains if np.isfinite([gain.plain, gain.augmented]).all()]


def _figures(judged: Judged) -> list[Figure]:
    return [*judged.figures, *(f for a in judged.agreements for f in figures_of(a))]


def _gain(plain: Figure, augmented: Figure, rows: list[Row]) -> Gain:
    of = [rows[index] for index in plain.rows]
    groups = [str(row.get("group_id", row["image_path"])) for row in of]
    every: npt.NDArray[np.int64] = np.arange(len(of))

    def apart(chosen: npt.NDArray[np.int64]) -> float:
        return augmented.statistic(chosen) - plain.statistic(chosen)

    low, high = bootstrap(groups, apart) or (None, None)
    return Gain(
        figure=plain.name,
        n=len(of),
        plain=round(plain.statistic(every), 4),
        augmented=round(augmented.statistic(every), 4),
        low=None if low is None else round(low, 4),
        high=None if high is None else round(high, 4),
    )
