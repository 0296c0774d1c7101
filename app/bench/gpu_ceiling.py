"""Measure how much of a GPU's matrix-multiply rate the backbone reaches; nothing on a CPU."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from app.bench.results import Ratio, ratio_of
from specialists.engine import Engine

MATMUL_SIDE = 8192
IMAGES = 64
REPEATS = 20
WARM_UP = 5


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """Passes of 64 images, each beside one multiplication of two large bf16 matrices."""

    images_per_s: Ratio
    share: Ratio
    """Operations a second of the passes over those of the multiplication."""


def ceiling_of(engine: Engine, model_id: str) -> Ceiling | None:
    """Measure the rate of that backbone; return None where the networks do not run on CUDA."""
    if not torch.cuda.is_available() or "cuda" not in engine.runtime:
        return None
    from torch.utils.flop_counter import FlopCounterMode

    side = engine.manifest.models[model_id].input_px
    pixels = torch.rand(IMAGES, 1, side, side, device="cuda")
    with FlopCounterMode(display=False) as counter:
        engine.runner.backbone(model_id, pixels)
    square = torch.rand(MATMUL_SIDE, MATMUL_SIDE, device="cuda", dtype=torch.bfloat16)
    rates, shares = [], []
    for _ in range(REPEATS):
        passed_s = _cuda_s(lambda: engine.runner.backbone(model_id, pixels))
        multiplied_s = _cuda_s(lambda: square @ square)
        rates.append(IMAGES / passed_s)
        shares.append(counter.get_total_flops() / passed_s * multiplied_s / (2 * MATMUL_SIDE**3))
    return Ceiling(images_per_s=ratio_of(rates[WARM_UP:]), share=ratio_of(shares[WARM_UP:]))


def _cuda_s(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started
