"""A planner's whole evaluation: every group of scenes by every agent, image use, margin, time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from planner.case import Case
from planner.policy import Action, Choice
from planner.rules import Rules
from planner.training.data.teacher import teach
from planner.training.evaluation.agents import (
    PLANNER,
    RULES,
    Sizes,
    agents,
    agreement,
    decision_figures,
    figures,
    in_another_order,
    play_all,
)
from planner.training.evaluation.scenarios import BARE, REQUESTED, Scene, Stage
from planner.training.evaluation.vision import FOREIGN, OTHER_EXAM, SAME_RESULTS, looks
from planner.vlm.policy import LlavaPolicy
from specialists.image import Image
from specialists.manifest import Metric, Threshold
from specialists.result import ClassifyResult

LEAST_SHARE = 0.85
"""Share of unforced steps that the planner has to decide itself when its margin is chosen."""
LOOKS_FROM = 0.95
"""Share of plans that another image must change before the planner is said to use the image."""
MARGINS = np.linspace(0.0, 0.95, 96)


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """A planner on a stage, its blind twin, the rules, and the time of a backbone pass.

    `other` is a planner of the same training from another seed, if there is one.
    """

    stage: Stage
    planner: LlavaPolicy
    blind: LlavaPolicy
    rules: Rules
    backbone_ms: float
    other: LlavaPolicy | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures by group of scenes and agent, of single decisions, and of the test of image use."""

    groups: dict[str, dict[str, list[Metric]]]
    decisions: list[Metric]
    looks: list[Metric]
    margin: Threshold

    def value(self, group: str, agent: str, name: str) -> float:
        """Return one figure of a group."""
        return next(metric.value for metric in self.groups[group][agent] if metric.name == name)

    @property
    def looks_at_images(self) -> bool:
        """Whether noise and images of other exams change or withhold plans, all else unchanged."""
        found = [
            metric
            for metric in self.looks
            if SAME_RESULTS in metric.name and (FOREIGN in metric.name or OTHER_EXAM in metric.name)
        ]
        return len(found) == 2 and all(m.n > 0 and m.value >= LOOKS_FROM for m in found)

    @property
    def not_worse_than_rules(self) -> bool:
        """Whether the planner may be the default.

        Its plans must be as often right as the rules', with and without a request, and it must use
        the image.
        """
        name = "plan accuracy"
        return self.looks_at_images and all(
            self.value(group, PLANNER, name) >= self.value(group, RULES, name)
            for group in (REQUESTED, BARE)
        )

    @property
    def headline(self) -> tuple[Metric, ...]:
        """The figures that stand in the planner's card."""
        found = [
            metric.model_copy(update={"name": f"plan accuracy {group} ({agent})"})
            for group, by_agent in self.groups.items()
            for agent in (PLANNER, RULES)
            for metric in by_agent[agent]
            if metric.name == "plan accuracy"
        ]
        return (*found, *self.decisions, *self.looks)

    def as_json(self) -> str:
        """Return everything as JSON."""
        said = {
            "groups": {
                group: {agent: [m.model_dump() for m in found] for agent, found in by.items()}
                for group, by in self.groups.items()
            },
            "decisions": [metric.model_dump() for metric in self.decisions],
            "looks": [metric.model_dump() for metric in self.looks],
            "margin": self.margin.model_dump(),
            "looks_at_images": self.looks_at_images,
            "not_worse_than_rules": self.not_worse_than_rules,
        }
        return json.dumps(said, indent=1)


