"""Intervals and label sets from the manifest into the reports of all exams."""

import pytest

from planner.conclusion.report import conclude
from reports.measure.formulas import MEASUREMENTS
from reports.measure.intervals import why_no_interval
from reports.measure.muscle import THICKNESS
from reports.model import ExamCode, Report
from specialists.manifest import Manifest, MeasuredInterval, Threshold, Transfer
from tests.builders import a_classify_result
from tests.planner.exam_answers import ANSWERS, TOOLS, an_even_image
from tests.planner.stand_ins import (
    BREAST_TOOLS,
    Answer,
    StandInTools,
    a_manifest,
    all_intervals,
    an_identity,
    an_interval,
    breast_answers,
    run_case,
)

EXAMS = (ExamCode.BREAST, *ANSWERS)


def concluded(exam: ExamCode, manifest: Manifest | None = None, **changes: Answer) -> Report:
    answers = (breast_answers() if exam is ExamCode.BREAST else ANSWERS[exam]()) | changes
    tools = StandInTools(answers=answers, manifest=manifest or calibrated(exam))
    return conclude(run_case(tools, image=an_even_image((0.25, 0.25))), an_identity())


def calibrated(exam: ExamCode, **changes: tuple[MeasuredInterval, ...]) -> Manifest:
    tools = BREAST_TOOLS if exam is ExamCode.BREAST else TOOLS[exam]
    return a_manifest(tools, intervals=all_intervals() | changes)


@pytest.mark.parametrize("exam", EXAMS)
def test_a_report_of_each_exam_carries_the_intervals_that_the_manifest_states(
    exam: ExamCode,
) -> None:
    report = concluded(exam)
    firsts = {item.name: item for item in reversed(report.measurements)}
    assert firsts
    for item in firsts.values():
        if item.name == THICKNESS:
            continue
        assert item.interval is not None, item.name
        assert item.coverage == 0.9
        low, high = item.interval
        assert low <= (item.value or 0) <= high
        assert why_no_interval(item.reason) is None
        assert "90 % interval" in item.statement
    assert any("intervals" in line and line.startswith("Elsewhere:") for line in report.limitations)


def test_a_measurement_of_too_few_groups_has_no_interval_and_the_limitations_say_why() -> None:
    report = concluded(ExamCode.MUSCLE)
    item = next(item for item in report.measurements if item.name == THICKNESS)
    assert (item.interval, item.coverage) == (None, None)
    assert "come from 1 group of patients" in (item.reason or "")
    said = [line for line in report.limitations if "1 group of patients" in line]
    assert said == [
        "Intervals: none is given for muscle thickness, because its validation images come from "
        "1 group of patients; at least 9 are needed."
    ]


def test_an_interval_of_other_weights_is_withheld() -> None:
    name = MEASUREMENTS["mask:fascicle"][0]
    for others, given in (({"muscle_aponeurosis": "0" * 64}, False), ({}, True)):
        fitted = an_interval(name, calibrated_with=others)
        report = concluded(ExamCode.MUSCLE, calibrated(ExamCode.MUSCLE, muscle_fascicle=(fitted,)))
        item = next(item for item in report.measurements if item.name == name)
        assert (item.interval is not None) == given
    manifest = calibrated(ExamCode.NERVE)
    entry = manifest.specialists["nerve_vessel_multi"]
    replaced = entry.model_copy(update={"sha256": "f" * 64})
    newer = manifest.model_copy(update={"specialists": manifest.specialists | {entry.id: replaced}})
    report = concluded(ExamCode.NERVE, newer)
    assert {item.interval for item in report.measurements} == {None}
    assert "replaced after it answered" in (report.measurements[0].reason or "")


def test_the_label_set_of_a_classifier_reaches_its_finding() -> None:
    undecided = a_classify_result(label_set=("benign", "malignant"))
    report = concluded(ExamCode.BREAST, breast_2cls=undecided)
    finding = next(item for item in report.findings if item.label == "classification")
    assert finding.label_set == ("benign", "malignant")
    assert "cannot tell benign from malignant" in finding.statement
    assert any("cannot tell benign from malignant" in line for line in report.impression)


def test_a_report_says_how_often_sets_and_intervals_held_on_sources_left_out() -> None:
    manifest = calibrated(ExamCode.BREAST)
    tail = "fitted to other sources left out"
    shares = {
        "breast_2cls": ("label set coverage of malignant", 0.874),
        "breast_lesion": ("interval coverage of area", 0.81),
    }
    changed = {
        name: manifest.specialists[name].model_copy(
            update={
                "transfer": (
                    Transfer(left_out="dataset=one", name=f"{what}, {tail}", value=value, n=40),
                ),
                "thresholds": {"t": Threshold(value=0.1, source="val and sources left out")},
                "intervals": tuple(
                    item.model_copy(update={"source": "val and one left out"})
                    for item in manifest.specialists[name].intervals
                ),
            }
        )
        for name, (what, value) in shares.items()
    }
    told = manifest.model_copy(update={"specialists": manifest.specialists | changed})
    undecided = a_classify_result(label_set=("benign", "malignant"))
    report = concluded(ExamCode.BREAST, told, breast_2cls=undecided)
    finding = next(item for item in report.findings if item.label == "classification")
    assert finding.held_elsewhere == 0.874
    area = next(item for item in report.measurements if item.name == "area")
    assert area.held_elsewhere == 0.81
    said = "\n".join(report.limitations)
    assert (
        "a source left out of it, intervals as little as 81 % and label sets as little as 87 %."
        in (said)
    )
    without = {
        name: entry.model_copy(update={"transfer": ()})
        for name, entry in manifest.specialists.items()
    }
    bare = manifest.model_copy(update={"specialists": without})
    plain = "\n".join(concluded(ExamCode.BREAST, bare, breast_2cls=undecided).limitations)
    assert "left out of it" not in plain
