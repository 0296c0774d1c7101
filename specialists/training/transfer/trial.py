"""Results of specialists on unknown sources: each source is left out in turn, then evaluated.

The backbone stays as it is. Unless Stage I was trained without the source too, it was trained on
the source, and so were Stage I's decoders: heads then start from random ones.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from specialists.cards.elsewhere import KNOWN
from specialists.decode import LABEL_SET
from specialists.errors import TrainingError
from specialists.load import load_backbone, load_engine
from specialists.manifest import Kind, Manifest, Metric, ModelEntry, SpecialistEntry, read_manifest
from specialists.model import Frozen, SpecialistNet
from specialists.training.augmentation.synthetic import LABELLED, SHARE, phantom_samples
from specialists.training.calibration.intervals import measured_slot, pairs_of
from specialists.training.calibration.reliability import scores_of, set_metrics
from specialists.training.data.pack import Pack, build_pack
from specialists.training.data.tables import Row, Sample, counts, read_samples, rows_by_task
from specialists.training.evaluation.evaluate import score_rows, share_columns
from specialists.training.evaluation.predict import answering, predict_rows
from specialists.training.install import Run, calibrate_weights, predicted_regions, scored_of
from specialists.training.outputs import Outputs, outputs_of
from specialists.training.specialist import SpecialistConfig, Start, train_heads
from specialists.training.state import STATE
from specialists.training.transfer import left_out
from specialists.training.transfer.left_out import Errors, LeftOut, Result, Said
from specialists.training.transfer.sources import Source, in_parts, without

PARTS = 5
"""Number of parts in which the values of the column `source` are left out.

Taken one by one, the values are too many and too small.
"""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained and where."""

    manifest: Manifest
    entries: list[SpecialistEntry]
    """The requested specialists, and the detectors that their regions come from."""
    asked: frozenset[str]
    run: Path | None
    """The folder of the manifest and the backbone; None means the shipped ones."""
    data: Path
    out: Path
    config: SpecialistConfig
    by: str | None = None
    """Column whose values are left out in parts; None leaves out each data set and each device."""

    @property
    def model(self) -> ModelEntry:
        """The backbone's entry."""
        return self.manifest.models[self.entries[0].model]


def prepare(
    run: Path | None,
    ids: Sequence[str],
    folders: tuple[Path, Path],
    config: SpecialistConfig,
    by: str | None = None,
) -> Trial:
    """Return the trial of those specialists, on the backbone of the run or else the shipped one.

    `folders` are the data root and the folder of the results.

    Raises:
        TrainingError: no manifest lists one, they have different backbones, or there is no such
            run.
    """
    if run is not None and not (run / "manifest.toml").exists():
        raise TrainingError(f"There is no manifest in {run}.")
    manifest = read_manifest(run)
    if unknown := sorted(set(ids) - manifest.specialists.keys()):
        raise TrainingError(f"No manifest lists {unknown[0]!r}.")
    chosen = {name: manifest.specialists[name] for name in sorted(set(ids))}
    for entry in list(chosen.values()):
        detector = manifest.provider(entry.roi_slot) if entry.roi_slot else None
        if detector is not None:  # an installed one was trained on the source
            chosen[detector.id] = detector
    entries = [chosen[name] for name in sorted(chosen)]
    if len({entry.model for entry in entries}) != 1:
        raise TrainingError("Specialists that are trained together must share a backbone.")
    config = replace(
        config, pack_px=max(config.pack_px, manifest.models[entries[0].model].input_px)
    )
    return Trial(
        manifest=manifest,
        entries=entries,
        asked=frozenset(ids),
        run=run,
        data=folders[0],
        out=folders[1],
        config=config,
        by=by,
    )


