"""What the training commands of `ustri` do."""

import hashlib
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from specialists.checkpoints import half, save_tensors
from specialists.errors import TrainingError
from specialists.load import load_backbone, load_engine, load_specialist
from specialists.manifest import (
    GeometryPolicy,
    Manifest,
    ModelEntry,
    SpecialistEntry,
    read_manifest,
)
from specialists.training import generalist
from specialists.training.configs import read_generalist_config
from specialists.training.finish import Run, install, recalibrated_card, write_card
from specialists.training.generalist import Generalist
from specialists.training.novelty import descriptions, fit_novelty
from specialists.training.pack import Pack, build_pack
from specialists.training.predict import Predictions, answering, predict_folder
from specialists.training.registry import ship as ship_entries
from specialists.training.registry import write_entries
from specialists.training.specialist import SpecialistConfig, Start, train_heads
from specialists.training.synthetic import SHARE, phantom_samples
from specialists.training.tables import Sample, read_samples

BACKBONE = "usgen"
FOREIGN_VIEWS = GeometryPolicy(hflip=True, vflip=False, rotate_deg=15.0, x_scale=1.6)
"""How far the views of the novelty statistics are moved: as far as the router's."""
LONGEST_NAME = 100
"""Letters of a state folder's name; a file system takes no more than 255."""


def train_generalist(data: Path, out: Path, config: Path | None, *, resume: bool) -> Path:
    """The manifest of a Stage I run over every task whose CSV lies in `data`; weights lie beside it.

    Raises:
        TrainingError: data or configuration cannot be used, or there is nothing to resume.
    """
    out.mkdir(parents=True, exist_ok=True)
    settings = read_generalist_config(config)
    manifest = read_manifest()
    entries = tasks_in(data, list(manifest.specialists.values()))
    samples = read_samples(data, entries, "train")
    if "phantom" in settings.shares:
        samples += phantom_samples(out / "phantoms", int(SHARE * len(samples)))
    pack = build_pack(samples, settings.pack_px)
    model = manifest.models[BACKBONE]
    net = generalist.train(model, entries, pack, settings, out, resume=resume)
    validation = build_pack(read_samples(data, entries, "val"), model.input_px)
    trained = install_backbone(model, net, pack, validation, out)
    command = f"ustri train generalist --data {data.name} --run {out.name}"
    write_card(trained, Run(command=command, config=asdict(settings), data=data, out=out))
    return out / "manifest.toml"


def install_backbone(
    model: ModelEntry, net: Generalist, train: Pack, val: Pack, out: Path
) -> ModelEntry:
    """The entry of a trained backbone, its weights, decoders and novelty statistics written to `out`."""
    weights, decoders, novelty = (
        f"{model.id}.{part}safetensors" for part in ("", "decoders.", "novelty.")
    )
    trained = model.model_copy(
        update={
            "weights": weights,
            "sha256": save_tensors(out / weights, half(net.backbone), {}),
            "decoders": decoders,
            "decoders_sha256": save_tensors(out / decoders, half(net.necks), {}),
            "directory": out,
        }
    )
    frozen = load_backbone(trained)  # as it will be served: from half precision
    fitted, limit = fit_novelty(
        descriptions(frozen, trained, train, FOREIGN_VIEWS, seed=0),
        [sample.dataset for sample in train.samples] * 2,
        descriptions(frozen, trained, val, FOREIGN_VIEWS, seed=1),
    )
    tensors = {"means": fitted.means, "whitening": fitted.whitening}
    trained = trained.model_copy(
        update={
            "novelty": novelty,
            "novelty_sha256": save_tensors(out / novelty, tensors, {}),
            "thresholds": {"novelty": limit},
        }
    )
    write_entries(out / "manifest.toml", [trained], [])
    return trained


