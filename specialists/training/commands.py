"""Implementations of the training commands of `ustri`."""

import hashlib
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from specialists.admission.novelty import tensors_of
from specialists.checkpoints import half, save_tensors
from specialists.errors import TrainingError
from specialists.load import load_backbone, load_engine, load_specialist
from specialists.manifest import (
    GeometryPolicy,
    Manifest,
    ModelEntry,
    SpecialistEntry,
    Threshold,
    read_manifest,
)
from specialists.training import generalist
from specialists.training.augmentation.synthetic import LABELLED, SHARE, phantom_samples
from specialists.training.calibration.novelty import fit_for, own_limit
from specialists.training.calibration.quality import fit_quality
from specialists.training.configs import read_generalist_config
from specialists.training.data.pack import Pack, build_pack
from specialists.training.data.readable import reading_options
from specialists.training.data.strict import read_task
from specialists.training.data.tables import Sample, read_samples
from specialists.training.evaluation.predict import Augmented, Tools, answering
from specialists.training.generalist import Generalist, GeneralistConfig
from specialists.training.install import Run, install, restore_training_account, write_card
from specialists.training.new_task import Declared, new_task
from specialists.training.precision import began_with
from specialists.training.registry import ship as ship_entries
from specialists.training.registry import write_entries
from specialists.training.specialist import SpecialistConfig, Start, train_heads
from specialists.training.transfer.left_out import read_all
from specialists.training.transfer.sources import seen_of

BACKBONE = "usgen"
FOREIGN_VIEWS = GeometryPolicy(hflip=True, vflip=False, rotate_deg=15.0, x_scale=1.6)
"""How far the views for the novelty statistics are moved: as far as the router's."""
PACK_PX = 320
"""Side length in pixels at which training images are kept while statistics are fitted to them."""

LONGEST_NAME = 100
"""Longest name of a state folder, in characters; a file system takes no more than 255."""


def train_generalist(
    data: Path,
    out: Path,
    config: Path | None,
    unseen: Sequence[str] = (),
    *,
    resume: bool,
) -> Path:
    """Run Stage I over every task whose CSV lies in `data` and return the path of its manifest.

    The weights are written beside the manifest. No image of the sources in `unseen` (such as
    `dataset=busi`) is used, so that specialists can be evaluated on them.

    Raises:
        TrainingError: data or configuration cannot be used, there is nothing to resume, or `data`
            holds no image of a source that is to be left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = read_generalist_config(config)
    manifest = read_manifest()
    entries = tasks_in(data, list(manifest.specialists.values()))
    samples = seen_of(read_samples(data, entries, "train"), unseen)
    if "phantom" in settings.shares:
        samples += phantom_samples(out / "phantoms", int(SHARE * len(samples)))
    pack = build_pack(samples, settings.pack_px)
    model = manifest.models[BACKBONE]
    net = generalist.train(model, entries, pack, settings, out, resume=resume)
    held_out = seen_of(read_samples(data, entries, "val"), unseen)
    model = model.model_copy(update={"without": tuple(unseen)})
    trained = install_backbone(model, net, pack, build_pack(held_out, model.input_px), out)
    words = ["--data", data.name, "--out", out.name]
    words += [word for source in unseen for word in ("--without", source)] + reading_options()
    command = f"ustri train generalist {shlex.join(words)}"
    run = Run(command=command, config=as_ran(settings, out), data=data, out=out)
    write_card(trained, run, {name: len(rows) for name, rows in sorted(pack.sources().items())})
    return out / "manifest.toml"


def as_ran(config: GeneralistConfig | SpecialistConfig, folder: Path) -> dict[str, object]:
    """Return the configuration with the precision that the training in that folder ran in."""
    ran = {"device": config.compute.device, "precision": began_with(folder)}
    return {**asdict(config), "compute": ran}


def install_backbone(
    model: ModelEntry, net: Generalist, train: Pack, val: Pack, out: Path
) -> ModelEntry:
    """Write weights, decoders and novelty statistics of a backbone; return its entry."""
    weights, decoders = (f"{model.id}.{part}safetensors" for part in ("", "decoders."))
    trained = model.model_copy(
        update={
            "weights": weights,
            "sha256": save_tensors(out / weights, half(net.backbone), {}),
            "decoders": decoders,
            "decoders_sha256": save_tensors(out / decoders, half(net.necks), {}),
            "directory": out,
        }
    )
    trained = with_checks(trained, train, val, out)
    write_entries(out / "manifest.toml", [trained], [])
    return trained


def train_novelty(data: Path, out: Path) -> ModelEntry:
    """Fit the backbone's novelty statistics and quality limits anew and return its entry.

    Nothing is trained; the results are written to `out`. The backbone is the one that a Stage I run
    left in `out`, or else the installed one, whose weights then stay where they are.

    Raises:
        TrainingError: the data cannot be used.
        WeightsError: the backbone is missing or altered.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(out)
    model = manifest.models[BACKBONE]
    entries = tasks_in(data, list(manifest.specialists.values()))
    training = read_samples(data, entries, "train")
    training += phantom_samples(out / "phantoms", int(SHARE * len(training)))  # as in Stage I
    train = build_pack(training, PACK_PX)
    val = build_pack(read_samples(data, entries, "val"), model.input_px)
    fitted = with_checks(model, train, val, out)
    for name in (model.weights, model.decoders):
        if name is not None and not (out / name).exists():
            shutil.copyfile(model.directory / name, out / name)
    fitted = fitted.model_copy(update={"directory": out})
    write_entries(out / "manifest.toml", [fitted], [])
    return fitted


