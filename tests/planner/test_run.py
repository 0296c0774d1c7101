"""The loop: it resumes, ends, stays inside the closed set, and says the same again anywhere."""

import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.case import STOP, Case, Record, Request, fold, update
from planner.conclusion.report import conclude
from planner.errors import ActionIllegal, ResultMisfit
from planner.plan import plan_for
from planner.policy import Action, Choice
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.run import run
from reports.model import ChosenBy, ExamCode, Outcome
from reports.provenance import PlannerRef
from specialists.errors import Declined, Unavailable
from specialists.image import Image
from specialists.manifest import Kind, Manifest, SpecialistEntry
from specialists.result import (
    ClassifyResult,
    Component,
    DetectResult,
    RegressResult,
    Result,
    SegmentResult,
)
from tests.builders import (
    a_classify_result,
    a_detect_result,
    a_sha256,
    an_ellipse,
    an_image,
)
from tests.planner.stand_ins import (
    BREAST_TOOLS,
    Answer,
    MemoryJournal,
    StandInTools,
    a_case,
    a_manifest,
    an_identity,
    breast_answers,
    no_lesion_answers,
    report_of,
    run_case,
    statements,
)
from tests.processes import finished

ALL_TOOLS = tuple(
    dict.fromkeys(
        ["exam_cls"]
        + [
            name
            for exam in read_protocols().exams.values()
            for step in exam.steps
            for name in step.specialists
        ]
    )
)
DECLINING = breast_answers(breast_lesion=Declined("Too dark."))


