"""From drawn images to a planner that is loaded and evaluated: the command at its smallest."""

from dataclasses import replace
from pathlib import Path

import pytest

from planner.training.commands import left_out, train_planner
from planner.training.config import PlannerConfig
from planner.training.data.survey import Extent
from planner.training.evaluation.agents import FREE_TEXT, OTHER, PLANNER, RULES, TAUGHT
from planner.training.evaluation.scenarios import BARE, REQUESTED
from planner.training.judging import Judged, calibrate_planner, evaluate_planner
from planner.training.learning.decisions import LearnConfig
from planner.training.learning.pretraining import FOLDER, ReadConfig
from planner.vlm.card import read_card
from reports.model import ExamCode
from specialists.checkpoints import read_tensors
from specialists.manifest import Metric, Threshold
from specialists.training.registry import write_entries
from tests.planner.schooling import word_vectors
from tests.specialists.dataset import read_csv, write_csv, write_dataset
from tests.specialists.nets import IN_FP32, KINDS, installed

CONFIG = PlannerConfig(
    read=ReadConfig(steps=2, batch=4, save_every=1, compute=IN_FP32),
    learn=LearnConfig(steps=2, batch=4, save_every=1, compute=IN_FP32),
    extent=Extent(train=4, val=4, foreign_train=2, foreign_val=2, drawn=1),
    episodes=6,
    judged=0.01,
)


@pytest.fixture
def user_dir(tmp_path: Path) -> Path:
    """The router and specialists of every kind, tiny and with random weights."""
    folder = tmp_path / "specialists"
    manifest = installed(folder, ("exam_cls", "breast_3cls", *KINDS.values()))
    router = manifest.specialists["exam_cls"]
    limits = {
        name: Threshold(value=0.05, source="this test") for name in ("accept", "contradiction")
    }
    entries = manifest.specialists | {"exam_cls": router.model_copy(update={"thresholds": limits})}
    write_entries(folder / "manifest.toml", list(manifest.models.values()), list(entries.values()))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = write_dataset(tmp_path / "drawn")
    rows: list[dict[str, object]] = []
    for task, label in (("breast_lesion_det", 0), ("intrapartum_head_det", 2)):
        kept = ("image_path", "dataset", "group_id", "split")
        rows += [{**{k: row[k] for k in kept}, "mask": label} for row in read_csv(root, task)]
    write_csv(root, "exam_cls", rows)
    return root


def value(metrics: list[Metric], name: str) -> float:
    return next(metric.value for metric in metrics if metric.name == name)


def test_a_trained_planner_is_written_loaded_and_judged_the_same_again(
    data: Path, user_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    card, evaluation = train_planner(data, out, CONFIG, resume=False, user_dir=user_dir)
    assert read_card(out) == card
    assert set(evaluation.groups) >= {REQUESTED, BARE}
    assert set(evaluation.groups[BARE]) >= {PLANNER, RULES, TAUGHT}
    assert (out / "evaluation.json").is_file()
    before = sorted(path.name for path in (out / "survey").iterdir())
    again = evaluate_planner(
        data, Judged(folder=out, kept=out / "survey", other=out), CONFIG, user_dir
    )
    assert sorted(path.name for path in (out / "survey").iterdir()) == before
    for group, by_agent in again.groups.items():
        assert by_agent[OTHER] == by_agent[PLANNER]
        assert {n: f for n, f in by_agent.items() if n != OTHER} == evaluation.groups[group]
        assert all(value(by_agent[n], "illegal actions") == 0 for n in by_agent if n != FREE_TEXT)
        assert all(
            value(by_agent[n], "required findings missing") == 0 for n in by_agent if n != FREE_TEXT
        )
    assert set(again.by_exam) <= {"breast", "intrapartum"}
    assert again.by_exam
    assert again.looks == evaluation.looks
    (seeds,) = (
        m for m in again.decisions if m.name == "agreement over another seed of the training"
    )
    assert seeds.value == 1.0
    assert again.calibration == evaluation.calibration
    weights = (out / "model.safetensors").read_bytes()
    anew, _ = calibrate_planner(data, Judged(folder=out, kept=out / "survey"), CONFIG, user_dir)
    assert anew.margin == card.margin
    assert (out / "model.safetensors").read_bytes() == weights


def test_a_training_says_which_exam_is_refused_by_name() -> None:
    assert {exam: bool(refused) for exam, refused in left_out().items()} == {ExamCode.LUNG: True}


def test_a_training_that_is_resumed_keeps_its_words_and_what_it_has_read(
    data: Path, user_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    vectors = word_vectors(tmp_path, {"the": [1, 0, 0], "lesion": [0, 1, 0], "moon": [0, 0, 1]})
    first = replace(CONFIG, words=vectors)
    train_planner(data, out, first, resume=False, user_dir=user_dir)
    kept = [out / name for name in ("tokenizer.json", "words.safetensors")]
    before = [path.read_bytes() for path in (*kept, out / FOLDER / "state.safetensors")]
    assert b"moon" in before[0]
    longer = replace(CONFIG, learn=replace(CONFIG.learn, steps=3), episodes=9)
    train_planner(data, out, longer, resume=True, user_dir=user_dir)
    assert [p.read_bytes() for p in (*kept, out / FOLDER / "state.safetensors")] == before
    assert len((out / "log.jsonl").read_text(encoding="utf-8").splitlines()) == 3
    assert not [name for name in read_tensors(out / "model.safetensors") if "said" in name]
