"""Heads are trained without a source and judged on all of it; the figures go into the manifest."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from specialists.checkpoints import half, read_tensors, save_tensors, sha256_of
from specialists.errors import TrainingError
from specialists.manifest import SpecialistEntry, Transfer, read_manifest
from specialists.model import build_backbone
from specialists.training import specialist as stage_two
from specialists.training.commands import (
    BACKBONE,
    calibrate_specialists,
    train_generalist,
)
from specialists.training.data.pack import Pack
from specialists.training.registry import write_entries
from specialists.training.specialist import SpecialistConfig, Start
from specialists.training.transfer import results
from specialists.training.transfer import trial as transfer
from specialists.training.transfer.left_out import FILE, LeftOut, read_all, scored_of
from specialists.training.transfer.results import Target
from specialists.training.transfer.sources import Source
from specialists.training.transfer.trial import Trial
from tests.specialists.dataset import Row, read_csv, write_csv
from tests.specialists.nets import a_model, an_entry, train_specialist

TASKS = ("breast_2cls", "breast_lesion", "breast_lesion_det")
CONFIG = SpecialistConfig(seed=1, pack_px=80, warmup_steps=1, steps=2, batch=8, threads=1)
ONE, OTHER = Source.parse("dataset=one"), Source.parse("device=B")


@pytest.fixture
def sources(data: Path) -> Path:
    """Split the drawn breast images into two data sets of two groups for train and val each.

    `two` has devices A and B.
    """
    for task in TASKS:
        rows: list[Row] = []
        for row in read_csv(data, task):
            index = int(Path(row["image_path"]).stem)
            dataset = "one" if index < 6 else "two"
            device = "" if index < 6 else "AB"[index % 2]
            split = "val" if index % 6 < 3 else "train"  # three looks in each
            group = f"{dataset}:{index}"
            changed = {"dataset": dataset, "device": device, "split": split, "group_id": group}
            rows.append({**row, **changed})
        write_csv(data, task, rows)
    return data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder as Stage I leaves it, with a tiny backbone of random weights."""
    torch.manual_seed(0)
    out = tmp_path / "run"
    model = a_model(out, id=BACKBONE)
    digest = save_tensors(out / "usgen.safetensors", half(build_backbone(model)), {})
    trained = model.model_copy(update={"weights": "usgen.safetensors", "sha256": digest})
    write_entries(out / "manifest.toml", [trained], [])
    return out


def a_trial(run: Path, ids: tuple[str, ...], data: Path, tmp_path: Path) -> Trial:
    return transfer.prepare(run, ids, (data, tmp_path / "out"), CONFIG)


def values(left: LeftOut, task: str) -> dict[str, Transfer]:
    return {item.name: item for item in results.transfers(an_entry(task, Path()), [left])}


def test_all_specialists_of_a_source_are_trained_in_one_run_without_it_and_judged_on_all_of_it(
    sources: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[str], set[str]]] = []

    def watched(*given: object) -> object:
        entries, pack = given[1], given[3]
        assert isinstance(pack, Pack)
        assert isinstance(entries, list)
        seen.append(({s.dataset for s in pack.samples}, {entry.id for entry in entries}))
        return stage_two.train_heads(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(transfer, "train_heads", watched)
    backbone = sha256_of(run / "usgen.safetensors")
    trial = a_trial(run, TASKS, sources, tmp_path)
    (left,) = transfer.leave_out(trial, [ONE])
    assert seen == [({"two"}, set(TASKS))]
    assert sha256_of(run / "usgen.safetensors") == backbone
    rows = {task: [r for r in read_csv(sources, task) if r["dataset"] == "one"] for task in TASKS}
    for task in TASKS:
        assert left.tasks[task].rows == len(rows[task])
        assert left.tasks[task].missing == 0
        assert {item.left_out for item in values(left, task).values()} == {"dataset=one"}
    assert {"auc", "accuracy"} <= values(left, "breast_2cls").keys()
    assert values(left, "breast_lesion")["dice lesion"].n == 4
    boxes = values(left, "breast_lesion_det")
    assert {"iou", "sensitivity", "share of images with it answered none"} <= boxes.keys()
    assert boxes["iou"].n == 4
    assert not any(result.note for result in left.tasks.values())
    assert left.backbone_saw
    assert all("hausdorff" not in name for name in values(left, "breast_lesion"))
    said = left.tasks["breast_2cls"].said
    assert said is not None
    assert len(said.truth) == 4
    assert len(said.values[0]) == 2


def test_the_detector_of_the_regions_is_trained_along(
    sources: Path, run: Path, tmp_path: Path
) -> None:
    trial = a_trial(run, ("breast_lesion",), sources, tmp_path)
    assert [entry.id for entry in trial.entries] == ["breast_lesion", "breast_lesion_det"]


def test_a_patient_whom_the_source_holds_too_teaches_nothing(
    sources: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for task in TASKS:
        rows: list[Row] = [dict(row) for row in read_csv(sources, task)]
        for row in rows:
            if row["group_id"] == "two:9":
                row["group_id"] = "one:0"
        write_csv(sources, task, rows)
    seen: list[set[str]] = []

    def refused(*given: object) -> None:
        assert isinstance(given[3], Pack)
        seen.append({sample.path.name for sample in given[3].samples})
        raise TrainingError("far enough")

    monkeypatch.setattr(transfer, "train_heads", refused)
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)
    with pytest.raises(TrainingError, match="far enough"):
        next(transfer.leave_out(trial, [ONE]))
    assert seen == [{"010.png", "011.png"}]  # of the three for training


def test_without_a_name_every_data_set_and_device_is_left_out_in_turn(
    sources: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        transfer, "_once", lambda _trial, _samples, source: SimpleNamespace(source=source)
    )
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)
    found = [str(left.source) for left in transfer.leave_out(trial, [])]
    assert found == ["dataset=one", "dataset=two", "device=A", "device=B"]


