"""Stage II: training of single-task heads on the frozen backbone, several in one pass.

See the USTri paper (arXiv:2604.16914), section 2.3.
"""

import copy
import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from specialists.checkpoints import read_tensors
from specialists.errors import TrainingError
from specialists.load import load_specialist
from specialists.manifest import (
    Kind,
    Manifest,
    ModelEntry,
    Roi,
    SpecialistEntry,
    read_manifest,
)
from specialists.model import Frozen, Output, SpecialistNet, build_backbone
from specialists.training.augmentation.augment import Batch
from specialists.training.augmentation.batches import Phase, Rotation, Turn, Turns, loader
from specialists.training.augmentation.regions import training_regions
from specialists.training.augmentation.synthetic import DATASET, SHARE
from specialists.training.data.pack import Pack
from specialists.training.data.tables import Sample
from specialists.training.generalist import task_loss
from specialists.training.precision import (
    TRIAL_IMAGES,
    Compute,
    ComputeOptions,
    Step,
    begin,
    choose,
    trial_loss,
)
from specialists.training.state import STATE, Average, load_state, save_state

BEGUN = "begun.json"
"""File beside a training's state: its settings, which a resumption must share."""


@dataclass(frozen=True, kw_only=True)
class SpecialistConfig:
    """Everything that determines a Stage II run, apart from its data and code."""

    seed: int = 0
    pack_px: int = 320
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    steps: int = 1500
    batch: int = 16
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    save_every_s: float = 240.0


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a Stage II run starts, and the folder in which it keeps its state."""

    decoders: Path | None = None
    """Stage I's decoders by kind; None starts from random weights."""
    folder: Path | None = None
    """None keeps no state."""
    resume: bool = False


