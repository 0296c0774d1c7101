"""Measure what an analysis costs around its one backbone pass, as ratios.

A single time says little on a machine that does something else beside; two times of one round say
how they compare. So every round runs all cases in turn, each round begins with another case, and
what is printed is a ratio within a round: its median over the rounds, and the range that holds the
middle 80 % of them.
"""

import copy
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from app.bench.burned_in.drawn import Ink, Kind, Place, screen_of
from app.bench.results import Ratio, ratio_of
from app.bench.sample_image import TOOLS, Subject
from app.images.burned_in.finder import text_finder
from app.images.ingest import ingest
from app.settings import Settings, code_version
from app.storage.store import utc_now
from planner.case import Case, Record, Request
from planner.conclusion.report import Identity, conclude
from planner.policy import Policy
from planner.protocols import read_protocols
from planner.rules import Rules
from planner.run import Tools, run
from reports.model import Box, ExamCode
from specialists.backbones.transunet import Features
from specialists.deadline import Deadline
from specialists.engine import Engine
from specialists.image import Image, image_of
from specialists.load import load_engine
from specialists.manifest import Manifest
from specialists.model import Output
from specialists.result import Result
from specialists.runtime.feature_cache import FeatureCache
from specialists.runtime.runner import Runner, threads_here

Case_ = Callable[[], str | None]
WRITTEN = Kind(place=Place.MARGIN, ink=Ink.WHITE, size_px=14, colour=False)
"""The text of the screen that is searched for it: five lines."""

TOGETHER = 16
"""Batch size of the pass that is compared with as many single passes."""


class TimedRunner:
    """A runner that adds up, for each thread, the time that its networks take."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._spent = threading.local()

    @property
    def name(self) -> str:
        """The name of the wrapped runner."""
        return self._runner.name

    def take_s(self) -> float:
        """Return the seconds that networks took in this thread since the last call."""
        spent = float(getattr(self._spent, "s", 0.0))
        self._spent.s = 0.0
        return spent

    def backbone(self, model_id: str, pixels: Tensor) -> Features:
        """Run a backbone in the wrapped runner and add its time."""
        started = time.perf_counter()
        found = self._runner.backbone(model_id, pixels)
        self._add(started)
        return found

    def distance(self, model_id: str, features: Features, field: Tensor) -> Tensor | None:
        """Return the distances of the wrapped runner.

        Their time is not added to that of the networks, so that it counts as part of what is around
        them.
        """
        return self._runner.distance(model_id, features, field)

    def head(
        self, specialist_id: str, features: Features, field: Tensor, roi: Tensor | None
    ) -> Output:
        """Run a head in the wrapped runner and add its time."""
        started = time.perf_counter()
        found = self._runner.head(specialist_id, features, field, roi)
        self._add(started)
        return found

    def _add(self, started: float) -> None:
        self._spent.s = getattr(self._spent, "s", 0.0) + time.perf_counter() - started


class Only:
    """An engine of which only the named specialists are installed."""

    def __init__(self, engine: Engine, specialist_ids: Sequence[str]) -> None:
        self._engine = engine
        left_out = {"weights": None, "sha256": None, "not_installed": "Left out here."}
        self.manifest = Manifest(
            models=engine.manifest.models,
            specialists={
                name: entry if name in specialist_ids else entry.model_copy(update=left_out)
                for name, entry in engine.manifest.specialists.items()
            },
        )
        self.runtime = engine.runtime

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Run the specialist in the engine."""
        return self._engine.run(specialist_id, image, roi)

    def screen(self, specialist_id: str, images: Sequence[Image]) -> tuple[Result | None, ...]:
        """Screen the images in the engine."""
        return self._engine.screen(specialist_id, images)

    def with_deadline(self, deadline: Deadline) -> Self:
        """Return the same tools over the engine with that deadline."""
        limited = copy.copy(self)
        limited._engine = self._engine.with_deadline(deadline)
        return limited


