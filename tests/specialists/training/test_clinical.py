"""Clinical errors are those of constructed heads, angles and muscles whose truth is known."""

import math
from pathlib import Path

import numpy as np
import pytest

from specialists.manifest import SpecialistEntry
from specialists.training.data.tables import Row
from specialists.training.evaluation.clinical import (
    Agreement,
    Marks,
    Masks,
    agreements_of_marks,
    agreements_of_masks,
    circumference_mm,
    progression_deg,
)
from specialists.training.evaluation.evaluate import figures_of, limits_of
from tests.specialists.ellipses import axis_ends, ellipse_mask, perimeter
from tests.specialists.nets import an_entry

NO_POINTS = np.full((3, 2), np.nan)


def entry(task: str) -> SpecialistEntry:
    return an_entry(task, Path())


def values(agreement: Agreement) -> dict[str, float]:
    """The figures of an agreement over all of its images."""
    return {f.name: f.statistic(np.arange(len(f.rows))) for f in figures_of(agreement)}


@pytest.mark.parametrize(("long", "short", "deg"), [(40, 30, 0), (50, 32, 25), (33, 33, 0)])
@pytest.mark.parametrize("mm_per_px", [0.2, 1.5])
def test_the_circumference_of_a_mask_is_that_of_its_ellipse(
    long: float, short: float, deg: float, mm_per_px: float
) -> None:
    mask = ellipse_mask(long, short, deg) == 1
    expected = perimeter(long, short) * mm_per_px
    assert circumference_mm(mask, (mm_per_px, mm_per_px)) == pytest.approx(expected, rel=0.003)


def test_the_largest_outline_is_the_head_and_an_empty_mask_has_no_size() -> None:
    mask = ellipse_mask(30, 25, 0) == 1
    alone = circumference_mm(mask, (1.0, 1.0))
    mask[2:8, 2:8] = True
    assert circumference_mm(mask, (1.0, 1.0)) == alone
    assert math.isnan(circumference_mm(np.zeros_like(mask), (1.0, 1.0)))
    assert math.isnan(circumference_mm(mask, (math.nan, math.nan)))


def test_head_errors_are_in_mm_against_the_column_and_against_the_label_mask() -> None:
    truths = [ellipse_mask(40, 30, 10), ellipse_mask(44, 34, 50)]
    guesses = [ellipse_mask(44, 33, 10), ellipse_mask(40, 30, 50)]
    rows: list[Row] = [
        {"mm_per_px": 0.5, "hc_mm": perimeter(40, 30) * 0.5 + 3},
        {"mm_per_px": 2.0, "hc_mm": perimeter(44, 34) * 2.0},
    ]
    stated, drawn = agreements_of_masks(
        entry("fetal_head"), Masks(rows=rows, guesses=guesses, truths=truths)
    )
    first = (perimeter(44, 33) - perimeter(40, 30)) * 0.5
    second = (perimeter(40, 30) - perimeter(44, 34)) * 2.0
    assert values(drawn) == {
        "hc error mm (against the label mask)": pytest.approx((first - second) / 2, abs=0.3),
        "hc bias mm (against the label mask)": pytest.approx((first + second) / 2, abs=0.3),
    }
    assert values(stated) == {
        "hc error mm (against hc_mm)": pytest.approx((first - 3 - second) / 2, abs=0.6),
        "hc bias mm (against hc_mm)": pytest.approx((first - 3 + second) / 2, abs=0.6),
    }


def test_a_head_without_a_mask_is_wrong_by_its_whole_size_and_in_no_bias() -> None:
    truth = ellipse_mask(40, 30, 0)
    rows: list[Row] = [{"mm_per_px": 1.0, "hc_mm": 200.0}] * 3
    guesses = [None, np.zeros_like(truth), truth]
    stated, _ = agreements_of_masks(
        entry("fetal_head"), Masks(rows=rows, guesses=guesses, truths=[truth] * 3)
    )
    left = perimeter(40, 30) - 200
    found = values(stated)
    assert found["hc error mm (against hc_mm)"] == pytest.approx((400 + left) / 3, abs=0.3)
    assert found["hc bias mm (against hc_mm)"] == pytest.approx(left, abs=0.6)


