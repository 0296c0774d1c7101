"""The evaluation: a perfect planner scores 1, a random one little, and order does not matter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from planner.case import Case
from planner.policy import Action, Choice
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.training.data.teacher import Teacher
from planner.training.evaluation.agents import (
    RandomLegal,
    agreement,
    decision_figures,
    figures,
    in_another_order,
    play_all,
)
from planner.training.evaluation.published import FreeText, named
from planner.training.evaluation.scenarios import (
    BARE,
    DISAGREE,
    NEW_INTENT,
    OTHER_HAND,
    REQUESTED,
    Stage,
    Unusable,
)
from planner.training.evaluation.vision import looks
from planner.vlm.load import load_planner
from reports.model import ExamCode
from specialists.image import Image
from specialists.manifest import Metric
from specialists.training.calibration.error import calibration_error
from tests.planner.schooling import ALL_TOOLS, a_generator, a_sampler, a_stage, a_survey
from tests.planner.stand_ins import a_manifest
from tests.planner.tiny_llava import Backbone, write_ours

GROUPS = (REQUESTED, OTHER_HAND, BARE, NEW_INTENT, DISAGREE)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return a_stage(tmp_path)


def value(metrics: list[Metric], name: str) -> float:
    return next(metric.value for metric in metrics if metric.name == name)


@pytest.mark.parametrize("group", GROUPS)
def test_the_teacher_is_always_right(stage: Stage, group: str) -> None:
    scenes = [(s, stage.owed(s)) for s in stage.draw(group, 10, a_generator())]
    found = figures(play_all(stage, scenes, lambda s: Teacher(s.wish, s.shown)), "val")
    assert value(found, "plan accuracy") == 1.0
    assert value(found, "premature stops") == 0.0
    assert value(found, "late stops") == 0.0


@pytest.mark.parametrize("group", [REQUESTED, BARE, NEW_INTENT, DISAGREE])
def test_the_teacher_is_right_for_every_exam_that_is_served(tmp_path: Path, group: str) -> None:
    tools = [name for name in ALL_TOOLS if not name.startswith(("lung", "thyroid_tirads"))]
    stage = Stage(
        survey=a_survey(tmp_path, exams=tuple(ExamCode)),
        manifest=a_manifest(tools),
        protocols=read_protocols(),
        sampler=a_sampler(),
    )
    scenes = [(s, stage.owed(s)) for s in stage.draw(group, 24, a_generator())]
    assert {scene.shown for scene, _ in scenes} == set(ExamCode) - {ExamCode.LUNG}
    found = figures(play_all(stage, scenes, lambda s: Teacher(s.wish, s.shown)), "val")
    assert value(found, "plan accuracy") == 1.0


def test_chance_is_rarely_right_and_never_illegal(stage: Stage) -> None:
    scenes = [(s, stage.owed(s)) for s in stage.draw(REQUESTED, 30, a_generator())]
    found = figures(play_all(stage, scenes, lambda s: RandomLegal(len(s.wish.items))), "val")
    assert value(found, "plan accuracy") < 0.6


def test_the_rules_are_right_where_nothing_is_asked(stage: Stage) -> None:
    scenes = [(s, stage.owed(s)) for s in stage.draw(BARE, 6, a_generator())]
    found = figures(play_all(stage, scenes, lambda s: Rules(read_protocols())), "val")
    assert value(found, "plan accuracy") == 1.0


def test_a_planner_that_is_told_one_exam_does_not_look(stage: Stage) -> None:
    drawn = stage.draw(BARE, 6, a_generator())
    scene = next(scene for scene in drawn if scene.shown is ExamCode.BREAST)
    blind = Teacher(scene.wish, scene.shown)
    found = looks(stage, blind, [scene] * 3, seed=0)
    assert value(found, "plan changed or withheld with noise, the same results") == 0.0
    assert value(found, "plan withheld with another image of the same exam, its own results") == 0.0


def test_agreement_is_whole_with_itself_and_small_with_chance(stage: Stage) -> None:
    scenes = stage.draw(BARE, 8, a_generator())
    rules = Rules(read_protocols())
    assert agreement(rules, rules.choose, stage, scenes) == 1.0
    assert agreement(rules, RandomLegal(3).choose, stage, scenes) < 0.8
    assert agreement(rules, in_another_order(RandomLegal(3)), stage, scenes) < 0.8


class Confident(RandomLegal):
    """Chance that gives 0.9 to whatever it chooses."""

    def choose(self, image: Image, case: Case, legal: tuple[Action, ...]) -> Choice:
        choice = super().choose(image, case, legal)
        return replace(choice, scores={choice.action.label: 0.9})


def test_the_calibration_error_is_that_of_the_steps_which_the_planner_scored(stage: Stage) -> None:
    scenes = [(s, stage.owed(s)) for s in stage.draw(REQUESTED, 10, a_generator())]
    played = play_all(stage, scenes, lambda s: Confident(3))
    right = [step.right for p in played for step in p.done.decisions if step.by_model]
    error = value(decision_figures(played, "val"), "calibration error of the best score")
    assert error == pytest.approx(
        calibration_error(np.full(len(right), 0.9), np.array(right)), 1e-3
    )
    unscored = decision_figures(play_all(stage, scenes, lambda s: RandomLegal(3)), "val")
    assert not any("calibration" in metric.name for metric in unscored)


@pytest.mark.parametrize(
    ("written", "place"),
    [("B", 1), (" A because", 0), ("breast_2cls", 1), (": stop.", 2)],
)
def test_the_action_in_a_written_answer_is_read(written: str, place: int) -> None:
    assert named(written, ("breast_lesion_det", "breast_2cls", "stop")) == place


@pytest.mark.parametrize(
    ("written", "illegal"),
    [("D", True), ("thyroid_nodule", True), ("42 !", False), ("maybe", False), ("", False)],
)
def test_a_written_answer_may_be_illegal_or_unreadable(written: str, illegal: bool) -> None:
    with pytest.raises(Unusable) as caught:
        named(written, ("breast_lesion_det", "stop"))
    assert caught.value.illegal is illegal


def test_the_published_pattern_ends_where_its_answer_cannot_be_used(
    stage: Stage, tmp_path: Path
) -> None:
    policy = FreeText(load_planner(write_ours(tmp_path), backbones=Backbone()))
    scenes = [(s, stage.owed(s)) for s in stage.draw(REQUESTED, 6, a_generator())]
    played = play_all(stage, scenes, lambda _: policy)
    ended = [p for p in played if p.done.unusable is not None]
    assert ended
    found = figures(played, "val")
    unusable = value(found, "illegal actions") + value(found, "unreadable answers")
    assert unusable == pytest.approx(len(ended) / len(played), abs=1e-3)
    assert value(found, "plan accuracy") < 1
