"""Burnt-in marks: found where they are drawn, filled in, and drawn on another image."""

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageDraw, ImageFont

from specialists.phantom.draw import draw
from specialists.training.trials.arms import Estimate
from specialists.training.trials.caliper_marks import Grey, marks, pasted, without
from specialists.training.trials.calipers import SCORE, CaliperTrial, Shift


@pytest.fixture(scope="module")
def plain() -> Grey:
    return draw("breast", seed=3, height_px=300, width_px=400).pixels


@pytest.fixture(scope="module")
def marked(plain: Grey) -> Grey:
    page = PILImage.fromarray(plain)
    pen = ImageDraw.Draw(page)
    for x, y in ((150, 120), (230, 180)):
        pen.line((x - 6, y, x + 6, y), fill=235)
        pen.line((x, y - 6, x, y + 6), fill=235)
    pen.text((40, 250), "RT AXILLA", fill=240, font=ImageFont.load_default(14))
    return np.asarray(page)


def test_crosses_and_letters_are_found_and_little_else(plain: Grey, marked: Grey) -> None:
    found, drawn = marks(marked), marked != plain
    assert (found & drawn).sum() > 0.8 * drawn.sum()
    assert found[114:127, 144:157].any()
    assert found[250:264, 40:120].any()
    assert marks(plain).mean() < 0.005


def test_filled_in_marks_are_gone_and_the_rest_is_untouched(marked: Grey) -> None:
    where = marks(marked)
    filled = without(marked, where)
    assert (filled[~where] == marked[~where]).all()
    assert marks(filled).sum() < 0.1 * where.sum()


def test_an_image_without_marks_stays_as_it_is(plain: Grey) -> None:
    nothing = np.zeros(plain.shape, np.bool_)
    assert without(plain, nothing) is plain


def test_marks_are_drawn_where_they_were_on_an_image_of_another_size(marked: Grey) -> None:
    where = marks(marked)
    other = np.full((260, 500), 40, np.uint8)
    drawn = pasted(other, marked, where)
    rows, columns = np.nonzero(drawn > 200)
    assert len(rows) > 30
    assert columns.min() / 500 < 0.3
    assert (pasted(np.full((40, 30), 40, np.uint8), marked, where) >= 40).all()


@pytest.mark.parametrize(
    ("name", "low", "high", "leans"),
    [
        (SCORE, 0.01, 0.05, True),
        (SCORE, -0.01, 0.05, False),
        ("AUC", -0.05, -0.01, True),
        ("AUC", 0.01, 0.05, False),  # better without marks is no leaning on them
    ],
)
def test_the_verdict_follows_the_intervals(name: str, low: float, high: float, leans: bool) -> None:
    apart = Estimate(value=(low + high) / 2, low=low, high=high)
    shift = Shift(specialist="x", change="y", n=9, figures={}, differences={name: apart})
    assert CaliperTrial(marked={}, shifts=(shift,)).leans is leans
