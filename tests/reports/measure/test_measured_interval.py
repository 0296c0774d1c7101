import pytest

from planner.protocols import Answer, read_protocols
from reports.measure.formulas import BESIDES, MEASUREMENTS
from reports.measure.gestation import age_interval, head_rank
from reports.measure.head import (
    BPD,
    GESTATIONAL_AGE,
    HC,
    HC_PERCENTILE,
    MASK,
    gestational_age_weeks,
    head_numbers,
)
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
from reports.wording.report import word
from tests.builders import (
    a_calibrated_image_info,
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


def test_the_interval_of_the_age_holds_the_circumferences_and_the_spread_between_fetuses() -> None:
    image = a_calibrated_image_info((0.4, 0.4))
    numbers = head_numbers(Seen(image=image, evidence={MASK: [HEAD]}))
    intervals: dict[str, Calibrated] = {HC: Interval(form=Form.RELATIVE, low=-0.03, high=0.04)}
    found = assemble(numbers, first_measurement=1, first_evidence=1, intervals=intervals)
    named = {item.name: item for item in found.measurements}
    hc, age = named[HC].interval, named[GESTATIONAL_AGE]
    assert hc is not None
    assert age.value is not None
    low, high = (gestational_age_weeks(end / 10) for end in hc)
    assert age.interval == pytest.approx(age_interval(age.value, (low, high)), abs=1e-3)
    assert age.coverage == 0.9
    assert age.interval is not None
    assert age.interval[0] < low < age.value < high < age.interval[1]


def test_the_percentile_has_the_interval_of_the_circumference_put_through_its_formula() -> None:
    image = a_calibrated_image_info((0.4, 0.4))
    seen = Seen(image=image, evidence={MASK: [HEAD]}, gestational_age="28w0d")
    numbers = head_numbers(seen)
    intervals: dict[str, Calibrated] = {HC: Interval(form=Form.RELATIVE, low=-0.03, high=0.04)}
    found = assemble(numbers, first_measurement=1, first_evidence=1, intervals=intervals)
    named = {item.name: item for item in found.measurements}
    hc, rank = named[HC], named[HC_PERCENTILE]
    assert hc.value is not None
    assert hc.interval is not None
    assert rank.value == pytest.approx(head_rank(hc.value, 28.0), abs=1e-2)
    assert rank.interval == pytest.approx([head_rank(end, 28.0) for end in hc.interval], abs=1e-2)
    assert rank.unreliable is None


def test_what_follows_from_an_unreliable_number_is_unreliable_too() -> None:
    image = a_calibrated_image_info((0.4, 0.4))
    seen = Seen(image=image, evidence={MASK: [HEAD]}, gestational_age="28w0d")
    wide: dict[str, Calibrated] = {HC: Interval(form=Form.RELATIVE, low=-0.6, high=0.6)}
    found = assemble(
        head_numbers(seen),
        first_measurement=1,
        first_evidence=1,
        intervals=wide,
        doubts={HEAD.id: ("the outline has a bay",)},
    )
    why = "the outline has a bay; the 90 % interval is wider than the value"
    named = {item.name: item.unreliable for item in found.measurements}
    assert [named[name] for name in (HC, GESTATIONAL_AGE, HC_PERCENTILE)] == [why] * 3
    assert named[BPD] == "the outline has a bay"


def test_an_interval_wider_than_its_value_makes_a_length_unreliable_but_not_a_slope() -> None:
    wide = Interval(form=Form.ABSOLUTE, low=-5.0, high=5.0)
    lengths = measured(a_number(9.9), a_number(10.0), a_number(3.0, unit="deg", least=None))
    assert [item.unreliable for item in lengths] == [None] * 3
    for value, doubtful in ((9.9, True), (10.0, False)):
        (item,) = measured(a_number(value), width=wide)
        assert (item.unreliable is not None) == doubtful
    (slope,) = measured(a_number(3.0, unit="deg", least=None), width=wide)
    assert slope.unreliable is None
    (gone,) = measured(a_number(None, reason="It is cut off."), width=wide)
    assert gone.unreliable is None


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
        "Intervals: none is given for long axis and short axis, because val holds 3 groups."
    ]
    assert any(line.startswith("Elsewhere: intervals were calibrated") for line in lines)
