from dataclasses import replace

import pytest

from planner.protocols import Answer, read_protocols
from reports.measure.formulas import BESIDES, MEASUREMENTS
from reports.measure.gestation import age_interval
from reports.measure.head import GESTATIONAL_AGE, HC, MASK, gestational_age_weeks, head_numbers
from reports.measure.intervals import (
    LARGEST_ONLY,
    NO_INTERVAL,
    NOT_CALIBRATED,
    Calibrated,
    Form,
    Interval,
    NoInterval,
    caveat,
    why_no_interval,
)
from reports.measure.numbers import Number, Seen, assemble
from reports.model import Measurement
from reports.wording import word
from tests.builders import (
    a_calibrated_image_info,
    a_finding,
    a_measurement,
    a_report,
    an_ellipse,
    an_image_info,
)
from tests.reports.measure.test_head import a_mask

HEAD = a_mask(an_ellipse((320, 240), (110, 90), points=180))
TEN_PERCENT = Interval(form=Form.RELATIVE, low=-0.1, high=0.1)


def a_number(value: float | None = 20.0, **changes: object) -> Number:
    values: dict[str, object] = {
        "name": "width",
        "value": value,
        "unit": "mm",
        "formula": "a width",
        "reason": "",
        "rests_on": (),
    }
    return Number(**(values | changes))  # type: ignore[arg-type]


def measured(*numbers: Number, **intervals: Calibrated) -> list[Measurement]:
    found = assemble(numbers, first_measurement=1, first_evidence=1, intervals=intervals)
    return list(found.measurements)


def test_a_relative_interval_is_in_the_unit_of_the_value_whatever_that_is() -> None:
    for unit in ("mm", "px"):
        (item,) = measured(a_number(unit=unit), width=TEN_PERCENT)
        assert (item.interval, item.coverage, item.reason) == ((18.0, 22.0), 0.9, None)


def test_no_length_has_an_interval_below_zero_but_a_slope_may() -> None:
    wide = Interval(form=Form.ABSOLUTE, low=-5.0, high=5.0)
    (length,) = measured(a_number(3.0), width=wide)
    (slope,) = measured(a_number(3.0, unit="deg", least=None), width=wide)
    assert (length.interval, slope.interval) == ((0.0, 8.0), (-2.0, 8.0))


def test_what_has_no_interval_says_why_after_its_own_caveat() -> None:
    number = a_number(reason="Lengths are in px.")
    (bare,) = measured(number)
    (few,) = measured(number, width=NoInterval(reason="val holds 3 groups"))
    assert bare.interval is None
    assert bare.coverage is None
    assert bare.reason == f"Lengths are in px. No interval is given: {NOT_CALIBRATED}."
    assert (caveat(few.reason), why_no_interval(few.reason)) == (
        "Lengths are in px.",
        "val holds 3 groups",
    )


def test_only_the_largest_region_has_the_interval_that_was_calibrated_on_largest_ones() -> None:
    first, second = measured(a_number(), a_number(8.0), width=TEN_PERCENT)
    assert first.interval is not None
    assert second.interval is None
    assert why_no_interval(second.reason) == LARGEST_ONLY


def test_what_is_not_measured_has_no_interval_and_its_own_reason() -> None:
    (item,) = measured(a_number(None, reason="It is cut off."), width=TEN_PERCENT)
    assert (item.interval, item.coverage, item.reason) == (None, None, "It is cut off.")


def test_the_interval_of_the_age_is_that_of_the_circumference_through_the_formula() -> None:
    image = a_calibrated_image_info((0.4, 0.4))
    numbers = head_numbers(Seen(image=image, evidence={MASK: [HEAD]}))
    intervals: dict[str, Calibrated] = {HC: Interval(form=Form.RELATIVE, low=-0.03, high=0.04)}
    found = assemble(numbers, first_measurement=1, first_evidence=1, intervals=intervals)
    named = {item.name: item for item in found.measurements}
    hc, age = named[HC].interval, named[GESTATIONAL_AGE]
    assert hc is not None
    assert age.interval is not None
    assert age.interval == pytest.approx([gestational_age_weeks(e / 10) for e in hc], abs=1e-4)
    assert age.coverage == 0.9
    assert age.interval[0] < (age.value or 0) < age.interval[1]


