"""Thyroid, heart, ovary and lung: their wording, refusals, partial runs, and an older router."""

import pytest

from planner.case import Request
from planner.conclusion.report import conclude
from planner.exam import routed_exams, unserved
from planner.protocols import read_protocols
from planner.run import run
from reports.forms.text import to_text
from reports.model import Check, CheckOutcome, ExamCode, FindingState, Outcome, Report
from specialists.manifest import Manifest, read_manifest
from specialists.result import ClassifyResult
from tests.builders import an_exam_result, an_image
from tests.planner.exam_answers import an_even_image
from tests.planner.organ_answers import ORGAN_ANSWERS, ORGAN_TOOLS, scores, thyroid_answers
from tests.planner.stand_ins import (
    Answer,
    MemoryJournal,
    StandInTools,
    a_manifest,
    an_identity,
    breast_answers,
    report_of,
    routed_to,
    run_case,
)
from tests.planner.vlm.test_vision_tower import ALL, Wishes

OLD_ROUTER = tuple(ExamCode)[:5]
"""The exams that the first router tells apart."""

ORGANS = tuple(ORGAN_ANSWERS)
PRETENDS = ("rule out", "rules out", "not a risk", "BI-RADS 4", "category 4", "TI-RADS 4b,")


def organ_report(exam: ExamCode, **changes: Answer) -> Report:
    answers = ORGAN_ANSWERS[exam]() | changes
    return report_of(answers, installed=ORGAN_TOOLS[exam], image=an_even_image())


def check(report: Report, starts: str) -> Check:
    return next(item for item in report.checks if item.name.startswith(starts))


def routed_as_before(exam: ExamCode, score: float = 0.96) -> ClassifyResult:
    """The answer of a router that tells five exams apart."""
    rest = {code.value: (1 - score) / 4 for code in OLD_ROUTER}
    return an_exam_result(scores=rest | {exam.value: score})


def lung_not_carried(reason: str) -> Manifest:
    """A manifest whose lung specialists are not installed, for that reason."""
    manifest = a_manifest()
    changed = {
        name: manifest.specialists[name].model_copy(update={"not_installed": reason})
        for name in ORGAN_TOOLS[ExamCode.LUNG][1:]
    }
    return manifest.model_copy(update={"specialists": manifest.specialists | changed})


@pytest.mark.parametrize("exam", ORGANS)
def test_no_sentence_of_an_organ_claims_more_than_a_score(exam: ExamCode) -> None:
    text = to_text(organ_report(exam))
    assert not [words for words in PRETENDS if words in text]


def test_a_nodules_score_is_one_for_suspicion_and_never_a_category() -> None:
    report = organ_report(ExamCode.THYROID)
    said = next(item for item in report.findings if item.label == "suspicion of the nodule")
    assert said.statement == (
        "Suspicion of the nodule: classifier favours high suspicion, score 0.73; it is neither a "
        "diagnosis nor a probability of cancer, and no TI-RADS category."
    )
    assert (said.score, said.label_set) == (0.73, ("high suspicion",))
    labels = read_manifest().specialist("thyroid_tirads_2cls").labels
    assert not [label for label in labels if "RADS" in label]


def test_a_view_is_not_called_a_disease() -> None:
    report = organ_report(ExamCode.HEART)
    (view,) = (item for item in report.findings if item.label == "apical view")
    assert view.statement.startswith("Apical view: classifier favours the apical 4-chamber view")
    assert "disease" not in view.statement
    assert any("it was not checked that the view" in line for line in report.limitations)


def test_the_type_of_an_ovarian_finding_is_its_label_set() -> None:
    report = organ_report(ExamCode.OVARY)
    line = next(line for line in report.impression if line.startswith("Classifier"))
    assert line.startswith("Classifier cannot tell serous cystadenoma from simple cyst; ")


def test_a_lung_report_says_that_its_classes_follow_their_sources() -> None:
    limits = organ_report(ExamCode.LUNG).limitations
    assert any(line.startswith("Classes follow sources") for line in limits)


@pytest.mark.parametrize(
    ("best", "agree"), [("regular", False), ("pneumonia", True), ("covid", True)]
)
def test_the_two_lung_classifiers_check_each_other_by_what_each_calls_a_class(
    best: str, agree: bool
) -> None:
    shares = {"regular": 0.1, "pneumonia": 0.1, "covid": 0.1} | {best: 0.8}
    report = organ_report(
        ExamCode.LUNG,
        lung_disease_3cls=scores("lung_disease_3cls", None, **shares),
        lung_2cls=scores("lung_2cls", healthy=0.2, diseased=0.8),
    )
    assert check(report, "classes").outcome is (CheckOutcome.AGREE if agree else CheckOutcome.FLAG)