class Forgetting(Only):
    """Tools that encode the image anew for each specialist, as separately published models do."""

    def run(self, specialist_id: str, image: Image, roi: Box | None = None) -> Result:
        """Run the specialist in the engine with an empty feature cache, from the pixels on."""
        kept, self._engine.cache = self._engine.cache, FeatureCache()
        try:
            return self._engine.run(specialist_id, image, roi)
        finally:
            self._engine.cache = kept


@dataclass(kw_only=True)
class Rounds:
    """Seconds by case, one entry for each round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    _turns: int = 0

    def take(
        self,
        cases: Mapping[str, Case_],
        timed: TimedRunner,
        *,
        counts: bool = True,
        ready: Callable[[], None] | None = None,
    ) -> None:
        """Run every case once, beginning with another one than before, and record its time.

        `ready` runs before each case and is not timed. A case may return the name of a further
        figure, which gets the time that its networks did not take. Where `counts` is false, nothing
        is recorded.
        """
        names = list(cases)
        turn = self._turns % len(names)
        self._turns += 1
        for name in names[turn:] + names[:turn]:
            if ready is not None:
                ready()
            timed.take_s()
            started = time.perf_counter()
            also = cases[name]()
            whole = time.perf_counter() - started
            if counts:
                self.seconds.setdefault(name, []).append(whole)
                if also is not None:
                    self.seconds.setdefault(also, []).append(whole - timed.take_s())

    def over(self, upper: str, lower: str, factor: float = 1.0) -> Ratio:
        """Return the time of one case over that of another, times `factor`, round by round."""
        pairs = zip(self.seconds[upper], self.seconds[lower], strict=True)
        return ratio_of([factor * one / other for one, other in pairs])

    def ms(self, name: str) -> Ratio:
        """Return the time of a case in milliseconds."""
        return ratio_of([1000 * one for one in self.seconds[name]])


class _Nowhere:
    """A journal that keeps nothing: the cost of the store is measured separately."""

    def append(self, record: Record) -> None:
        """Drop the record."""


@dataclass(frozen=True, kw_only=True)
class Around:
    """The result of `Passes.found`; the fields have the same names as in a `Document`."""

    ratios: dict[str, Ratio | None]
    heads_over_backbone: dict[str, Ratio]


class Passes:
    """The cases, over one engine and over fp32 torch beside it on the same device."""

    def __init__(self, engine: Engine, settings: Settings, policy: Policy) -> None:
        self.engine = engine
        self.timed = TimedRunner(engine.runner)
        engine.runner = self.timed
        self._plain = load_engine(engine.manifest, _device(engine)).runner
        self._rules = Rules(read_protocols())
        self._policy = None if isinstance(policy, Rules) else policy
        self.settings = settings
        self.subject = Subject(partial(self._analyse, tools=engine))
        self._model = engine.manifest.specialist(TOOLS[0]).model
        self._renew()
        self._cases = self._all_cases()
        self.rounds = Rounds()

    def round(self, *, counts: bool) -> None:
        """Run every case once."""
        self.rounds.take(self._cases, self.timed, counts=counts, ready=self._renew)

    def _renew(self) -> None:
        """Give the next case an image that no cache has seen.

        Its pixels and their hash have just been made, as a decoder leaves them.
        """
        self._image = self.subject.fresh()

    def found(self) -> Around:
        """Return the figures of all rounds."""
        over, ms = self.rounds.over, self.rounds.ms
        searched = "text search" in self._cases
        heads = [name for name in self._cases if name.startswith("head ")]
        return Around(
            ratios={
                "analysis_over_backbone": over("analysis", "backbone"),
                "full_analysis_over_backbone": over("full analysis", "backbone"),
                "planned_over_rules": over("planned", "full analysis") if self._policy else None,
                "repeat_over_backbone": over("repeat", "backbone"),
                "shared_over_unshared": over("analysis", "unshared"),
                "runtime_over_torch": over("backbone", "torch"),
                "tta_cost": over("mirrored too", "once"),
                "sixteen_over_single": over("backbone", "sixteen", TOGETHER),
                "overhead_ms": ms("overhead"),
                "backbone_ms": ms("backbone"),
                "decode_ms": ms("decode"),
                "text_search_over_backbone": over("text search", "backbone") if searched else None,
                "text_search_ms": ms("text search") if searched else None,
            },
            heads_over_backbone={
                name.removeprefix("head "): over(name, "backbone") for name in heads
            },
        )

    def _all_cases(self) -> dict[str, Case_]:
        return self._network_cases() | self._analysis_cases()

    def _eager(self, pixels: Tensor) -> None:
        """Run a pass in fp32 torch with as many threads as the compiled pass has."""
        own = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads or threads_here())
        try:
            _done(self._plain.backbone(self._model, pixels))
        finally:
            torch.set_num_threads(own)

    def _network_cases(self) -> dict[str, Case_]:
        """Return the passes: the backbone as it runs here and in fp32 torch, and every head.

        The heads run on features of the backbone.
        """
        runner, side = self.engine.runner, self.engine.manifest.models[self._model].input_px
        pixels = torch.rand(1, 1, side, side)
        many = torch.rand(TOGETHER, 1, side, side)
        ones = torch.ones(1, 1, side, side)
        levels = runner.backbone(self._model, pixels)
        cases: dict[str, Case_] = {
            "backbone": lambda: _done(runner.backbone(self._model, pixels)),
            "torch": lambda: self._eager(pixels),
            "sixteen": lambda: _done(runner.backbone(self._model, many)),
        }
        for entry in self.engine.manifest.installed():
            if entry.model == self._model:
                roi = None if entry.roi == "none" else ones
                ask = partial(runner.head, entry.id, levels, ones, roi)
                cases[f"head {entry.id}"] = lambda ask=ask: _done(ask())  # type: ignore[misc]
        return cases

    def _analysis_cases(self) -> dict[str, Case_]:
        """Return the analyses, one specialist by itself, and the decoding of a file.

        The analyses are by the three specialists, by all, with kept features, without a shared
        pass, and by the planner where there is one. The specialist by itself is run on the image
        alone, and in another case on its mirror image too.
        """
        three, unshared = Only(self.engine, TOOLS), Forgetting(self.engine, TOOLS)
        kept, png = self.subject.fresh(), self.subject.png()
        self._analyse(kept, three)

        def analysis() -> str:
            self._analyse(self._image, three)
            return "overhead"

        def run_with_mirror() -> None:
            self.engine.run(TOOLS[1], self._image)
            mirrored = np.ascontiguousarray(self._image.pixels[:, ::-1])
            self.engine.run(TOOLS[1], image_of(mirrored))

        cases: dict[str, Case_] = {
            "analysis": analysis,
            "full analysis": lambda: _done(self._analyse(self._image, self.engine)),
            "repeat": lambda: _done(self._analyse(kept, three)),
            "unshared": lambda: _done(self._analyse(self._image, unshared)),
            "once": lambda: _done(self.engine.run(TOOLS[1], self._image)),
            "mirrored too": run_with_mirror,
            "decode": lambda: _done(ingest(png, self.settings.limit_pixels)),
        }
        if (find_text := text_finder(self.settings.blacken_text)) is not None:
            screen = screen_of(WRITTEN, seed=1).pixels
            cases["text search"] = lambda: _done(find_text(screen))
        if (policy := self._policy) is not None:
            cases["planned"] = lambda: _done(self._analyse(self._image, self.engine, policy))
        return cases

    def _analyse(self, image: Image, tools: Tools, policy: Policy | None = None) -> Case:
        request = Request(exam=ExamCode.BREAST)
        case = run(image, request, tools, policy or self._rules, _Nowhere())
        conclude(case, _IDENTITY)
        return case


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


def _device(engine: Engine) -> str:
    return "cuda" if "cuda" in engine.runtime else "cpu"


def _done(_: object) -> None:
    """Drop a result: a case is timed, and what it returns is not inspected."""
