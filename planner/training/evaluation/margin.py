"""Calibration of a planner's margin on kept-aside wordings and images."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from planner.case import Case
from planner.policy import Action, Choice, Policy
from planner.rules import Rules
from planner.training.data.teacher import teach
from planner.training.evaluation.orders import fewest_orders
from planner.training.evaluation.risk import Calibration, Decided, calibrated
from planner.training.evaluation.scenarios import BARE, KEPT_ASIDE, KEPT_OTHER, Scene, Stage
from planner.vlm.policy import LlavaPolicy
from specialists.errors import TrainingError
from specialists.image import Image
from specialists.result import ClassifyResult

RUNS = (KEPT_ASIDE, KEPT_ASIDE, KEPT_ASIDE, KEPT_OTHER, BARE)
"""The runs on each image: with a wording for what it shows, for another exam, and without one."""


@dataclass(kw_only=True)
class Weighed:
    """A policy that notes at every decision of a scene whether planner and rules are right."""

    planner: LlavaPolicy
    rules: Policy
    scene: Scene
    found: list[Decided] = field(default_factory=list)
    sees: bool = True

    def __post_init__(self) -> None:
        self.ref = self.planner.ref

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Return the planner's choice, and note whether it and the rules are right."""
        choice = self.planner.choose(image, case, legal)
        right = teach(case, legal, self.scene.wish, self.scene.shown).acceptable
        ruled = legal.index(self.rules.choose(image, case, legal).action) in right
        if legal[0].slot == case.protocols.router.slot:
            ruled = _router_is_right(case, self.scene)
        self.found.append(
            Decided(
                picture=str(self.scene.row.wanted.path),
                wording=self.scene.request.question,
                margin=choice.margin or 0.0,
                right=legal.index(choice.action) in right,
                ruled_right=ruled,
            )
        )
        return choice


def calibrate_margin(
    stage: Stage, planner: LlavaPolicy, rules: Rules, share: float = 1.0, seed: int = 29
) -> Calibration:
    """Return the margin below which the rules should decide, with risk against coverage.

    The planner decides everything meanwhile: its own margin counts as 0 and is left as it was.
    First it is found out how few orders of the letters decide the same on part of the runs; the
    margin is calibrated with as many.

    Args:
        stage: the images that are kept aside for the margin.
        planner: the planner to calibrate.
        rules: those that decide below the margin.
        share: of the images that are used.
        seed: draws images and wordings.

    Raises:
        TrainingError: no image is kept aside whose exam is served.
    """
    before = planner.least_margin, planner.orders
    planner.least_margin = 0.0
    found: list[Decided] = []
    try:
        scenes = list(kept_scenes(stage, share, np.random.default_rng(seed)))
        orders = fewest_orders(planner, stage, scenes[:: len(RUNS) + 1])
        planner.orders = orders.chosen
        for scene in tqdm(scenes, desc="margin", disable=None):
            policy = Weighed(planner=planner, rules=rules, scene=scene, found=found)
            stage.play(scene, policy)
    finally:
        planner.least_margin, planner.orders = before
    if not found:
        raise TrainingError("No val image of a served exam is kept aside for the margin.")
    return calibrated(found).model_copy(update={"orders": orders})


def kept_scenes(stage: Stage, share: float, rng: np.random.Generator) -> Iterator[Scene]:
    """Yield `RUNS` for that share of the stage's images, in an order of their own."""
    served = stage.served()
    count = min(len(served), max(2, round(share * len(served))))
    for place in rng.permutation(len(served))[:count]:
        for group in RUNS:
            yield stage.scene(group, served[place], rng)


def _router_is_right(case: Case, scene: Scene) -> bool:
    result = scene.row.results.get(case.protocols.router.specialist)
    if not isinstance(result, ClassifyResult) or scene.shown is None:
        return scene.shown is None
    return max(result.scores, key=lambda label: result.scores[label]) == scene.shown.value
