"""A training run chooses the precision that suits its device, once.

It reports the choice, and keeps it when it is resumed.
"""

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from specialists.load import load_backbone
from specialists.manifest import Kind
from specialists.training.augmentation.augment import Batch
from specialists.training.augmentation.batches import Phase, Rotation
from specialists.training.data.pack import build_pack
from specialists.training.data.tables import read_samples
from specialists.training.generalist import Generalist, GeneralistConfig, task_loss, train
from specialists.training.precision import (
    Compute,
    ComputeOptions,
    Precision,
    Step,
    began_with,
    begin,
    choose,
)
from specialists.training.specialist import BEGUN, SpecialistConfig, Start, suited, train_heads
from tests.specialists.nets import INPUT_PX, MODEL, a_manifest, a_model, installed

WEIGHT = torch.ones(1, requires_grad=True)


def a_step(fp32_s: float, bf16_s: float) -> Step:
    """A step that keeps the processor busy for so long."""

    def step() -> Tensor:
        end = time.thread_time() + (bf16_s if torch.is_autocast_enabled("cpu") else fp32_s)
        while time.thread_time() < end:
            pass
        return WEIGHT.sum()

    return step


def never() -> Step:
    raise AssertionError("nothing had to be timed")


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A processor with AVX-512 and bf16, and no card."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return monkeypatch


def old(processor: pytest.MonkeyPatch) -> None:
    processor.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def without_bf16(processor: pytest.MonkeyPatch) -> None:
    processor.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)


@pytest.mark.parametrize("change", [old, without_bf16])
def test_a_processor_without_bf16_computes_in_fp32_and_is_not_timed(
    processor: pytest.MonkeyPatch, change: object
) -> None:
    assert callable(change)
    change(processor)
    compute = choose(ComputeOptions(), never)
    assert str(compute) == "fp32 on the CPU: this processor has no bf16 arithmetic of its own"


@pytest.mark.parametrize(
    ("fp32_s", "bf16_s", "expected"), [(0.03, 0.01, Precision.BF16), (0.01, 0.03, Precision.FP32)]
)
def test_a_processor_with_bf16_computes_in_what_was_faster_on_a_step(
    processor: pytest.MonkeyPatch, fp32_s: float, bf16_s: float, expected: Precision
) -> None:
    compute = choose(ComputeOptions(), lambda: a_step(fp32_s, bf16_s))
    assert compute.precision is expected
    assert f"{bf16_s:.2f} s of one core in bf16 and {fp32_s:.2f} s in fp32" in compute.why


def test_timing_draws_no_random_number_of_the_training(processor: pytest.MonkeyPatch) -> None:
    def random() -> Step:
        torch.rand(3)
        return lambda: WEIGHT.sum() * torch.rand(1).sum()

    torch.manual_seed(0)
    choose(ComputeOptions(), random)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("asked", [Precision.FP32, Precision.BF16])
def test_what_is_asked_for_is_not_doubted(processor: pytest.MonkeyPatch, asked: Precision) -> None:
    old(processor)
    assert choose(ComputeOptions(precision=asked), never).precision is asked


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_card_is_used_where_there_is_one_in_the_arithmetic_that_it_has(
    processor: pytest.MonkeyPatch, has: bool, expected: str
) -> None:
    processor.setattr(torch.cuda, "is_available", lambda: True)
    processor.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    processor.setattr(torch.cuda, "get_device_name", lambda: "a card")
    assert (
        choose(ComputeOptions(device="cpu", precision=Precision.FP32), never).device.type == "cpu"
    )
    compute = choose(ComputeOptions(), never)
    assert (compute.device.type, compute.pinned) == ("cuda", True)
    assert str(compute).startswith(f"{expected} on a card: the card has ")


