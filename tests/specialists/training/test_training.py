"""Both stages train, follow from their seed, survive a kill, and leave the backbone as it was."""

import multiprocessing
import os
import signal
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from specialists.checkpoints import half, read_tensors, save_tensors
from specialists.errors import TrainingError
from specialists.load import load_backbone
from specialists.manifest import Manifest, SpecialistEntry, read_manifest
from specialists.model import Frozen, build_backbone
from specialists.training import generalist, specialist
from specialists.training.augmentation.batches import Phase, Rotation, Turn, Turns
from specialists.training.augmentation.regions import training_regions
from specialists.training.augmentation.synthetic import phantom_samples
from specialists.training.data.pack import Pack, build_pack
from specialists.training.data.tables import read_samples
from specialists.training.generalist import Generalist, GeneralistConfig
from specialists.training.new_task import DEFAULTS
from specialists.training.specialist import SpecialistConfig, Start, train_heads
from specialists.training.state import Average, load_state, save_state
from tests.specialists.nets import IN_FP32, INPUT_PX, KINDS, MODEL, a_manifest, a_model, installed

FAST = GeneralistConfig(
    seed=3,
    pack_px=80,
    warmup_steps=2,
    threads=1,
    compute=IN_FP32,
    shares={"Two/drawn": 0.6, "Three/drawn": 0.4},
    phases=[
        Phase(steps=2, side_px=64, batch=6),
        Phase(steps=2, side_px=96, batch=4),
    ],
)
HEADS = SpecialistConfig(
    seed=3, pack_px=80, warmup_steps=1, steps=3, batch=6, threads=1, compute=IN_FP32
)


@pytest.fixture(scope="module")
def pack(drawn_data: Path) -> Pack:
    entries = list(a_manifest(drawn_data).specialists.values())
    return build_pack(read_samples(drawn_data, entries, "train"), FAST.pack_px)


def stage_one(
    pack: Pack, run: Path, config: GeneralistConfig, *, resume: bool = False
) -> Generalist:
    run.mkdir(exist_ok=True)
    manifest = a_manifest(run)
    entries = list(manifest.specialists.values())
    return generalist.train(a_model(run), entries, pack, config, run, resume=resume)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_stage_one_trains_every_part_and_follows_from_its_seed(pack: Pack, tmp_path: Path) -> None:
    torch.manual_seed(FAST.seed)
    before = weights_of(
        Generalist(a_model(tmp_path), list(a_manifest(tmp_path).specialists.values()))
    )
    one = weights_of(stage_one(pack, tmp_path / "one", FAST))
    assert all(tensor.isfinite().all() for tensor in one.values())
    moved = {name.split(".")[0] for name in one if not torch.equal(one[name], before[name])}
    assert moved == {"backbone", "necks", "heads"}
    trained = {name.split(".")[1] for name in one if not torch.equal(one[name], before[name])}
    assert trained >= set(KINDS.values())
    torch.manual_seed(99)  # what ran before does not matter
    assert same(one, weights_of(stage_one(pack, tmp_path / "two", FAST)))
    other = weights_of(stage_one(pack, tmp_path / "three", replace(FAST, seed=4)))
    assert not same(one, other)


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(
    pack: Pack, tmp_path: Path
) -> None:
    phases = [Phase(steps=8, side_px=64, batch=6), Phase(steps=8, side_px=96, batch=4)]
    config = replace(FAST, phases=phases, save_every_s=0.0)
    whole = weights_of(stage_one(pack, tmp_path / "whole", config))
    cut = tmp_path / "cut"
    kill_after(3, stage_one, pack, cut, config)
    assert saved_step(cut) == 3
    assert same(whole, weights_of(stage_one(pack, cut, config, resume=True)))


def kill_after(steps: int, training: Callable[..., object], *arguments: object) -> None:
    """Run a training in a process of its own, which kills itself once it has saved so many steps.

    The process is spawned: a fork of this one would keep locks of threads that it does not have,
    and could wait forever. It is killed from inside, because a short training can end before
    another process sees what it saved.
    """
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=killed_at, args=(steps, training, *arguments))
    process.start()
    process.join(120)
    try:
        assert process.exitcode == -signal.SIGKILL
    finally:
        process.kill()
        process.join()