def with_checks(model: ModelEntry, train: Pack, val: Pack, out: Path) -> ModelEntry:
    """Fit novelty statistics, written to `out`, and quality limits; return the entry."""
    frozen = load_backbone(model)  # as it will be served: from half precision
    fitted, limits, exams = fit_for(frozen, model, train, val, FOREIGN_VIEWS)
    name = f"{model.id}.novelty.safetensors"
    return model.model_copy(
        update={
            "novelty": name,
            "novelty_sha256": save_tensors(out / name, tensors_of(fitted), {}),
            "gate_exams": exams,
            "thresholds": {**limits, **fit_quality([s.path for s in val.samples])},
        }
    )


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Specialists that can be trained: every row of their CSVs has been validated."""

    manifest: Manifest
    entries: list[SpecialistEntry]
    notes: tuple[str, ...]
    """Messages to show to the user before the training."""
    steps: int | None
    """Number of steps that suits a new task; None where the configuration decides."""
    declared: Declared

    @property
    def new(self) -> bool:
        """Whether it is a task of the user's own."""
        return self.steps is not None


def prepare(ids: list[str], data: Path, out: Path, declared: Declared) -> Prepared:
    """Return the entries of those ids from the manifests, or that of one new task from its CSV.

    Raises:
        TrainingError: a CSV cannot be used, several ids are given of which one is new, or options
            that declare a new task are given for a task whose entry is shipped.
    """
    manifest = read_manifest(out)
    ids = sorted(set(ids))  # the order of the ids does not change the training
    shipped = read_manifest().specialists
    if len(ids) == 1 and ids[0] not in shipped:
        return _prepare_new(ids[0], data, manifest, declared)
    if unlisted := [name for name in ids if name not in shipped]:
        raise TrainingError(f"{unlisted[0]!r} is a task of your own: train it by itself.")
    if declared.anything:
        raise TrainingError(
            f"{ids[0]!r} is a shipped task, whose title, labels and geometry are in the manifest. "
            "Give a task of your own another name."
        )
    entries = [manifest.specialists[name] for name in ids]
    for entry in entries:
        _check_listed(entry, data)
    return Prepared(manifest=manifest, entries=entries, notes=(), steps=None, declared=declared)


