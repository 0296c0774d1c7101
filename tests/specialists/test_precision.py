"""A training asks its device once for the precision that suits it, tells it, and keeps it when it is resumed."""

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from specialists.training.augment import Batch
from specialists.training.precision import Compute, Precision, Step, began_with, begin, choose
from specialists.training.specialist import suited

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
    compute = choose(Precision.AUTO, never)
    assert str(compute) == "fp32 on the CPU: this processor has no bf16 arithmetic of its own"


@pytest.mark.parametrize(
    ("fp32_s", "bf16_s", "expected"), [(0.03, 0.01, Precision.BF16), (0.01, 0.03, Precision.FP32)]
)
def test_a_processor_with_bf16_computes_in_what_was_faster_on_a_step(
    processor: pytest.MonkeyPatch, fp32_s: float, bf16_s: float, expected: Precision
) -> None:
    compute = choose(Precision.AUTO, lambda: a_step(fp32_s, bf16_s))
    assert compute.precision is expected
    assert f"{bf16_s:.2f} s of one core in bf16 and {fp32_s:.2f} s in fp32" in compute.why


def test_timing_draws_no_random_number_of_the_training(processor: pytest.MonkeyPatch) -> None:
    def random() -> Step:
        torch.rand(3)
        return lambda: WEIGHT.sum() * torch.rand(1).sum()

    torch.manual_seed(0)
    choose(Precision.AUTO, random)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("asked", [Precision.FP32, Precision.BF16])
def test_what_is_asked_for_is_not_doubted(processor: pytest.MonkeyPatch, asked: Precision) -> None:
    old(processor)
    assert choose(asked, never).precision is asked


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_card_is_used_where_there_is_one_in_the_arithmetic_that_it_has(
    processor: pytest.MonkeyPatch, has: bool, expected: str
) -> None:
    processor.setattr(torch.cuda, "is_available", lambda: True)
    processor.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    processor.setattr(torch.cuda, "get_device_name", lambda: "a card")
    compute = choose(Precision.AUTO, never)
    assert (compute.device.type, compute.pinned) == ("cuda", True)
    assert str(compute).startswith(f"{expected} on a card: the card has ")


def test_a_resumed_training_keeps_its_precision_as_far_as_it_can(
    processor: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fast, slow = (lambda: a_step(0.03, 0.01)), (lambda: a_step(0.01, 0.03))
    assert began_with(tmp_path) is None
    assert begin(Precision.AUTO, fast, tmp_path, resume=False).precision is Precision.BF16
    assert "Training in bf16 on the CPU: a small step" in capsys.readouterr().err
    assert begin(Precision.AUTO, slow, tmp_path, resume=True).precision is Precision.BF16
    assert "so it began" in capsys.readouterr().err
    old(processor)
    moved = begin(Precision.AUTO, never, tmp_path, resume=True)
    assert (moved.precision, began_with(tmp_path)) == (Precision.FP32, Precision.FP32)
    assert "began in bf16" in moved.why
    assert begin(Precision.BF16, never, tmp_path, resume=True).precision is Precision.BF16


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
