"""Installation of trained nets: calibration on val, weights, metrics and model cards."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from specialists.checkpoints import half, save_tensors, sha256_of
from specialists.decode import presence_scores
from specialists.engine import Engine
from specialists.errors import TrainingError
from specialists.load import load_engine, load_specialist
from specialists.manifest import Kind, Manifest, Metric, ModelEntry, Roi, SpecialistEntry
from specialists.model import Frozen, SpecialistNet
from specialists.training.calibration import calibrate, reliability
from specialists.training.calibration.intervals import intervals_of, partners
from specialists.training.data.pack import Pack
from specialists.training.evaluation.evaluate import score_task
from specialists.training.evaluation.metrics import accuracy, bootstrap
from specialists.training.evaluation.predict import answering, predict_folder
from specialists.training.outputs import Outputs, outputs_of
from specialists.training.registry import write_entries
from specialists.training.transfer import left_out
from specialists.training.transfer.left_out import LeftOut
from specialists.training.transfer.sources import Lot, Scored, joined


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run, as the card of its weights file describes it."""

    command: str
    config: dict[str, object]
    data: Path
    out: Path
    weights: Mapping[str, Path] = field(default_factory=dict)
    """Weights files that are copied unchanged, by specialist id."""
    unknown: Sequence[LeftOut] = ()
    """Left-out trials: outputs of heads of the same task on sources they were not trained on."""


def install(
    manifest: Manifest,
    nets: Mapping[str, SpecialistNet],
    backbone: Frozen,
    packs: tuple[Pack, Pack],
    run: Run,
) -> list[SpecialistEntry]:
    """Calibrate the nets and write weights, metrics and cards to `run.out`; return their entries.

    `packs` are the training and the validation pack.
    """
    val = packs[1]
    weighed = calibrate_weights(manifest, nets, backbone, packs, run)
    model = manifest.models[weighed[0].model]
    with_weights = {**manifest.specialists, **{entry.id: entry for entry in weighed}}
    served = _beside(manifest.model_copy(update={"specialists": with_weights}), weighed)
    engine = load_engine(answering(served), "cpu")
    measured = [_measure(entry, engine, nets, backbone, val, run) for entry in weighed]
    reporting = load_engine(served, "cpu")  # unlike the first engine, it declines as in use
    measured = [
        entry.model_copy(
            update={
                "intervals": intervals_of(
                    entry, reporting, run.data, left_out.pairs_of(run.unknown, entry.id)
                )
            }
        )
        for entry in measured
    ]
    # a backbone in another folder, such as the shipped one, is not the user's: not listed here
    own = [model] if model.directory.resolve() == run.out.resolve() else []
    write_entries(run.out / "manifest.toml", own, measured)
    for entry in measured:
        write_card(entry, run, images_by_dataset(entry, packs[0]))
    return measured


def calibrate_weights(
    manifest: Manifest,
    nets: Mapping[str, SpecialistNet],
    backbone: Frozen,
    packs: tuple[Pack, Pack],
    run: Run,
) -> list[SpecialistEntry]:
    """Calibrate the nets, write their weights to `run.out` and return their entries.

    `packs` are the training and the validation pack. Detectors are calibrated first, since regions
    come from them.
    """
    val = packs[1]
    detectors = [name for name in nets if manifest.specialists[name].kind is Kind.DETECT]
    others = [name for name in nets if name not in detectors]
    entries: dict[str, SpecialistEntry] = {}
    regions: dict[str, dict[int, Tensor]] = {}
    if detectors:
        chosen = {name: nets[name] for name in detectors}
        for name, outputs in outputs_of(manifest, chosen, backbone, val, {}).items():
            unknown = left_out.scored_of(run.unknown, name)
            entry = calibrated(manifest.specialists[name], outputs, val, packs[0], unknown)
            entries[name] = entry
            regions[entry.provides[0]] = predicted_regions(entry, outputs)
    for name in others:
        entry = manifest.specialists[name]
        given = _regions_for(manifest, entry, backbone, val, regions)
        moved = "scores:exam" in entry.provides
        found = outputs_of(manifest, {name: nets[name]}, backbone, val, given, moved=moved)
        unknown = left_out.scored_of(run.unknown, name)
        entries[name] = calibrated(entry, found[name], val, packs[0], unknown)
    return [_write_weights(entries[name], nets[name], manifest, run) for name in nets]


