"""Numbers end where their interval says, and their minus is a minus."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reports.precision import (
    MINUS,
    TWO_DIGITS_UP_TO,
    decimals,
    interval_text,
    rounded,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "interval", "unit", "text", "ends"),
    [
        (175.38, (171.0, 180.2), "mm", "175 mm", "171 to 180 mm"),
        (35.2, (9.3, 96.4), "mm²", "40 mm²", "10 to 100 mm²"),
        (116.32, (107.5, 124.9), "deg", "116°", "108 to 125°"),
        (18.73, (17.9, 19.52), "mm", "18.7 mm", "17.9 to 19.5 mm"),
        (0.853, (0.70, 1.02), "1", "0.85", "0.70 to 1.02"),
        (0.853, (0.35, 1.35), "1", "0.9", "0.4 to 1.4"),
        (1.25, (-0.4, 3.3), "cm", "1.2 cm", f"{MINUS}0.4 to 3.3 cm"),
        (812.0, (795.7, 830.1), "px", "812 px", "796 to 830 px"),
        (812.0, (10.0, 2900.0), "px²", "800 px²", "0 to 2900 px²"),
        (78.31, (76.2, 80.5), "%", "78.3 %", "76.2 to 80.5 %"),
        (19.857, (18.6, 21.1), "wk", "19w6d", "18w4d to 21w1d"),
    ],
)
def test_no_digit_goes_beyond_the_intervals_own(
    value: float, interval: tuple[float, float], unit: str, text: str, ends: str
) -> None:
    assert value_text(value, unit, interval) == text
    assert interval_text(interval, unit) == ends


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (21.44, "mm", "21.4 mm"),
        (21.44, "px", "21 px"),
        (0.666, "1", "0.67"),
        (0.666, None, "0.67"),
        (-7.25, "deg", f"{MINUS}7.2°"),
        (-0.04, "mm", "0.0 mm"),
    ],
)
def test_without_an_interval_the_unit_says_how_many_digits(
    value: float, unit: str | None, text: str
) -> None:
    assert value_text(value, unit) == text


def test_an_interval_of_no_width_says_nothing_about_digits() -> None:
    assert value_text(21.44, "mm", (21.44, 21.44)) == "21.4 mm"


@given(st.floats(-1e5, 1e5), st.integers(-3, 3))
def test_rounding_is_within_half_a_last_digit_and_has_no_hyphen(value: float, places: int) -> None:
    text = rounded(value, places)
    assert "-" not in text
    assert text not in {f"{MINUS}0", f"{MINUS}0.0"}
    assert abs(float(text.replace(MINUS, "-")) - value) <= 0.5 * 10.0**-places * (1 + 1e-9)


@example(3334.0, 0.0)
@given(st.floats(1e-3, 1e4), st.floats(-100, 100))
def test_the_last_digit_is_finer_than_the_half_width_but_not_by_much(
    half: float, middle: float
) -> None:
    places = decimals((middle - half, middle + half), "none of the table")
    if places < 1:  # not bounded by the unit
        finest = 10 / TWO_DIGITS_UP_TO  # two digits of a half-width up to 355
        assert finest * half <= 10.0**-places <= 1.06 * 2 * half
