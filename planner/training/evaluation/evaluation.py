"""A planner's whole evaluation: every group of scenes by every agent, image use, margin, time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from planner.rules import Rules
from planner.training.evaluation.agents import (
    PLANNER,
    RULES,
    Played,
    Sizes,
    agents,
    agreement,
    decision_figures,
    figures,
    in_another_order,
    play_all,
)
from planner.training.evaluation.risk import Calibration
from planner.training.evaluation.scenarios import BARE, OTHER_HAND, REQUESTED, Stage
from planner.training.evaluation.vision import FOREIGN, OTHER_EXAM, SAME_RESULTS, looks
from planner.vlm.policy import LlavaPolicy
from specialists.manifest import Metric, Threshold

JUDGED = (REQUESTED, OTHER_HAND, BARE)
"""The groups of which figures are given by exam: requests for what the image shows, or none."""
LOOKS_FROM = 0.95
"""Share of plans that another image must change before the planner is said to use the image."""


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
    by_exam: dict[str, dict[str, list[Metric]]]
    """By exam and agent, over the scenes of `JUDGED`."""
    decisions: list[Metric]
    looks: list[Metric]
    margin: Threshold
    calibration: Calibration | None = None
    """How the margin was chosen, where this is known."""

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
            "by_exam": {
                exam: {agent: [m.model_dump() for m in found] for agent, found in by.items()}
                for exam, by in self.by_exam.items()
            },
            "decisions": [metric.model_dump() for metric in self.decisions],
            "looks": [metric.model_dump() for metric in self.looks],
            "margin": self.margin.model_dump(),
            "calibration": self.calibration and self.calibration.model_dump(),
            "looks_at_images": self.looks_at_images,
            "not_worse_than_rules": self.not_worse_than_rules,
        }
        return json.dumps(said, indent=1)


def evaluate(panel: Panel, sizes: Sizes, seed: int = 11) -> Evaluation:
    """Evaluate the panel's planner, on the same scenes for every agent."""
    stage = panel.stage
    rng = np.random.default_rng(seed)
    scenes = {group: stage.draw(group, count, rng) for group, count in sizes.counts.items()}
    entrants = agents(panel.planner, panel.blind, panel.rules, panel.other)
    progress = tqdm(total=len(scenes) * len(entrants), desc="judging", disable=None)
    groups: dict[str, dict[str, list[Metric]]] = {}
    by_agent: dict[str, list[Played]] = {name: [] for name in entrants}
    owing = {group: [(s, stage.owed(s)) for s in drawn] for group, drawn in scenes.items()}
    for group in scenes:
        groups[group] = {}
        for name, factory in entrants.items():
            played = play_all(stage, owing[group], factory)
            groups[group][name] = figures(played, stage.split)
            by_agent[name] += played
            progress.update()
    decisions = decision_figures(by_agent[PLANNER], stage.split)
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
        by_exam=_by_exam(by_agent, stage.split),
        decisions=decisions,
        looks=looks(stage, panel.planner, stage.draw(REQUESTED, sizes.looks, rng), seed),
        margin=Threshold(value=panel.planner.least_margin, source="the planner's card"),
    )


def _by_exam(
    by_agent: Mapping[str, Sequence[Played]], split: str
) -> dict[str, dict[str, list[Metric]]]:
    """Return the figures of every agent for each exam that the images show."""
    found: dict[str, dict[str, list[Metric]]] = {}
    for agent, played in by_agent.items():
        exams: dict[str, list[Played]] = {}
        for one in played:
            if one.scene.shown is not None and one.scene.group in JUDGED:
                exams.setdefault(one.scene.shown.value, []).append(one)
        for exam, own in sorted(exams.items()):
            found.setdefault(exam, {})[agent] = figures(own, split)
    return found


def _plain(name: str, value: float, n: int, split: str) -> Metric:
    return Metric(name=name, value=round(value, 4), n=n, split=split)