def calibrated(
    entry: SpecialistEntry,
    outputs: Outputs,
    val: Pack,
    train: Pack,
    unknown: Scored | None = None,
) -> SpecialistEntry:
    """Return the entry with temperature, thresholds and reliability figures fitted on val.

    Where `unknown` holds outputs of heads on sources that they were trained without, temperature,
    presence threshold and label sets also hold on those sources.

    Raises:
        TrainingError: the labels are not enough to fit one of these numbers.
    """
    if not outputs.values:
        raise TrainingError(f"{entry.id} cannot be calibrated: val holds no label of it.")
    lot = Lot.from_samples([val.samples[index] for index in outputs.samples])
    metrics: list[Metric] = []
    if entry.kind is Kind.CLASSIFY:
        found, metrics = _classifier(entry, scored_of(entry, outputs, val), unknown)
    elif entry.kind is Kind.DETECT and entry.absence_known:
        if all(sample.boxes.get(entry.id, "unlabelled") for sample in train.samples):
            raise TrainingError(
                f"{entry.id} cannot tell absence: no image of train is without the structure."
            )
        found, metrics = _presence(entry, scored_of(entry, outputs, val), unknown)
    elif entry.kind is Kind.DETECT:
        there = _complete(outputs.labels)
        scores, known = np.array(outputs.attention)[there], lot.take(np.flatnonzero(there))
        found = calibrate.presence_without_negatives(entry.id, scores, known)
    elif entry.kind is Kind.SEGMENT:
        smallest = _smallest_component(entry, train)
        truths = [label.numpy().astype(np.uint8) for label in outputs.labels]
        logits_by_image = [value[None] for value in outputs.values]
        found = calibrate.calibrate_mask(entry.id, logits_by_image, truths, smallest, lot)
    else:
        heatmaps = torch.stack(outputs.values)
        found = calibrate.calibrate_peak(entry, heatmaps, _complete(outputs.labels), lot)
    return entry.model_copy(
        update={
            "temperature": found.temperature,
            "thresholds": found.thresholds,
            "metrics": tuple(metrics),
        }
    )


def _smallest_component(entry: SpecialistEntry, train: Pack) -> float:
    masks = train.masks[entry.id]
    boxes = [train.boxes[index] for index in masks]
    lot = Lot.from_samples([train.samples[index] for index in masks])
    return calibrate.smallest_component(entry.id, list(masks.values()), boxes, lot)


def _classifier(
    entry: SpecialistEntry, scored: Scored, unknown: Scored | None
) -> tuple[calibrate.Calibration, list[Metric]]:
    source = scored if unknown is None else joined([scored, unknown])
    found = calibrate.calibrate_classifier(entry, source.values, source.truth, source.lot)
    warm = entry.model_copy(update={"temperature": found.temperature})
    found.thresholds.update(reliability.label_set_thresholds(warm, source))
    return found, reliability.classifier_metrics(entry, scored, source)


def _presence(
    entry: SpecialistEntry, scored: Scored, unknown: Scored | None
) -> tuple[calibrate.Calibration, list[Metric]]:
    source = scored if unknown is None else joined([scored, unknown])
    found = calibrate.calibrate_presence(entry.id, source.values, source.truth > 0, source.lot)
    return found, reliability.presence_metrics(scored, source)


def scored_of(entry: SpecialistEntry, outputs: Outputs, pack: Pack) -> Scored:
    """Return a classifier's logits with classes, or a detector's presence logits with presence."""
    if entry.kind is Kind.CLASSIFY:
        truth = torch.stack(outputs.labels).numpy()
    else:
        truth = _complete(outputs.labels).astype(np.int64)
    return Scored(
        values=torch.stack(outputs.values).double().numpy(),
        truth=truth,
        lot=Lot.from_samples([pack.samples[index] for index in outputs.samples]),
    )


def _complete(labels: list[Tensor]) -> npt.NDArray[np.bool_]:
    """Return which boxes, or which points of each image, the labels hold."""
    known: npt.NDArray[np.bool_] = torch.isfinite(torch.stack(labels)).all(-1).numpy()
    return known


def images_by_dataset(entry: SpecialistEntry, train: Pack) -> dict[str, int]:
    """Return how many images with a label of that task each data set holds."""
    labelled = (
        sample.dataset
        for sample in train.samples
        if entry.id in {*sample.masks, *sample.classes, *sample.boxes, *sample.points}
    )
    return dict(sorted(Counter(labelled).items()))


def write_card(
    entry: SpecialistEntry | ModelEntry, run: Run, trained_on: Mapping[str, int]
) -> None:
    """Write `<id>.json` beside the weights: how they were made, from what, and how good they are.

    `trained_on` are the numbers of images by data set.
    """
    card = {
        "id": entry.id,
        "sha256": entry.sha256,
        "command": run.command,
        "config": run.config,
        "git_commit": git_commit(),
        "data_sha256": {
            path.name: sha256_of(path) for path in sorted((run.data / "csv_files").glob("*.csv"))
        },
        "trained_on": dict(trained_on),
        "metrics": [metric.model_dump() for metric in entry.metrics],
        "note": "Research use. The shared backbone was trained on all data sets named in "
        "the manifest and cannot be separated from any of them.",
    }
    if isinstance(entry, SpecialistEntry):
        card["training_data"] = [source.model_dump() for source in entry.training_data]
        card["backbone_sha256"] = entry.backbone_sha256
    (run.out / f"{entry.id}.json").write_text(json.dumps(card, indent=1), encoding="utf-8")


