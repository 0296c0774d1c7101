"""What `ustri evaluate planner` and `ustri train planner-margin` do.

A training ends with the same: the margin is calibrated on one part of the val images, and the
planner is judged on the other.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tomlkit
from pydantic import ValidationError

from planner.rules import Rules
from planner.training.config import PlannerConfig
from planner.training.data.survey import Survey, pixels_of
from planner.training.evaluation.agents import Sizes
from planner.training.evaluation.evaluation import Evaluation, Panel, evaluate
from planner.training.evaluation.halves import calibration_images, part_of
from planner.training.evaluation.margin import calibrate_margin
from planner.training.evaluation.risk import Calibration
from planner.training.evaluation.scenarios import Stage
from planner.training.ground import Ground, SurveyedBackbone, stand_on, survey_of
from planner.vlm.card import CARD, PlannerCard, read_card
from planner.vlm.load import Placement, load_planner
from planner.vlm.policy import LlavaPolicy
from specialists.errors import WeightsError
from specialists.image import image_of
from specialists.load import load_engine

TIMED_PASSES = 12
EVALUATION = "evaluation.json"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The planner to evaluate, and the folder in which surveys are kept.

    `other` is a planner to compare it with, such as an older one or one of another seed.
    """

    folder: Path
    kept: Path
    other: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Unseen:
    """The val images: all, those that calibrate a margin, and those that a planner is judged on."""

    ground: Ground
    whole: Survey
    aside: Survey
    judged: Survey

    def stage(self, survey: Survey) -> Stage:
        """Return a stage of those images."""
        return Stage(
            survey=survey,
            manifest=self.ground.manifest,
            protocols=self.ground.protocols,
            sampler=self.ground.sampler,
        )

    def planner(self, folder: Path, *, blind: bool = False) -> LlavaPolicy:
        """Return the planner in that folder, which sees the surveyed features."""
        backbone = SurveyedBackbone(self.ground, self.whole, blind=blind)
        return load_planner(folder, Placement(device="cpu"), backbone)


def read_unseen(ground: Ground, data: Path, kept: Path, config: PlannerConfig) -> Unseen:
    """Return the val images of the data with what the specialists answered, kept in `kept`.

    Raises:
        TrainingError: the data cannot be used.
    """
    whole = survey_of(ground, data, kept, "val", config)
    aside = calibration_images(data)
    return Unseen(
        ground=ground,
        whole=whole,
        aside=part_of(whole, aside, inside=True),
        judged=part_of(whole, aside, inside=False),
    )


def evaluate_planner(
    data: Path, judged: Judged, config: PlannerConfig, user_dir: Path | None = None
) -> Evaluation:
    """Return the figures of that planner on the judged part of the val split of `data`.

    Raises:
        TrainingError: the data cannot be used, or the router is not installed.
        WeightsError: weights are missing or altered, or the planner was trained on another
            backbone.
    """
    card = _card_of(judged.folder)
    if judged.other is not None:
        _card_of(judged.other)
    unseen = read_unseen(stand_on(user_dir), data, judged.kept, config)
    panel = _panel(unseen, judged)
    evaluation = evaluate(panel, Sizes.scaled(config.judged))
    return replace(evaluation, calibration=_kept_calibration(judged.folder, card))


def calibrate_planner(
    data: Path, judged: Judged, config: PlannerConfig, user_dir: Path | None = None
) -> tuple[PlannerCard, Evaluation]:
    """Calibrate the margin of a trained planner anew, judge it with that, and write its card.

    Raises:
        TrainingError: the data cannot be used, or the router is not installed.
        WeightsError: weights are missing or altered, or the planner was trained on another
            backbone.
    """
    card = _card_of(judged.folder)
    unseen = read_unseen(stand_on(user_dir), data, judged.kept, config)
    return settle(judged.folder, card, unseen, config.judged)


def settle(
    folder: Path, card: PlannerCard, unseen: Unseen, share: float
) -> tuple[PlannerCard, Evaluation]:
    """Calibrate the margin of the planner in the folder and judge it; return card and figures.

    Card and figures are written beside the weights.

    Raises:
        TrainingError: no image is kept aside for the margin.
    """
    write_card(folder, card)
    calibration = calibrate_margin(
        unseen.stage(unseen.aside), unseen.planner(folder), Rules(unseen.ground.protocols), share
    )
    orders = None if calibration.orders is None else calibration.orders.chosen
    card = card.model_copy(update={"margin": calibration.margin, "orders": orders})
    write_card(folder, card)
    panel = _panel(unseen, Judged(folder=folder, kept=folder))
    evaluation = replace(evaluate(panel, Sizes.scaled(share)), calibration=calibration)
    card = card.model_copy(
        update={
            "not_worse_than_rules": evaluation.not_worse_than_rules,
            "metrics": evaluation.headline,
        }
    )
    write_card(folder, card)
    (folder / EVALUATION).write_text(evaluation.as_json(), encoding="utf-8")
    return card, evaluation


def write_card(folder: Path, card: PlannerCard) -> None:
    """Write the card to `planner.toml`."""
    stated = card.model_dump(mode="json", exclude_none=True)
    (folder / CARD).write_text(tomlkit.dumps(stated), encoding="utf-8")


def _card_of(folder: Path) -> PlannerCard:
    card = read_card(folder)
    if card is None:
        raise WeightsError(f"There is no planner of ours in {folder}: {CARD} is missing.")
    return card


def _kept_calibration(folder: Path, card: PlannerCard) -> Calibration | None:
    """Return how the card's margin was chosen, as the figures beside it tell; None if unknown."""
    try:
        said = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
        found = Calibration.model_validate(said["calibration"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None
    return found if found.margin == card.margin else None


def _panel(unseen: Unseen, judged: Judged) -> Panel:
    """Return the planner, its blind twin and the other one, on the stage of the judged images."""
    return Panel(
        stage=unseen.stage(unseen.judged),
        planner=unseen.planner(judged.folder),
        blind=unseen.planner(judged.folder, blind=True),
        rules=Rules(unseen.ground.protocols),
        backbone_ms=_backbone_ms(unseen.ground, unseen.whole),
        other=None if judged.other is None else unseen.planner(judged.other),
    )


def _backbone_ms(ground: Ground, unseen: Survey) -> float:
    """Return the median time in ms of one pass of the backbone on this machine."""
    engine = load_engine(ground.manifest, "cpu")
    model = engine.manifest.models[ground.eyes.tower.model]
    times = []
    for row in unseen.rows[:TIMED_PASSES]:
        image = image_of(pixels_of(row.wanted))
        started = time.perf_counter()
        engine.encode(image, model)
        times.append((time.perf_counter() - started) * 1000)
    return float(np.median(times))
