"""Implementation of `ustri train quantize`: int8 forms of a backbone and of its specialists.

Each is kept only where no judged figure loses more than `LOSS_MAX` on val.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from specialists.engine import Engine
from specialists.errors import TrainingError
from specialists.int8 import Int8
from specialists.load import load_backbone, load_engine, load_specialist
from specialists.manifest import Manifest, ModelEntry, SpecialistEntry, read_manifest
from specialists.model import Frozen
from specialists.runtime.quantized import backbone_plan, head_plan, save_quantized
from specialists.runtime.runner import Precision, RuntimeOptions
from specialists.runtime.traced import Levels, Plan, Wired, drawn_inputs, drawn_pixels
from specialists.training.evaluation.precisions import (
    GATE,
    LOSS_MAX,
    Figures,
    Judging,
    figures_of,
    judging,
    losers,
)
from specialists.training.int8.networks import (
    Inputs,
    listen,
    noise_of,
    quantized,
    serialized,
)
from specialists.training.registry import write_entries

PARTS: dict[str, str] = {
    "vit": r".*backbone\.(layers\.|embed|norm).*",
    "stem": r".*trunk\.(first|stages\.[01]\b).*",
    "trunk": r".*trunk\..*",
}
"""Parts of a backbone that can stay in fp32, as patterns of the names of their operations."""

ATTEMPTS: tuple[tuple[str, ...], ...] = ((), ("stem",), ("vit",), ("stem", "vit"), ("trunk",))
"""The parts that stay in fp32, in the order of the attempts; the first that holds is kept."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to bring to int8, from which images, and where the result goes."""

    data: Path
    out: Path
    images: int = 24
    """Training images of each task, over all its data sets, from which the scales are chosen."""
    judged: int | None = None
    """Images of each task on which the figures are judged; None: all of val."""
    loss_max: float = LOSS_MAX
    threads: int | None = None
    say: Callable[[str], None] = print


@dataclass(kw_only=True)
class _Work:
    """The manifest as it becomes, with what stays the same beside it."""

    wish: Wish
    manifest: Manifest
    model: ModelEntry
    backbone: Frozen
    val: Judging
    train: Judging
    compiled: Path
    """Where compiled networks are kept from attempt to attempt."""
    plain: Figures = field(default_factory=dict)

    def entries(self) -> list[SpecialistEntry]:
        """Return the specialists that are judged."""
        return [entry for entry in self.manifest.installed() if entry.task_id in self.val.rows]

    def engine(self, precision: Precision) -> Engine:
        """Return the engine of the manifest as it is now, in OpenVINO.

        Raises:
            TrainingError: OpenVINO does not run here.
        """
        options = RuntimeOptions(
            runtime="openvino",
            precision=precision,
            threads=self.wish.threads,
            cache_dir=self.compiled,
        )
        engine = load_engine(self.manifest, "cpu", options)
        if "openvino" not in engine.runtime or "failed" in engine.runtime:
            raise TrainingError(f"int8 needs OpenVINO, which does not run here: {engine.runtime}.")
        return engine

    def losers(self) -> dict[str, float]:
        """Return the tasks that lose too much in int8 as it is now, with their greatest loss."""
        return losers(self.plain, figures_of(self.engine("int8"), self.val), self.wish.loss_max)

    def with_form(self, id_: str, form: Int8 | None) -> None:
        """Set or remove the int8 form of the backbone or of a specialist."""
        if id_ == self.model.id:
            self.model = self.model.model_copy(update={"int8": form})
            models = {**self.manifest.models, id_: self.model}
            self.manifest = self.manifest.model_copy(update={"models": models})
        else:
            entry = self.manifest.specialists[id_].model_copy(update={"int8": form})
            listed = {**self.manifest.specialists, id_: entry}
            self.manifest = self.manifest.model_copy(update={"specialists": listed})
        if form is None:
            (self.wish.out / _file(id_)).unlink(missing_ok=True)


def networks_in(out: Path, user_dir: Path | None) -> Manifest:
    """Return the manifest of the networks that a training left in `out`, or of those in use."""
    return read_manifest(out if (out / "manifest.toml").exists() else user_dir)


def quantize(manifest: Manifest, wish: Wish) -> list[ModelEntry | SpecialistEntry]:
    """Make int8 forms of the manifest's networks.

    Weights, forms and manifest are in `wish.out` afterwards, so that `ustri train ship` can take
    them. Not a bit of the full-precision weights changes.

    Returns:
        the entries of the networks that have an int8 form.

    Raises:
        TrainingError: nncf or OpenVINO is missing, or the data cannot be used.
        WeightsError: weights are missing or altered.
    """
    with tempfile.TemporaryDirectory() as name:
        work = _begin(manifest, wish, Path(name))
        work.plain = figures_of(work.engine("fp32"), work.val)
        _choose_backbone(work)
        _quantize_heads(work)
        _drop_losing_heads(work)
    write_entries(wish.out / "manifest.toml", [work.model], list(work.manifest.installed()))
    networks: list[ModelEntry | SpecialistEntry] = [work.model, *work.entries()]
    return [entry for entry in networks if entry.int8 is not None]