def _prepare_new(task_id: str, data: Path, manifest: Manifest, declared: Declared) -> Prepared:
    earlier = manifest.specialists.get(task_id)
    new = new_task(task_id, data, manifest.models[BACKBONE], declared, earlier)
    listed = {**manifest.specialists, task_id: new.entry}
    return Prepared(
        manifest=manifest.model_copy(update={"specialists": listed}),
        entries=[new.entry],
        notes=new.notes,
        steps=new.steps,
        declared=declared,
    )


def _check_listed(entry: SpecialistEntry, data: Path) -> None:
    """Check that every row is valid and belongs to the task that the manifest lists.

    Raises:
        TrainingError: a row cannot be used, or the CSV is of another task of that name.
    """
    classes = len(entry.landmarks or entry.labels)
    task = read_task(data, entry.task_id, (entry.kind, classes))
    if task.kind is not entry.kind or task.classes != classes:
        raise TrainingError(
            f"{entry.task_id}.csv is a {task.kind} task of num_classes {task.classes}, "
            f"but {entry.id!r} is a "
            f"shipped {entry.kind} task of {classes}. Give a task of your own another name."
        )


def train_prepared(
    prepared: Prepared, data: Path, out: Path, config: SpecialistConfig, *, resume: bool = False
) -> list[SpecialistEntry]:
    """Train and calibrate specialists on the frozen backbone and write them to `out`.

    The backbone is the one that a Stage I run left in `out`, or else the installed one. The state
    of the training lies in `out` until the specialists are installed.

    Raises:
        TrainingError: the data cannot be used, the ids have different backbones, or there is
            nothing to resume.
    """
    manifest, entries = prepared.manifest, prepared.entries
    ids = [entry.id for entry in entries]
    if len({entry.model for entry in entries}) != 1:
        raise TrainingError("Specialists that are trained together must share a backbone.")
    model = manifest.models[entries[0].model]
    backbone = load_backbone(model)
    config = replace(config, pack_px=max(config.pack_px, model.input_px))
    wanted = entries + _region_sources(manifest, entries)
    training = read_samples(data, wanted, "train")
    validation = read_samples(data, wanted, "val")
    packs = (build_pack(training, config.pack_px), build_pack(validation, model.input_px))
    drawn = _with_phantoms(packs[0], training, entries, out, config)
    decoders = None if model.decoders is None else model.directory / model.decoders
    state = state_folder(out, ids)
    start = Start(decoders=decoders, folder=state, resume=resume)
    nets = train_heads(manifest, entries, backbone, drawn, config, start)
    words = [*ids, "--data", data.name, *prepared.declared.options(), *reading_options()]
    command = f"ustri train specialist {shlex.join(words)}"
    run = Run(command=command, config=as_ran(config, state), data=data, out=out)
    installed = install(manifest, nets, backbone, packs, run)
    if prepared.new:
        limit = own_limit(backbone, model, packs, FOREIGN_VIEWS)
        installed = [with_threshold(entry, "novelty", limit) for entry in installed]
        write_entries(out / "manifest.toml", [], installed)
    shutil.rmtree(state)
    return installed