def restore_training_account(path: Path, earlier: str) -> None:
    """Put an earlier card's account of the training back into the calibration's card at `path`."""
    new, old = json.loads(path.read_text(encoding="utf-8")), json.loads(earlier)
    made = ("command", "config", "git_commit", "data_sha256")
    new["calibration"] = {key: new[key] for key in made if key != "config"}
    del new["trained_on"]  # counted on these data, but the weights are older
    new |= {key: old[key] for key in (*made, "trained_on") if key in old}
    path.write_text(json.dumps(new, indent=1), encoding="utf-8")


def git_commit() -> str | None:
    """Return the commit of the code that ran; None outside a git checkout."""
    done = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def _beside(manifest: Manifest, weighed: list[SpecialistEntry]) -> Manifest:
    """Return the new specialists and the installed ones that their regions and formulas need."""
    wanted = {entry.id for entry in weighed}
    for entry in weighed:
        for other in partners(manifest, entry):
            if other.installed and other.backbone_sha256 == entry.backbone_sha256:
                wanted.add(other.id)
    return manifest.only(wanted)


def _write_weights(
    entry: SpecialistEntry, net: SpecialistNet, manifest: Manifest, run: Run
) -> SpecialistEntry:
    name = f"{entry.id}.safetensors"
    target, earlier = run.out / name, run.weights.get(entry.id)
    if earlier is None:
        sha256 = save_tensors(target, half(net), {"specialist": entry.id})
    else:
        if earlier.resolve() != target.resolve():
            shutil.copyfile(earlier, target)
        sha256 = sha256_of(target)
    backbone_sha256 = manifest.models[entry.model].sha256
    return entry.model_copy(
        update={
            "weights": name,
            "sha256": sha256,
            "backbone_sha256": backbone_sha256,
            # figures of heads on another backbone do not apply to this one
            "transfer": entry.transfer if entry.backbone_sha256 == backbone_sha256 else (),
            "directory": run.out,
            "not_installed": None,
        }
    )


def _measure(
    entry: SpecialistEntry,
    engine: Engine,
    nets: Mapping[str, SpecialistNet],
    backbone: Frozen,
    val: Pack,
    run: Run,
) -> SpecialistEntry:
    folder = run.out / "predictions" / entry.id
    namespace = entry.id.removesuffix(entry.task_id).removesuffix("_") or None
    predict_folder(
        engine, run.data, folder, namespace=namespace, tasks=[entry.task_id], split="val"
    )
    metrics = score_task(entry, folder, run.data, "val").metrics
    if "scores:exam" in entry.provides:
        manifest = engine.manifest
        found = outputs_of(manifest, {entry.id: nets[entry.id]}, backbone, val, {}, moved=True)
        metrics.append(_moved_accuracy(found[entry.id], val))
    return entry.model_copy(update={"metrics": (*metrics, *entry.metrics)})


def _moved_accuracy(outputs: Outputs, val: Pack) -> Metric:
    scores = torch.stack(outputs.values).double().numpy()
    truth = torch.stack(outputs.labels).numpy()
    groups = [val.samples[index].group for index in outputs.samples]
    interval = bootstrap(groups, lambda chosen: accuracy(scores[chosen], truth[chosen]))
    low, high = interval or (None, None)
    return Metric(
        name="accuracy with randomised aspect, crop and padding",
        value=round(accuracy(scores, truth), 4),
        low=low,
        high=high,
        n=len(truth),
        split="val",
    )


def predicted_regions(entry: SpecialistEntry, outputs: Outputs) -> dict[int, Tensor]:
    """Return (4,) boxes in [0, 1] by sample, where a report would state that it is present."""
    scores = presence_scores(entry, torch.stack(outputs.values), torch.tensor(outputs.attention))
    return {
        sample: box.clamp(0, 1)
        for sample, box, score in zip(outputs.samples, outputs.boxes, scores, strict=True)
        if float(score) >= entry.thresholds["presence"].value
    }


def _regions_for(
    manifest: Manifest,
    entry: SpecialistEntry,
    backbone: Frozen,
    val: Pack,
    regions: Mapping[str, dict[int, Tensor]],
) -> dict[int, Tensor]:
    """Return regions of val from the entry's detector, trained in this run or installed earlier."""
    if entry.roi is Roi.NONE or entry.roi_slot is None:
        return {}
    if entry.roi_slot in regions:
        return regions[entry.roi_slot]
    source = manifest.provider(entry.roi_slot)
    if source is None or not source.installed:
        return {}
    net = load_specialist(source, manifest.models[source.model], backbone)
    found = outputs_of(manifest, {source.id: net}, backbone, val, {})
    return predicted_regions(source, found[source.id])
