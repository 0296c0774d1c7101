"""Stage I: training of the generalist, one backbone and one decoder per kind on all data sets.

See the USTri paper (arXiv:2604.16914), section 2.2.
"""

import copy
import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from specialists.checkpoints import load_module, read_tensors
from specialists.manifest import Kind, ModelEntry, SpecialistEntry
from specialists.model import Output, build_backbone, build_head, build_neck, line_ends
from specialists.training import losses
from specialists.training.augmentation.augment import Batch
from specialists.training.augmentation.batches import Phase, Rotation, loader
from specialists.training.data.pack import Pack
from specialists.training.imagenet import write_trunk
from specialists.training.precision import (
    TRIAL_IMAGES,
    Compute,
    ComputeOptions,
    Step,
    begin,
    trial_loss,
)
from specialists.training.state import Average, load_state, save_state

KIND_WEIGHTS = {Kind.SEGMENT: 1.0, Kind.DETECT: 1.0, Kind.REGRESS: 0.7, Kind.CLASSIFY: 0.4}


@dataclass(frozen=True, kw_only=True)
class GeneralistConfig:
    """Everything that determines a Stage I run, apart from its data and code."""

    seed: int = 0
    pack_px: int = 320
    start: str | None = None
    """Variant whose ImageNet weights the trunk starts from; None starts from random weights."""
    learning_rate: float = 1.5e-3
    trunk_rate: float = 1.0
    """Learning rate of the trunk, as a share of `learning_rate`."""
    frozen_to: str | None = None
    """Level up to which the trunk keeps its starting weights; None trains the whole trunk.

    Most of the trunk's time goes into these levels.
    """
    weight_decay: float = 0.03
    warmup_steps: int = 300
    decay: float = 0.3
    """Share of the steps, at the end, in which the learning rate falls to a hundredth.

    Until then it is constant.
    """
    threads: int = 4
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    save_every_s: float = 240.0
    shares: dict[str, float] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)


class Generalist(nn.Module):
    """The backbone, one decoder per dense kind, and one output layer per task."""

    def __init__(
        self, model: ModelEntry, entries: list[SpecialistEntry], *, scaled: bool = False
    ) -> None:
        super().__init__()
        self.entries = {entry.id: entry for entry in entries}
        self.backbone = build_backbone(model, scaled=scaled)
        widths = self.backbone.widths
        self.necks = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for entry in entries:
            if entry.kind is not Kind.CLASSIFY and entry.kind not in self.necks:
                self.necks[entry.kind] = build_neck(entry, model, widths)
            neck = None if entry.kind is Kind.CLASSIFY else self.necks[entry.kind]
            self.heads[entry.id] = build_head(entry, widths, neck)  # type: ignore[arg-type]

    def forward(self, batch: Batch, mean: float, std: float) -> dict[str, Output]:
        """Return the raw outputs over its rows of each task that the batch has labels for."""
        features = self.backbone((batch.images - mean) / std)
        decoded: dict[str, tuple[Tensor, dict[int, int]]] = {}
        for kind, neck in self.necks.items():
            rows = sorted(
                {
                    int(row)
                    for task, found in batch.rows.items()
                    if self.entries[task].kind == kind
                    for row in found
                }
            )
            if rows:
                chosen = {name: level[rows] for name, level in features.items()}
                decoded[kind] = neck(chosen), {row: i for i, row in enumerate(rows)}
        outputs: dict[str, Output] = {}
        for task, found in batch.rows.items():
            kind = self.entries[task].kind
            if kind is Kind.CLASSIFY:
                chosen = {name: level[found] for name, level in features.items()}
                field_ = batch.field[found]
                outputs[task] = self.heads[task](chosen, field_, field_)
            else:
                maps, place = decoded[kind]
                outputs[task] = self.heads[task](maps[[place[int(row)] for row in found]])
        return outputs


def task_loss(entry: SpecialistEntry, output: Output, batch: Batch) -> Tensor:
    """Return the loss of one task over its rows of the batch.

    See the USTri paper (arXiv:2604.16914), section 2.6.
    """
    task = entry.id
    if entry.kind is Kind.DETECT:
        box, presence, attention = output
        return losses.detect_loss(box, presence, attention, batch.boxes[task], entry.absence_known)
    if not isinstance(output, Tensor):
        raise TypeError(f"{task} gave no tensor")
    if entry.kind is Kind.SEGMENT:
        return losses.segment_loss(output, batch.masks[task])
    if entry.kind is Kind.REGRESS:
        return losses.regress_loss(output, batch.points[task], line_ends(entry))
    return losses.classify_loss(output, batch.classes[task])