def leave_out(trial: Trial, sources: Sequence[Source]) -> Iterator[LeftOut]:
    """Yield the result of each source, or of every one that can be left out where none is named.

    What is finished in the trial's folder is not trained again, and an interrupted training is
    resumed.

    Raises:
        TrainingError: the data cannot be used, no task has images both of a source and without it,
            or the folder holds another trial.
    """
    samples = read_samples(trial.data, trial.entries, None)
    sources = list(sources) or _sources_of(trial, samples)
    for source in sources:
        if not _learnable(trial, samples, source):
            raise TrainingError(
                f"{source} cannot be left out: no task has images of it in {trial.data}, "
                "and train and val without it."
            )
    if not sources:
        raise TrainingError("Nothing can be left out: every task has one source.")
    for source in sources:
        yield _once(trial, samples, source)


def _once(trial: Trial, samples: Sequence[Sample], source: Source) -> LeftOut:
    """Return the result of one source, from its folder where it exists."""
    folder = trial.out / re.sub(r"[^A-Za-z0-9]+", "-", str(source)).strip("-")
    _same_trial(trial, folder)
    if not (folder / left_out.FILE).exists():
        _without(trial, samples, source, folder).save(folder)
    shutil.rmtree(folder / "state", ignore_errors=True)
    return left_out.read(folder / left_out.FILE)


def _same_trial(trial: Trial, folder: Path) -> None:
    """Write the settings of a source's training, or check an earlier training against them."""
    path, made = folder / "trial.json", _made(trial)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made, indent=1), encoding="utf-8")
    begun = json.loads(path.read_text(encoding="utf-8"))
    if other := [name for name, value in made.items() if begun.get(name) != value]:
        raise TrainingError(
            f"{folder} holds a trial with another value of {', '.join(other)}; "
            "choose another folder."
        )


UNTOLD = frozenset({"threads", "save_every_s", "compute"})
"""Settings of a training that change its results by no more than rounding."""


def _made(trial: Trial) -> dict[str, str | int | float | list[str] | None]:
    """Return what determines a trial's results, apart from its data and code."""
    config = {k: v for k, v in asdict(trial.config).items() if k not in UNTOLD}
    ids = sorted(entry.id for entry in trial.entries)
    return {**config, "backbone": trial.model.sha256, "specialists": ids}


def _sources_of(trial: Trial, samples: Sequence[Sample]) -> list[Source]:
    """Return the data sets, then the devices, that can be left out, or another column's parts."""
    if trial.by is not None:
        return in_parts(samples, trial.by, PARTS)
    found = [
        Source(column=column, values=(value,))
        for column in ("dataset", "device")
        for value in sorted({str(getattr(sample, column)) for sample in samples} - {""})
    ]
    return [source for source in found if _learnable(trial, samples, source)]


def _learnable(trial: Trial, samples: Sequence[Sample], source: Source) -> list[SpecialistEntry]:
    """Return the specialists with images of the source, and train and val images without it."""
    others = without(samples, source)
    inside = {task for sample in samples if source.has(sample) for task in sample.tasks}
    for split in ("train", "val"):
        inside &= {task for sample in others if sample.split == split for task in sample.tasks}
    return [entry for entry in trial.entries if entry.id in inside]


def _as_taught(entry: SpecialistEntry, others: Sequence[Sample]) -> tuple[SpecialistEntry, str]:
    """Return the entry as the other sources can teach it, and a note on what they cannot."""
    if entry.kind is Kind.DETECT and entry.absence_known:
        splits = {s.split for s in others if s.boxes.get(entry.id, "unlabelled") is None}
        if not {"train", "val"} <= splits:
            note = "no other source has images without it, so a box is always given"
            return entry.model_copy(update={"absence_known": False}), note
    if entry.kind is Kind.CLASSIFY:
        known = {s.classes[entry.id] for s in others if entry.id in s.classes}
        if lacking := [name for i, name in enumerate(entry.labels) if i not in known]:
            return entry, f"no other source has images of {', '.join(lacking)}"
    return entry, ""


@dataclass(frozen=True, kw_only=True)
class _Heads:
    """Heads that were trained without one source."""

    manifest: Manifest
    """Lists only these heads, calibrated, with weights in the source's folder."""
    nets: Mapping[str, SpecialistNet]
    backbone: Frozen
    taught: Mapping[str, frozenset[int]]
    """By classifier, the classes that the other sources hold."""


