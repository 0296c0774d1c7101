"""From a data folder to installed specialists that the engine runs, by the commands' functions."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from specialists.admission.novelty import Novelty
from specialists.checkpoints import half, save_tensors, sha256_of
from specialists.decode import attention_inside, decode
from specialists.errors import Declined, TrainingError
from specialists.heads.regress import target_heatmaps
from specialists.image import image_of
from specialists.letterbox import letterbox
from specialists.load import load_backbone, load_engine, load_novelty
from specialists.manifest import read_manifest
from specialists.model import build_backbone, level_widths
from specialists.result import DetectResult
from specialists.training.calibration.calibrate import (
    calibrate_classifier,
    calibrate_mask,
    calibrate_peak,
    calibrate_presence,
    fit_temperature,
    presence_without_negatives,
    smallest_component,
)
from specialists.training.calibration.novelty import fit_novelty, own_limit
from specialists.training.commands import (
    BACKBONE,
    FOREIGN_VIEWS,
    calibrate_specialists,
    state_folder,
    train_novelty,
)
from specialists.training.data.pack import build_pack
from specialists.training.data.readable import read_grey
from specialists.training.data.tables import read_samples
from specialists.training.install import predicted_regions
from specialists.training.outputs import Outputs
from specialists.training.registry import write_entries
from specialists.training.specialist import SpecialistConfig
from tests.specialists.dataset import Row, read_csv, write_csv
from tests.specialists.nets import IN_FP32, a_model, an_entry, threshold, train_specialist

IDS = ["breast_lesion_det", "breast_lesion", "breast_2cls", "aop_landmarks", "intrapartum_head_det"]
CONFIG = SpecialistConfig(
    seed=1, pack_px=80, warmup_steps=1, steps=4, batch=8, threads=1, compute=IN_FP32
)


def with_backbone(out: Path) -> Path:
    """A folder as Stage I leaves it, with a tiny backbone of random weights."""
    torch.manual_seed(0)
    model = a_model(out, id=BACKBONE)
    digest = save_tensors(out / "usgen.safetensors", half(build_backbone(model)), {})
    trained = model.model_copy(update={"weights": "usgen.safetensors", "sha256": digest})
    write_entries(out / "manifest.toml", [trained], [])
    return out


def test_specialists_are_trained_calibrated_measured_and_installed(
    data: Path, tmp_path: Path
) -> None:
    out = with_backbone(tmp_path / "run")
    train_specialist(IDS, data, out, CONFIG)
    manifest = read_manifest(out).only(IDS)
    needed = {"breast_lesion_det": {"presence"}, "breast_lesion": {"mask", "min_area"}}
    for name in IDS:
        entry = manifest.specialist(name)
        assert entry.sha256 == sha256_of(out / str(entry.weights))
        assert entry.backbone_sha256 == manifest.models[BACKBONE].sha256
        assert entry.not_installed is None
        assert entry.metrics
        assert {metric.split for metric in entry.metrics} == {"val"}
        assert needed.get(name, set()) <= set(entry.thresholds)
        assert all("val" in t.source or "training" in t.source for t in entry.thresholds.values())
        card = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        assert card["sha256"] == entry.sha256
        assert card["config"]["seed"] == CONFIG.seed
        assert "breast_2cls.csv" in card["data_sha256"]
        trained = [row["dataset"] for row in read_csv(data, name) if row["split"] == "train"]
        assert card["trained_on"] == Counter(trained)
    engine = load_engine(manifest, "cpu")
    image = image_of(np.random.default_rng(0).integers(0, 255, (96, 128), np.uint8))
    for name in IDS:
        assert engine.run(name, image).specialist == name


def test_the_same_command_gives_the_same_weights_and_metrics(data: Path, tmp_path: Path) -> None:
    runs = [with_backbone(tmp_path / name) for name in ("one", "two", "three")]
    for run, seed in zip(runs, (1, 1, 2), strict=True):
        train_specialist(["breast_2cls"], data, run, replace(CONFIG, seed=seed))
    one, two, three = (sha256_of(run / "breast_2cls.safetensors") for run in runs)
    assert one == two != three
    first, second = (read_manifest(run).specialist("breast_2cls").metrics for run in runs[:2])
    assert first == second


def test_a_training_that_was_cut_short_is_resumed_and_leaves_no_state(
    data: Path, tmp_path: Path
) -> None:
    ids = ["breast_2cls", "breast_lesion_det"]
    whole, cut = (with_backbone(tmp_path / name) for name in ("whole", "cut"))
    train_specialist(ids, data, whole, CONFIG)
    assert not state_folder(whole, ids).exists()
    rows: list[Row] = [dict(row) for row in read_csv(data, "breast_lesion_det")]
    write_csv(data, "breast_lesion_det", without_negatives(rows, "val"))
    with pytest.raises(TrainingError, match="calibrated"):  # after the training
        train_specialist(ids, data, cut, CONFIG)
    assert state_folder(cut, ids).exists()
    write_csv(data, "breast_lesion_det", rows)
    train_specialist(ids[::-1], data, cut, CONFIG, resume=True)
    assert not state_folder(cut, ids).exists()
    for name in ids:
        one, other = (sha256_of(out / f"{name}.safetensors") for out in (whole, cut))
        assert one == other


def test_a_later_calibration_leaves_what_the_card_says_of_the_training(
    data: Path, tmp_path: Path
) -> None:
    out = with_backbone(tmp_path / "run")
    train_specialist(["breast_2cls"], data, out, CONFIG)
    card = out / "breast_2cls.json"
    before = json.loads(card.read_text(encoding="utf-8"))
    grown: list[Row] = [dict(row) for row in read_csv(data, "breast_2cls")]
    grown[0]["dataset"] = "another"
    write_csv(data, "breast_2cls", grown)
    calibrate_specialists(["breast_2cls"], data, out, None)
    after = json.loads(card.read_text(encoding="utf-8"))
    kept = ("sha256", "command", "config", "data_sha256", "trained_on")
    assert [after[key] for key in kept] == [before[key] for key in kept]
    assert after["calibration"]["data_sha256"] != before["data_sha256"]


def without_negatives(rows: list[Row], split: str) -> list[Row]:
    return [row for row in rows if row["x_min"] or row["split"] != split]


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("val", "cannot be calibrated: no image of val is without the structure"),
        ("train", "cannot tell absence: no image of train is without the structure"),
    ],
)
def test_a_detector_of_absence_needs_images_without_the_structure(
    data: Path, tmp_path: Path, split: str, words: str
) -> None:
    rows: list[Row] = [dict(row) for row in read_csv(data, "breast_lesion_det")]
    write_csv(data, "breast_lesion_det", without_negatives(rows, split))
    with pytest.raises(TrainingError, match=f"breast_lesion_det {words}"):
        train_specialist(["breast_lesion_det"], data, with_backbone(tmp_path / "run"), CONFIG)


def test_what_val_lacks_for_a_calibration_is_named() -> None:
    logits, empty = np.zeros(4), np.zeros((64, 64), np.uint8)
    entry = read_manifest().specialist("breast_2cls")
    landmarks = read_manifest().specialist("aop_landmarks")
    with pytest.raises(TrainingError, match=r"thyroid .* no image of val is without"):
        calibrate_presence("thyroid", logits, np.ones(4, bool))
    with pytest.raises(TrainingError, match=r"thyroid .* no image of val is with the"):
        calibrate_presence("thyroid", logits, np.zeros(4, bool))
    with pytest.raises(TrainingError, match=r"thyroid .* no image of val is with the"):
        presence_without_negatives("thyroid", np.array([]))
    with pytest.raises(TrainingError, match=r"cervix .* no mask of val holds a class"):
        calibrate_mask("cervix", [torch.zeros(1, 2, 32, 32)], [empty], 0.0)
    with pytest.raises(TrainingError, match=r"cervix .* no mask of train holds a class"):
        smallest_component("cervix", [empty], [letterbox(64, 64, 64)])
    with pytest.raises(TrainingError, match=r"aop_landmarks .* no landmark of val is marked"):
        calibrate_peak(landmarks, torch.zeros(1, 2, 8, 8), np.zeros((1, 2), bool))
    with pytest.raises(TrainingError, match=r"breast_2cls .* fewer than two classes"):
        calibrate_classifier(entry, np.zeros((3, 2)), np.ones(3, np.int64))


def test_only_landmarks_that_someone_marked_say_how_high_a_peak_is() -> None:
    points = torch.tensor([[[4.5, 4.5], [20.5, 20.5]]]).repeat(50, 1, 1)
    heatmaps = target_heatmaps(points, 32, 32) * 0.8
    heatmaps[:, 1] *= 0.1  # nothing to be seen
    marked = np.tile([True, False], (50, 1))
    entry = read_manifest().specialist("aop_landmarks")
    peak = calibrate_peak(entry, heatmaps, marked).thresholds["peak"]
    assert peak.value == pytest.approx(0.8, abs=1e-3)
    assert "50 landmarks" in peak.source


@pytest.mark.parametrize("absence_known", [True, False])
def test_regions_for_calibration_are_the_boxes_that_a_report_would_get(
    tmp_path: Path, absence_known: bool
) -> None:
    entry = an_entry(
        "breast_lesion_det",
        tmp_path,
        sha256="0" * 64,
        absence_known=absence_known,
        temperature=2.0 if absence_known else None,
        thresholds={"presence": threshold(0.5)},
    )
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5]]).repeat(4, 1)
    presence = torch.tensor([1.0, 1.0, -1.0, -1.0])
    attention = torch.zeros(4, 4)
    attention[::2, 0] = 5.0  # in the box of every other image
    inside = attention_inside(attention, boxes).tolist()
    outputs = Outputs(
        samples=[3, 5, 7, 9], values=list(presence), boxes=list(boxes), attention=inside
    )
    found = predicted_regions(entry, outputs)
    shown = []
    for index, sample in enumerate(outputs.samples):
        row = slice(index, index + 1)
        output = (boxes[row], presence[row], attention[row])
        result = decode(entry, output, letterbox(64, 64, 64))
        assert isinstance(result, DetectResult)
        shown += [sample] if result.box is not None else []
    assert list(found) == shown == ([3, 5] if absence_known else [3, 7])


def test_the_name_of_a_state_folder_is_short_and_the_same_in_any_order(tmp_path: Path) -> None:
    assert state_folder(tmp_path, ["b", "a"]).name == "stage2-a+b"
    many = [f"specialist_number_{index}" for index in range(20)]
    assert state_folder(tmp_path, many) == state_folder(tmp_path, many[::-1])
    assert len(state_folder(tmp_path, many).name) < 32


def test_an_id_that_is_in_no_manifest_needs_a_csv_of_its_own(data: Path, tmp_path: Path) -> None:
    out = with_backbone(tmp_path / "run")
    with pytest.raises(TrainingError, match=r"my_task\.csv cannot be read"):
        train_specialist(["my_task"], data, out, CONFIG)


@pytest.mark.soak
def test_a_shipped_backbone_is_not_listed_as_the_users(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "mine"
    write_entries(out / "manifest.toml", [], [])
    train_specialist(["breast_2cls"], data, out, replace(CONFIG, steps=1))
    manifest = read_manifest(out)
    assert manifest.models == read_manifest().models
    assert load_engine(manifest.only(["breast_2cls"]), "cpu").manifest.installed()


def test_a_users_entry_is_not_installed_where_another_backbone_was_shipped(
    tmp_path: Path,
) -> None:
    entry = (
        read_manifest()
        .specialist("breast_2cls")
        .model_copy(update={"id": "my_task", "task_id": "my_task", "backbone_sha256": "0" * 64})
    )
    write_entries(tmp_path / "manifest.toml", [], [entry])
    found = read_manifest(tmp_path).specialist("my_task")
    assert not found.installed
    assert "train it again" in str(found.not_installed)
    kept = {name: e for name, e in read_manifest(tmp_path).specialists.items() if name != "my_task"}
    assert kept == read_manifest().specialists


def test_a_task_of_ones_own_has_a_limit_of_novelty_that_its_own_images_pass(
    data: Path, tmp_path: Path
) -> None:
    out = with_backbone(tmp_path / "run")
    model = read_manifest(out).models[BACKBONE]
    samples = read_samples(data, [read_manifest().specialist("breast_2cls")], None)
    pack = build_pack(samples, model.input_px)
    backbone = load_backbone(model)
    assert own_limit(backbone, model, [pack], FOREIGN_VIEWS) is None  # it has no statistics
    width = 2 * sum(level_widths(a_model(tmp_path)).values())
    tensors = {"means": torch.full((1, width), 5.0), "whitening": torch.eye(width)}
    digest = save_tensors(out / "n.safetensors", tensors, {})
    update = {
        "novelty": "n.safetensors",
        "novelty_sha256": digest,
        "thresholds": {"novelty": threshold(0.1)},
    }
    strict = model.model_copy(update=update)
    limit = own_limit(backbone, strict, [pack], FOREIGN_VIEWS)
    assert limit is not None
    assert limit.value > 0.1
    assert "of the task's own images" in limit.source
    train_specialist(["breast_2cls"], data, out, replace(CONFIG, steps=1))
    manifest = read_manifest(out).only(["breast_2cls"])
    entry = manifest.specialist("breast_2cls")
    own = entry.model_copy(update={"thresholds": {"novelty": limit}})
    image = image_of(read_grey(samples[0].path))
    for listed, answers in ((own, True), (entry, False)):
        changed = manifest.model_copy(
            update={"models": {BACKBONE: strict}, "specialists": {entry.id: listed}}
        )
        engine = load_engine(changed, "cpu")
        if answers:
            assert engine.run(entry.id, image).novelty is not None
        else:
            with pytest.raises(Declined, match=r"limit 0\.10"):
                engine.run(entry.id, image)


def test_data_without_the_tasks_csv_is_an_error(data: Path, tmp_path: Path) -> None:
    out = with_backbone(tmp_path / "run")
    (data / "csv_files" / "breast_2cls.csv").unlink()
    with pytest.raises(TrainingError, match=r"breast_2cls\.csv"):
        train_specialist(["breast_2cls"], data, out, CONFIG)
    assert not (out / "breast_2cls.safetensors").exists()
    assert read_csv(data, "breast_lesion")


def test_a_temperature_undoes_what_made_scores_too_sure() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, (4000, 3))
    shares = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    labels = np.array([rng.choice(3, p=p) for p in shares])
    assert fit_temperature(true, labels) == pytest.approx(1.0, abs=0.1)
    assert fit_temperature(3 * true, labels) == pytest.approx(3.0, abs=0.3)


def test_a_presence_threshold_keeps_the_stated_share() -> None:
    rng = np.random.default_rng(0)
    there = np.arange(400) < 300
    logits = rng.normal(np.where(there, 2.0, -2.0), 1.0)
    found = calibrate_presence("lesion", logits, there)
    assert found.temperature is not None
    scores = 1 / (1 + np.exp(-logits / found.temperature))
    value = found.thresholds["presence"].value
    assert 0.945 <= (scores[there] >= value).mean() <= 0.96
    assert (scores[~there] >= value).mean() < 0.05


def test_only_the_router_gets_its_thresholds() -> None:
    logits, truth = np.eye(5)[np.arange(50) % 5] * 8, np.arange(50) % 5
    router = read_manifest().specialist("exam_cls")
    assert set(calibrate_classifier(router, logits, truth).thresholds) == {
        "accept",
        "contradiction",
    }
    other = read_manifest().specialist("breast_3cls")
    assert calibrate_classifier(other, logits[:, :3], truth % 3).thresholds == {}


def test_the_smallest_component_is_a_share_of_the_image_not_of_its_padding() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[24:40, 20:36] = 1  # in an image of 32 rows, 16 of the square are padding above and below
    share = smallest_component("lesion", [mask], [letterbox(50, 100, 64)])
    assert share == pytest.approx(16 * 16 / (32 * 64) / 2, rel=0.05)


def test_an_image_unlike_all_training_images_is_far_and_beyond_the_limit() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[0.0] * 6, [5.0] * 6])
    train = torch.randn(200, 6) + centres.repeat_interleave(100, 0)
    val = torch.randn(200, 6) + centres.repeat_interleave(100, 0)
    novelty, limit = fit_novelty(train, ["a"] * 100 + ["b"] * 100, val)
    assert novelty.limit == limit.value
    assert (novelty.distance(val) <= novelty.limit).float().mean() >= 0.96
    assert (novelty.distance(torch.full((1, 6), 30.0)) > novelty.limit).all()


def test_the_engine_declines_an_image_beyond_the_limit_and_says_so(
    data: Path, tmp_path: Path
) -> None:
    out = with_backbone(tmp_path / "run")
    train_specialist(["breast_2cls"], data, out, CONFIG)
    manifest = read_manifest(out).only(["breast_2cls"])
    engine = load_engine(manifest, "cpu")
    image = image_of(np.full((64, 64), 90, np.uint8))
    width = 2 * sum(level_widths(a_model(tmp_path)).values())
    far = Novelty(means=torch.full((1, width), 1e3), whitening=torch.eye(width), limit=2.0)
    model = manifest.models[BACKBONE]
    digest = save_tensors(
        out / "n.safetensors", {"means": far.means, "whitening": far.whitening}, {}
    )
    strict = model.model_copy(
        update={
            "novelty": "n.safetensors",
            "novelty_sha256": digest,
            "thresholds": {"novelty": threshold(far.limit)},
        }
    )
    declining = load_engine(manifest.model_copy(update={"models": {BACKBONE: strict}}), "cpu")
    assert engine.run("breast_2cls", image).kind == "classify"
    with pytest.raises(Declined, match=r"unlike .* limit 2\.00"):
        declining.run("breast_2cls", image)


def test_novelty_and_quality_are_fitted_anew_without_touching_the_weights(
    data: Path, tmp_path: Path
) -> None:
    out = with_backbone(tmp_path / "run")
    before = read_manifest(out).models[BACKBONE]
    fitted = train_novelty(data, out)
    read = read_manifest(out).models[BACKBONE]
    assert read == fitted
    assert (read.sha256, read.weights) == (before.sha256, before.weights)
    assert {"novelty", "quality_black", "quality_blurred_extreme"} <= read.thresholds.keys()
    statistics = load_novelty(read)
    assert statistics is not None
    assert statistics.background is not None
