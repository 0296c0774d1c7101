"""The summary of a study: what is taken, what is an outlier, and what is not compared."""

from typing import Any

import pytest

from reports.model import (
    ExamCode,
    ExamInfo,
    Laterality,
    Measurement,
    MeasurementState,
    Outcome,
    Report,
    RequestInfo,
    Status,
)
from reports.study.comparison import Earlier
from reports.study.grouping import HEART_APART, LESIONS_APART, PIXELS_APART, SEVERAL_APART
from reports.study.model import MemberState, StudyReport
from reports.study.summary import Gathered, Member, measured, summarise
from tests.builders import a_refused_report, a_worded_report

STUDY = "a" * 32


def a_number(value: float | None, half: float | None = None, **changes: Any) -> Measurement:
    """A head circumference in mm, with an interval of that half-width."""
    interval = None if half is None or value is None else (value - half, value + half)
    return Measurement.model_validate(
        {
            "id": "m1",
            "name": "head circumference",
            "structure": "head",
            "state": MeasurementState.NOT_ASSESSED if value is None else MeasurementState.MEASURED,
            "reason": "nothing was outlined" if value is None else None,
            "value": value,
            "unit": None if value is None else "mm",
            "interval": interval,
            "coverage": None if interval is None else 0.9,
        }
        | changes
    )


def a_head(*numbers: Measurement, exam: ExamCode = ExamCode.FETAL_HEAD, **request: Any) -> Report:
    """A report of these numbers; `request` is what the sender stated."""
    sent = RequestInfo.model_validate(
        {"exam": exam, "question_given": False, "frame": None} | request
    )
    info = ExamInfo(code=exam, title="Fetal head ultrasound", chosen_by="request", score=None)
    return a_worded_report(
        exam=info, request=sent, findings=(), checks=(), evidence=(), measurements=numbers
    )


def a_study(*reports: Report | None, patients: int = 0, **changes: Any) -> Gathered:
    """These reports as a study; None waits for its report."""
    members = tuple(
        Member(
            analysis_id=f"a{place}",
            received_at=f"2026-12-01T10:0{place}:00.000000Z",
            state=MemberState.WAITING if report is None else MemberState.REPORTED,
            report=report,
        )
        for place, report in enumerate(reports)
    )
    return Gathered(id=STUDY, label="Visit 7", members=members, patients=patients, **changes)


def of(*numbers: Measurement) -> StudyReport:
    return summarise(a_study(*(a_head(number) for number in numbers)))


@pytest.mark.parametrize(
    ("numbers", "best"),
    [
        ((a_number(176, 6), a_number(178, 3), a_number(174, 4)), 2),
        ((a_number(176), a_number(178, 30)), 2),
        ((a_number(176, 1, unreliable="it is blurred"), a_number(178, 30)), 2),
        ((a_number(176, 3), a_number(176, 3)), 1),
        ((a_number(100, 4), a_number(180, 6)), 2),
    ],
)
def test_the_best_image_is_reliable_then_has_the_narrowest_relative_interval(
    numbers: tuple[Measurement, ...], best: int
) -> None:
    (item,) = of(*numbers).measurements
    assert item.best == best
    assert [value.image for value in item.values] == list(range(1, len(numbers) + 1))
    assert f"from image {best}, the best of {len(numbers)}" in item.statement


def test_a_value_whose_interval_does_not_overlap_that_of_the_best_is_flagged() -> None:
    report = of(a_number(176, 3), a_number(178, 5), a_number(160, 5))
    (item,) = report.measurements
    assert [value.outlier is not None for value in item.values] == [False, False, True]
    assert item.values[2].outlier == "its interval does not overlap that of image 1"
    assert any("image 3" in flag and "outlier" in flag for flag in report.flags)


@pytest.mark.parametrize(
    ("values", "outliers"),
    [
        ((100.0, 101.0, 121.0), [False, False, False]),
        ((100.0, 101.0, 122.0), [False, False, True]),
        ((100.0, 119.0), [False, False]),
        ((100.0, 121.0), [False, True]),
    ],
)
def test_without_intervals_a_value_is_an_outlier_from_a_share_of_the_median(
    values: tuple[float, ...], outliers: list[bool]
) -> None:
    (item,) = of(*(a_number(value) for value in values)).measurements
    assert [value.outlier is not None for value in item.values] == outliers


def test_angles_near_zero_are_compared_by_degrees() -> None:
    near = [a_number(value, unit="deg", name="deep aponeurosis inclination") for value in (1, -2)]
    (item,) = of(*near).measurements
    assert [value.outlier for value in item.values] == [None, None]
    far = [a_number(value, unit="deg", name="deep aponeurosis inclination") for value in (1, -12)]
    (item,) = of(*far).measurements
    assert item.values[1].outlier == "it differs by more than 10° from the value of image 1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"laterality": Laterality.LEFT}, {"laterality": Laterality.RIGHT}),
        ({"laterality": Laterality.LEFT}, {}),
        ({"site": "Vastus lateralis"}, {"site": "Soleus"}),
        ({"exam": ExamCode.FETAL_HEAD}, {"exam": ExamCode.INTRAPARTUM}),
    ],
)
def test_sides_sites_and_exams_are_not_mixed(one: dict[str, Any], other: dict[str, Any]) -> None:
    report = summarise(a_study(a_head(a_number(100, 2), **one), a_head(a_number(300, 2), **other)))
    assert [len(item.values) for item in report.measurements] == [1, 1]
    assert report.flags == ()