def test_an_interval_that_follows_is_widened_by_the_error_of_its_formula() -> None:
    image = a_calibrated_image_info((0.4, 0.4))
    numbers = [
        replace(number, widened=age_interval) if number.name == GESTATIONAL_AGE else number
        for number in head_numbers(Seen(image=image, evidence={MASK: [HEAD]}))
    ]
    intervals: dict[str, Calibrated] = {HC: Interval(form=Form.RELATIVE, low=-0.03, high=0.04)}
    found = assemble(numbers, first_measurement=1, first_evidence=1, intervals=intervals)
    named = {item.name: item for item in found.measurements}
    hc, age = named[HC].interval, named[GESTATIONAL_AGE]
    assert hc is not None
    assert age.value is not None
    low, high = (gestational_age_weeks(end / 10) for end in hc)
    assert age.interval == pytest.approx(age_interval(age.value, (low, high)), abs=1e-3)
    assert age.interval is not None
    assert age.interval[0] < low < high < age.interval[1]


def test_an_age_without_millimetres_has_no_interval_either() -> None:
    numbers = head_numbers(Seen(image=an_image_info(), evidence={MASK: [HEAD]}))
    intervals: dict[str, Calibrated] = {HC: TEN_PERCENT}
    found = assemble(numbers, first_measurement=1, first_evidence=1, intervals=intervals)
    named = {item.name: item for item in found.measurements}
    assert named[HC].interval is not None
    assert named[GESTATIONAL_AGE].interval is None


def test_the_measurements_of_a_slot_are_those_that_the_protocols_ask_of_it() -> None:
    asked: dict[str, list[str]] = {}
    for exam in read_protocols().exams.values():
        for question in exam.questions:
            if question.kind is Answer.MEASUREMENT:
                asked.setdefault(question.slot, []).append(question.label)
    assert {slot: list(names) for slot, names in MEASUREMENTS.items()} == asked
    assert set(BESIDES) <= set(MEASUREMENTS)


@pytest.mark.parametrize(
    ("kept", "words", "headline"),
    [
        (
            ("benign", "malignant"),
            "Undecided: the 90 % label set holds benign and malignant.",
            "not a probability of disease; undecided between benign and malignant.",
        ),
        (("benign",), "The 90 % label set holds benign alone.", "not a probability of disease."),
        ((), "No class fits: each one's score is lower", "of disease; no class fits."),
    ],
)
def test_a_label_set_says_which_classes_it_holds(
    kept: tuple[str, ...], words: str, headline: str
) -> None:
    finding = a_finding(label="classification", evidence=("e4",), label_set=kept)
    report = word(a_report(findings=(finding,)))
    assert words in report.findings[0].statement
    assert any(line.endswith(headline) for line in report.impression)


def test_each_reason_for_no_interval_stands_once_with_what_it_is_true_of() -> None:
    few = f"Lengths are in px. {NO_INTERVAL} val holds 3 groups."
    measurements = (
        a_measurement(reason=few),
        a_measurement(id="m2", name="short axis", reason=few),
        a_measurement(id="m3", name="short axis", reason=few),
        a_measurement(id="m4", name="area", interval=(150.0, 170.0), coverage=0.9, reason=None),
    )
    lines = word(a_report(measurements=measurements)).limitations
    assert [line for line in lines if line.startswith("Intervals: none")] == [
        "Intervals: none is given for long axis, short axis, because val holds 3 groups."
    ]
    assert any(line.startswith("Intervals: each holds the error") for line in lines)