def test_a_resumed_training_keeps_its_precision_as_far_as_it_can(
    processor: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast, slow = (lambda: a_step(0.03, 0.01)), (lambda: a_step(0.01, 0.03))
    assert began_with(tmp_path) is None
    assert begin(ComputeOptions(), fast, tmp_path, resume=False).precision is Precision.BF16
    assert "Training in bf16 on the CPU: a small step" in capsys.readouterr().err
    assert begin(ComputeOptions(), slow, tmp_path, resume=True).precision is Precision.BF16
    assert "so it began" in capsys.readouterr().err
    old(processor)
    moved = begin(ComputeOptions(), never, tmp_path, resume=True)
    assert (moved.precision, began_with(tmp_path)) == (Precision.FP32, Precision.FP32)
    assert "began in bf16" in moved.why
    assert begin(
        ComputeOptions(precision=Precision.BF16), never, tmp_path, resume=True
    ).precision is (Precision.BF16)


def test_passes_are_in_bf16_only_where_that_was_chosen() -> None:
    ones = torch.ones(2, 2)
    for precision, dtype in ((Precision.FP32, torch.float32), (Precision.BF16, torch.bfloat16)):
        compute = Compute(device=torch.device("cpu"), precision=precision, why="this test")
        with compute.autocast():
            assert (ones @ ones).dtype is dtype


def test_heads_on_the_shipped_backbone_are_suited_to_this_device() -> None:
    compute = suited()
    assert compute.precision is not Precision.AUTO
    assert compute.why


def test_a_batch_moves_whole_but_for_the_rows_that_are_read_one_by_one() -> None:
    batch = Batch(
        images=torch.ones(1, 1, 4, 4),
        field=torch.ones(1, 1, 4, 4),
        rows={"a": torch.tensor([0])},
        masks={"a": torch.ones(1, 4, 4)},
        classes={"b": torch.ones(1)},
        boxes={"c": torch.ones(1, 4)},
        points={"d": torch.ones(1, 2, 2)},
    )
    moved = batch.to(torch.device("meta"))
    parts = [moved.masks["a"], moved.classes["b"], moved.boxes["c"], moved.points["d"]]
    assert {part.device.type for part in (moved.images, moved.field, *parts)} == {"meta"}
    assert moved.rows["a"].device.type == "cpu"


def test_passes_and_losses_of_stage_one_stay_on_the_device_of_their_batch(
    drawn_data: Path, tmp_path: Path
) -> None:
    """`meta` stands for a card: like it, it refuses to compute with tensors of the processor."""
    entries = list(a_manifest(tmp_path).specialists.values())
    pack = build_pack(read_samples(drawn_data, entries, "train"), 80)
    policies, shares = {e.id: e.geometry for e in entries}, {"Two/drawn": 0.6, "Three/drawn": 0.4}
    phase = Phase(steps=1, side_px=INPUT_PX, batch=8)
    away = torch.device("meta")
    batch = next(iter(Rotation(pack, policies, shares, [phase], seed=0))).to(away)
    net = Generalist(a_model(tmp_path), entries).to(away)
    total = torch.zeros((), device=away)
    for task, output in net(batch, 0.2, 0.2).items():
        entry = net.entries[task]
        if (
            entry.kind is Kind.DETECT
        ):  # its loss asks whether a box is there, which has no answer on `meta`
            total = total + sum(part.square().mean() for part in output)
        else:
            total = total + task_loss(entry, output, batch)
    total.backward()  # type: ignore[no-untyped-call]
    assert {p.grad.device for p in net.parameters() if p.grad is not None} == {away}


@pytest.mark.soak
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card here")
def test_a_training_moves_from_the_processor_to_a_card_and_back(
    drawn_data: Path, tmp_path: Path
) -> None:
    manifest = installed(tmp_path / "backbone")
    entries = list(manifest.specialists.values())
    backbone = load_backbone(manifest.models[MODEL])
    pack = build_pack(read_samples(drawn_data, entries, "train"), 80)
    cpu, card = ComputeOptions(device="cpu"), ComputeOptions(device="cuda")
    moves = ((cpu, 2), (card, 4), (cpu, 6))
    for asked, steps in moves:
        config = SpecialistConfig(
            pack_px=80, warmup_steps=1, steps=steps, batch=6, threads=1, compute=asked
        )
        (tmp_path / "run" / BEGUN).unlink(missing_ok=True)  # another number of steps is refused
        start = Start(folder=tmp_path / "run", resume=steps > 2)
        nets = train_heads(manifest, entries, backbone, pack, config, start)
        assert {p.device.type for net in nets.values() for p in net.parameters()} == {"cpu"}
        assert all(p.isfinite().all() for net in nets.values() for p in net.parameters())
    run = tmp_path / "stage1"
    run.mkdir()
    for asked, steps in moves:
        stage = GeneralistConfig(
            pack_px=80,
            warmup_steps=1,
            threads=1,
            compute=asked,
            shares={"Two/drawn": 0.6, "Three/drawn": 0.4},
            phases=[Phase(steps=steps, side_px=INPUT_PX, batch=6)],
        )
        net = train(a_model(run), entries, pack, stage, run, resume=steps > 2)
        assert all(p.isfinite().all() and p.device.type == "cpu" for p in net.parameters())