def test_what_no_other_source_teaches_is_said(sources: Path, run: Path, tmp_path: Path) -> None:
    rows = [row for row in read_csv(sources, "breast_lesion_det") if row["x_min"]]
    rows += [
        r
        for r in read_csv(sources, "breast_lesion_det")
        if r["dataset"] == "one" and not r["x_min"]
    ]
    write_csv(sources, "breast_lesion_det", [dict(row) for row in rows])
    trial = a_trial(run, ("breast_lesion_det",), sources, tmp_path)
    (left,) = transfer.leave_out(trial, [ONE])
    note = values(left, "breast_lesion_det")["iou"].note
    assert note is not None
    assert "without it" in note
    assert values(left, "breast_lesion_det")["share of images with it answered none"].value == 0
    assert note in results.as_markdown(trial, [left])
    assert left.tasks["breast_lesion_det"].said is None  # it learnt no absence


@pytest.mark.parametrize("text", ["busi", "dataset=", "split=val"])
def test_what_names_no_source_is_refused(text: str) -> None:
    with pytest.raises(TrainingError, match="is no source"):
        Source.parse(text)


def test_a_source_that_nothing_is_left_of_or_without_is_refused(
    sources: Path, run: Path, tmp_path: Path
) -> None:
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)
    with pytest.raises(TrainingError, match="dataset=three cannot be left out"):
        next(transfer.leave_out(trial, [Source.parse("dataset=three")]))
    alone = a_trial(run, ("aop_landmarks",), sources, tmp_path)
    with pytest.raises(TrainingError, match="Nothing can be left out"):
        next(transfer.leave_out(alone, []))
    with pytest.raises(TrainingError, match="No manifest lists 'unheard_of'"):
        a_trial(run, ("unheard_of",), sources, tmp_path)


def an_installed(run: Path, trial: Trial, **changes: object) -> SpecialistEntry:
    """The entry of breast_2cls in the run's manifest, as if trained there."""
    values = {
        "model": BACKBONE,
        "weights": "breast_2cls.safetensors",
        "sha256": "1" * 64,
        "backbone_sha256": trial.model.sha256,
        "not_installed": None,
    }
    entry = an_entry("breast_2cls", run, **{**values, **changes})
    write_entries(run / "manifest.toml", [], [entry])
    return entry


def test_figures_go_into_the_manifest_beside_those_of_other_sources(
    sources: Path, run: Path, tmp_path: Path
) -> None:
    bare = a_trial(run, ("breast_2cls",), sources, tmp_path)
    with pytest.raises(TrainingError, match="holds no breast_2cls"):
        Target(trial=bare, folder=run).check()
    kept = Transfer(left_out="device=A", name="auc", value=0.5, n=3)
    stale = Transfer(left_out="device=B", name="auc", value=0.1, n=3)
    entry = an_installed(run, bare, transfer=(kept, stale))
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)
    target = Target(trial=trial, folder=run)
    target.check()
    found = list(transfer.leave_out(trial, [OTHER]))
    assert target.write(found) == []
    written = read_manifest(run).specialist("breast_2cls")
    assert written.transfer == (kept, *results.transfers(entry, found))
    assert written.sha256 == entry.sha256
    untouched = read_manifest(run).specialist("breast_lesion_det")  # was never trained here
    assert untouched.transfer == read_manifest().specialist("breast_lesion_det").transfer
    results.save(trial, found)
    saved = json.loads((trial.out / "transfer.json").read_text(encoding="utf-8"))
    assert "the backbone has seen it" in saved["results"][0]["note"]
    assert saved["results"][0]["left_out"] == "device=B"
    assert "| device=B | accuracy |" in (trial.out / "transfer.md").read_text(encoding="utf-8")


