"""How few orders of the letters decide what all of them decide together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from planner.case import Case
from planner.policy import Action, Choice
from planner.training.evaluation.scenarios import Scene, Stage
from planner.vlm.policy import LlavaPolicy
from specialists.image import Image

FEWER = (1, 2, 3, 4)
"""The numbers of orders that are compared with all of them."""
EQUAL = 0.999
"""Share of decisions that must be the same with fewer orders."""


class Orders(BaseModel):
    """The number of orders that was chosen, None for all, and how often each decides the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chosen: int | None
    decisions: int
    agreement: dict[int, float]


@dataclass(kw_only=True)
class _Compared:
    """A planner with all orders whose every choice is made again with fewer."""

    planner: LlavaPolicy
    same: dict[int, list[bool]] = field(default_factory=lambda: {count: [] for count in FEWER})
    sees: bool = True

    def __post_init__(self) -> None:
        self.ref = self.planner.ref

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        """Return the choice over all orders, and note which fewer orders agree."""
        self.planner.orders = None
        choice = self.planner.choose(image, case, legal)
        for count in FEWER:
            self.planner.orders = count
            again = self.planner.choose(image, case, legal)
            self.same[count].append(again.action == choice.action)
        return choice


def fewest_orders(planner: LlavaPolicy, stage: Stage, scenes: Sequence[Scene]) -> Orders:
    """Return the fewest orders that decide the same in `EQUAL` of the decisions of those scenes.

    The planner should decide everything meanwhile. Its own number of orders is left as it was.
    """
    before = planner.orders
    compared = _Compared(planner=planner)
    try:
        for scene in tqdm(scenes, desc="orders", disable=None):
            stage.play(scene, compared)
    finally:
        planner.orders = before
    decisions = len(compared.same[FEWER[0]])
    shares = {count: sum(same) / max(len(same), 1) for count, same in compared.same.items()}
    equal = [count for count, share in shares.items() if decisions and share >= EQUAL]
    return Orders(
        chosen=min(equal, default=None),
        decisions=decisions,
        agreement={count: round(share, 4) for count, share in shares.items()},
    )