@pytest.mark.parametrize("answers", [breast_answers(), no_lesion_answers(), DECLINING])
def test_resuming_from_any_prefix_runs_only_what_is_missing_and_says_the_same(
    answers: dict[str, Answer],
) -> None:
    whole = StandInTools(answers=answers)
    journal = MemoryJournal()
    run(an_image(), Request(), whole, Rules(read_protocols()), journal)
    first = conclude(run_case(whole), an_identity())
    called = whole.called[: len(whole.called) // 2]
    for kept in range(len(journal.records) + 1):
        tools = StandInTools(answers=answers)
        case = run_case(tools, records=journal.records[:kept])
        assert tools.called == called[kept:]
        again = conclude(case, an_identity("two"))
        assert again.provenance.content_sha256 == first.provenance.content_sha256


def test_the_journal_holds_every_record_before_the_next_step() -> None:
    class LosesItsLease(MemoryJournal):
        def append(self, record: Record) -> None:
            if len(self.rows) == 2:
                raise TimeoutError
            super().append(record)

    journal, tools = LosesItsLease(), StandInTools()
    with pytest.raises(TimeoutError):
        run(an_image(), Request(), tools, Rules(read_protocols()), journal)
    assert [record.step.action for record in journal.records] == tools.called[:2]
    assert tools.called == ["exam_cls", "breast_lesion_det", "breast_lesion"]


def test_a_specialist_that_is_unavailable_ends_the_run_for_another_try() -> None:
    class Broken(StandInTools):
        def run(
            self,
            specialist_id: str,
            image: Image,
            roi: tuple[float, float, float, float] | None = None,
        ) -> Result:
            raise Unavailable(f"{specialist_id} was trained on another backbone.")

    with pytest.raises(Unavailable):
        run_case(Broken())


def test_a_chooser_cannot_leave_the_legal_actions() -> None:
    class Rogue(Rules):
        def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
            action = Action(name="breast_2cls", slot="scores:malignancy")
            return Choice(action=action, chosen_by=ChosenBy.MODEL, reason="I like it.")

    with pytest.raises(ActionIllegal, match="breast_2cls"):
        run(an_image(), Request(), StandInTools(), Rogue(read_protocols()), MemoryJournal())


@pytest.mark.parametrize(
    "wrong",
    [
        {"breast_lesion_det": a_classify_result()},
        {"breast_2cls": a_classify_result(scores={"class 0": 0.5, "class 1": 0.5})},
        {"exam_cls": a_detect_result()},
    ],
)
def test_a_result_that_does_not_fit_its_slot_is_an_error(wrong: dict[str, Answer]) -> None:
    with pytest.raises(ResultMisfit):
        run_case(StandInTools(answers=breast_answers(**wrong)))


def test_stop_is_illegal_while_something_required_can_run() -> None:
    for record in run_case(StandInTools()).records:
        if record.step.action in {"breast_lesion_det", "breast_lesion", "breast_2cls"}:
            assert STOP not in record.step.legal


def test_the_state_is_the_same_folded_at_once_or_step_by_step_or_through_json() -> None:
    records = run_case(StandInTools()).records
    state = fold(())
    for record in records:
        state = update(state, record)
    assert state == fold(records)
    assert state == fold(Record.model_validate_json(r.model_dump_json()) for r in records)
    assert a_case(StandInTools(), *records).state == state
    assert state.stopped


def test_ids_and_times_leave_the_content_hash_alone_and_results_do_not() -> None:
    case = run_case(StandInTools())
    one, other = (conclude(case, an_identity(name)).provenance for name in ("one", "two"))
    assert one.content_sha256 == other.content_sha256
    changed = report_of(breast_answers(breast_2cls=a_classify_result(scores=_two(0.6))))
    assert changed.provenance.content_sha256 != one.content_sha256


@pytest.mark.parametrize("question", ["none", "Is it benign, and what is the fetal head size?"])
def test_another_process_with_another_hash_seed_says_the_same(question: str) -> None:
    code = (
        "import sys\nfrom tests.planner.stand_ins import report_of\n"
        "sys.stdout.write(report_of(question=sys.argv[1]).provenance.content_sha256)"
    )
    root = str(Path(__file__).parents[2])
    hashes = {
        finished(
            [sys.executable, "-c", code, question],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": root},
            cwd=root,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert hashes == {report_of(question=question).provenance.content_sha256}


class AnyLegal:
    """A chooser that picks at random."""

    sees = True
    ref = PlannerRef(id="random", sha256=a_sha256("random"))

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        action = self.random.choice(legal)
        return Choice(action=action, chosen_by=ChosenBy.MODEL, margin=0.1, reason="Random.")


def _two(score: float) -> dict[str, float]:
    return {"benign": score, "malignant": 1 - score}


SCORE = st.floats(0.0, 1.0)


@st.composite
def an_answer(draw: st.DrawFn, entry: SpecialistEntry) -> Answer:
    """Any legal result of that specialist, or that it declines."""
    if draw(st.integers(0, 5)) == 0:
        return Declined("It cannot tell.")
    made_by = {"specialist": entry.id, "sha256": a_sha256(entry.id)}
    match entry.kind:
        case Kind.DETECT:
            box = draw(st.none() | st.just((10.0, 10.0, 90.0, 60.0)))
            return DetectResult(
                **made_by,
                label=entry.labels[0],
                score=draw(SCORE),
                box=box,
                absence_known=draw(st.booleans()),
            )
        case Kind.SEGMENT:
            centres = st.tuples(st.floats(40, 600), st.floats(30, 440))
            labels = draw(st.lists(st.sampled_from(entry.labels[1:]), max_size=3))
            components = tuple(
                Component(
                    label=label, polygons=(an_ellipse(draw(centres), (20.0, 9.0)),), score=0.5
                )
                for label in labels
            )
            return SegmentResult(**made_by, labels=entry.labels[1:], components=components)
        case Kind.CLASSIFY:
            weights = [draw(st.integers(0, 9)) for _ in entry.labels]
            total = sum(weights) or 1
            scores = {
                label: weight / total for label, weight in zip(entry.labels, weights, strict=True)
            }
            return ClassifyResult(**made_by, scores=scores)
        case Kind.REGRESS:
            return RegressResult(**made_by, points=(), missing=entry.landmarks)


@st.composite
def some_tools(draw: st.DrawFn) -> StandInTools:
    """Any set of installed specialists with any answers."""
    installed = draw(st.sets(st.sampled_from(ALL_TOOLS))) | set(
        draw(st.sampled_from([(), ALL_TOOLS, BREAST_TOOLS]))
    )
    manifest: Manifest = a_manifest(installed)
    answers = {
        name: draw(an_answer(manifest.specialists[name])) for name in ALL_TOOLS if name in installed
    }
    return StandInTools(answers=answers, manifest=manifest)


@settings(max_examples=60)
@given(
    tools=some_tools(),
    exam=st.none() | st.sampled_from(ExamCode),
    question=st.none() | st.sampled_from(["lesion?", "only the area", "head circumference", "?"]),
    seed=st.integers(0, 99),
)
def test_any_results_end_in_a_report_without_a_silent_gap(
    tools: StandInTools, exam: ExamCode | None, question: str | None, seed: int
) -> None:
    request = Request(exam=exam, question=question)
    case = run(an_image(), request, tools, AnyLegal(seed), MemoryJournal())
    called = tools.called
    assert len(called) == len(set(called))
    installed = {entry.id for entry in tools.manifest.installed()}
    for record in case.records:
        assert {label.partition("@")[0] for label in record.step.legal} <= installed | {STOP}
    report = conclude(case, an_identity())
    assert report.steps[-1].action == STOP
    if report.exam.code is not None:
        labels = {item.label for item in report.findings} | {m.name for m in report.measurements}
        questions = case.protocols.exams[report.exam.code].questions
        assert labels >= {q.label for q in questions if q.stated is None}
    for item in statements(report):
        assert item.statement
        assert item.reason or item.state != "not_assessed"
    assert report.reason or report.outcome is Outcome.REPORTED
    assert plan_for(case).legal_actions()[-1].name == STOP
