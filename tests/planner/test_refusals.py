"""Images and requests that no protocol serves are refused, with the exam and what it would need.

The exam is named where it is known.
"""

import re

import pytest

from planner.case import Request
from planner.conclusion.report import conclude
from planner.errors import ThresholdMissing
from reports.model import (
    CheckOutcome,
    Colour,
    ExamCode,
    FindingState,
    MeasurementState,
    Outcome,
)
from reports.wording.phrases import NOVELTY_CHECK
from specialists.errors import Declined
from specialists.manifest import Manifest, Threshold
from tests.builders import an_exam_result, an_image
from tests.planner.stand_ins import (
    BREAST_TOOLS,
    Answer,
    StandInTools,
    a_manifest,
    an_identity,
    breast_answers,
    report_of,
    routed_to,
    run_case,
    statements,
)


def test_an_image_that_the_router_does_not_recognise_is_refused_without_an_exam() -> None:
    report = report_of(breast_answers(exam_cls=routed_to(ExamCode.BREAST, 0.5)))
    assert report.outcome is Outcome.REFUSED
    assert report.exam.code is None
    assert report.exam.score == 0.5
    assert "No exam was recognised" in (report.reason or "")
    assert [step.action for step in report.steps] == ["exam_cls", "stop"]
    assert report.findings == ()
    assert "0.50 for breast, below the 0.60 that is asked for" in report.steps[-1].reason