def test_heads_of_unknown_spacing_have_no_error_in_mm() -> None:
    truth = ellipse_mask(40, 30, 0)
    rows: list[Row] = [{"hc_mm": 200.0, "mm_per_px": math.nan}, {}]
    masks = Masks(rows=rows, guesses=[truth] * 2, truths=[truth] * 2)
    assert agreements_of_masks(entry("fetal_head"), masks) == []


def test_diameters_are_the_distances_between_axis_ends_in_mm() -> None:
    truths = [np.array(axis_ends(40, 30, 10)), np.array(axis_ends(44, 34, 50))]
    guesses = [np.array(axis_ends(41, 28, 200)), np.full((4, 2), np.nan)]
    rows: list[Row] = [{"mm_per_px": 0.5}, {"mm_per_px": 2.0}]
    marks = Marks(rows=rows, guesses=guesses, truths=truths, heights_px=[120, 120])
    found: dict[str, float] = {}
    for agreement in agreements_of_marks(entry("fetal_head_axes"), marks):
        found |= values(agreement)
    assert found == pytest.approx(
        {
            "ofd error mm": (1 + 88 * 2) / 2,  # the second head was not found: all of it
            "ofd bias mm": 1.0,
            "bpd error mm": (2 + 68 * 2) / 2,
            "bpd bias mm": -2.0,
        },
        abs=1e-4,
    )


def marked(*degrees: float) -> list[np.ndarray]:
    """Landmarks of angles of progression about one inferior end; the symphysis lies level."""
    near = np.array([80.0, 40.0])
    found = []
    for deg in degrees:
        turn = math.radians(180 + deg)  # from pointing left, by left, down, right on the screen
        tangent = near + 30 * np.array([math.cos(turn), -math.sin(turn)])
        found.append(np.stack([near - (40, 0), near, tangent]))
    return found


def test_angles_above_a_half_turn_and_across_the_full_one_are_as_far_apart_as_they_look() -> None:
    stated = [120.0, 190.0, 5.0, 100.0]
    rows: list[Row] = [{"aop_deg": value} for value in stated]
    marks = Marks(
        rows=rows,
        guesses=[*marked(110, 204, 355), NO_POINTS],
        truths=marked(*stated),
        heights_px=[1] * 4,
    )
    (agreement,) = agreements_of_marks(entry("aop_landmarks"), marks)
    assert agreement.differences[:3] == pytest.approx([-10, 14, -10])
    assert agreement.errors == pytest.approx([10, 14, 10, 180])  # a missing one: half a turn
    assert values(agreement) == pytest.approx(
        {
            "aop error deg": 53.5,
            "aop error, 95th percentile, deg": float(np.percentile([10, 14, 10, 180], 95)),
            "aop bias deg": -2.0,
        }
    )


def test_an_angle_is_compared_in_the_pixels_that_its_label_was_taken_in() -> None:
    squash = (1.0, 0.6)
    points = marked(120)[0] * squash
    stated = math.degrees(math.atan2(0.6 * math.sin(math.radians(60)), math.cos(math.radians(60))))
    rows: list[Row] = [{"aop_deg": 180 - stated, "source_width": 256, "source_height": 427}]
    marks = Marks(rows=rows, guesses=[points], truths=[points], heights_px=[256])
    (agreement,) = agreements_of_marks(entry("aop_landmarks"), marks)
    assert agreement.errors == pytest.approx([0], abs=1e-6)


def test_an_angle_is_of_the_tissue_where_a_row_states_the_aspect_of_its_pixels() -> None:
    squash = (1.0, 1 / 1.2)  # pixels 1.2 times as high as wide
    points = marked(120)[0] * squash
    rows: list[Row] = [{"aop_deg": 120.0, "pixel_aspect": 1.2}, {"pixel_aspect": 1.2}]
    marks = Marks(rows=rows, guesses=[points] * 2, truths=[points] * 2, heights_px=[256] * 2)
    (agreement,) = agreements_of_marks(entry("aop_landmarks"), marks)
    assert agreement.measured == pytest.approx([120, 120])
    assert agreement.errors == pytest.approx([0, 0], abs=1e-6)