def _without(trial: Trial, samples: Sequence[Sample], source: Source, folder: Path) -> LeftOut:
    others, inside = without(samples, source), [s for s in samples if source.has(s)]
    lacking = [Source.parse(text) for text in trial.model.without]
    saw = not all(any(one.has(sample) for one in lacking) for sample in inside)
    taught = [_as_taught(entry, others) for entry in _learnable(trial, samples, source)]
    entries = [entry for entry, _ in taught]
    heads = _train(trial, entries, others, folder, saw=saw)
    said = _said(heads, inside, trial.model)
    scores = _scored(trial, heads.manifest, source, folder)
    results = {}
    for entry, note in taught:
        scored, metrics = said.get(entry.id), []
        if scored is not None and entry.kind is Kind.CLASSIFY:
            metrics = _own_sets(heads.manifest.specialists[entry.id], scored)
        kept = scores[entry.id]
        results[entry.id] = kept.model_copy(
            update={"note": note or None, "said": scored, "metrics": [*kept.metrics, *metrics]}
        )
    return LeftOut(
        made=_made(trial),
        column=source.column,
        values=list(source.values),
        part=source.part,
        backbone_saw=saw,
        tasks=_with_errors(results, heads.manifest, inside),
    )


def _train(
    trial: Trial,
    entries: list[SpecialistEntry],
    others: Sequence[Sample],
    folder: Path,
    *,
    saw: bool,
) -> _Heads:
    """Train heads on the other sources and calibrate them on their `val`.

    The weights are written into the folder.
    """
    config, model = trial.config, trial.model
    train, val = ([s for s in others if s.split == split] for split in ("train", "val"))
    ids = {entry.id for entry in entries}
    if any(_classes(train, name) > _classes(val, name) for name in ids):
        val = list(others)  # a class that only train still holds would not be calibrated
    packs = (build_pack(train, config.pack_px), build_pack(val, model.input_px))
    drawn = packs[0]
    if LABELLED & ids:
        phantoms = phantom_samples(trial.out / "phantoms", int(SHARE * len(train)))
        drawn = build_pack(train + phantoms, config.pack_px)
    # installed specialists were trained on the source, so no region may come from them
    bare = {
        name: entry.model_copy(update={"weights": None, "sha256": None})
        for name, entry in trial.manifest.specialists.items()
    }
    known = {**bare, **{entry.id: entry for entry in entries}}
    manifest = trial.manifest.model_copy(update={"specialists": known})
    backbone = load_backbone(model)
    state = folder / "state"
    decoders = None if saw or model.decoders is None else model.directory / model.decoders
    start = Start(decoders=decoders, folder=state, resume=(state / STATE).exists())
    nets = train_heads(manifest, entries, backbone, drawn, config, start)
    run = Run(command="ustri evaluate transfer", config={}, data=trial.data, out=folder)
    weighed = calibrate_weights(manifest, nets, backbone, packs, run)
    with_weights = {**known, **{entry.id: entry for entry in weighed}}
    return _Heads(
        manifest=manifest.model_copy(update={"specialists": with_weights}).only(ids),
        nets=nets,
        backbone=backbone,
        taught={name: _classes(train, name) for name in ids},
    )


def _classes(samples: Sequence[Sample], task: str) -> frozenset[int]:
    """Return the classes of a classification task that the samples hold."""
    return frozenset(s.classes[task] for s in samples if task in s.classes)


