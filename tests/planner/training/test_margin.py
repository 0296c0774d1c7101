"""The margin: the least that keeps a stated risk on images and wordings that nothing else uses."""

from pathlib import Path

import numpy as np
import pytest

from planner.protocols import read_protocols
from planner.rules import Rules
from planner.training.evaluation.halves import calibration_images, part_of
from planner.training.evaluation.margin import RUNS, calibrate_margin, kept_scenes
from planner.training.evaluation.risk import (
    FEWEST,
    MARGINS,
    TARGET,
    Decided,
    calibrated,
    upper_bound,
)
from planner.training.evaluation.scenarios import KEPT_OTHER, Stage
from planner.training.requests.handwritten import PACKAGE_KEPT_ASIDE, read_written
from planner.vlm.load import load_planner
from specialists.errors import TrainingError
from specialists.training.data.csv_lines import file_of
from tests.planner.schooling import a_generator, a_stage, a_survey
from tests.planner.tiny_llava import Backbone, write_ours
from tests.specialists.dataset import read_csv, write_csv, write_dataset


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return a_stage(tmp_path)


def decided(place: int, margin: float, *, right: bool) -> Decided:
    return Decided(
        picture=f"image {place}",
        wording=f"wording {place}",
        margin=margin,
        right=right,
        ruled_right=True,
    )


def test_the_margin_leaves_to_the_rules_what_the_planner_gets_wrong() -> None:
    sure = [decided(place, 0.9, right=True) for place in range(600)]
    unsure = [decided(place, 0.32, right=False) for place in range(60)]
    found = calibrated([*sure, *unsure])
    assert found.holds
    assert found.margin.value == 0.35
    risks = {risk.margin: risk for risk in found.curve}
    assert risks[0.35].error == 0
    assert risks[0.35].bound <= TARGET
    assert risks[0.35].coverage == pytest.approx(600 / 660, abs=1e-4)
    assert risks[0.3].error == pytest.approx(60 * 0.5 / 600)
    assert risks[0.35].right == 1.0
    assert risks[0.3].right == pytest.approx(600 / 660, abs=1e-4)
    assert "at most 1%" in found.margin.source


def test_a_planner_that_is_always_right_needs_no_margin() -> None:
    assert calibrated([decided(n, 0.999, right=True) for n in range(400)]).margin.value == 0.0


def test_where_no_margin_keeps_the_risk_it_is_named() -> None:
    wrong = [decided(n, 0.9995, right=n % 10 > 0) for n in range(600)]
    found = calibrated(wrong)
    assert not found.holds
    assert "no margin has a bound of at most 1%" in found.margin.source


def test_too_few_images_or_wordings_show_nothing() -> None:
    few = calibrated([decided(n, 0.9, right=True) for n in range(FEWEST - 100)])
    assert not few.holds
    same = [
        Decided(picture=f"{n}", wording=f"{n % 50}", margin=0.9, right=True, ruled_right=True)
        for n in range(900)
    ]
    assert not calibrated(same).holds


def test_errors_that_share_an_image_count_as_one_observation() -> None:
    alone = [decided(n, 0.9, right=n > 3) for n in range(600)]
    clustered = [
        Decided(picture=f"{n // 4}", wording=f"{n}", margin=0.9, right=n > 3, ruled_right=True)
        for n in range(600)
    ]
    assert calibrated(clustered).curve[0].error == pytest.approx(1 / 150, abs=1e-4)
    assert calibrated(clustered).curve[0].bound > calibrated(alone).curve[0].bound


def test_the_bound_covers_the_true_risk_as_often_as_it_says() -> None:
    rng = a_generator(3)
    true = 0.02
    covered = [upper_bound((rng.random(400) < true).astype(np.float64)) >= true for _ in range(300)]
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize(("errors", "least", "most"), [(0, 0.005, 0.01), (6, 0.015, 0.04)])
def test_the_bound_lies_above_the_mean_and_not_far(errors: int, least: float, most: float) -> None:
    losses = np.zeros(500)
    losses[:errors] = 1.0
    assert least <= upper_bound(losses) <= most


def test_without_an_observation_the_bound_is_one() -> None:
    assert upper_bound(np.zeros(0)) == 1.0


def test_no_patient_is_in_both_parts_and_each_data_set_is_in_each(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "drawn")
    rows = [
        {**{key: row[key] for key in ("image_path", "dataset", "group_id", "split")}, "mask": 0}
        for row in read_csv(data, "breast_lesion_det")
    ]
    write_csv(data, "exam_cls", rows)
    chosen = calibration_images(data)
    val = [row for row in rows if row["split"] == "val"]
    inside = {row["group_id"] for row in val if file_of(data, str(row["image_path"])) in chosen}
    outside = {row["group_id"] for row in val} - inside
    assert inside
    assert outside
    assert len(chosen) == sum(row["group_id"] in inside for row in val)
    assert calibration_images(data) == chosen


def test_a_part_has_the_images_with_their_views(tmp_path: Path) -> None:
    survey = a_survey(tmp_path)
    first = survey.rows[0].wanted.path
    inside = part_of(survey, frozenset({first}), inside=True)
    assert {row.wanted.path for row in inside.rows} == {first}
    assert len(inside.rows) == 2
    assert len(inside.features) == 2
    rest = part_of(survey, frozenset({first}), inside=False)
    assert len(rest.rows) + 2 == len(survey.rows)


def test_the_margin_is_calibrated_on_wordings_that_nothing_else_uses(stage: Stage) -> None:
    aside = {text.text for text in read_written(PACKAGE_KEPT_ASIDE)}
    scenes = list(kept_scenes(stage, 1.0, a_generator()))
    assert len(scenes) == len(RUNS) * len(stage.served())
    asked = {scene.request.question for scene in scenes} - {None}
    assert asked
    assert asked <= aside
    assert not aside & {text.text for text in read_written()}
    for scene in scenes:
        if scene.group == KEPT_OTHER:
            assert scene.wish.about is not scene.shown or not scene.wish.items


def test_a_planner_is_calibrated_without_its_own_margin_and_keeps_it(
    stage: Stage, tmp_path: Path
) -> None:
    planner = load_planner(write_ours(tmp_path, margin=0.5), backbones=Backbone())
    found = calibrate_margin(stage, planner, Rules(read_protocols()))
    assert planner.least_margin == 0.5
    assert not found.holds
    assert found.margin.value in MARGINS
    assert found.curve[0].coverage == 1.0
    coverage = [risk.coverage for risk in found.curve]
    assert coverage == sorted(coverage, reverse=True)


def test_without_an_image_there_is_no_margin(stage: Stage, tmp_path: Path) -> None:
    nothing = Stage(
        survey=part_of(stage.survey, frozenset(), inside=True),
        manifest=stage.manifest,
        protocols=stage.protocols,
        sampler=stage.sampler,
    )
    planner = load_planner(write_ours(tmp_path), backbones=Backbone())
    with pytest.raises(TrainingError, match="kept aside"):
        calibrate_margin(nothing, planner, Rules(read_protocols()))