def test_an_angle_of_masks_is_of_the_tissue_too() -> None:
    labels = entry("head_symphysis_multi").labels
    angles = []
    for aspect in (1.0, 0.8, 1.2):
        y, x = np.mgrid[: round(240 / aspect), :320] + 0.5
        mask = np.zeros(x.shape, np.uint8)
        across, down = x - 80, y * aspect - 60
        mask[(across / 48) ** 2 + (down / 12) ** 2 <= 1] = labels.index("pubic symphysis")
        mask[(x - 180) ** 2 + (y * aspect - 160) ** 2 <= 60**2] = labels.index("fetal head")
        angles.append(progression_deg(mask, labels, aspect))
    assert angles == pytest.approx([angles[0]] * 3, abs=1.0)
    assert progression_deg(mask, labels) != pytest.approx(angles[0], abs=3.0)


def test_angles_are_measured_in_masks_too() -> None:
    labels = entry("head_symphysis_multi").labels
    y, x = np.mgrid[:120, :160] + 0.5
    first = np.zeros((120, 160), np.uint8)
    first[((x - 40) / 24) ** 2 + ((y - 30) / 6) ** 2 <= 1] = labels.index("pubic symphysis")
    second = first.copy()
    first[((x - 90) / 30) ** 2 + ((y - 80) / 30) ** 2 <= 1] = labels.index("fetal head")
    second[((x - 110) / 30) ** 2 + ((y - 80) / 30) ** 2 <= 1] = labels.index("fetal head")
    # the tangent from (64, 30) to a circle: its centre's direction and asin(r / d) beyond it
    expected = []
    for centre in (90, 110):
        dx, dy = centre - 64, 50
        away = math.degrees(math.atan2(dy, dx)) - math.degrees(math.asin(30 / math.hypot(dx, dy)))
        expected.append(180 - away)
    measured = [progression_deg(mask, labels) for mask in (first, second)]
    assert measured == pytest.approx(expected, abs=1.5)
    assert math.isnan(progression_deg(np.where(first == 1, first, 0), labels))
    rows: list[Row] = [{"aop_deg": expected[0]}]
    stated, drawn = agreements_of_masks(
        entry("head_symphysis_multi"), Masks(rows=rows, guesses=[second], truths=[first])
    )
    assert drawn.differences == pytest.approx([measured[1] - measured[0]])
    assert stated.differences == pytest.approx([measured[1] - expected[0]])


def test_thickness_is_compared_with_the_observers_mean_at_source_scale() -> None:
    rows: list[Row] = [
        {
            "source_height": 300,
            "source_width": 50,  # squashed: only the rows count
            **{f"thickness_px_obs{n}": value for n, value in ((1, 40), (2, 44), (3, math.nan))},
        },
        {"source_height": 200, "source_width": 200},
    ]
    truths = [np.array([[5.0, 10.0], [5.0, 90.0]]), np.array([[5.0, 10.0], [5.0, 60.0]])]
    guesses = [np.array([[5.0, 11.0], [9.0, 55.0]]), np.array([[5.0, 10.0], [5.0, 57.0]])]
    marks = Marks(rows=rows, guesses=guesses, truths=truths, heights_px=[100, 200])
    (agreement,) = agreements_of_marks(entry("muscle_thickness"), marks)
    assert agreement.truth == pytest.approx([42 * 3, 50])
    assert agreement.errors == pytest.approx([(44 - 42) * 3, 3])


def test_limits_of_agreement_are_bias_and_1_96_deviations_with_their_intervals() -> None:
    rng = np.random.default_rng(0)
    truth, differences = rng.uniform(100, 300, 40), rng.normal(1, 3, 40)
    rows: list[Row] = [{"image_path": f"{n}.png"} for n in range(41)]
    agreement = Agreement(
        name="head circumference",
        short="hc",
        unit="mm",
        source="",
        rows=np.arange(1, 41),
        measured=truth + differences,
        truth=truth,
    )
    bias, lower, upper = limits_of(agreement, rows)
    half = 1.96 * differences.std(ddof=1)
    middle = differences.mean()
    assert [m.value for m in (bias, lower, upper)] == pytest.approx(
        [middle, middle - half, middle + half], abs=1e-3
    )
    for metric in (bias, lower, upper):
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low < metric.value < metric.high
