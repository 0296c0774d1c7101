"""What an analysis costs around its one backbone pass: everything in turn, round by round, as ratios.

A time says little on a machine that does something else beside; two times of one round say how they compare.
So every round does all cases, each round begins with another one, and what is printed is a ratio within a
round: its median over the rounds, and the range that holds the middle 80 % of them.
"""

import resource
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.errors import NotReady
from app.settings import code_version
from app.store import utc_now
from planner.case import Case, Record, Request
from planner.conclude import Identity, conclude
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.run import Tools, run
from reports.model import Box, ExamCode
from specialists.backbones.transunet import Features
from specialists.engine import Engine
from specialists.features import FeatureCache
from specialists.image import Image, image_of
from specialists.load import load_engine
from specialists.model import Output
from specialists.phantom import Options, draw
from specialists.phantom_tissue import Lesion
from specialists.result import Result
from specialists.runtime import Runner

SIDE_PX = 1000
"""Sides of the analysed image: one megapixel."""

TOOLS = ("breast_lesion_det", "breast_lesion", "breast_2cls")
"""The three specialists of a breast analysis that the target speaks of."""

SEEDS = 20
"""Drawn images that are tried until one is analysed by all three."""

WARM_UP = 2
"""Rounds before the first that counts."""

MATMUL_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A median of rounds, and the 10th and 90th percentile."""

    median: float
    low: float
    high: float


def ratio_of(values: Sequence[float]) -> Ratio:
    """The spread of one figure over the rounds; also of a plain number such as milliseconds."""
    low, high = np.percentile(values, [10, 90])
    return Ratio(
        median=round(statistics.median(values), 4),
        low=round(float(low), 4),
        high=round(float(high), 4),
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one process measured; `ratios` by name, `heads_over_backbone` by specialist."""

    runtime: str
    torch_threads: int
    rounds: int
    specialists: tuple[str, ...]
    """Those of the breast analysis, as the rules chose them."""
    backbone_ms: Ratio
    overhead_ms: Ratio
    ratios: dict[str, Ratio]
    heads_over_backbone: dict[str, Ratio]
    memory_mb: dict[str, float]
    images_over_ceiling: Ratio | None
    """On CUDA, the share of the measured matrix-multiply rate that a batched pass reaches; None on a CPU."""


class TimedRunner:
    """A runner that adds up, thread by thread, the time that its networks take."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._spent = threading.local()

    @property
    def name(self) -> str:
        """That of the runner inside."""
        return self._runner.name

    def take_s(self) -> float:
        """Seconds since the last call in this thread."""
        spent = float(getattr(self._spent, "s", 0.0))
        self._spent.s = 0.0
        return spent

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """As the runner inside."""
        started = time.perf_counter()
        found = self._runner.backbone(model_id, pixels)
        self._add(started)
        return found

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """As the runner inside."""
        started = time.perf_counter()
        found = self._runner.head(specialist_id, features, field, roi)
        self._add(started)
        return found

    def _add(self, started: float) -> None:
        self._spent.s = getattr(self._spent, "s", 0.0) + time.perf_counter() - started


class Forgetting:
    """Tools that encode the image anew for each question, as separate published models do."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.manifest = engine.manifest
        self.runtime = engine.runtime

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """As the engine's, from the pixels on."""
        kept, self._engine.cache = self._engine.cache, FeatureCache()
        try:
            return self._engine.run(specialist_id, image, roi)
        finally:
            self._engine.cache = kept

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """As the engine's, which keeps no features anyway."""
        return self._engine.screen(specialist_id, images)


