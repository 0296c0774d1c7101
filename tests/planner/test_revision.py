"""A report is concluded anew from its records after a reader calibrated the image."""

from dataclasses import replace

import pytest

from planner.case import Case, Request
from planner.conclusion.report import conclude
from planner.conclusion.revision import revise
from planner.errors import NotRevisable
from reports.measure.marked_scale import calibrate
from reports.model import ExamCode, ReaderCalibration, Report
from tests.planner.stand_ins import (
    StandInTools,
    a_manifest,
    all_intervals,
    an_identity,
    breast_answers,
    routed_to,
    run_case,
)

MARKED = ReaderCalibration(points=((100, 100), (300, 100)), distance_mm=40, error_px=1)


def calibrated(case: Case) -> Case:
    return replace(case, image=calibrate(case.image, MARKED))


def revised(case: Case) -> tuple[Report, Report]:
    earlier = conclude(case, an_identity())
    return earlier, revise(calibrated(case), earlier, replace(an_identity("two"), version=2))


def test_lengths_are_in_mm_and_their_intervals_wider_by_the_clicks() -> None:
    case = run_case(StandInTools(manifest=a_manifest(intervals=all_intervals())))
    earlier, later = revised(case)
    before, after = (
        {item.name: item for item in report.measurements} for report in (earlier, later)
    )
    for name, power in (("long axis", 1), ("area", 2), ("taller-than-wide ratio", 0)):
        one, other = before[name], after[name]
        assert one.value is not None
        assert one.interval is not None
        assert other.interval is not None
        scaled = [end * 0.2**power for end in one.interval]
        assert other.value == pytest.approx(one.value * 0.2**power, rel=1e-3)
        low, high = (200 / 202) ** power, (200 / 198) ** power
        assert other.interval == pytest.approx((scaled[0] * low, scaled[1] * high), rel=1e-3)
    assert later.provenance.content_sha256 != earlier.provenance.content_sha256
    assert later.provenance.models == earlier.provenance.models
    assert later.steps == earlier.steps


def test_a_refused_report_is_not_concluded_anew() -> None:
    case = run_case(StandInTools(answers=breast_answers(exam_cls=routed_to(ExamCode.NERVE))))
    with pytest.raises(NotRevisable, match="refused"):
        revised(case)


def test_a_specialist_that_is_gone_is_named() -> None:
    case = run_case(StandInTools(), Request())
    earlier = conclude(case, an_identity())
    left = {k: v for k, v in case.manifest.specialists.items() if k != "breast_lesion"}
    gone = replace(case, manifest=case.manifest.model_copy(update={"specialists": left}))
    with pytest.raises(NotRevisable, match="breast_lesion answered"):
        revise(calibrated(gone), earlier, an_identity("two"))
