"""Comparison of single-task networks, Stage I alone, and Stage I + II.

All have the same data and process the same number of images of each task. They differ in the last
quarter of the budget. A single-task network spends all of its budget from random weights; so does
the generalist, whose other data sets are extra; Stage II takes the generalist's moving average at
three quarters of its run, and spends the last quarter on new heads over that backbone, frozen.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from specialists.checkpoints import half, save_tensors
from specialists.errors import TrainingError
from specialists.manifest import Manifest, ModelEntry, Roi, SpecialistEntry
from specialists.model import Frozen, SpecialistNet
from specialists.training.augmentation.batches import Phase, Rotation
from specialists.training.data.pack import Pack, build_pack
from specialists.training.data.tables import Sample, read_samples
from specialists.training.generalist import (
    Generalist,
    GeneralistConfig,
    learning_rate,
    train_step,
    trial,
)
from specialists.training.precision import ComputeOptions, begin
from specialists.training.specialist import SpecialistConfig, Start, train_heads
from specialists.training.state import Average, load_state, save_state
from specialists.training.trials.arms import Judged, judged, networks

TASKS = ("breast_lesion", "breast_3cls", "intrapartum_head_det", "aop_landmarks")
"""One task of each kind; the first two share their images, and so do the other two."""

LAST_PART = 0.25
"""The share of the budget that Stage II takes from Stage I."""

SHARE = 0.3
"""The share of each compared data set in every Stage I batch; the others divide the rest."""

PACKED = 1.25
"""Pack side over network side, so that an enlarged image keeps its detail."""

STEP_IMAGES = {"single": 16, "stage I": 32, "stage II": 16}
"""Images of one optimiser step by arm."""

SINGLE, FIRST, BOTH = "single task", "stage I alone", "stage I + II"
ON_CPU = ComputeOptions(device="cpu")
"""Arms are also compared by their CPU seconds."""
STATE_S = 45.0
"""Seconds between two saved states of a network in training."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The budget of every arm for a task: a number of images, each time augmented anew."""

    images: int = 8000
    side_px: int = 128
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The result of one arm on one task."""

    task: str
    arm: str
    judged: Judged
    parameters: int
    """Of all networks that answer the task."""
    cpu_s: float
    """CPU time of the whole training; a shared part counts for every task that it serves."""


def compare(manifest: Manifest, data: Path, out: Path, budget: Budget) -> list[Arm]:
    """Train every arm on every task and return the results.

    What is finished in `out` is not trained again; the rest is resumed.

    Raises:
        TrainingError: the data cannot be used, or `out` holds another comparison.
    """
    out.mkdir(parents=True, exist_ok=True)
    _same_budget(out, budget)
    torch.set_num_threads(budget.threads)
    entries = [_whole(e) for e in manifest.specialists.values() if _listed(e, data)]
    compared = [entry for entry in entries if entry.id in TASKS]
    if not compared:
        raise TrainingError(f"{data} holds none of the compared tasks: {', '.join(TASKS)}.")
    model = manifest.models[compared[0].model].model_copy(
        update={"input_px": budget.side_px, "weights": None, "sha256": None}
    )
    bench = _Bench(model, entries, compared, data, out, budget)
    arms = [bench.single(entry) for entry in compared]
    arms += bench.first()
    for group in bench.by_images():
        arms += bench.second(group)
    return arms


class _Bench:
    """The data, and the arms over it."""

    def __init__(
        self,
        model: ModelEntry,
        entries: list[SpecialistEntry],
        compared: list[SpecialistEntry],
        data: Path,
        out: Path,
        budget: Budget,
    ) -> None:
        self.model, self.compared, self.budget = model, compared, budget
        self.data, self.out = data, out
        self.pack_px = int(budget.side_px * PACKED)
        ids = {entry.model for entry in compared}
        self.entries = [entry for entry in entries if entry.model in ids]
        self.train = read_samples(data, self.entries, "train")
        self.val = build_pack(read_samples(data, compared, "val"), budget.side_px)
        self._pack: Pack | None = None

    @property
    def everything(self) -> Pack:
        """All training images."""
        if self._pack is None:
            self._pack = build_pack(self.train, self.pack_px)
        return self._pack

    def by_images(self) -> list[list[SpecialistEntry]]:
        """Return the compared tasks in groups that share their data sets, hence their images."""
        groups: dict[frozenset[str], list[SpecialistEntry]] = {}
        for entry in self.compared:
            groups.setdefault(frozenset(self._datasets([entry])), []).append(entry)
        return list(groups.values())

    def single(self, entry: SpecialistEntry) -> Arm:
        """Train a whole network of that task alone, from random weights."""

        def train(folder: Path) -> list[Arm]:
            pack = build_pack(read_samples(self.data, [entry], "train"), self.pack_px)
            steps = round(self.budget.images / STEP_IMAGES["single"])
            schedule = _Schedule(steps=steps, batch=STEP_IMAGES["single"], keep=steps)
            net, cpu_s = self._train([entry], pack, schedule, _by_size(pack.sources()), folder)
            return [self._arm(entry, SINGLE, networks(net), Frozen(net.backbone), cpu_s)]

        return self._once(f"single-{entry.id}", train)[0]

    def first(self) -> list[Arm]:
        """Train the generalist with all tasks and score it with its own heads.

        The state from which Stage II starts is left in `out`.
        """

        def train(folder: Path) -> list[Arm]:
            steps = round(self.budget.images / (SHARE * STEP_IMAGES["stage I"]))
            keep = round(steps * (1 - LAST_PART))
            schedule = _Schedule(steps=steps, batch=STEP_IMAGES["stage I"], keep=keep)
            shares = self._shares()
            net, cpu_s = self._train(self.entries, self.everything, schedule, shares, folder)
            frozen, heads = Frozen(net.backbone), networks(net)
            return [
                self._arm(entry, FIRST, {entry.id: heads[entry.id]}, frozen, cpu_s)
                for entry in self.compared
            ]

        return self._once("stage1", train)

    def second(self, group: list[SpecialistEntry]) -> list[Arm]:
        """Train new heads of those tasks on the frozen backbone of Stage I at three quarters."""

        def train(folder: Path) -> list[Arm]:
            net = Generalist(self.model, self.entries)
            start = self.out / "stage1" / "kept"
            kept_at = load_state(start, net, average := Average(net), _optimizer(net))
            net.load_state_dict(average.tensors)
            frozen = Frozen(net.backbone)
            save_tensors(folder / "decoders.safetensors", half(net.necks), {})
            manifest = Manifest(
                models={self.model.id: self.model}, specialists={e.id: e for e in group}
            )
            samples = read_samples(self.data, group, "train")
            config = SpecialistConfig(
                seed=self.budget.seed,
                pack_px=self.pack_px,
                steps=round(self.budget.images * LAST_PART / STEP_IMAGES["stage II"]),
                batch=STEP_IMAGES["stage II"],
                threads=self.budget.threads,
                compute=ON_CPU,
            )
            begun = time.process_time()
            heads = train_heads(
                manifest,
                group,
                frozen,
                build_pack(samples, self.pack_px),
                config,
                Start(decoders=folder / "decoders.safetensors"),
            )
            own_s = time.process_time() - begun
            first_s = _spent(self.out / "stage1") * (kept_at / self._first_steps())
            return [
                self._arm(entry, BOTH, {entry.id: heads[entry.id]}, frozen, first_s + own_s)
                for entry in group
            ]

        return self._once("stage2-" + "+".join(entry.id for entry in group), train)

    def _first_steps(self) -> int:
        return round(self.budget.images / (SHARE * STEP_IMAGES["stage I"]))

    def _datasets(self, entries: list[SpecialistEntry]) -> list[str]:
        found = {s.dataset for s in self.train if any(_labelled(s, entry) for entry in entries)}
        return sorted(found)

    def _shares(self) -> dict[str, float]:
        """Return the share of every data set in Stage I batches.

        A compared data set has the fixed share; the rest is divided by the square root of the size.
        """
        compared = self._datasets(self.compared)
        others = {
            name: len(rows)
            for name, rows in self.everything.sources().items()
            if name not in compared
        }
        rest, total = 1 - SHARE * len(compared), sum(math.sqrt(n) for n in others.values())
        shares = {name: rest * math.sqrt(n) / total for name, n in others.items()}
        return shares | dict.fromkeys(compared, SHARE)

    def _train(
        self,
        entries: list[SpecialistEntry],
        pack: Pack,
        schedule: "_Schedule",
        shares: Mapping[str, float],
        folder: Path,
    ) -> tuple[Generalist, float]:
        """Train a network of those tasks; return it and its CPU seconds.

        Its moving average is in place of its last weights.
        """
        torch.manual_seed(self.budget.seed)
        net = Generalist(self.model, entries)
        resumed = (folder / "state.safetensors").exists()
        compute = begin(ON_CPU, lambda: trial(net, self.model), folder, resume=resumed)
        net.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        average, optimizer = Average(net), _optimizer(net)
        first = load_state(folder, net, average, optimizer) if resumed else 0
        spent_s, begun = _spent(folder) if resumed else 0.0, time.process_time()
        phase = Phase(steps=schedule.steps, side_px=self.budget.side_px, batch=schedule.batch)
        policies = {entry.id: entry.geometry for entry in entries}
        seed = self.budget.seed
        rotation = Rotation(pack, policies, shares, [phase], seed=seed, first_step=first)
        config = GeneralistConfig(warmup_steps=schedule.steps // 10)
        saved = time.monotonic()
        net.train()
        progress = tqdm(rotation, desc=folder.name, initial=first, total=schedule.steps)
        for step, batch in enumerate(progress, start=first):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, schedule.steps)
            torch.manual_seed(seed + step)
            train_step(net, batch, optimizer, self.model, compute)
            average.update(net, step)
            if step + 1 == schedule.keep:
                save_state(folder / "kept", step + 1, net, average, optimizer)
            if time.monotonic() - saved > STATE_S or step + 1 == schedule.steps:
                save_state(folder, step + 1, net, average, optimizer)
                _note_spent(folder, spent_s + time.process_time() - begun)
                saved = time.monotonic()
        net.load_state_dict(average.tensors)
        return net.cpu().eval(), _spent(folder)

    def _arm(
        self,
        entry: SpecialistEntry,
        name: str,
        nets: Mapping[str, SpecialistNet],
        backbone: Frozen,
        cpu_s: float,
    ) -> Arm:
        net = nets[entry.id].eval()
        return Arm(
            task=entry.id,
            arm=name,
            judged=judged(self.model, entry, net, backbone, self.val),
            parameters=_parameters(net) + _parameters(backbone),
            cpu_s=round(cpu_s, 1),
        )

    def _once(self, name: str, train: Callable[[Path], list[Arm]]) -> list[Arm]:
        """Return the arms that `train` gives, or those that an earlier run of it left."""
        folder = self.out / name
        path = folder / "arms.json"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            text = json.dumps([asdict(arm) for arm in train(folder)])
            path.write_text(text, encoding="utf-8")
        found = json.loads(path.read_text(encoding="utf-8"))
        return [Arm(**{**arm, "judged": Judged(**arm["judged"])}) for arm in found]


@dataclass(frozen=True, kw_only=True)
class _Schedule:
    """Steps of a number of images; the state after `keep` of them is saved apart."""

    steps: int
    batch: int
    keep: int


def _whole(entry: SpecialistEntry) -> SpecialistEntry:
    """Return the entry without a region of interest, so that every arm reads the whole image."""
    return entry.model_copy(update={"roi": Roi.NONE, "roi_slot": None})


def _listed(entry: SpecialistEntry, data: Path) -> bool:
    named = (data / "csv_files" / f"{entry.task_id}.csv").exists()
    return named and not entry.id.startswith("fmc_")


def _labelled(sample: Sample, entry: SpecialistEntry) -> bool:
    return entry.id in {*sample.masks, *sample.classes, *sample.boxes, *sample.points}


def _by_size(sources: Mapping[str, Sequence[int]]) -> dict[str, float]:
    return {name: float(len(rows)) for name, rows in sources.items()}


def _optimizer(net: nn.Module) -> torch.optim.Optimizer:
    config = GeneralistConfig()
    return torch.optim.AdamW(
        net.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _spent(folder: Path) -> float:
    return float(json.loads((folder / "spent.json").read_text(encoding="utf-8")))


def _note_spent(folder: Path, cpu_s: float) -> None:
    (folder / "spent.json").write_text(json.dumps(round(cpu_s, 1)), encoding="utf-8")


def _same_budget(out: Path, budget: Budget) -> None:
    path = out / "budget.json"
    given = {name: value for name, value in asdict(budget).items() if name != "threads"}
    if not path.exists():
        path.write_text(json.dumps(given), encoding="utf-8")
    elif json.loads(path.read_text(encoding="utf-8")) != given:
        raise TrainingError(f"{out} holds a comparison of another budget; choose another folder.")