@dataclass(kw_only=True)
class _Rounds:
    """Seconds by case, one entry a round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def over(self, upper: str, lower: str) -> Ratio:
        pairs = zip(self.seconds[upper], self.seconds[lower], strict=True)
        return ratio_of([one / other for one, other in pairs])

    def ms(self, name: str) -> Ratio:
        return ratio_of([1000 * one for one in self.seconds[name]])


class _Nowhere:
    """A journal that keeps nothing: what the store costs is measured over HTTP."""

    def append(self, record: Record) -> None:
        """Nothing."""


class Bench:
    """The cases, over one engine and fp32 torch beside it on the same device."""

    def __init__(self, engine: Engine, device: str) -> None:
        self._engine = engine
        self._timed = TimedRunner(engine.runner)
        engine.runner = self._timed
        self._plain = load_engine(engine.manifest, device).runner
        self._rules = Rules(read_protocols())
        self._pixels, case = self._subject()
        self._model = engine.manifest.specialist(TOOLS[0]).model
        self.specialists = tuple(
            record.step.action for record in case.records if record.result is not None
        )
        self._marks = 0

    def measure(self, rounds: int) -> Measured:
        """All ratios, after that many rounds of every case."""
        cases = self._cases()
        found = _Rounds(seconds={name: [] for name in (*cases, "overhead")})
        names = list(cases)
        for number in range(-WARM_UP, rounds):
            turned = [names[(number + place) % len(names)] for place in range(len(names))]
            for name in turned:
                seconds = self._time(cases[name])
                if number >= 0:
                    for key, value in seconds.items():
                        found.seconds[key or name].append(value)
        heads = [name for name in cases if name.startswith("head ")]
        return Measured(
            runtime=self._engine.runtime,
            torch_threads=torch.get_num_threads(),
            rounds=rounds,
            specialists=self.specialists,
            backbone_ms=found.ms("backbone"),
            overhead_ms=found.ms("overhead"),
            ratios={
                "analysis_over_backbone": found.over("analysis", "backbone"),
                "repeat_over_backbone": found.over("repeat", "backbone"),
                "shared_over_unshared": found.over("analysis", "unshared"),
                "runtime_over_torch": found.over("backbone", "torch"),
                "tta_cost": found.over("mirrored too", "once"),
            },
            heads_over_backbone={
                name.removeprefix("head "): found.over(name, "backbone") for name in heads
            },
            memory_mb=memory_mb(),
            images_over_ceiling=self._ceiling(),
        )

    def _time(self, case: Callable[[], str | None]) -> dict[str, float]:
        """Seconds by name, "" for the case itself; the overhead is what its networks did not take."""
        self._timed.take_s()
        started = time.perf_counter()
        also = case()
        whole = time.perf_counter() - started
        return {"": whole} if also is None else {"": whole, also: whole - self._timed.take_s()}

    def _cases(self) -> dict[str, Callable[[], str | None]]:
        side = self._engine.manifest.models[self._model].input_px
        pixels = torch.rand(1, 1, side, side)
        ones = torch.ones(1, 1, side, side)
        levels = self._engine.runner.backbone(self._model, pixels)
        kept = self._fresh()

        def analysis() -> str:
            self._analyse(self._fresh(), self._engine)
            return "overhead"

        def repeat() -> None:
            self._analyse(kept, self._engine)

        def mirrored_too() -> None:
            image = self._fresh()
            self._engine.run(TOOLS[1], image)
            self._engine.run(TOOLS[1], image_of(np.ascontiguousarray(image.pixels[:, ::-1])))

        cases: dict[str, Callable[[], str | None]] = {
            "backbone": lambda: _done(self._engine.runner.backbone(self._model, pixels)),
            "torch": lambda: _done(self._plain.backbone(self._model, pixels)),
            "analysis": analysis,
            "repeat": repeat,
            "unshared": lambda: _done(self._analyse(self._fresh(), Forgetting(self._engine))),
            "once": lambda: _done(self._engine.run(TOOLS[1], self._fresh())),
            "mirrored too": mirrored_too,
        }
        self._analyse(kept, self._engine)
        for entry in self._engine.manifest.installed():
            roi = None if entry.roi == "none" else ones
            if entry.model == self._model:
                cases[f"head {entry.id}"] = lambda name=entry.id, roi=roi: _done(  # type: ignore[misc]
                    self._engine.runner.head(name, levels, ones, roi)
                )
        return cases

    def _analyse(self, image: Image, tools: Tools) -> Case:
        case = run(image, Request(exam=ExamCode.BREAST), tools, self._rules, _Nowhere())
        conclude(case, _IDENTITY)
        return case

    def _fresh(self) -> Image:
        """The drawn image with another corner: nobody has seen it, and it costs the same."""
        self._marks += 1
        pixels = self._pixels.copy()
        pixels[0, :4] = np.frombuffer(self._marks.to_bytes(4, "big"), np.uint8)
        return image_of(pixels)

    def _subject(self) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], Case]:
        """A drawn image that all three specialists answer for.

        Raises:
            NotReady: there is none, or one of them is not installed.
        """
        for seed in range(SEEDS):
            options = Options(lesion=Lesion.BENIGN)
            drawn = draw("breast", seed=seed, height_px=SIDE_PX, width_px=SIDE_PX, options=options)
            case = self._analyse(image_of(drawn.pixels), self._engine)
            answered = {record.step.action for record in case.records if record.result is not None}
            if answered >= set(TOOLS):
                return drawn.pixels, case
        raise NotReady(
            f"None of {SEEDS} drawn images is analysed by {', '.join(TOOLS)}: nothing to measure."
        )

    def _ceiling(self) -> Ratio | None:
        """Share of the measured bf16 matrix-multiply rate that passes of 64 images reach; CUDA only."""
        if not torch.cuda.is_available() or "cuda" not in self._engine.runtime:
            return None
        from torch.utils.flop_counter import FlopCounterMode

        side = self._engine.manifest.models[self._model].input_px
        pixels = torch.rand(64, 1, side, side, device="cuda")
        with FlopCounterMode(display=False) as counter:
            self._engine.runner.backbone(self._model, pixels)
        square = torch.rand(MATMUL_SIDE, MATMUL_SIDE, device="cuda", dtype=torch.bfloat16)
        shares = []
        for _ in range(20):
            passed_s = _cuda_s(lambda: self._engine.runner.backbone(self._model, pixels))
            multiplied_s = _cuda_s(lambda: square @ square)
            rate = counter.get_total_flops() / passed_s
            shares.append(rate / (2 * MATMUL_SIDE**3 / multiplied_s))
        return ratio_of(shares[5:])


_IDENTITY = Identity(
    report_id="bench",
    analysis_id="bench",
    version=1,
    supersedes=None,
    external_id=None,
    created_at=utc_now(),
    code_version=code_version(),
    runtime="bench",
)


def memory_mb() -> dict[str, float]:
    """What this process holds now, and held at most."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "resident": round(pages * resource.getpagesize() / 2**20, 1),
        "peak": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1),
    }


def _done(_: object) -> None:
    """Nothing: a case is timed, not looked at."""


def _cuda_s(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started
