"""Whether a planner looks: its plan must change with noise or another exam's image, and stay with another of the same."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from planner.choose import Chooser
from planner.training.pictures import Kind
from planner.training.scenes import Replayed, Scene, Stage
from reports.model import ExamCode
from specialists.manifest import Metric
from specialists.training.metrics import bootstrap

FOREIGN, OTHER_EXAM, SAME_EXAM = (
    "noise",
    "an image of another exam",
    "another image of the same exam",
)

SAME_RESULTS = "the same results"
OWN_RESULTS = "its own results"
"""Whether the specialists answer as they did for the scene's image, so that only what is seen changes, or for the other."""


def looks(stage: Stage, chooser: Chooser, scenes: Sequence[Scene], seed: int) -> list[Metric]:
    """Shares of scenes whose plan changed or was withheld with each kind of other picture.

    Only scenes whose form names no exam, and whose plan ran something: a named exam is run unless the router is sure.
    """
    rng = np.random.default_rng(seed)
    metrics: list[Metric] = []
    base = [(scene, stage.play(scene, chooser).slots) for scene in scenes if not scene.request.exam]
    base = [(scene, slots) for scene, slots in base if slots]
    for other in (FOREIGN, OTHER_EXAM, SAME_EXAM):
        for results in (SAME_RESULTS, OWN_RESULTS):
            able = [item for item in base if _pictures(stage, other, item[0].shown)]
            changed = [_changed(stage, chooser, item, (other, results), rng) for item in able]
            groups = [str(scene.row.wanted.path) for scene, _ in able]
            values = np.array(changed, dtype=float)
            low, high = _interval(groups, values)
            what = "withheld" if other == SAME_EXAM else "changed or withheld"
            name = f"plan {what} with {other}, {results}"
            metrics.append(
                Metric(
                    name=name,
                    value=round(float(values.mean()), 4) if len(values) else 0.0,
                    low=low,
                    high=high,
                    n=len(values),
                    split=stage.split,
                )
            )
    return metrics


def _interval(
    groups: Sequence[str], values: npt.NDArray[np.float64]
) -> tuple[float | None, float | None]:
    found = bootstrap(groups, lambda rows: float(values[rows].mean()))
    return (None, None) if found is None else found


def _changed(
    stage: Stage,
    chooser: Chooser,
    item: tuple[Scene, frozenset[str]],
    how: tuple[str, str],
    rng: np.random.Generator,
) -> bool:
    """Whether another plan is made with another picture; what ran and found nothing else to do is the same plan."""
    scene, before = item
    other, results = how
    choices = _pictures(stage, other, scene.shown)
    row = stage.survey.rows[choices[int(rng.integers(len(choices)))]]
    source = scene.row if results == SAME_RESULTS else row
    done = stage.play(
        scene,
        chooser,
        picture=stage.image(row),
        tools=Replayed(stage.manifest, source),
    )
    if other == SAME_EXAM:
        return (
            not done.slots
        )  # other findings may open other steps; withheld is what it must not be
    return done.slots != before


def _pictures(stage: Stage, other: str, shown: ExamCode | None) -> list[int]:
    """What there is of such other pictures."""
    if other == FOREIGN:
        return stage.survey.of(stage.split, Kind.FOREIGN)
    rows = stage.survey.rows
    return [
        index
        for index in stage.served()
        if (rows[index].wanted.exam == shown) == (other == SAME_EXAM)
    ]