def _begin(manifest: Manifest, wish: Wish, compiled: Path) -> _Work:
    """Copy the networks to `wish.out`, without their int8 forms, and choose the images."""
    wish.out.mkdir(parents=True, exist_ok=True)
    models = {entry.model for entry in manifest.installed()}
    if len(models) != 1:
        raise TrainingError(f"Networks of one backbone are brought to int8, not of {len(models)}.")
    model = manifest.models[models.pop()]
    networks: list[ModelEntry | SpecialistEntry] = [model, *manifest.installed()]
    for entry in networks:
        _copy(entry, wish.out)
    bare = {"int8": None, "directory": wish.out}
    model = model.model_copy(update=bare)
    specialists = {
        name: entry.model_copy(update=bare if entry.installed else {})
        for name, entry in manifest.specialists.items()
    }
    manifest = Manifest(models={**manifest.models, model.id: model}, specialists=specialists)
    return _Work(
        wish=wish,
        manifest=manifest,
        model=model,
        backbone=load_backbone(model),
        compiled=compiled,
        val=judging(manifest, wish.data, "val", most=wish.judged),
        train=judging(manifest, wish.data, "train", most=wish.images),
    )


def _choose_backbone(work: _Work) -> None:
    """Give the backbone the first int8 form on which every specialist holds, if there is one."""
    say, name = work.wish.say, work.model.id
    pixels = listen(work.engine("fp32"), work.train.rows, work.wish.data).pixels
    say(f"{name}: {len(pixels)} images; judged on {_counted(work.val)} rows of val.")
    for parts in ATTEMPTS:
        _quantize_backbone(work, pixels, parts)
        lost = work.losers()
        say(_verdict(name, parts, lost))
        if not lost:
            return
    work.with_form(name, None)


def _quantize_backbone(work: _Work, pixels: Sequence[Inputs], parts: Sequence[str]) -> None:
    """Give the backbone an int8 form in which those parts stay in fp32."""
    plan = Plan(
        id=backbone_plan(work.model.id),
        module=Levels(work.backbone),
        inputs=pixels[0],
        key={},
        arithmetic="fp32",
        drawn=partial(drawn_pixels, work.model),
    )
    form = _write_form(work, work.model, plan, quantized(plan, pixels, [PARTS[p] for p in parts]))
    holds = {entry.id: str(entry.sha256) for entry in work.entries()}
    work.with_form(work.model.id, form.model_copy(update={"in_fp32": tuple(parts), "holds": holds}))


def _quantize_heads(work: _Work) -> None:
    """Give every specialist an int8 form, from what it reads of the backbone that is kept."""
    engine = work.engine("int8")
    form = work.model.int8
    over = work.model.sha256 if form is None else form.sha256
    for entry in work.entries():
        rows = {entry.task_id: work.train.rows.get(entry.task_id, [])}
        inputs = listen(engine, rows, work.wish.data).given.get(entry.id, [])
        if not inputs:
            work.wish.say(f"{entry.id}: no training image, and it keeps its precision.")
            continue
        net = load_specialist(entry, work.model, work.backbone)
        plan = Plan(
            id=head_plan(entry.id),
            module=Wired(net, entry),
            inputs=inputs[0],
            key={},
            arithmetic="fp32",
            drawn=partial(drawn_inputs, work.backbone, work.model, entry),
        )
        made = _write_form(work, entry, plan, quantized(plan, inputs, []))
        work.with_form(entry.id, made.model_copy(update={"over": over}))


def _drop_losing_heads(work: _Work) -> None:
    """Remove the int8 forms of specialists that lose with them, until none does.

    A specialist in full precision can lose by the detector that gives its region.
    """
    say = work.wish.say
    while any(entry.int8 is not None for entry in work.entries()):
        lost = work.losers()
        by_task = {entry.task_id: entry for entry in work.entries()}
        dropped = {_to_drop(work.manifest, by_task[task]) for task in lost if task != GATE}
        if not dropped:
            for entry in work.entries():
                if entry.int8 is not None:
                    say(f"{entry.id}: int8.")
            return
        for task, share in lost.items():
            say(f"{task}: loses {100 * share:.2f} % of a figure in int8, and keeps its precision.")
        for name in dropped:
            work.with_form(name, None)


def _to_drop(manifest: Manifest, entry: SpecialistEntry) -> str:
    source = None if entry.roi_slot is None else manifest.provider(entry.roi_slot)
    own = entry.int8 is not None or source is None
    return entry.id if own or source is None else source.id


def _write_form(
    work: _Work, entry: ModelEntry | SpecialistEntry, plan: Plan, model: object
) -> Int8:
    """Write the graph and return the entry of its int8 form."""
    graph, constants = serialized(model)
    name = _file(entry.id)
    made_of = str(entry.sha256)
    sha256 = save_quantized(work.wish.out / name, graph, constants, {"made_of": made_of})
    far = noise_of(plan, graph, constants)
    return Int8(weights=name, sha256=sha256, made_of=made_of, noise=round(far, 4))


def _copy(entry: ModelEntry | SpecialistEntry, out: Path) -> None:
    names = [entry.weights, f"{entry.id}.json"]
    if isinstance(entry, ModelEntry):
        names += [entry.decoders, entry.novelty]
    for name in names:
        if name is not None and (entry.directory / name).exists() and not (out / name).exists():
            shutil.copyfile(entry.directory / name, out / name)


def _file(id_: str) -> str:
    return f"{id_}.int8.safetensors"


def _counted(judged: Judging) -> int:
    return sum(len(rows) for rows in judged.rows.values())


def _verdict(model_id: str, parts: Sequence[str], lost: Mapping[str, float]) -> str:
    """Return what came of an attempt, as a line."""
    what = f"{model_id} in int8" + (f", {' and '.join(parts)} in fp32" if parts else "")
    if not lost:
        return f"{what}: holds."
    named = ", ".join(f"{task} {100 * share:.2f} %" for task, share in sorted(lost.items()))
    return f"{what}: loses {named}."
