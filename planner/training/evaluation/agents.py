"""Figures of a planner and of what it is compared with, with bootstrap intervals over images."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from planner.case import Case, Request
from planner.policy import Action, Choice, Policy
from planner.rules import Rules
from planner.training.data.teacher import Teacher
from planner.training.evaluation.published import FreeText
from planner.training.evaluation.scenarios import (
    BARE,
    DISAGREE,
    NEW_INTENT,
    OTHER_HAND,
    REQUESTED,
    Done,
    Owed,
    Scene,
    Stage,
)
from planner.vlm.policy import LlavaPolicy
from reports.model import ChosenBy
from reports.provenance import PlannerRef
from specialists.image import Image
from specialists.manifest import Metric
from specialists.training.calibration.error import calibration_error
from specialists.training.evaluation.metrics import bootstrap

PLANNER, RULES, TAUGHT = "planner", "rules, router and keywords", "rules with the exam given"
TEXT_ONLY, IMAGE_ONLY, RANDOM = "request text only", "image only", "random legal"
OTHER, FREE_TEXT = "the other planner", "published pattern, free text"

Factory = Callable[[Scene], Policy]
"""Returns the policy for a scene; most agents use the same one for all scenes."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many scenes of each group are evaluated."""

    counts: Mapping[str, int]
    looks: int

    @classmethod
    def scaled(cls, share: float) -> "Sizes":
        """Return the usual numbers of scenes, or a share of them."""
        usual = {REQUESTED: 1200, OTHER_HAND: 1200, BARE: 400, NEW_INTENT: 240, DISAGREE: 240}
        return cls(
            counts={group: max(2, round(n * share)) for group, n in usual.items()},
            looks=max(2, round(150 * share)),
        )


@dataclass(frozen=True, kw_only=True)
class Played:
    """One scene, what was owed in it, and what a planner did."""

    scene: Scene
    owed: Owed
    done: Done

    @property
    def picture(self) -> str:
        """The image's path, over which intervals are resampled."""
        return str(self.scene.row.wanted.path)

    @property
    def right(self) -> bool:
        """Whether all that was needed ran, and nothing that was not allowed."""
        return self.owed.needed <= self.done.slots <= self.owed.allowed


class RandomLegal:
    """Chooses any legal action: the baseline without any planning."""

    sees = True
    ref = PlannerRef(id="random", sha256="0" * 64)

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Choose one of `legal` at random."""
        action = self._random.choice(legal)
        return Choice(action=action, chosen_by=ChosenBy.MODEL, margin=0.0, reason="Random.")


class Unasked:
    """A planner that does not get to read the request."""

    sees = True

    def __init__(self, inner: Policy) -> None:
        self.inner, self.ref = inner, inner.ref

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Return the inner planner's choice, as if nothing had been asked."""
        return self.inner.choose(image, replace(case, request=Request()), legal)


def agents(
    planner: LlavaPolicy, blind: Policy, rules: Rules, other: Policy | None = None
) -> dict[str, Factory]:
    """Return the planner and what it is compared with.

    `blind` is the planner that sees the mean of all images, `other` another planner, if there is
    one.
    """
    free_text = FreeText(planner)
    entrants: dict[str, Factory] = {
        PLANNER: lambda scene: planner,
        RULES: lambda scene: rules,
        TAUGHT: lambda scene: Teacher(scene.wish, scene.shown),
        TEXT_ONLY: lambda scene: blind,
        IMAGE_ONLY: lambda scene: Unasked(planner),
        RANDOM: lambda scene: RandomLegal(scene.row.wanted.seed),
        FREE_TEXT: lambda scene: free_text,
    }
    return (
        entrants
        if other is None
        else {PLANNER: entrants[PLANNER], OTHER: lambda _: other}
        | {name: factory for name, factory in entrants.items() if name != PLANNER}
    )


def play_all(stage: Stage, scenes: Sequence[tuple[Scene, Owed]], factory: Factory) -> list[Played]:
    """Run every scene."""
    return [
        Played(scene=scene, owed=owed, done=stage.play(scene, factory(scene)))
        for scene, owed in scenes
    ]