def train_heads(
    manifest: Manifest,
    entries: list[SpecialistEntry],
    backbone: Frozen,
    pack: Pack,
    config: SpecialistConfig,
    start: Start,
) -> dict[str, SpecialistNet]:
    """Train specialists and return their nets by id.

    Each has its own loss and weights; only the backbone pass is shared.

    Args:
        manifest: lists the models, and the detectors that regions come from.
        entries: specialists of one model.
        backbone: frozen; its bytes do not change.
        pack: training samples.
        config: steps, rates and seed.
        start: new, or from the state that an interrupted run left.

    Raises:
        TrainingError: there is nothing to resume, or the run was begun with other settings.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    _begin(start, config, manifest.models[entries[0].model])
    stage = _stage(manifest, entries, backbone, config, start)
    compute, nets = stage.compute, stage.nets
    everything = nn.ModuleDict(dict(nets)).train()
    average = Average(everything)
    rate, decay = config.learning_rate, config.weight_decay
    optimizer = torch.optim.AdamW(everything.parameters(), rate, weight_decay=decay)
    first = 0
    if start.resume and start.folder is not None:
        first = load_state(start.folder, everything, average, optimizer)
    rotation = _batches(manifest, entries, pack, config, first)
    batches = loader(rotation, pinned=compute.pinned)
    saved = time.monotonic()
    progress = tqdm(batches, desc="stage II", initial=first, total=config.steps, unit="step")
    for step, batch in enumerate(progress, start=first):
        torch.manual_seed(config.seed + step)  # the same dropout after a resumption too
        total = _step_loss(stage, batch, config.seed + step)
        if total.requires_grad:  # else no image of the batch carries a label
            _descend(total, everything, optimizer, _rate(config, step))
            average.update(everything, step)
        late = time.monotonic() - saved > config.save_every_s or step + 1 == config.steps
        if start.folder is not None and late:
            save_state(start.folder, step + 1, everything, average, optimizer)
            saved = time.monotonic()
    everything.load_state_dict(average.tensors)
    backbone.cpu()
    return {name: net.cpu().eval() for name, net in nets.items()}


def trial(nets: Mapping[str, SpecialistNet], backbone: Frozen, side_px: int) -> Step:
    """Return a step of the decoders and heads on the frozen backbone, for a few images."""
    tried = [copy.deepcopy(net).train() for net in nets.values()]
    images = torch.randn(TRIAL_IMAGES, 1, side_px, side_px)
    images = images.contiguous(memory_format=torch.channels_last)
    field = torch.ones(images.shape)

    def step() -> Tensor:
        with torch.no_grad():
            features = backbone(images)
        outputs = [net(features, field, None) for net in tried]
        return trial_loss([out if isinstance(out, Tensor) else out[0] for out in outputs])

    return step


@cache
def suited() -> Compute:
    """Return the device and precision with which heads on the shipped backbone would train here."""
    manifest = read_manifest()
    entry = next(e for e in manifest.specialists.values() if e.kind is Kind.SEGMENT)
    model = manifest.models[entry.model]

    def tried() -> Step:
        backbone = Frozen(build_backbone(model))
        nets = {entry.id: SpecialistNet(entry, model, backbone.widths)}
        return trial(nets, backbone, model.input_px)

    return choose(ComputeOptions(), tried)


def _stage(
    manifest: Manifest,
    entries: list[SpecialistEntry],
    backbone: Frozen,
    config: SpecialistConfig,
    start: Start,
) -> "_Stage":
    """Return new nets and what they are trained with, all on the computing device."""
    model = manifest.models[entries[0].model]
    nets = _new_nets(entries, model, backbone, start)
    detectors = _installed_detectors(manifest, entries, backbone)
    tried = partial(trial, nets, backbone, model.input_px)
    compute = begin(config.compute, tried, start.folder, resume=start.resume)
    for net in (backbone, *detectors.values(), *nets.values()):
        net.to(compute.device)
    return _Stage(manifest, entries, nets, detectors, backbone, compute)


def _new_nets(
    entries: list[SpecialistEntry], model: ModelEntry, backbone: Frozen, start: Start
) -> dict[str, SpecialistNet]:
    nets = {entry.id: SpecialistNet(entry, model, backbone.widths) for entry in entries}
    if start.decoders is not None:
        for entry in entries:
            _start_from(nets[entry.id], entry.kind, read_tensors(start.decoders))
    return nets


def _begin(start: Start, config: SpecialistConfig, model: ModelEntry) -> None:
    """Write the settings that the run begins with, or check a resumed run against them."""
    if start.folder is None:
        return
    # a resumption may change the first two; `begin` keeps the third
    free = ("threads", "save_every_s", "compute")
    given = {name: value for name, value in asdict(config).items() if name not in free}
    given["backbone"] = model.sha256
    path = start.folder / BEGUN
    if not start.resume:
        start.folder.mkdir(parents=True, exist_ok=True)
        (start.folder / STATE).unlink(missing_ok=True)
        path.write_text(json.dumps(given, indent=1), encoding="utf-8")
    elif path.exists():
        begun = json.loads(path.read_text(encoding="utf-8"))
        if other := [name for name, value in given.items() if begun.get(name) != value]:
            raise TrainingError(
                f"The training in {start.folder} was begun with another value "
                f"of {', '.join(other)}."
            )


def _descend(
    loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer, rate: float
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    optimizer.step()


@dataclass(frozen=True)
class _Stage:
    """What every step of a run reads."""

    manifest: Manifest
    entries: list[SpecialistEntry]
    nets: Mapping[str, SpecialistNet]
    detectors: Mapping[str, SpecialistNet]
    """Installed detectors that regions come from and that are not trained here."""
    backbone: Frozen
    compute: Compute


def _installed_detectors(
    manifest: Manifest, entries: list[SpecialistEntry], backbone: Frozen
) -> dict[str, SpecialistNet]:
    trained = {entry.id for entry in entries}
    sources = [manifest.provider(entry.roi_slot) for entry in entries if entry.roi_slot]
    return {
        source.id: load_specialist(source, manifest.models[source.model], backbone)
        for source in sources
        if source is not None
        and source.id not in trained
        and source.installed
        and source.backbone_sha256 == manifest.models[source.model].sha256
    }


def _step_loss(stage: _Stage, batch: Batch, seed: int) -> Tensor:
    model = stage.manifest.models[stage.entries[0].model]
    # detectors first: the others read their boxes
    entries = sorted(stage.entries, key=lambda entry: entry.kind is not Kind.DETECT)
    predicted: dict[str, dict[int, Tensor]] = {}
    batch = batch.to(stage.compute.device)
    with stage.compute.autocast():
        with torch.no_grad():
            features = stage.backbone((batch.images - model.mean) / model.std)
            for name, net in stage.detectors.items():
                found = net(features, batch.field, None)
                every = torch.arange(len(batch.images))
                predicted[name] = _boxes(stage.manifest.specialist(name), found, every)
        total = torch.zeros((), device=stage.compute.device)
        for entry in entries:
            rows = batch.rows.get(entry.id)
            if rows is None or len(rows) < 2:  # batch norm needs two
                continue
            chosen = {name: features[name][rows] for name in entry.features}
            region = _region(stage.manifest, entry, batch, predicted, seed)
            output = stage.nets[entry.id](
                chosen, batch.field[rows], None if region is None else region[rows]
            )
            if entry.kind is Kind.DETECT:
                predicted[entry.id] = _boxes(entry, output, rows)
            total = total + task_loss(entry, output, batch)
    return total


def _boxes(entry: SpecialistEntry, output: Output, rows: Tensor) -> dict[int, Tensor]:
    """Return a box (4,) by row of the batch; NaN where presence is less likely than absence."""
    box, presence, _ = output
    found = box.detach().float().clamp(0, 1)
    if entry.absence_known:
        found = found.masked_fill(presence.detach()[:, None] < 0, torch.nan)
    found = found.cpu()
    return {int(row): corners for row, corners in zip(rows, found, strict=True)}


def _region(
    manifest: Manifest,
    entry: SpecialistEntry,
    batch: Batch,
    predicted: Mapping[str, dict[int, Tensor]],
    seed: int,
) -> Tensor | None:
    if entry.roi is Roi.NONE or entry.roi_slot is None:
        return None
    source = manifest.provider(entry.roi_slot)
    boxes: dict[int, Tensor] = {}
    found: dict[int, Tensor] = {}
    if source is not None and source.id in batch.rows:
        boxes = {
            int(row): box
            for row, box in zip(batch.rows[source.id], batch.boxes[source.id].cpu(), strict=True)
        }
        found = predicted.get(source.id, {})
    side_px = batch.images.shape[-1]
    regions = training_regions(boxes, found, len(batch.images), side_px, seed)
    return regions.to(batch.images.device, non_blocking=True)


def _batches(
    manifest: Manifest,
    entries: list[SpecialistEntry],
    pack: Pack,
    config: SpecialistConfig,
    first_step: int,
) -> Turns:
    policies = {entry.id: entry.geometry for entry in manifest.specialists.values()}
    side_px = manifest.models[entries[0].model].input_px
    phase = Phase(steps=config.steps, side_px=side_px, batch=config.batch)
    turns = []
    for group in _by_exam(entries):
        trained = {entry.id for entry in group}
        shares = _shares([s for s in pack.samples if not s.tasks.isdisjoint(trained)])
        every = dict.fromkeys(pack.sources(), 0.0) | shares
        rotation = Rotation(pack, policies, every, [phase], seed=config.seed).only(trained)
        sources = [manifest.provider(entry.roi_slot) for entry in group if entry.roi_slot]
        labels = trained | {source.id for source in sources if source is not None}
        turns.append(Turn(rotation=rotation, tasks=frozenset(labels), share=sum(shares.values())))
    return Turns(turns, phase, seed=config.seed, first_step=first_step)


def _by_exam(entries: list[SpecialistEntry]) -> list[list[SpecialistEntry]]:
    """Return the entries by exam; one of no exam, or of several like the router, stands alone."""
    groups: dict[str, list[SpecialistEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.exams[0] if len(entry.exams) == 1 else entry.id, []).append(entry)
    return list(groups.values())


def _shares(samples: Sequence[Sample]) -> dict[str, float]:
    """Return a share by data set, by the square root of its size, so that no small one starves."""
    counts = Counter(sample.dataset for sample in samples)
    shares = {name: math.sqrt(count) for name, count in counts.items()}
    if DATASET in shares:  # phantom images keep to their share of all images drawn from the pack
        others = sum(share for name, share in shares.items() if name != DATASET)
        shares[DATASET] = others * SHARE / (1 - SHARE)
    return shares


def _start_from(net: SpecialistNet, kind: Kind, decoders: Mapping[str, Tensor]) -> None:
    """Copy Stage I's decoder of that kind; weights for the region, which it lacks, stay at zero."""
    if net.neck is None:
        return
    prefix = f"{kind}."
    found = {
        name.removeprefix(prefix): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in decoders.items()
        if name.startswith(prefix) and not name.startswith(f"{prefix}roi.")
    }
    own = net.neck.state_dict()
    net.neck.load_state_dict({**own, **{k: v for k, v in found.items() if k in own}})


def _rate(config: SpecialistConfig, step: int) -> float:
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