def calibrate_specialists(
    ids: list[str], data: Path, out: Path, user_dir: Path | None, *, left_out: Sequence[Path] = ()
) -> list[SpecialistEntry]:
    """Calibrate trained specialists anew on `val` and write them with their weights to `out`.

    The specialists are those that a training left in `out`, or else the installed ones; not a bit
    of their weights changes. Where `left_out` names folders of left-out trials, the calibration
    also holds on the sources left out there.

    Raises:
        TrainingError: an id is in no manifest or has no weights, the ids have different backbones,
            or the data cannot be used.
        WeightsError: weights are missing or altered.
    """
    manifest = read_manifest(out if (out / "manifest.toml").exists() else user_dir)
    if unknown := sorted(set(ids) - manifest.specialists.keys()):
        raise TrainingError(f"{unknown[0]} cannot be calibrated: no manifest lists it.")
    entries = [manifest.specialists[specialist_id] for specialist_id in sorted(set(ids))]
    for entry in entries:
        if not entry.installed:
            raise TrainingError(f"{entry.id} cannot be calibrated: it has no weights.")
    if len({entry.model for entry in entries}) != 1:
        raise TrainingError("Specialists that are calibrated together must share a backbone.")
    model = manifest.models[entries[0].model]
    backbone = load_backbone(model)
    nets = {entry.id: load_specialist(entry, model, backbone) for entry in entries}
    wanted = entries + _region_sources(manifest, entries)
    training, validation = (read_samples(data, wanted, split) for split in ("train", "val"))
    side_px = max(SpecialistConfig().pack_px, model.input_px)
    packs = (build_pack(training, side_px), build_pack(validation, model.input_px))
    words = [*nets, "--data", data.name, *reading_options()]
    command = f"ustri train calibrate {shlex.join(words)}"
    weights = {entry.id: entry.directory / str(entry.weights) for entry in entries}
    run = Run(
        command="".join([command, *(f" --left-out {folder.name}" for folder in left_out)]),
        config={},
        data=data,
        out=out,
        weights=weights,
        unknown=read_all(left_out, model.sha256),
    )
    earlier = [entry.directory / f"{entry.id}.json" for entry in entries]
    cards = [path.read_text(encoding="utf-8") if path.exists() else None for path in earlier]
    out.mkdir(parents=True, exist_ok=True)
    calibrated = [
        with_threshold(entry, "novelty", manifest.specialists[entry.id].thresholds.get("novelty"))
        for entry in install(manifest, nets, backbone, packs, run)
    ]
    write_entries(out / "manifest.toml", [], calibrated)
    for entry, card in zip(calibrated, cards, strict=True):
        if card is not None:
            restore_training_account(out / f"{entry.id}.json", card)
    return calibrated


def with_threshold(
    entry: SpecialistEntry, name: str, threshold: Threshold | None
) -> SpecialistEntry:
    """Return the entry with one more threshold, or unchanged where that is None."""
    if threshold is None:
        return entry
    return entry.model_copy(update={"thresholds": {**entry.thresholds, name: threshold}})


def state_folder(out: Path, ids: list[str]) -> Path:
    """Return the folder in which the Stage II run of those specialists keeps its state.

    A hash replaces the ids where their names are too long together.
    """
    name = "+".join(sorted(set(ids)))
    if len(name) > LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()[:16]
    return out / f"stage2-{name}"


def ship(ids: list[str], source: Path) -> list[Path]:
    """Copy trained weights into the package, update its manifest and return the copied files.

    Raises:
        TrainingError: one of the ids was not trained in `source`.
    """
    return ship_entries(source, ids)


def predictor(user_dir: Path | None, *, tta: bool) -> Tools:
    """Return the engine for prediction files: every installed specialist, none of which declines.

    Raises:
        WeightsError: weights are missing or altered.
    """
    engine = load_engine(answering(read_manifest(user_dir)), "cpu")
    return Augmented(engine) if tta else engine


def tasks_in(data: Path, entries: list[SpecialistEntry]) -> list[SpecialistEntry]:
    """Return the entries, except challenge tasks, whose CSV lies under `data/csv_files`."""
    return [
        entry
        for entry in entries
        if not entry.id.startswith("fmc_")
        and (data / "csv_files" / f"{entry.task_id}.csv").exists()
    ]


def _region_sources(manifest: Manifest, entries: list[SpecialistEntry]) -> list[SpecialistEntry]:
    sources = [manifest.provider(entry.roi_slot) for entry in entries if entry.roi_slot]
    ids = {entry.id for entry in entries}
    found = {source.id: source for source in sources if source is not None}
    return [source for source in found.values() if source.id not in ids]


def _with_phantoms(
    pack: Pack,
    samples: list[Sample],
    entries: list[SpecialistEntry],
    out: Path,
    config: SpecialistConfig,
) -> Pack:
    """Return the training pack with its capped share of phantom images.

    They are added only for tasks that the phantoms have labels for.
    """
    if not LABELLED & {entry.id for entry in entries}:
        return pack
    drawn = phantom_samples(out / "phantoms", int(SHARE * len(samples)))
    return build_pack(samples + drawn, config.pack_px)
