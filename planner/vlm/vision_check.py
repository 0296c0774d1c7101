"""A test of whether a planner uses the image.

Its first choice must follow what is drawn, whatever the request says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from planner.protocols import read_protocols
from planner.vlm.policy import Scores
from planner.vlm.prompt import NOTHING_YET, Turn
from reports.model import ExamCode
from specialists.image import Image, image_of
from specialists.phantom.draw import draw

LEAST_CHANGED = 0.9
"""The share of noise and other exams that must change or withhold the plan.

The full evaluation requires 0.95 over hundreds of images, of which these few drawings are a short
form.
"""

LEAST_KEPT = 0.75
"""The share of other images of the same exam that must leave the plan as it is."""

EDITION = 2
"""The edition of this test; a verdict of another edition is not trusted."""

REQUESTS = (None, "is there a lesion?", "angle of progression please")
SIZE_PX = (300, 400)
NOISES = 2

Picture = Literal["breast", "intrapartum", "noise"]


class Sighted(Protocol):
    """A planner that returns its scores."""

    @property
    def least_margin(self) -> float:
        """The margin below which the planner does not decide."""

    def scores(self, image: Image, turn: Turn) -> Scores:
        """Return the probability of every legal action of `turn`."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How the plan followed the image, as shares.

    `changed` is the share of comparisons with noise or another exam in which the plan changed or
    was withheld, `kept` the share with another image of the same exam in which it stayed, and
    `unsure` the share of plans withheld for the drawn exam itself.
    """

    changed: float
    kept: float
    unsure: float
    comparisons: int

    @property
    def passed(self) -> bool:
        """Whether the planner uses the image."""
        return self.changed >= LEAST_CHANGED and self.kept >= LEAST_KEPT

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        verdict = "looks at the image" if self.passed else "does not follow the image"
        return (
            f"The planner {verdict}: noise or another exam changed or withheld the plan "
            f"in {self.changed:.0%} of {self.comparisons} comparisons "
            f"(asked for: {LEAST_CHANGED:.0%}), another image of the same exam "
            f"left it in {self.kept:.0%} ({LEAST_KEPT:.0%}); "
            f"it was not sure at first in {self.unsure:.0%}."
        )


def looks(planner: Sighted, exams: Iterable[ExamCode] = ExamCode) -> Verdict:
    """Return the verdict over drawn images, noise and three requests.

    One of the requests fits each drawn exam.

    Args:
        planner: the planner whose first choice is tested.
        exams: those that the router distinguishes, of which the planner may expect each.

    Raises:
        PlannerFailed: a score is not finite.
        Declined: the planner cannot read an image.
    """
    pictures = {"breast": _drawn("breast"), "intrapartum": _drawn("intrapartum"), "noise": _noise()}
    changed: list[bool] = []
    kept: list[bool] = []
    unsure: list[bool] = []
    router = read_protocols().router.specialist
    legal = (router, *(f"{router}@{exam.value}" for exam in exams))
    for request in REQUESTS:
        turn = Turn(request_exam=None, question=request, state=NOTHING_YET, legal=legal)
        chosen = {
            kind: [_decision(planner, image, turn) for image in images]
            for kind, images in pictures.items()
        }
        for home in ("breast", "intrapartum"):
            first, other = chosen[home]
            away = [choice for kind in chosen if kind != home for choice in chosen[kind]]
            unsure.append(first is None)
            kept.append(first is not None and other == first)
            changed += [first is not None and choice != first for choice in away]
    return Verdict(
        changed=_share(changed),
        kept=_share(kept),
        unsure=_share(unsure),
        comparisons=len(changed),
    )


def _decision(planner: Sighted, image: Image, turn: Turn) -> str | None:
    """Return the planner's choice; None if it withholds one."""
    scores = planner.scores(image, turn)
    return scores.best if scores.margin >= planner.least_margin else None


def _drawn(kind: Literal["breast", "intrapartum"]) -> list[Image]:
    height_px, width_px = SIZE_PX
    return [
        image_of(draw(kind, seed=seed, height_px=height_px, width_px=width_px).pixels)
        for seed in (1, 2)
    ]


def _noise() -> list[Image]:
    rng = np.random.default_rng(0)
    return [image_of(rng.integers(0, 256, SIZE_PX, dtype=np.uint8)) for _ in range(NOISES)]


def _share(answers: Iterable[bool]) -> float:
    listed = list(answers)
    return sum(listed) / len(listed)
