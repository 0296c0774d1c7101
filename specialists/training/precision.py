"""The device and the precision of a training, chosen once at its start and printed first.

On a CPU without bf16 arithmetic, bf16 is ten times slower than fp32; with it, bf16 is still not
always faster (depthwise convolutions are not). So the CPU's features are checked first, and then a
step of the very network is timed.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

FILE = "precision.json"
"""File beside a training's state with the precision it began with, which a resumption keeps."""
GAIN = 0.95
"""Largest share of a step's fp32 time at which bf16 is chosen.

A smaller gain is not worth its rounding.
"""
TRIALS = 2
TRIAL_IMAGES = 4


class Precision(StrEnum):
    """Precision of the passes; weights, losses and the optimiser are always fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """The device and precision that the user wants."""

    precision: Precision = Precision.AUTO
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A device, the precision of passes on it, and the reason for both."""

    device: torch.device
    precision: Precision
    why: str

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which passes run."""
        if self.precision is not Precision.BF16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @property
    def pinned(self) -> bool:
        """Whether batches are put into pinned memory.

        From there the device reads them while it computes on others.
        """
        return self.device.type == "cuda"

    def __str__(self) -> str:
        return f"{self.precision} on {_name_of(self.device)}: {self.why}"


Step = Callable[[], Tensor]
"""Passes and loss of one step of the network that will be trained, on a copy of it."""


def choose(options: ComputeOptions, trial: Callable[[], Step]) -> Compute:
    """Return the requested device and precision.

    `auto` is a GPU where there is one, and the precision that suits the device.

    Args:
        options: what the user wants.
        trial: makes the step that is timed, where a CPU can compute in bf16 and must be shown to be
            faster with it.
    """
    if _on_card(options):
        return _of_card(options.precision)
    if options.precision is not Precision.AUTO:
        return _on_cpu(options.precision, "it was asked for")
    if not native_bf16():
        return _on_cpu(Precision.FP32, "this processor has no bf16 arithmetic of its own")
    with torch.random.fork_rng(devices=[]):  # later draws are as without the trial
        fp32_s, bf16_s = _timed(trial())
    faster = bf16_s <= GAIN * fp32_s
    took = f"{bf16_s:.2f} s of one core in bf16 and {fp32_s:.2f} s in fp32"
    return _on_cpu(
        Precision.BF16 if faster else Precision.FP32, f"a small step of this network takes {took}"
    )


def begin(
    options: ComputeOptions, trial: Callable[[], Step], folder: Path | None, *, resume: bool
) -> Compute:
    """Choose device and precision, or resume those of `folder`; record, print and return them.

    A resumed training keeps the precision with which it began in `folder`. One that began in bf16
    goes on in fp32 where there is no arithmetic for bf16.
    """
    before = None if folder is None or not resume else began_with(folder)
    if before is not None and options.precision is Precision.AUTO:
        possible = before is Precision.FP32 or _has_bf16(options)
        precision = before if possible else Precision.FP32
        kept = choose(replace(options, precision=precision), trial)
        why = "so it began" if possible else "it began in bf16, which is not to be had here"
        compute = Compute(device=kept.device, precision=kept.precision, why=why)
    else:
        compute = choose(options, trial)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"precision": compute.precision, "device": compute.device.type})
        (folder / FILE).write_text(text, encoding="utf-8")
    tqdm.write(f"Training in {compute}.", file=sys.stderr)
    return compute


def began_with(folder: Path) -> Precision | None:
    """Return the precision of the training whose state lies in `folder`; None if not recorded."""
    path = folder / FILE
    if not path.exists():
        return None
    return Precision(json.loads(path.read_text(encoding="utf-8"))["precision"])


def native_bf16() -> bool:
    """Return whether torch has kernels for this CPU's own bf16 arithmetic (AVX-512 BF16 or AMX).

    `mkldnn` claims bf16 on every AVX-512 CPU and computes it in fp32 piecewise.
    """
    # torch may be limited to less than the CPU has
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def trial_loss(outputs: list[Tensor]) -> Tensor:
    """Return a number that depends on every output."""
    return torch.stack([output.float().square().mean() for output in outputs]).sum()


def _on_card(options: ComputeOptions) -> bool:
    return options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())


def _has_bf16(options: ComputeOptions) -> bool:
    if _on_card(options):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return native_bf16()


def _of_card(precision: Precision) -> Compute:
    card = torch.device("cuda")
    if precision is not Precision.AUTO:
        return Compute(device=card, precision=precision, why="it was asked for")
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Compute(device=card, precision=Precision.BF16, why="the card has bf16 arithmetic")
    why = "the card has no bf16 arithmetic, and in fp16 gradients vanish"
    return Compute(device=card, precision=Precision.FP32, why=why)


def _on_cpu(precision: Precision, why: str) -> Compute:
    return Compute(device=torch.device("cpu"), precision=precision, why=why)


def _timed(step: Step) -> tuple[float, float]:
    """Return the seconds of a step in fp32 and in bf16, in one thread's CPU time.

    Other processes on the machine do not add to that time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fp32_s, bf16_s = (
            min(_seconds(step, _on_cpu(precision, "")) for _ in range(1 + TRIALS))
            for precision in (Precision.FP32, Precision.BF16)
        )
    finally:
        torch.set_num_threads(threads)
    return fp32_s, bf16_s


def _seconds(step: Step, compute: Compute) -> float:
    began = time.thread_time()
    with compute.autocast():
        loss = step()
    loss.backward()  # type: ignore[no-untyped-call]
    return time.thread_time() - began


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
