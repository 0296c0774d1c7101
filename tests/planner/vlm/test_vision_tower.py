"""A planner that sees and reads may expect an exam, choose a region, and judge a question."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from planner.case import Case, Request
from planner.conclusion.report import conclude
from planner.policy import Action, Choice
from planner.protocols import read_protocols
from planner.run import run
from reports.model import CheckOutcome, ChosenBy, ExamCode, Outcome, Report, Scope
from reports.provenance import PlannerRef
from specialists.image import Image
from tests.builders import a_sha256, an_image
from tests.planner.exam_answers import fetal_head_answers, intrapartum_answers
from tests.planner.stand_ins import (
    Answer,
    MemoryJournal,
    StandInTools,
    a_manifest,
    an_identity,
    breast_answers,
    report_of,
)

EXPECTING = "exam_cls@breast"
REQUIRED = ("breast_lesion_det", "breast_lesion@box:lesion", "breast_2cls@box:lesion")
ALL = (EXPECTING, "stop", *REQUIRED)
"""The wishes of a planner that would rather stop than run what is required."""


@dataclass(kw_only=True)
class Wishes:
    """A planner that takes the first of its wishes that is legal, and records what was legal."""

    wishes: Sequence[str]
    ref: PlannerRef = PlannerRef(id="wishes", sha256=a_sha256("wishes"))
    sees: bool = True
    offered: list[tuple[str, ...]] = field(default_factory=list)

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        labels = tuple(action.label for action in legal)
        self.offered.append(labels)
        label = next(wish for wish in self.wishes if wish in labels)
        action = next(action for action in legal if action.label == label)
        return Choice(action=action, chosen_by=ChosenBy.MODEL, margin=0.9, reason="Wished.")


def wished(
    *wishes: str,
    request: Request | None = None,
    answers: dict[str, Answer] | None = None,
    installed: Sequence[str] | None = None,
) -> tuple[Report, Wishes]:
    found = breast_answers() if answers is None else answers
    tools = StandInTools(answers=found, manifest=a_manifest(installed or found))
    planner = Wishes(wishes=wishes)
    case = run(an_image(), request or Request(), tools, planner, MemoryJournal())
    return conclude(case, an_identity()), planner


def ran(report: Report) -> list[str]:
    return [step.action for step in report.steps]


def test_before_the_router_answers_the_planner_says_which_exam_it_sees() -> None:
    report, planner = wished(*ALL, request=Request(question="?"))
    assert planner.offered[0] == ("exam_cls", *(f"exam_cls@{exam.value}" for exam in ExamCode))
    assert report.steps[0].parameters["expect"] == "breast"
    check = next(item for item in report.checks if item.name == "exam: planner against router")
    assert check.outcome is CheckOutcome.AGREE


@pytest.mark.parametrize(
    ("expected", "took"),
    [("exam_cls@nerve", "forearm nerve ultrasound"), ("exam_cls", "no exam that is known")],
)
def test_planner_and_router_that_see_different_exams_withhold_the_analysis(
    expected: str, took: str
) -> None:
    report, _ = wished(expected)
    assert report.outcome is Outcome.REFUSED
    assert ran(report) == ["exam_cls", "stop"]
    assert f"another reading of it saw {took}" in (report.reason or "")
    assert f"the planner saw {took}" in report.steps[-1].reason


def test_an_exam_that_the_request_names_is_run_and_the_disagreement_is_flagged() -> None:
    request = Request(exam=ExamCode.BREAST, question="lesion")
    report, _ = wished("exam_cls@nerve", *ALL, request=request)
    assert (report.exam.code, report.exam.chosen_by) == ("breast", "request")
    assert "breast_lesion_det" in ran(report)
    check = next(item for item in report.checks if item.name == "exam: planner against router")
    assert check.outcome is CheckOutcome.FLAG
    assert "nerve" in check.detail


def test_rules_do_not_look_and_so_expect_no_exam() -> None:
    assert report_of().steps[0].legal == ("exam_cls",)


def test_a_region_is_chosen_from_the_detectors_box_and_the_whole_image() -> None:
    whole, planner = wished(EXPECTING, "breast_lesion_det", "breast_lesion", "breast_2cls", "stop")
    assert {"breast_lesion@box:lesion", "breast_lesion"} <= set(planner.offered[2])
    step = next(step for step in whole.steps if step.action == "breast_lesion")
    assert "roi" not in step.parameters
    boxed, _ = wished(
        EXPECTING, "breast_lesion_det", "breast_lesion@box:lesion", "breast_2cls", "stop"
    )
    step = next(step for step in boxed.steps if step.action == "breast_lesion")
    assert step.parameters["roi"] == "box:lesion"


def test_without_a_question_stop_waits_for_what_the_protocol_requires() -> None:
    _, planner = wished(EXPECTING, "stop", *breast_answers(), "breast_lesion@box:lesion")
    for labels in planner.offered[1:]:
        required = {"breast_lesion_det", "breast_lesion", "breast_2cls"}
        left = required & {label.partition("@")[0] for label in labels}
        assert ("stop" in labels) == (not left)


@pytest.mark.parametrize(
    "question", ["What will the weather be?", "is it malignant?", "only the head circumference"]
)
def test_with_a_question_too_stop_waits_for_what_the_protocol_requires(question: str) -> None:
    report, planner = wished(*ALL, request=Request(question=question))
    assert ran(report) == ["exam_cls", "breast_lesion_det", "breast_lesion", "breast_2cls", "stop"]
    assert (report.outcome, report.reason) == (Outcome.REPORTED, None)
    for labels in planner.offered[1:-1]:
        assert "stop" not in labels
        assert "breast_3cls" in labels
    assert planner.offered[-1] == ("breast_3cls", "stop")
    gap = next(item for item in report.findings if "three-way" in item.label)
    assert gap.reason == "it is optional, and was not run"


def test_an_optional_step_that_the_planner_runs_for_the_question_is_reported() -> None:
    request = Request(question="lesion, and how suspicious is its texture?")
    report, _ = wished(EXPECTING, "breast_3cls", *ALL[1:], request=request)
    found = next(item for item in report.findings if "three-way" in item.label)
    assert found.state == "found"
    assert report.outcome is Outcome.REPORTED


def test_a_narrowed_request_lets_the_planner_stop_once_the_keywords_have_their_answer() -> None:
    request = Request(question="Is there a lesion?", scope=Scope.QUESTION)
    report, planner = wished(*ALL, request=request)
    assert ran(report) == ["exam_cls", "breast_lesion_det", "breast_lesion", "stop"]
    assert "breast_2cls@box:lesion" in planner.offered[-1]
    assert (report.outcome, report.reason) == (Outcome.REPORTED, None)
    gap = next(item for item in report.findings if item.label == "classification")
    assert gap.reason == "the request asked for other things only"
    more, _ = wished(EXPECTING, "breast_2cls@box:lesion", *ALL[1:], request=request)
    assert "breast_2cls" in ran(more)


def test_planner_and_keywords_never_contradict_each_other_in_public() -> None:
    for question in ("Is there a lesion?", "??", "head circumference", "How big? What BI-RADS?"):
        for scope in Scope:
            request = Request(question=question, scope=scope)
            text = wished(*ALL, request=request)[0].model_dump_json()
            assert "judged" not in text
            assert "keyword" not in text.lower()


@pytest.mark.parametrize(
    ("question", "answers", "tools"),
    [
        ("Only the head circumference", fetal_head_answers, ["fetal_head"]),
        ("is there a lesion?", breast_answers, ["breast_lesion_det", "breast_lesion"]),
        (
            "angle of progression please",
            intrapartum_answers,
            ["intrapartum_head_det", "head_symphysis_multi", "aop_landmarks"],
        ),
    ],
)
def test_the_rules_do_what_a_narrowed_request_asks_and_what_that_needs_and_no_more(
    question: str, answers: type[dict[str, Answer]], tools: list[str]
) -> None:
    found = answers()
    report = report_of(found, question=question, scope=Scope.QUESTION, installed=tuple(found))
    assert ran(report) == ["exam_cls", *tools, "stop"]
    assert report.outcome is Outcome.REPORTED


def test_every_question_that_a_keyword_asks_needs_no_step_of_another() -> None:
    for protocol in read_protocols().exams.values():
        for question in protocol.questions:
            slots = protocol.answering((question,))
            assert question.slot in slots
            assert slots == protocol.closure(slots)
