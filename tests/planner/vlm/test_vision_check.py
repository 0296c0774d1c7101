"""Whether a planner looks at the image: drawn images, another exam's, and noise."""

from collections.abc import Callable

import pytest

from planner.vlm.policy import Scores
from planner.vlm.prompt import Turn
from planner.vlm.vision_check import REQUESTS, looks
from specialists.image import Image


class Planner:
    """Chooses what it is told by its rule, as clearly as it is told."""

    def __init__(self, rule: Callable[[Image, Turn], str], margin: float = 0.9) -> None:
        self.least_margin = 0.2
        self.rule = rule
        self.margin = margin

    def scores(self, image: Image, turn: Turn) -> Scores:
        best = self.rule(image, turn)
        assert best in turn.legal
        return Scores(
            by_label={label: float(label == best) for label in turn.legal}, margin=self.margin
        )


def by_the_corners(image: Image, turn: Turn) -> str:
    """Tell views apart by brightness: a sector has black corners, a linear field has none.

    Noise is bright everywhere.
    """
    pixels = image.pixels
    if pixels.mean() > 110:
        return "exam_cls"
    return "exam_cls@intrapartum" if pixels[-40:, :40].mean() < 1 else "exam_cls@breast"


def by_the_request(image: Image, turn: Turn) -> str:
    return "exam_cls@intrapartum" if "progression" in (turn.question or "") else "exam_cls@breast"


def by_the_bytes(image: Image, turn: Turn) -> str:
    return turn.legal[int(image.key[:8], 16) % len(turn.legal)]


def test_a_planner_that_follows_the_image_passes() -> None:
    verdict = looks(Planner(by_the_corners))
    assert (verdict.changed, verdict.kept, verdict.unsure) == (1, 1, 0)
    assert verdict.passed
    assert verdict.comparisons == len(REQUESTS) * 2 * 4
    assert "looks at the image" in verdict.sentence


@pytest.mark.parametrize("rule", [by_the_request, by_the_bytes])
def test_a_planner_that_follows_the_request_or_any_image_fails(
    rule: Callable[[Image, Turn], str],
) -> None:
    verdict = looks(Planner(rule))
    assert not verdict.passed
    assert "does not follow the image" in verdict.sentence


def test_a_planner_that_is_never_sure_fails() -> None:
    verdict = looks(Planner(by_the_corners, margin=0.1))
    assert (verdict.passed, verdict.unsure) == (False, 1)