def _said(heads: _Heads, inside: Sequence[Sample], model: ModelEntry) -> dict[str, Said]:
    """Return the raw outputs on the source, of classifiers and detectors that learnt absence."""
    pack = build_pack(list(inside), model.input_px)
    entries = heads.manifest.specialists
    regions: dict[str | None, dict[int, Tensor]] = {None: {}}
    found = {}
    for entry, outputs in _outputs(heads, pack, Kind.DETECT, regions):
        regions[entry.provides[0]] = predicted_regions(entry, outputs)
        if entry.absence_known:
            found[entry.id] = outputs
    found |= {e.id: outputs for e, outputs in _outputs(heads, pack, Kind.CLASSIFY, regions)}
    said = {}
    for name, outputs in found.items():
        scored = scored_of(entries[name], outputs, pack)
        origins = [
            pack.samples[index].source or pack.samples[index].dataset for index in outputs.samples
        ]
        if entries[name].kind is Kind.CLASSIFY:
            known = [row for row, label in enumerate(scored.truth) if label in heads.taught[name]]
            scored = scored.take(np.array(known, dtype=np.int64))
            origins = [origins[row] for row in known]
        if len(scored):
            said[name] = Said.of(scored, origins, entries[name].temperature or 1.0)
    return said


def _outputs(
    heads: _Heads, pack: Pack, kind: Kind, regions: Mapping[str | None, dict[int, Tensor]]
) -> Iterator[tuple[SpecialistEntry, Outputs]]:
    """Yield the outputs of all heads of a kind.

    Those that read the same regions share the backbone's passes.
    """
    chosen = [entry for entry in heads.manifest.specialists.values() if entry.kind is kind]
    for slot in sorted({entry.roi_slot or "" for entry in chosen}):
        nets = {e.id: heads.nets[e.id] for e in chosen if (e.roi_slot or "") == slot}
        given = regions.get(slot, {})
        found = outputs_of(heads.manifest, nets, heads.backbone, pack, given)
        for name, outputs in found.items():
            yield heads.manifest.specialists[name], outputs


def _own_sets(entry: SpecialistEntry, said: Said) -> list[Metric]:
    """Return figures of the label sets that were calibrated on the other sources' `val`."""
    names = [f"{LABEL_SET} {label}" for label in entry.labels]
    if not all(name in entry.thresholds for name in names):
        return []
    scored = said.scored("")
    limits = [entry.thresholds[name].value for name in names]
    sets = scores_of(scored.values, said.temperature) >= limits
    return set_metrics(entry, sets, scored.truth, scored.lot, f", {KNOWN}")


def _scored(trial: Trial, manifest: Manifest, source: Source, folder: Path) -> dict[str, Result]:
    """Return the scores of all rows of the source, as from `ustri predict` and `ustri evaluate`."""
    engine = load_engine(answering(manifest), "cpu")
    found, _ = rows_by_task(trial.data, ("image_path",))
    share_columns(found)
    place = folder / "predictions"
    results = {}
    for namespace, entries in _by_namespace(manifest).items():
        rows_by: dict[str, list[Row]] = {
            entry.task_id: [
                row for row in found[entry.task_id] if source.states(row) and counts(row, entry)
            ]
            for entry in entries
        }
        predict_rows(engine, rows_by, (trial.data, place / (namespace or "")), namespace)
        for entry in entries:
            rows = rows_by[entry.task_id]
            score = score_rows(entry, rows, place / (namespace or ""), trial.data)
            results[entry.id] = Result(
                rows=score.rows,
                missing=score.missing,
                metrics=score.metrics,
                problems=score.problems,
            )
    return results


def _by_namespace(manifest: Manifest) -> dict[str | None, list[SpecialistEntry]]:
    found: dict[str | None, list[SpecialistEntry]] = {}
    for entry in manifest.specialists.values():
        namespace = entry.id.removesuffix(entry.task_id).removesuffix("_") or None
        found.setdefault(namespace, []).append(entry)
    return found


def _with_errors(
    results: Mapping[str, Result], manifest: Manifest, inside: Sequence[Sample]
) -> dict[str, Result]:
    """Return the results with the errors of each measurement, by the report's own formulas."""
    engine = load_engine(manifest, "cpu")  # unlike the engine of the scores, it declines as in use
    found = {}
    for name, result in results.items():
        errors = {}
        if measured_slot(manifest.specialists[name]) is not None:
            pairs = pairs_of(manifest.specialists[name], engine, inside)
            errors = {measured: Errors.of(p) for measured, p in pairs.items() if p.errors}
        found[name] = result.model_copy(update={"errors": errors})
    return found