def evaluate(panel: Panel, sizes: Sizes, seed: int = 11) -> Evaluation:
    """Evaluate the panel's planner, on the same scenes for every agent."""
    stage = panel.stage
    rng = np.random.default_rng(seed)
    scenes = {group: stage.draw(group, count, rng) for group, count in sizes.counts.items()}
    entrants = agents(panel.planner, panel.blind, panel.rules)
    progress = tqdm(total=len(scenes) * len(entrants), desc="judging", disable=None)
    groups: dict[str, dict[str, list[Metric]]] = {}
    own = []
    owing = {group: [(s, stage.owed(s)) for s in drawn] for group, drawn in scenes.items()}
    for group in scenes:
        groups[group] = {}
        for name, factory in entrants.items():
            played = play_all(stage, owing[group], factory)
            groups[group][name] = figures(played, stage.split)
            own += played if name == PLANNER else []
            progress.update()
    decisions = decision_figures(own, stage.split)
    some = scenes[REQUESTED][: sizes.looks]
    again = {"orders of the actions": in_another_order(panel.planner)}
    if panel.other is not None:
        again["another seed of the training"] = panel.other.choose
    decisions += [
        *(
            _plain(
                f"agreement over {name}",
                agreement(panel.planner, second, stage, some),
                len(some),
                stage.split,
            )
            for name, second in again.items()
        ),
        _plain("median ms of a backbone pass", panel.backbone_ms, 1, stage.split),
    ]
    return Evaluation(
        groups=groups,
        decisions=decisions,
        looks=looks(stage, panel.planner, stage.draw(REQUESTED, sizes.looks, rng), seed),
        margin=Threshold(value=panel.planner.least_margin, source="the planner's card"),
    )


@dataclass(kw_only=True)
class Weighed:
    """A policy that compares a planner's choices with the rules' at every decision of a scene."""

    planner: LlavaPolicy
    rules: Rules
    scene: Scene
    found: list[tuple[float, bool, bool]]
    """Margin, whether the planner is right, and whether the rules would be, for each decision."""
    sees: bool = True

    def __post_init__(self) -> None:
        self.ref = self.planner.ref

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Return the planner's choice, and record whether it and the rules are right."""
        choice = self.planner.choose(image, case, legal)
        right = teach(case, legal, self.scene.wish, self.scene.shown).acceptable
        ruled = legal.index(self.rules.choose(image, case, legal).action) in right
        if legal[0].slot == case.protocols.router.slot:
            ruled = _router_is_right(case, self.scene)
        self.found.append((choice.margin or 0.0, legal.index(choice.action) in right, ruled))
        return choice


def calibrate_margin(panel: Panel, sizes: Sizes, seed: int = 29) -> Threshold:
    """Return the margin below which the rules should decide.

    Of all margins, it gives the most right decisions on val. The planner's own margin is set to 0,
    so that it decides everything here. The scenes are others than those of the evaluation, from the
    same images.
    """
    rng = np.random.default_rng(seed)
    scenes = [
        scene
        for group in (REQUESTED, BARE)
        for scene in panel.stage.draw(group, sizes.counts[group], rng)
    ]
    found: list[tuple[float, bool, bool]] = []
    panel.planner.least_margin = 0.0
    for scene in tqdm(scenes, desc="margin", disable=None):
        policy = Weighed(planner=panel.planner, rules=panel.rules, scene=scene, found=found)
        panel.stage.play(scene, policy)
    return best_margin(found, panel.stage.split)


def best_margin(found: Sequence[tuple[float, bool, bool]], split: str) -> Threshold:
    """Return the least margin that gives the most right decisions.

    Only margins that leave the planner its share of the decisions are considered.
    """
    margins, planned, ruled = (np.array(values, dtype=float) for values in zip(*found, strict=True))
    right, share = _by_margin(margins, planned, ruled)
    allowed = share >= LEAST_SHARE
    best = int(np.flatnonzero(allowed & (right >= right[allowed].max() - 1e-9))[0])
    source = (
        f"of {len(margins)} unforced decisions on {split}, {right[best]:.1%} are right with it "
        f"and {right[0]:.1%} without; the planner decides {share[best]:.0%} of them itself"
    )
    return Threshold(value=round(float(MARGINS[best]), 4), source=source)


def _by_margin(
    margins: npt.NDArray[np.float64],
    planned: npt.NDArray[np.float64],
    ruled: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the share of right decisions, and that of the planner's own, at each of `MARGINS`."""
    own = margins[None, :] >= MARGINS[:, None]
    right = np.where(own, planned[None, :], ruled[None, :]).mean(1)
    return right, own.mean(1)


def _router_is_right(case: Case, scene: Scene) -> bool:
    result = scene.row.results.get(case.protocols.router.specialist)
    if not isinstance(result, ClassifyResult) or scene.shown is None:
        return scene.shown is None
    return max(result.scores, key=lambda label: result.scores[label]) == scene.shown.value


def _plain(name: str, value: float, n: int, split: str) -> Metric:
    return Metric(name=name, value=round(value, 4), n=n, split=split)
