"""Risk against coverage of a planner, and the least margin that keeps a stated risk.

The risk is the share of wrong decisions among those that the planner takes itself. Decisions of one
image, and those of one wording, depend on each other, so that each image and each wording counts
as one observation: the share of its decisions that are wrong. The upper bound of their mean is that
of Waudby-Smith and Ramdas (2024, JRSS-B 86:1, "Estimating means of bounded random variables by
betting"), as used for risk control by Bates et al. (2021, "Distribution-free, risk-controlling
prediction sets"). Margins are tested from the highest down, and the testing ends with the first
that fails (fixed-sequence testing, as in Angelopoulos et al. 2021, "Learn then Test"), so that the
confidence holds for the margin that is chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from planner.training.evaluation.orders import Orders
from specialists.manifest import Threshold

Array = npt.NDArray[np.float64]

TARGET = 0.01
"""The risk that is asked for."""
CONFIDENCE = 0.95
MARGINS = (*(round(0.05 * n, 2) for n in range(20)), 0.96, 0.97, 0.98, 0.99, 0.995, 0.999)
FEWEST = 299
"""Images, and wordings, with which no error at all shows a risk below the target: 0.99²⁹⁹ < 0.05.

A margin that leaves fewer is not tested; how many there are does not depend on what is right.
"""
HALVINGS = 30


@dataclass(frozen=True, kw_only=True)
class Decided:
    """One unforced decision of a planner without a margin, beside that of the rules.

    `wording` is None where nothing was asked.
    """

    picture: str
    wording: str | None
    margin: float
    right: bool
    ruled_right: bool


class Risk(BaseModel):
    """What a margin leaves to the planner, and how often that is wrong.

    `coverage` is the share of unforced decisions that the planner takes. `error` is the share of
    these that is wrong, each image counted once, and `error_by_wording` the same with each wording
    counted once. `bound` is the larger of the two upper bounds. `right` is the share of all
    unforced decisions that are right with the rules below the margin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: float
    coverage: float
    error: float
    error_by_wording: float
    bound: float
    right: float
    images: int
    wordings: int

    @property
    def testable(self) -> bool:
        """Whether there are enough images and wordings to show the target."""
        return min(self.images, self.wordings) >= FEWEST


class Calibration(BaseModel):
    """The margin that was chosen, and risk against coverage over all margins.

    `holds` says whether the margin's bound is at most `target`, `orders` over how many orders of
    the letters the decisions were taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    margin: Threshold
    target: float
    confidence: float
    holds: bool
    decisions: int
    curve: tuple[Risk, ...]
    orders: Orders | None = None


def calibrated(decisions: Sequence[Decided], target: float = TARGET) -> Calibration:
    """Return the least margin whose risk is at most `target`, with the stated confidence.

    Where no margin keeps it, it is the one with the lowest bound, the higher one of two equals, and
    its source says so.

    Raises:
        ValueError: there are no decisions.
    """
    if not decisions:
        raise ValueError("There are no decisions to calibrate a margin on.")
    curve = tuple(_risk_at(margin, decisions) for margin in MARGINS)
    best: Risk | None = None
    for risk in reversed([risk for risk in curve if risk.testable]):
        if risk.bound > target:
            break
        best = risk
    chosen = best or _best_bound(curve)
    return Calibration(
        margin=Threshold(value=chosen.margin, source=_source(chosen, target, holds=bool(best))),
        target=target,
        confidence=CONFIDENCE,
        holds=best is not None,
        decisions=len(decisions),
        curve=curve,
    )


def upper_bound(losses: Array, confidence: float = CONFIDENCE) -> float:
    """Return the upper confidence bound of the mean of losses.

    Args:
        losses: (N,) independent observations in [0, 1]; without any, the bound is 1.
        confidence: of the one-sided bound.
    """
    order = np.random.default_rng(0).permutation(len(losses))
    found = losses[order]
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _is_excluded(found, middle, 1 - confidence):
            high = middle
        else:
            low = middle
    return high


def _is_excluded(losses: Array, mean: float, level: float) -> bool:
    """Return whether bets against a mean of at least `mean` multiply the stake by 1 / `level`.

    A bet on each observation depends on those before it, and never loses more than the stake.
    """
    count = np.arange(1, len(losses) + 1)
    centre = (0.5 + np.cumsum(losses)) / (count + 1)
    spread = (0.25 + np.cumsum((losses - centre) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], spread[:-1]])
    bets = np.minimum(1.0, np.sqrt(2 * np.log(1 / level) / (max(len(losses), 1) * before)))
    stake = np.cumprod(1 - bets * (losses - mean))
    return bool((stake > 1 / level).any())


def _risk_at(margin: float, decisions: Sequence[Decided]) -> Risk:
    own = [decision for decision in decisions if decision.margin >= margin]
    by_image = _losses(own, lambda decision: decision.picture)
    by_wording = _losses(own, lambda decision: decision.wording)
    right = [d.right if d.margin >= margin else d.ruled_right for d in decisions]
    return Risk(
        margin=margin,
        coverage=round(len(own) / len(decisions), 4),
        error=_mean(by_image),
        error_by_wording=_mean(by_wording),
        bound=round(max(upper_bound(by_image), upper_bound(by_wording)), 4),
        right=round(sum(right) / len(decisions), 4),
        images=len(by_image),
        wordings=len(by_wording),
    )


def _losses(own: Sequence[Decided], group: Callable[[Decided], str | None]) -> Array:
    """Return the share of wrong decisions of each group, without those of no group."""
    wrong: dict[str, list[bool]] = {}
    for decision in own:
        if (name := group(decision)) is not None:
            wrong.setdefault(name, []).append(not decision.right)
    return np.array([np.mean(found) for found in wrong.values()], dtype=np.float64)


def _mean(losses: Array) -> float:
    return round(float(losses.mean()), 4) if len(losses) else 0.0


def _best_bound(curve: Sequence[Risk]) -> Risk:
    """Return the margin with the lowest bound; of equals, the highest that leaves a decision."""
    deciding = [risk for risk in curve if risk.images] or list(curve)
    return min(deciding, key=lambda risk: (risk.bound, -risk.margin))


def _source(chosen: Risk, target: float, *, holds: bool) -> str:
    said = (
        f"on {chosen.images} val images and {chosen.wordings} wordings that nothing was taught or "
        f"judged on, the planner decides {chosen.coverage:.1%} of the unforced steps with it, and "
        f"{chosen.error:.2%} of these are wrong (upper bound {chosen.bound:.2%} with "
        f"{CONFIDENCE:.0%} confidence, by image and by wording)"
    )
    if holds:
        return f"{said}: the least margin whose bound is at most {target:.0%}"
    return f"{said}: no margin has a bound of at most {target:.0%}, and this has the lowest"