def test_classes_that_are_called_otherwise_are_classes_of_the_two_specialists() -> None:
    manifest = read_manifest()
    for protocol in read_protocols().exams.values():
        for row in protocol.checks:
            names = [protocol.step(slot).specialists[0] for slot in row.slots]
            first, second = (manifest.specialist(name).labels for name in names)
            assert set(row.counterparts) <= set(first)
            assert set(row.counterparts.values()) <= set(second)


@pytest.mark.parametrize("exam", ORGANS)
def test_an_exam_that_is_not_installed_is_refused_by_name_whether_asked_for_or_seen(
    exam: ExamCode,
) -> None:
    for request, chosen_by in ((Request(exam=exam), "request"), (Request(), "image")):
        tools = StandInTools(answers={"exam_cls": routed_to(exam)})
        report = conclude(run_case(tools, request), an_identity())
        title = read_protocols().exams[exam].title
        missing = ", ".join(ORGAN_TOOLS[exam][1:])
        assert report.outcome is Outcome.REFUSED
        assert (report.exam.code, report.exam.chosen_by) == (exam, chosen_by)
        assert report.reason == (
            f"{title} is not served here: its specialists are not installed (no weights in this "
            "test). Send an image of an exam that is served, or have them installed."
        )
        assert report.steps[-1].reason.endswith(f"Not installed: {missing}.")
        assert tools.called == ([] if request.exam else ["exam_cls"])


def test_an_exam_that_its_data_cannot_carry_is_refused_with_the_manifests_reason() -> None:
    reason = "Its classes follow their sources: with a source left out it does not hold."
    tools = StandInTools(manifest=lung_not_carried(reason))
    report = conclude(run_case(tools, Request(exam=ExamCode.LUNG)), an_identity())
    assert "(its classes follow their sources: with a source left out it does not hold)." in str(
        report.reason
    )
    assert unserved(ExamCode.LUNG, read_protocols(), tools.manifest) == report.reason
    assert unserved(ExamCode.BREAST, read_protocols(), tools.manifest) is None


def test_what_is_installed_of_an_exam_runs_and_the_rest_says_why_it_is_not_assessed() -> None:
    installed = ("exam_cls", "thyroid_nodule_det", "thyroid_nodule")
    report = report_of(thyroid_answers(), installed=installed, image=an_even_image())
    assert report.outcome is Outcome.PARTIAL
    assert [step.action for step in report.steps] == [*installed, "stop"]
    (gap,) = (item for item in report.findings if item.state is FindingState.NOT_ASSESSED)
    assert gap.label == "suspicion of the nodule"
    assert gap.reason == "what answers it is not installed here (no weights in this test)"
    assert {item.name for item in report.measurements} >= {"long axis", "area"}


def test_an_image_of_an_organ_that_is_not_served_is_no_reason_to_ask_for_it() -> None:
    report = report_of(breast_answers(exam_cls=routed_to(ExamCode.THYROID)), exam=ExamCode.BREAST)
    assert (report.outcome, report.exam.code) == (Outcome.REFUSED, ExamCode.THYROID)
    assert "recognised as thyroid ultrasound" in (report.reason or "")
    assert "or a request for thyroid" not in (report.reason or "")


def test_a_router_that_does_not_know_the_requested_exam_does_not_contradict_it() -> None:
    manifest = a_manifest(ORGAN_TOOLS[ExamCode.THYROID], routed=OLD_ROUTER)
    answers = thyroid_answers(exam_cls=routed_as_before(ExamCode.BREAST, 0.99))
    case = run_case(
        StandInTools(answers=answers, manifest=manifest), Request(exam=ExamCode.THYROID)
    )
    report = conclude(case, an_identity())
    assert (report.outcome, report.exam.code) == (Outcome.REPORTED, ExamCode.THYROID)
    assert report.exam.score is None
    routed = check(report, "exam: router")
    assert routed.outcome is CheckOutcome.SKIPPED
    assert "does not know thyroid" in routed.detail


@pytest.mark.parametrize("routed", [OLD_ROUTER, tuple(ExamCode)])
def test_a_planner_that_sees_may_expect_what_the_router_tells_apart(
    routed: tuple[ExamCode, ...],
) -> None:
    tools = StandInTools(
        answers=breast_answers(
            exam_cls=an_exam_result(scores=dict.fromkeys(routed, 0.1) | {"breast": 0.9})
        ),
        manifest=a_manifest(routed=routed),
    )
    planner = Wishes(wishes=ALL)
    run(an_image(), Request(question="?"), tools, planner, MemoryJournal())
    assert planner.offered[0] == ("exam_cls", *(f"exam_cls@{exam.value}" for exam in routed))
    assert routed_exams(tools.manifest, "exam_cls") == routed