def figures(played: Sequence[Played], split: str) -> list[Metric]:
    """Return plan accuracy, precision and recall of tools, stops and exams over those scenes.

    Also the shares of runs that left out what is required, and whose answer could not be used.
    """
    needed = _numbers(len(p.owed.needed) for p in played)
    ran = _numbers(len(p.done.slots) for p in played)
    useful = _numbers(len(p.done.slots & (p.owed.needed | p.owed.allowed)) for p in played)
    found = _numbers(len(p.done.slots & p.owed.needed) for p in played)
    shares = {
        "plan accuracy": _numbers(p.right for p in played),
        "premature stops": _numbers(bool(p.owed.needed - p.done.slots) for p in played),
        "late stops": _numbers(bool(p.done.slots - p.owed.allowed) for p in played),
        "required findings missing": _numbers(bool(p.done.missing) for p in played),
        "illegal actions": _numbers(
            p.done.unusable is not None and p.done.unusable.illegal for p in played
        ),
        "unreadable answers": _numbers(
            p.done.unusable is not None and not p.done.unusable.illegal for p in played
        ),
    }
    groups = [p.picture for p in played]
    metrics = [_metric(name, groups, mean_of(values), split) for name, values in shares.items()]
    metrics.append(_metric("tool precision", groups, _ratio_of(useful, ran), split))
    metrics.append(_metric("tool recall", groups, _ratio_of(found, needed), split))
    asked = [p for p in played if any(d.routing for d in p.done.decisions)]
    if asked:
        right = _numbers(
            p.done.expected == (p.scene.shown.value if p.scene.shown else None) for p in asked
        )
        places = [p.picture for p in asked]
        metrics.append(_metric("exam seen in the image", places, mean_of(right), split))
    return metrics


def decision_figures(played: Sequence[Played], split: str) -> list[Metric]:
    """Return figures of the steps that were not forced.

    They say who took them, how often they were right, how well the planner's best score is
    calibrated, and how long a step takes.
    """
    rows = [(p.picture, decision) for p in played for decision in p.done.decisions]
    groups = [picture for picture, _ in rows]
    by_model = _numbers(decision.by_model for _, decision in rows)
    right = _numbers(decision.right for _, decision in rows)
    metrics = [
        _metric("unforced steps decided by the planner", groups, mean_of(by_model), split),
        _metric("accuracy of unforced steps", groups, mean_of(right), split),
        _metric(
            "accuracy of the planner's own steps",
            groups,
            _ratio_of(right * by_model, by_model),
            split,
        ),
    ]
    own = [decision for _, decision in rows if decision.by_model and decision.score is not None]
    if own:
        scores = _numbers(decision.score for decision in own)
        error = calibration_error(scores, np.array([decision.right for decision in own]))
        metrics.append(_plain("calibration error of the best score", error, len(own), split))
    times = [decision.duration_ms for _, decision in rows if decision.margin is not None]
    metrics.append(_plain("median ms per step", float(np.median(times)), len(times), split))
    return metrics


Again = Callable[[Image, Case, tuple[Action, ...]], Choice]
"""The same decision, taken once more in another way."""


class Twice:
    """A planner each of whose choices is made a second time, in another way.

    `agreed` says which choices came out the same.
    """

    sees = True

    def __init__(self, inner: Policy, again: Again) -> None:
        self.inner, self.ref, self.again = inner, inner.ref, again
        self.agreed: list[bool] = []

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Return the inner planner's choice, and record whether the second one agrees."""
        choice = self.inner.choose(image, case, legal)
        self.agreed.append(self.again(image, case, legal).action == choice.action)
        return choice


def agreement(planner: Policy, again: Again, stage: Stage, scenes: Sequence[Scene]) -> float:
    """Return the share of the decisions in those scenes that come out the same the second time."""
    asked = Twice(planner, again)
    for scene in scenes:
        stage.play(scene, asked)
    return float(np.mean(asked.agreed)) if asked.agreed else float("nan")


def in_another_order(planner: Policy) -> Again:
    """Return the planner's choice with the legal actions shuffled, as a function."""

    def choose(image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        order = list(range(len(legal)))
        random.Random(len(case.records)).shuffle(order)
        return planner.choose(image, case, tuple(legal[i] for i in order))

    return choose


def _numbers(values: object) -> npt.NDArray[np.float64]:
    return np.array(list(values), dtype=np.float64)  # type: ignore[call-overload]


def mean_of(values: npt.NDArray[np.float64]) -> Callable[[npt.NDArray[np.int64]], float]:
    """Return the mean of those rows of `values`, as a statistic to bootstrap."""
    return lambda rows: float(values[rows].mean())


def _ratio_of(
    part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]
) -> Callable[[npt.NDArray[np.int64]], float]:
    def ratio(rows: npt.NDArray[np.int64]) -> float:
        total = whole[rows].sum()
        return float(part[rows].sum() / total) if total else float("nan")

    return ratio


def _metric(
    name: str,
    groups: Sequence[str],
    statistic: Callable[[npt.NDArray[np.int64]], float],
    split: str,
) -> Metric:
    value = statistic(np.arange(len(groups)))
    interval = bootstrap(groups, statistic) or (None, None)
    if not np.isfinite(value):
        value, interval = 0.0, (None, None)
    low, high = interval
    return Metric(name=name, value=round(value, 4), low=low, high=high, n=len(groups), split=split)


def _plain(name: str, value: float, n: int, split: str) -> Metric:
    return Metric(name=name, value=round(value, 4) if np.isfinite(value) else 0.0, n=n, split=split)
