"""A test of whether a planner uses the image, on surveyed images.

Its plan must change with noise or an image of another exam, and stay with another image of the same
exam.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from planner.policy import Policy
from planner.training.data.images import Kind
from planner.training.evaluation.scenarios import Replayed, Scene, Stage
from reports.model import ExamCode
from specialists.manifest import Metric
from specialists.training.evaluation.metrics import bootstrap

FOREIGN, OTHER_EXAM, SAME_EXAM = (
    "noise",
    "an image of another exam",
    "another image of the same exam",
)

SAME_RESULTS = "the same results"
OWN_RESULTS = "its own results"
"""The results that the specialists return when another image is shown.

With `SAME_RESULTS` they are those for the scene's image, so that only what is seen changes; with
`OWN_RESULTS` they are those for the other image.
"""


def looks(stage: Stage, policy: Policy, scenes: Sequence[Scene], seed: int) -> list[Metric]:
    """Return the shares of scenes whose plan changed or was withheld, by kind of other image.

    Only scenes whose form names no exam and whose plan ran something count, because a named exam is
    run unless the router is sure of another.
    """
    rng = np.random.default_rng(seed)
    metrics: list[Metric] = []
    base = [(scene, stage.play(scene, policy).slots) for scene in scenes if not scene.request.exam]
    base = [(scene, slots) for scene, slots in base if slots]
    for other in (FOREIGN, OTHER_EXAM, SAME_EXAM):
        for results in (SAME_RESULTS, OWN_RESULTS):
            able = [item for item in base if _pictures(stage, other, item[0].shown)]
            changed = [_changed(stage, policy, item, (other, results), rng) for item in able]
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
    policy: Policy,
    item: tuple[Scene, frozenset[str]],
    how: tuple[str, str],
    rng: np.random.Generator,
) -> bool:
    """Return whether another image leads to another plan.

    The plan is the set of slots that ran. With another image of the same exam, only a withheld plan
    counts as changed.
    """
    scene, before = item
    other, results = how
    choices = _pictures(stage, other, scene.shown)
    row = stage.survey.rows[choices[int(rng.integers(len(choices)))]]
    source = scene.row if results == SAME_RESULTS else row
    done = stage.play(
        scene,
        policy,
        picture=stage.image(row),
        tools=Replayed(stage.manifest, source),
    )
    if other == SAME_EXAM:
        # Other findings may open other steps, so that only a withheld plan counts as changed.
        return not done.slots
    return done.slots != before


def _pictures(stage: Stage, other: str, shown: ExamCode | None) -> list[int]:
    """Return the survey rows of such other images."""
    if other == FOREIGN:
        return stage.survey.of(stage.split, Kind.FOREIGN)
    rows = stage.survey.rows
    return [
        index
        for index in stage.served()
        if (rows[index].wanted.exam == shown) == (other == SAME_EXAM)
    ]