def killed_at(steps: int, training: Callable[..., object], *arguments: object) -> None:
    def save_and_die(folder: Path, step: int, *parts: Any) -> None:
        save_state(folder, step, *parts)
        if step == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    with (
        patch.object(generalist, "save_state", save_and_die),
        patch.object(specialist, "save_state", save_and_die),
    ):
        training(*arguments)


def saved_step(run: Path) -> int:
    path = run / "state.safetensors"
    return int(read_tensors(path)["step"]) if path.exists() else 0


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    with pytest.raises(TrainingError, match="no training to resume"):
        load_state(tmp_path, module, Average(module), optimizer)


def test_a_data_set_without_a_share_is_named(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Three/drawn"):
        stage_one(pack, tmp_path, replace(FAST, shares={"Two/drawn": 1.0}))


def test_a_turn_draws_images_of_its_own_tasks_and_keeps_no_other_label(
    pack: Pack, tmp_path: Path
) -> None:
    policies = {e.id: e.geometry for e in a_manifest(tmp_path).specialists.values()}
    phase = Phase(steps=6, side_px=64, batch=5)
    rotation = Rotation(pack, policies, FAST.shares, [phase], seed=1)
    turns = [
        Turn(rotation=rotation.only([task]), tasks=frozenset([task]), share=1.0)
        for task in ("breast_2cls", "aop_landmarks")
    ]
    whole = list(Turns(turns, phase, seed=2))
    assert {tuple(batch.rows) for batch in whole} == {("breast_2cls",), ("aop_landmarks",)}
    assert all(len(rows) == phase.batch for batch in whole for rows in batch.rows.values())
    (last,) = Turns(turns, phase, seed=2, first_step=5)
    assert torch.equal(last.images, whole[5].images)


def test_a_batch_is_the_same_wherever_a_rotation_starts(pack: Pack, tmp_path: Path) -> None:
    policies = {e.id: e.geometry for e in a_manifest(tmp_path).specialists.values()}
    whole = list(Rotation(pack, policies, FAST.shares, FAST.phases, seed=1))
    late = list(Rotation(pack, policies, FAST.shares, FAST.phases, seed=1, first_step=3))
    assert [batch.images.shape[-1] for batch in whole] == [64, 64, 96, 96]
    assert len(late) == 1
    assert torch.equal(late[0].images, whole[3].images)
    assert late[0].rows.keys() == whole[3].rows.keys()


def frozen_outputs(backbone: Frozen) -> dict[str, Tensor]:
    torch.manual_seed(7)
    features: dict[str, Tensor] = backbone(torch.rand(2, 1, INPUT_PX, INPUT_PX))
    return features


@pytest.fixture
def ready(tmp_path: Path) -> tuple[Manifest, Frozen]:
    manifest = installed(tmp_path / "backbone")
    return manifest, load_backbone(manifest.models[MODEL])


def heads_of(
    ready: tuple[Manifest, Frozen],
    pack: Pack,
    config: SpecialistConfig,
    start: Start | None = None,
) -> dict[str, dict[str, Tensor]]:
    manifest, backbone = ready
    entries = list(manifest.specialists.values())
    nets = train_heads(manifest, entries, backbone, pack, config, start or Start())
    return {name: weights_of(net) for name, net in nets.items()}


def test_training_heads_leaves_the_backbones_bytes_and_outputs_alone(
    ready: tuple[Manifest, Frozen], pack: Pack
) -> None:
    _, backbone = ready
    before, outputs = weights_of(backbone), frozen_outputs(backbone)
    backbone.train()
    heads = heads_of(ready, pack, HEADS)
    backbone.train()
    assert same(before, weights_of(backbone))
    assert same(outputs, frozen_outputs(backbone))
    assert all(tensor.isfinite().all() for net in heads.values() for tensor in net.values())


def test_frozen_cannot_be_undone_by_train(tmp_path: Path) -> None:
    backbone = Frozen(build_backbone(a_model(tmp_path)))
    outer = nn.Sequential(backbone)
    outer.train()
    assert not any(module.training for module in backbone.modules())
    before = weights_of(backbone)
    output = backbone(torch.rand(2, 1, INPUT_PX, INPUT_PX))
    assert same(before, weights_of(backbone))  # batch statistics too
    assert not any(level.requires_grad for level in output.values())


def test_the_same_seed_gives_the_same_heads(ready: tuple[Manifest, Frozen], pack: Pack) -> None:
    one, again = heads_of(ready, pack, HEADS), heads_of(ready, pack, HEADS)
    other = heads_of(ready, pack, replace(HEADS, seed=4))
    for name in KINDS.values():
        assert same(one[name], again[name]), name
        assert not same(one[name], other[name]), name


@pytest.mark.soak
def test_heads_that_were_killed_go_on_as_if_they_had_not_been(
    ready: tuple[Manifest, Frozen], pack: Pack, tmp_path: Path
) -> None:
    config = replace(HEADS, steps=12, save_every_s=0.0)
    whole = heads_of(ready, pack, config)
    cut = tmp_path / "cut"
    kill_after(2, heads_of, ready, pack, config, Start(folder=cut))
    assert saved_step(cut) == 2
    resumed = heads_of(ready, pack, config, Start(folder=cut, resume=True))
    for name in KINDS.values():
        assert same(whole[name], resumed[name]), name


def test_heads_are_not_resumed_with_another_seed_or_another_number_of_steps(
    ready: tuple[Manifest, Frozen], pack: Pack, tmp_path: Path
) -> None:
    heads_of(ready, pack, HEADS, Start(folder=tmp_path))
    other = replace(HEADS, steps=9, seed=4, threads=2)
    with pytest.raises(TrainingError, match=r"another value of seed, steps\."):
        heads_of(ready, pack, other, Start(folder=tmp_path, resume=True))


def test_heads_that_begin_anew_forget_what_was_saved(
    ready: tuple[Manifest, Frozen], pack: Pack, tmp_path: Path
) -> None:
    heads_of(ready, pack, replace(HEADS, seed=4), Start(folder=tmp_path))
    assert saved_step(tmp_path) == HEADS.steps
    slow = replace(HEADS, save_every_s=1e9)
    anew = heads_of(ready, pack, slow, Start(folder=tmp_path))
    assert same(anew["breast_2cls"], heads_of(ready, pack, slow)["breast_2cls"])
    with pytest.raises(TrainingError, match="no training to resume"):
        heads_of(ready, pack, HEADS, Start(folder=tmp_path / "none", resume=True))


def test_heads_start_from_the_decoders_of_stage_one(
    ready: tuple[Manifest, Frozen], pack: Pack, tmp_path: Path
) -> None:
    net = Generalist(a_model(tmp_path), list(a_manifest(tmp_path).specialists.values()))
    path = tmp_path / "decoders.safetensors"
    save_tensors(path, half(net.necks), {})
    still = replace(HEADS, steps=1, learning_rate=0.0)
    found = heads_of(ready, pack, still, Start(decoders=path))
    for kind, name in (("segment", "breast_lesion"), ("regress", "aop_landmarks")):
        started = net.necks[kind].state_dict()["fuse.0.0.weight"].half().float()
        assert torch.equal(found[name]["neck.fuse.0.0.weight"], started)
        assert not any(t.any() for n, t in found[name].items() if n.startswith("neck.roi."))


def test_a_batch_without_any_label_is_passed_over(
    ready: tuple[Manifest, Frozen], pack: Pack
) -> None:
    manifest, backbone = ready
    first = next(i for i, s in enumerate(pack.samples) if "breast_2cls" in s.classes)
    rare = replace(
        pack, samples=[s for i, s in enumerate(pack.samples) if i == first or not s.classes]
    )
    rare.masks = {}
    entry = manifest.specialist("breast_2cls")
    nets = train_heads(manifest, [entry], backbone, rare, replace(HEADS, batch=2), Start())
    assert all(tensor.isfinite().all() for tensor in nets["breast_2cls"].state_dict().values())


def test_regions_are_jittered_anywhere_or_absent() -> None:
    box = torch.tensor([0.3, 0.3, 0.6, 0.6])
    nowhere = torch.full((4,), torch.nan)
    overlaps, without, seen = [], [], []
    for seed in range(60):
        regions = training_regions({0: box, 1: nowhere}, {}, 3, 64, seed)
        assert regions.shape == (3, 1, 64, 64)
        assert not regions[2].any()  # no box is known for that image
        seen.append(bool(regions[0].any()))
        without.append(bool(regions[1].any()))
        overlaps.append(regions[0, 0, 20:38, 20:38].mean().item())
    assert 0.4 < np.mean(seen) < 0.9
    assert 0.4 < np.mean(without) < 0.9
    assert np.mean([o for o, s in zip(overlaps, seen, strict=True) if s]) > 0.7
    again = [training_regions({0: box}, {}, 1, 64, seed=5) for _ in range(2)]
    assert torch.equal(*again)


def test_some_regions_are_what_the_detector_says_its_silence_included() -> None:
    truth = torch.tensor([0.1, 0.1, 0.3, 0.3])
    seen = torch.tensor([0.625, 0.625, 0.9375, 0.875])
    silent = torch.full((4,), torch.nan)
    exact, absent = 0, 0
    for seed in range(200):
        first, second = training_regions({0: truth, 1: truth}, {0: seen, 1: silent}, 2, 64, seed)
        exact += bool(first[0, 40:56, 40:60].all() and first.sum() == 16 * 20)
        absent += not second.any()
    assert 0.25 < exact / 200 < 0.45
    assert absent / 200 > 0.6  # without a region, and where the detector found nothing


def test_specialists_read_regions_of_their_detector_trained_beside_them_or_installed(
    ready: tuple[Manifest, Frozen], pack: Pack
) -> None:
    manifest, backbone = ready
    outline, detector = (
        manifest.specialist(name) for name in ("breast_lesion", "breast_lesion_det")
    )
    missing = detector.model_copy(update={"weights": None})
    without = manifest.model_copy(
        update={"specialists": {**manifest.specialists, detector.id: missing}}
    )

    def weights(manifest: Manifest, *entries: SpecialistEntry) -> Tensor:
        nets = train_heads(manifest, list(entries), backbone, pack, HEADS, Start())
        found: Tensor = nets["breast_lesion"].state_dict()["neck.roi.0.weight"]
        return found

    jittered = weights(without, outline)
    assert not torch.equal(weights(manifest, outline), jittered)
    assert not torch.equal(weights(without, outline, missing), jittered)


def test_drawn_images_come_with_all_labels_and_only_for_training(tmp_path: Path) -> None:
    samples = phantom_samples(tmp_path, 2)
    assert [sample.split for sample in samples] == ["train", "train"]
    assert {sample.dataset for sample in samples} == {"phantom"}
    pack = build_pack(samples, 64)
    for index, sample in enumerate(samples):
        there = sample.boxes["breast_lesion_det"] is not None
        assert bool(pack.masks["breast_lesion"][index].any()) == there
        assert "breast_2cls" not in sample.classes  # a drawing teaches no diagnosis


def test_the_rate_is_constant_and_falls_at_the_end_so_that_a_longer_training_begins_alike() -> None:
    config = replace(FAST, learning_rate=1.0, warmup_steps=10, decay=0.25)
    short = [generalist.learning_rate(config, step, 400) for step in range(400)]
    long = [generalist.learning_rate(config, step, 800) for step in range(800)]
    assert short[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert short[10:300] == [1.0] * 290
    assert short[:301] == long[:301]
    assert short[350] == pytest.approx(0.5)
    assert min(short) == short[-1] == pytest.approx(0.01)


def test_what_is_frozen_has_no_place_in_the_optimiser(tmp_path: Path) -> None:
    entries = list(a_manifest(tmp_path).specialists.values())
    net = Generalist(a_model(tmp_path), entries)
    net.backbone.trunk.requires_grad_(False)
    groups = generalist.parameter_groups(net, replace(FAST, trunk_rate=0.3))
    held = {id(one) for group in groups for one in cast("list[nn.Parameter]", group["params"])}
    assert held == {id(one) for one in net.parameters() if one.requires_grad}
    assert {group["share"] for group in groups} == {1.0}


def test_levels_of_tasks_of_ones_own_are_those_that_the_shipped_specialists_read() -> None:
    own = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    for entry in read_manifest().specialists.values():
        if entry.id in {"breast_lesion_det", "breast_lesion", "breast_2cls", "fetal_head_axes"}:
            assert list(entry.features) == own[entry.kind]["features"], entry.id