REFUSED: dict[str, tuple[dict[str, Answer], ExamCode | None]] = {
    "unsure": (breast_answers(exam_cls=routed_to(ExamCode.BREAST, 0.5)), None),
    "not installed": ({"exam_cls": routed_to(ExamCode.NERVE)}, None),
    "contradicted": (breast_answers(exam_cls=routed_to(ExamCode.MUSCLE, 0.95)), ExamCode.BREAST),
    "declined": (breast_answers(exam_cls=Declined("the image is black")), None),
    "no router": (breast_answers(), None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_a_sentence_of_what_it_is_and_one_of_what_to_do(name: str) -> None:
    answers, exam = REFUSED[name]
    installed = BREAST_TOOLS[1:] if name == "no router" else BREAST_TOOLS
    reason = str(report_of(answers, exam=exam, installed=installed).reason)
    first, then = reason.removesuffix(".").split(". ")
    assert then.startswith(("Send ", "Name ", "If the exam is known, name it"))
    assert not re.search(r"\d\.\d|_|router|planner|threshold|score", reason), reason


@pytest.mark.parametrize("exam", [code for code in ExamCode if code is not ExamCode.BREAST])
def test_an_exam_with_nothing_installed_is_refused_by_its_name_with_what_it_would_need(
    exam: ExamCode,
) -> None:
    tools = StandInTools(answers={"exam_cls": routed_to(exam)})
    case = run_case(tools)
    report = conclude(case, an_identity())
    assert report.outcome is Outcome.REFUSED
    assert (report.exam.code, report.exam.chosen_by) == (exam, "image")
    for step in case.protocols.exams[exam].steps:
        assert all(name in report.steps[-1].reason for name in step.specialists)
        assert not any(name in (report.reason or "") for name in step.specialists)
    assert tools.called == ["exam_cls"]
    assert {f.state for f in report.findings} <= {FindingState.NOT_ASSESSED}
    assert {m.state for m in report.measurements} <= {MeasurementState.NOT_ASSESSED}
    assert all(item.reason for item in statements(report))


def test_a_requested_exam_that_the_router_contradicts_clearly_is_refused() -> None:
    tools = StandInTools(answers=breast_answers(exam_cls=routed_to(ExamCode.MUSCLE, 0.95)))
    report = conclude(run_case(tools, Request(exam=ExamCode.BREAST)), an_identity())
    assert report.outcome is Outcome.REFUSED
    assert tools.called == ["exam_cls"]
    assert (report.exam.code, report.request.exam) == ("muscle", "breast")
    assert "breast" in (report.reason or "")
    assert "muscle" in (report.reason or "")
    assert report.checks[0].outcome is CheckOutcome.FLAG


@pytest.mark.parametrize("score", [0.4, 0.8])
def test_a_requested_exam_that_the_router_doubts_is_run_and_flagged(score: float) -> None:
    answers = breast_answers(exam_cls=routed_to(ExamCode.MUSCLE, score))
    report = report_of(answers, exam=ExamCode.BREAST)
    assert report.outcome is Outcome.REPORTED
    assert (report.exam.code, report.exam.chosen_by) == ("breast", "request")
    assert report.exam.score == pytest.approx((1 - score) / (len(ExamCode) - 1))
    assert report.checks[0].outcome is CheckOutcome.FLAG


def test_a_requested_exam_that_the_router_confirms_agrees() -> None:
    report = report_of(exam=ExamCode.BREAST)
    assert report.checks[0].outcome is CheckOutcome.AGREE
    assert report.exam.chosen_by == "request"


@pytest.mark.parametrize("exam", [None, ExamCode.BREAST])
def test_a_colour_image_is_refused_before_any_specialist(exam: ExamCode | None) -> None:
    tools = StandInTools()
    case = run_case(tools, Request(exam=exam), an_image(colour=Colour.COLOUR))
    report = conclude(case, an_identity())
    assert tools.calls == []
    assert report.outcome is Outcome.REFUSED
    assert "Doppler" in (report.reason or "")
    assert report.exam.code == exam
    assert [step.action for step in report.steps] == ["stop"]


def test_a_tinted_image_is_analysed() -> None:
    assert report_of(image=an_image(colour=Colour.TINTED)).outcome is Outcome.REPORTED


def test_without_an_installed_router_the_exam_must_be_named() -> None:
    unnamed = report_of(installed=BREAST_TOOLS[1:])
    assert unnamed.outcome is Outcome.REFUSED
    assert unnamed.exam.code is None
    assert "Name the exam" in (unnamed.reason or "")
    named = report_of(installed=BREAST_TOOLS[1:], exam=ExamCode.BREAST)
    assert named.outcome is Outcome.REPORTED
    assert named.checks[0].outcome is CheckOutcome.SKIPPED


@pytest.mark.parametrize("exam", [None, ExamCode.BREAST])
def test_an_image_that_the_router_declines_is_refused_even_when_the_exam_is_named(
    exam: ExamCode | None,
) -> None:
    report = report_of(breast_answers(exam_cls=Declined("the image is unlike")), exam=exam)
    assert report.outcome is Outcome.REFUSED
    assert report.exam.code is exam
    assert "the image is unlike" in (report.reason or "")
    assert "Send a 2D grey-scale ultrasound image" in (report.reason or "")
    assert ("No exam was recognised" in (report.reason or "")) == (exam is None)
    assert [step.action for step in report.steps] == ["exam_cls", "stop"]


@pytest.mark.parametrize("missing", ["accept", "contradiction"])
def test_a_router_without_a_threshold_is_an_error_that_names_it(missing: str) -> None:
    thresholds = {name: 0.5 for name in ("accept", "contradiction") if name != missing}
    tools = StandInTools(manifest=a_manifest(thresholds=thresholds))
    with pytest.raises(ThresholdMissing, match=missing):
        run_case(tools)
    assert tools.calls == []


def test_two_exams_with_the_same_score_come_out_the_same_in_any_order() -> None:
    scores = dict.fromkeys(ExamCode, 0.02) | {ExamCode.BREAST: 0.43, ExamCode.FETAL_HEAD: 0.43}
    backwards = dict(reversed(scores.items()))
    one, other = (
        report_of({"exam_cls": an_exam_result(scores=each)}, exam=ExamCode.MUSCLE)
        for each in (scores, backwards)
    )
    assert one.checks == other.checks


def test_a_poor_image_is_one_line_of_the_impression_and_a_limitation() -> None:
    blurred = "The image is blurred: outlines and lengths are less exact."
    router = routed_to(ExamCode.BREAST).model_copy(update={"quality": (blurred,)})
    report = report_of(breast_answers(exam_cls=router))
    assert report.outcome is Outcome.REPORTED
    assert report.impression[-1] == (
        "Poor image: the image is blurred: outlines and lengths are less exact."
    )
    assert any(line.startswith("Image quality:") and blurred in line for line in report.limitations)
    assert not any("disagree" in line and "image quality" in line for line in report.impression)
    flagged = [check for check in report.checks if check.name == "image quality"]
    assert [check.outcome for check in flagged] == [CheckOutcome.FLAG]


def test_an_unreadable_image_is_refused_with_what_is_wrong_and_what_to_do() -> None:
    why = Declined(
        "the image is black or nearly so: check that the frame was saved, and raise the gain"
    )
    report = report_of(breast_answers(exam_cls=why))
    assert report.outcome is Outcome.REFUSED
    assert "since the image is black or nearly so: check" in (report.reason or "")
    assert "router" not in (report.reason or "")
    assert "black" in report.impression[0]


def gated(**limits: float) -> Manifest:
    """The breast specialists with a gate of those limits; a distance beyond 1.0 is flagged."""
    manifest = a_manifest()
    router = manifest.specialists["exam_cls"]
    values = {f"{name} breast": value for name, value in limits.items()} | {"novelty": 1.0}
    thresholds = {k: Threshold(value=v, source="this test") for k, v in values.items()}
    model = manifest.models[router.model].model_copy(update={"thresholds": thresholds})
    return manifest.model_copy(update={"models": {**manifest.models, model.id: model}})


def placed(distance: float, novelty: float = 0.5) -> dict[str, Answer]:
    """A clear breast for the router, so far from the breast images and from all."""
    return breast_answers(
        exam_cls=an_exam_result(exam_distances={"breast": distance}, novelty=novelty)
    )


@pytest.mark.parametrize(
    ("distance", "exam", "outcome"),
    [
        (1.9, None, Outcome.REPORTED),
        (2.1, None, Outcome.REFUSED),
        (2.1, ExamCode.BREAST, Outcome.REPORTED),
        (4.1, ExamCode.BREAST, Outcome.REFUSED),
    ],
)
def test_an_image_far_from_its_exam_is_analysed_only_where_the_exam_is_named_and_plausible(
    distance: float, exam: ExamCode | None, outcome: Outcome
) -> None:
    manifest = gated(exam_distance_unnamed=2.0, exam_distance_refused=4.0)
    tools = StandInTools(answers=placed(distance), manifest=manifest)
    report = conclude(run_case(tools, Request(exam=exam)), an_identity())
    assert report.outcome is outcome
    if outcome is not Outcome.REFUSED:
        return
    assert tools.called == ["exam_cls"]
    assert f"Its distance from images of breast is {distance:.2f}" in report.steps[-1].reason
    assert "distance" not in (report.reason or "")
    if exam is None:
        assert report.exam.code is None
        assert "none of those that are known" in (report.reason or "")
        assert "name it in the request" in (report.reason or "")
    else:
        assert report.exam.code is exam
        assert "does not look like it, whatever the scanner" in (report.reason or "")


@pytest.mark.parametrize("novelty", [0.9, 1.1])
def test_an_image_of_an_exam_that_is_unlike_the_training_images_is_analysed_and_flagged(
    novelty: float,
) -> None:
    manifest = gated(exam_distance_unnamed=2.0, exam_distance_refused=4.0)
    tools = StandInTools(answers=placed(1.0, novelty), manifest=manifest)
    report = conclude(run_case(tools), an_identity())
    assert report.outcome is Outcome.REPORTED
    check = next(check for check in report.checks if check.name == NOVELTY_CHECK)
    assert check.outcome is (CheckOutcome.FLAG if novelty > 1 else CheckOutcome.AGREE)
    assert ("of a scanner" in check.detail) == (novelty > 1)


def test_without_a_gate_the_routers_score_alone_decides() -> None:
    tools = StandInTools(answers=placed(99.0), manifest=gated())
    assert conclude(run_case(tools), an_identity()).outcome is Outcome.REPORTED