def train_specialist(
    ids: list[str], data: Path, out: Path, config: SpecialistConfig, *, resume: bool = False
) -> list[SpecialistEntry]:
    """The entries of specialists trained on the frozen backbone, calibrated, and written to `out`.

    The backbone is the one in `out` where a Stage I run left one there, else the installed one. The state
    of the training lies in `out` until the specialists are installed.

    Raises:
        TrainingError: an id is in no manifest, the data cannot be used, the ids have different backbones,
            or there is nothing to resume.
    """
    manifest = read_manifest(out)
    ids = sorted(set(ids))  # in any order the same training
    entries = [_listed(manifest, specialist_id) for specialist_id in ids]
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
    command = f"ustri train specialist {' '.join(ids)} --data {data.name}"
    run = Run(command=command, config=asdict(config), data=data, out=out)
    installed = install(manifest, nets, backbone, packs, run)
    shutil.rmtree(state)
    return installed


def calibrate_specialists(
    ids: list[str], data: Path, out: Path, user_dir: Path | None
) -> list[SpecialistEntry]:
    """The entries of trained specialists, calibrated anew on `val` and written to `out` with their weights.

    They are those that a training left in `out`, else the installed ones; not a bit of their weights changes.

    Raises:
        TrainingError: an id is in no manifest or has no weights, the ids have different backbones, or the data
            cannot be used.
        WeightsError: weights are missing or altered.
    """
    manifest = read_manifest(out if (out / "manifest.toml").exists() else user_dir)
    entries = [_listed(manifest, specialist_id) for specialist_id in sorted(set(ids))]
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
    command = f"ustri train calibrate {' '.join(nets)} --data {data.name}"
    weights = {entry.id: entry.directory / str(entry.weights) for entry in entries}
    run = Run(command=command, config={}, data=data, out=out, weights=weights)
    earlier = [entry.directory / f"{entry.id}.json" for entry in entries]
    cards = [path.read_text(encoding="utf-8") if path.exists() else None for path in earlier]
    out.mkdir(parents=True, exist_ok=True)
    calibrated = install(manifest, nets, backbone, packs, run)
    for entry, card in zip(calibrated, cards, strict=True):
        if card is not None:
            recalibrated_card(out / f"{entry.id}.json", card)
    return calibrated


def state_folder(out: Path, ids: list[str]) -> Path:
    """Where the Stage II run of those specialists keeps its state; a hash stands for many names."""
    name = "+".join(sorted(set(ids)))
    if len(name) > LONGEST_NAME:
        name = hashlib.sha256(name.encode()).hexdigest()[:16]
    return out / f"stage2-{name}"


def ship(ids: list[str], source: Path) -> list[Path]:
    """The files copied into the package from the folder of a training, the manifest updated.

    Raises:
        TrainingError: one of the ids was not trained there.
    """
    return ship_entries(source, ids)


def predict(
    data_root: Path,
    out: Path,
    *,
    namespace: str | None,
    tasks: list[str] | None,
    split: str | None,
    user_dir: Path | None,
) -> Predictions:
    """FMC-UIA prediction files of every row in `data_root`, or of one split, written to `out`.

    Raises:
        TrainingError: there is no CSV.
        WeightsError: weights are missing or altered.
    """
    engine = load_engine(answering(read_manifest(user_dir)), "cpu")
    return predict_folder(engine, data_root, out, namespace=namespace, tasks=tasks, split=split)


def tasks_in(data: Path, entries: list[SpecialistEntry]) -> list[SpecialistEntry]:
    """The entries, challenge tasks apart, whose CSV lies under `data/csv_files`."""
    return [
        entry
        for entry in entries
        if not entry.id.startswith("fmc_")
        and (data / "csv_files" / f"{entry.task_id}.csv").exists()
    ]


def _listed(manifest: Manifest, specialist_id: str) -> SpecialistEntry:
    """The entry to train; nothing but the manifest says what kind a new one would be."""
    entry = manifest.specialists.get(specialist_id)
    if entry is None:
        raise TrainingError(
            f"No manifest lists a specialist {specialist_id!r}, so that it cannot be trained; "
            "`ustri specialists` shows those that can."
        )
    return entry


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
    """The training pack with its capped share of drawn images, for the tasks that they have labels of."""
    drawn = phantom_samples(out / "phantoms", int(SHARE * len(samples)))
    ids = {entry.id for entry in entries}
    if not any(ids & {*s.masks, *s.boxes, *s.classes} for s in drawn):
        return pack
    return build_pack(samples + drawn, config.pack_px)