def test_units_are_not_mixed() -> None:
    report = of(a_number(176, 3), a_number(620, 9, unit="px"))
    assert [(item.unit, len(item.values)) for item in report.measurements] == [("mm", 1), ("px", 1)]


@pytest.mark.parametrize(
    ("changes", "exam", "why", "best"),
    [
        ({"structure": "lesion", "name": "long axis"}, ExamCode.BREAST, LESIONS_APART, None),
        ({"structure": "left atrium", "name": "area"}, ExamCode.HEART, HEART_APART, None),
        ({"unit": "px"}, ExamCode.FETAL_HEAD, PIXELS_APART, 1),
    ],
)
def test_what_may_not_be_the_same_thing_is_listed_and_not_compared(
    changes: dict[str, Any], exam: ExamCode, why: str, best: int | None
) -> None:
    reports = [a_head(a_number(value, value / 10, **changes), exam=exam) for value in (10, 40)]
    report = summarise(a_study(*reports))
    (item,) = report.measurements
    assert (item.not_compared, item.best) == (why, best)
    assert [value.outlier for value in item.values] == [None, None]
    assert why in item.statement
    assert any("none is called an outlier" in line for line in report.limitations)


def test_several_of_one_kind_in_one_image_are_listed() -> None:
    two = (a_number(10, 1, structure="nerve"), a_number(30, 1, structure="nerve", id="m2"))
    (item,) = summarise(a_study(a_head(*two, exam=ExamCode.NERVE))).measurements
    assert (item.best, item.not_compared, len(item.values)) == (None, SEVERAL_APART, 2)


def test_what_was_not_assessed_is_said_with_its_images() -> None:
    (item,) = of(a_number(176, 3), a_number(None)).measurements
    assert item.missing == (2,)
    assert "Not assessed in image 2." in item.statement
    (item,) = of(a_number(None), a_number(None)).measurements
    assert item.statement == "Head circumference: not assessed in images 1 and 2."


def test_the_status_is_the_least_of_its_images() -> None:
    final = a_head(a_number(176, 3)).model_copy(update={"status": Status.FINAL})
    amended = final.model_copy(update={"status": Status.AMENDED})
    preliminary = final.model_copy(update={"status": Status.PRELIMINARY})
    assert summarise(a_study(final, final)).status is Status.FINAL
    assert summarise(a_study(final, amended)).status is Status.AMENDED
    assert summarise(a_study(final, preliminary)).status is Status.PRELIMINARY
    waiting = summarise(a_study(final, None))
    assert (waiting.status, waiting.complete) == (Status.PRELIMINARY, False)
    assert "Not reported yet: image 2." in waiting.flags


def test_a_refused_image_is_named_and_makes_the_study_partial() -> None:
    report = summarise(a_study(a_head(a_number(176, 3)), a_refused_report()))
    assert report.outcome is Outcome.PARTIAL
    assert "Refused: image 2." in report.flags
    assert summarise(a_study(a_refused_report())).outcome is Outcome.REFUSED


def earlier(*numbers: Measurement, **request: Any) -> Earlier:
    found = measured(a_study(*(a_head(number, **request) for number in numbers)))
    return Earlier(
        id="b" * 32, received_at="2026-11-03T09:00:00.000000Z", images=1, measurements=found
    )


def compared(now: Measurement, then: Earlier, patients: int = 1, **request: Any) -> StudyReport:
    return summarise(a_study(a_head(now, **request), patients=patients), [then])


def test_a_value_then_and_now_is_stated_with_intervals_and_change() -> None:
    report = compared(a_number(184, 4), earlier(a_number(172, 4)))
    (made,) = report.comparisons
    assert (made.change, made.overlap) == (12.0, False)
    assert made.change_percent == pytest.approx(100 * 12 / 172)
    assert made.statement == (
        "Head circumference: 172 mm (90 % interval 168 to 176 mm) in the study received on "
        "2026-11-03; 184 mm (90 % interval 180 to 188 mm) now; change +12 mm. "
        "The intervals do not overlap."
    )
    (made,) = compared(a_number(176, 4), earlier(a_number(172, 4))).comparisons
    assert made.overlap is True
    assert "within the intervals" in made.statement
    (made,) = compared(a_number(170), earlier(a_number(172, 4))).comparisons
    assert made.overlap is None
    assert "change −2 mm" in made.statement


def test_a_lesion_of_an_earlier_study_is_put_beside_without_a_change() -> None:
    lesion = {"structure": "lesion", "name": "long axis"}
    (made,) = compared(
        a_number(14, 1, **lesion),
        earlier(a_number(12, 1, **lesion), exam=ExamCode.BREAST),
        exam=ExamCode.BREAST,
    ).comparisons
    assert made.change is None
    assert "not known to be the same lesion" in made.statement


def test_another_side_or_unit_is_not_compared() -> None:
    then = earlier(a_number(172, 4), laterality=Laterality.LEFT)
    assert compared(a_number(184, 4), then, laterality=Laterality.RIGHT).comparisons == ()
    assert compared(a_number(620, 4, unit="px"), earlier(a_number(172, 4))).comparisons == ()


def test_images_of_several_patients_are_flagged_and_compared_with_nothing() -> None:
    report = compared(a_number(184, 4), earlier(a_number(172, 4)), patients=2)
    assert (report.comparisons, report.earlier) == ((), ())
    assert report.flags[0].startswith("The DICOM files of these images name 2 patients")