def test_a_source_that_is_finished_is_read_and_one_that_was_cut_short_goes_on(
    sources: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(transfer, "calibrate_weights", cut)
        with pytest.raises(KeyboardInterrupt):
            next(transfer.leave_out(trial, [ONE]))
    state = trial.out / "dataset-one" / "state" / "state.safetensors"
    assert int(read_tensors(state)["step"]) == CONFIG.steps
    resumed: list[bool] = []

    def watched(*given: object) -> object:
        start = given[5]
        assert isinstance(start, Start)
        resumed.append(start.resume)
        return stage_two.train_heads(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(transfer, "train_heads", watched)
    (first,) = transfer.leave_out(trial, [ONE])
    assert not state.exists()
    (again,) = transfer.leave_out(trial, [ONE])
    assert first == again
    assert resumed == [True]
    other = replace(trial, config=replace(CONFIG, steps=3))
    with pytest.raises(TrainingError, match="another value of steps; choose another folder"):
        next(transfer.leave_out(other, [ONE]))


@pytest.mark.soak
def test_a_backbone_that_never_saw_the_source_is_said_and_its_decoders_are_used(
    sources: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_manifest(run).models[BACKBONE]
    unseen = model.model_copy(
        update={"without": ("dataset=two",), "decoders": "usgen.decoders.safetensors"}
    )
    write_entries(run / "manifest.toml", [unseen], [])
    save_tensors(run / "usgen.decoders.safetensors", {"none": torch.zeros(1)}, {})
    starts: list[Path | None] = []

    def watched(*given: object) -> object:
        start = given[5]
        assert isinstance(start, Start)
        starts.append(start.decoders)
        return stage_two.train_heads(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(transfer, "train_heads", watched)
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)
    found = list(transfer.leave_out(trial, [ONE, OTHER]))
    assert [left.backbone_saw for left in found] == [True, False]  # B is a device of `two`
    assert starts == [None, run / "usgen.decoders.safetensors"]
    text = results.as_markdown(trial, found)
    assert "- dataset=one: Decoder and head were trained" in text
    assert "- device=B: Backbone, decoder and head were trained without" in text


def test_figures_of_another_backbone_are_taken_only_if_it_never_saw_the_source(
    sources: Path, run: Path, tmp_path: Path
) -> None:
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)
    (left,) = transfer.leave_out(trial, [ONE])
    served = tmp_path / "served"
    model = read_manifest(run).models[BACKBONE]
    write_entries(served / "manifest.toml", [model.model_copy(update={"sha256": "2" * 64})], [])
    an_installed(served, trial, backbone_sha256="2" * 64, transfer=())
    target = Target(trial=trial, folder=served)
    target.check()
    with pytest.raises(TrainingError, match="of another backbone"):
        target.write([left])
    target.write([left.model_copy(update={"backbone_saw": False})])
    written = read_manifest(served).specialist("breast_2cls").transfer
    assert written
    assert not any(item.backbone_saw for item in written)


def test_what_heads_said_is_read_again_for_a_calibration_of_the_same_backbone(
    sources: Path, run: Path, tmp_path: Path
) -> None:
    trial = a_trial(run, ("breast_2cls",), sources, tmp_path)
    found = list(transfer.leave_out(trial, [ONE, OTHER]))
    read = read_all([trial.out], trial.model.sha256)
    assert {str(left.source) for left in read} == {"dataset=one", "device=B"}
    scored = scored_of(read, "breast_2cls")
    assert scored is not None
    assert set(scored.lot.origins) == {frozenset({"one left out"}), frozenset({"B left out"})}
    said = [left.tasks["breast_2cls"].said for left in found]
    assert len(scored) == sum(len(one.truth) for one in said if one is not None)
    with pytest.raises(TrainingError, match="on another backbone, which has seen them"):
        read_all([trial.out], "3" * 64)
    with pytest.raises(TrainingError, match="holds no sources left out"):
        read_all([tmp_path], trial.model.sha256)
    unseen = found[0].model_copy(update={"backbone_saw": False})
    (tmp_path / "like" / "one").mkdir(parents=True)
    unseen.save(tmp_path / "like" / "one")
    assert read_all([tmp_path / "like"], "3" * 64) == [unseen]
    (trial.out / "dataset-one" / FILE).write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match="cannot be read"):
        read_all([trial.out], trial.model.sha256)


@pytest.mark.soak
def test_a_calibration_keeps_to_what_heads_said_of_sources_left_out(
    sources: Path, run: Path, tmp_path: Path
) -> None:
    (trained,) = train_specialist(["breast_lesion_det"], sources, run, CONFIG)
    assert "of the structures of val;" in trained.thresholds["presence"].source
    trial = a_trial(run, ("breast_lesion_det",), sources, tmp_path)
    assert list(transfer.leave_out(trial, [ONE, OTHER]))
    (done,) = calibrate_specialists(["breast_lesion_det"], sources, run, run, left_out=[trial.out])
    assert "of the structures of val and of sources left out;" in done.thresholds["presence"].source
    assert done.sha256 == trained.sha256
    card = json.loads((run / "breast_lesion_det.json").read_text(encoding="utf-8"))
    assert card["calibration"]["command"].endswith(" --left-out out")


def test_a_source_that_no_image_is_of_cannot_be_kept_from_stage_one(
    sources: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="dataset=three cannot be left out"):
        train_generalist(sources, tmp_path / "one", None, ["dataset=three"], resume=False)