def train(
    model: ModelEntry,
    entries: list[SpecialistEntry],
    pack: Pack,
    config: GeneralistConfig,
    run: Path,
    *,
    resume: bool,
) -> Generalist:
    """Train the generalist and return it with its moving average in place of its last weights.

    Writes `state.safetensors` (from which a run can be resumed) and `log.jsonl` into `run`.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    net = _begun(model, entries, config, run, resume=resume)
    compute = begin(config.compute, lambda: trial(net, model), run, resume=resume)
    net.to(compute.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Average(net)
    optimizer = torch.optim.AdamW(parameter_groups(net, config), config.learning_rate, fused=True)
    first = load_state(run, net, average, optimizer) if resume else 0
    policies = {entry.id: entry.geometry for entry in entries}
    rotation = Rotation(
        pack, policies, config.shares, config.phases, seed=config.seed, first_step=first
    )
    total = sum(phase.steps for phase in config.phases)
    (run / "config.json").write_text(json.dumps(asdict(config), indent=2), encoding="utf-8")
    saved = time.monotonic()
    means: dict[str, float] = {}
    net.train()
    batches = loader(rotation, pinned=compute.pinned)
    progress = tqdm(batches, desc="stage I", initial=first, total=total, unit="step")
    for step, batch in enumerate(progress, start=first):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate(config, step, total)
        torch.manual_seed(config.seed + step)  # the same dropout after a resumption too
        values = train_step(net, batch, optimizer, model, compute)
        average.update(net, step)
        for task, value in values.items():
            means[task] = 0.98 * means.get(task, value) + 0.02 * value
        if step % 100 == 99:
            _log(run, step + 1, means)
        if time.monotonic() - saved > config.save_every_s or step + 1 == total:
            save_state(run, step + 1, net, average, optimizer)
            saved = time.monotonic()
    net.load_state_dict(average.tensors)
    net.backbone.fold()
    return net.cpu()


def _begun(
    model: ModelEntry,
    entries: list[SpecialistEntry],
    config: GeneralistConfig,
    run: Path,
    *,
    resume: bool,
) -> Generalist:
    """Return the network that a run begins with, or whose weights its saved state will fill."""
    net = Generalist(model, entries, scaled=config.start is not None)
    if config.start is not None and not resume:
        path = write_trunk(config.start, run / f"{config.start}.safetensors")
        load_module(net.backbone.trunk, read_tensors(path), path)
    if config.frozen_to is not None:
        net.backbone.trunk.freeze(config.frozen_to)
    return net


def trial(net: Generalist, model: ModelEntry) -> Step:
    """Return a step of the backbone and its decoders on a few images, for timing."""
    tried = copy.deepcopy(net).train()
    images = torch.randn(TRIAL_IMAGES, 1, model.input_px, model.input_px)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> Tensor:
        features = tried.backbone(images)
        maps = [neck(features) for neck in tried.necks.values()]
        return trial_loss(maps or list(features.values()))

    return step


def parameter_groups(net: Generalist, config: GeneralistConfig) -> list[dict[str, object]]:
    """Return the optimiser's groups: the trunk learns at its own rate, and only matrices decay."""
    trunk = {id(parameter) for parameter in net.backbone.trunk.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in net.parameters():
        if not parameter.requires_grad:
            continue
        share = config.trunk_rate if id(parameter) in trunk else 1.0
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((share, decay), []).append(parameter)
    return [
        {"params": parameters, "share": share, "weight_decay": decay}
        for (share, decay), parameters in groups.items()
    ]


def train_step(
    net: Generalist,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    model: ModelEntry,
    compute: Compute,
) -> dict[str, float]:
    """Train for one optimiser step and return the loss of each task.

    Each task is weighted by its kind and by the square root of its rows' share of the batch.
    """
    batch = batch.to(compute.device)
    with compute.autocast():
        outputs = net(batch, model.mean, model.std)
    loss = torch.zeros((), device=compute.device)
    values: dict[str, float] = {}
    for task, output in outputs.items():
        entry = net.entries[task]
        value = task_loss(entry, output, batch)
        share = math.sqrt(len(batch.rows[task]) / len(batch.images))
        loss = loss + KIND_WEIGHTS[entry.kind] * share * value
        values[task] = value.item()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(net.parameters(), 2.0)
    if torch.isfinite(norm):
        optimizer.step()
    return values


def learning_rate(config: GeneralistConfig, step: int, total: int) -> float:
    """Return the rate: linear warm-up, constant, then a straight line down to a hundredth.

    It is constant so that a longer training equals a shorter one up to where the shorter one's rate
    begins to fall.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    left = (total - step) / max(1.0, config.decay * total)
    return config.learning_rate * max(0.01, min(1.0, left))


def _log(run: Path, step: int, means: dict[str, float]) -> None:
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **{k: round(v, 4) for k, v in means.items()}}) + "\n")
