"""How specialists do on a source that their heads never saw: each source left out in turn, then judged on all of it.

The backbone stays as it is and has seen every source; its decoders of Stage I have too, so heads start from random ones.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from specialists.errors import TrainingError
from specialists.load import load_backbone, load_engine
from specialists.manifest import (
    PACKAGE_MANIFEST,
    PACKAGE_WEIGHTS,
    Kind,
    Manifest,
    ModelEntry,
    SpecialistEntry,
    Transfer,
    read_manifest,
)
from specialists.training.evaluate import Score, score_rows, share_columns
from specialists.training.finish import Run, calibrated_weights
from specialists.training.pack import build_pack
from specialists.training.predict import answering, predict_rows
from specialists.training.registry import write_entries
from specialists.training.specialist import SpecialistConfig, Start, train_heads
from specialists.training.synthetic import LABELLED, SHARE, phantom_samples
from specialists.training.tables import Row, Sample, counts, read_samples, rows_by_task, text_of

NOTE = (
    "Decoder and head were trained and calibrated without the source, and judged on all of it. The backbone itself has "
    "seen the source, so that a scanner which nobody has seen may fare worse."
)
COLUMNS = ("dataset", "device")
"""By what a source can be left out."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is left out: the images whose rows state that value in that column."""

    column: str
    value: str

    def __str__(self) -> str:
        return f"{self.column}={self.value}"

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Return the source that `dataset=busi` or `device=…` names.

        Raises:
            TrainingError: it is neither.
        """
        column, _, value = text.partition("=")
        if column not in COLUMNS or not value:
            raise TrainingError(f"{text!r} is no source: give dataset=NAME or device=NAME.")
        return cls(column=column, value=value)

    def has(self, sample: Sample) -> bool:
        """Return whether the sample is of this source."""
        return str(getattr(sample, self.column)) == self.value

    def states(self, row: Row) -> bool:
        """Return whether the row of a CSV is of this source."""
        return text_of(row, self.column) == self.value


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What heads without one source do on it, by task."""

    source: Source
    scores: dict[str, Score]
    notes: dict[str, str] = field(default_factory=dict)
    """What the other sources could not teach, by task, a clause."""

    def figures(self, task: str) -> tuple[Transfer, ...]:
        """Return the figures of a task as a manifest keeps them."""
        return tuple(
            Transfer(
                left_out=str(self.source),
                name=metric.name,
                value=metric.value,
                low=metric.low,
                high=metric.high,
                n=metric.n,
                note=self.notes.get(task),
            )
            for metric in self.scores[task].metrics
        )


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained and where."""

    manifest: Manifest
    entries: list[SpecialistEntry]
    """The specialists asked for, and the detectors that their regions come from."""
    asked: frozenset[str]
    run: Path | None
    """The folder of the manifest and the backbone; null means the shipped ones."""
    data: Path
    out: Path
    config: SpecialistConfig

    @property
    def model(self) -> ModelEntry:
        """The backbone's entry."""
        return self.manifest.models[self.entries[0].model]

    @property
    def path(self) -> Path:
        """The manifest file."""
        return PACKAGE_MANIFEST if self.run is None else self.run / "manifest.toml"


def prepare(
    run: Path | None, ids: Sequence[str], data: Path, out: Path, config: SpecialistConfig
) -> Trial:
    """Return the trial of those specialists, on the backbone of the run or else the shipped one.

    Raises:
        TrainingError: no manifest lists one, or they have different backbones, or there is no such run.
    """
    if run is not None and not (run / "manifest.toml").exists():
        raise TrainingError(f"There is no manifest in {run}.")
    manifest = read_manifest(run)
    if unknown := sorted(set(ids) - manifest.specialists.keys()):
        raise TrainingError(f"No manifest lists {unknown[0]!r}.")
    chosen = {name: manifest.specialists[name] for name in sorted(set(ids))}
    for entry in list(chosen.values()):
        detector = manifest.provider(entry.roi_slot) if entry.roi_slot else None
        if detector is not None:  # an installed one has learnt from the source
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
        data=data,
        out=out,
        config=config,
    )


def leave_out(trial: Trial, sources: Sequence[Source]) -> Iterator[LeftOut]:
    """Yield the result of each source, of every one that can be left out where none is named.

    Raises:
        TrainingError: the data cannot be used, or no task has images both of a source and without it.
    """
    samples = read_samples(trial.data, trial.entries, None)
    sources = list(sources) or _sources_of(trial, samples)
    for source in sources:
        if not _learnable(trial, samples, source):
            raise TrainingError(
                f"{source} cannot be left out: no task has images of it in {trial.data}, and train and val without it."
            )
    if not sources:
        raise TrainingError("Nothing can be left out: every task has one source.")
    for source in sources:
        yield _without(trial, samples, source)


def as_json(trial: Trial, found: Sequence[LeftOut]) -> str:
    """Return the results as JSON."""
    results = [
        {
            "left_out": str(left.source),
            "tasks": {
                task: {
                    "rows": score.rows,
                    "missing": score.missing,
                    "note": left.notes.get(task),
                    "metrics": [metric.model_dump(exclude={"split"}) for metric in score.metrics],
                    "problems": score.problems,
                }
                for task, score in left.scores.items()
            },
        }
        for left in found
    ]
    made = {"backbone_sha256": trial.model.sha256, "config": asdict(trial.config)}
    return json.dumps({"note": NOTE, **made, "results": results}, indent=1)


def as_markdown(trial: Trial, found: Sequence[LeftOut]) -> str:
    """Return the results as Markdown: a table for each task."""
    lines = ["# Sources left out", "", NOTE, "", f"{trial.config.steps} steps of the optimiser."]
    for entry in trial.entries:
        rows = [
            item for left in found if entry.id in left.scores for item in left.figures(entry.id)
        ]
        if not rows:
            continue
        lines += ["", f"## {entry.id}", "", "| left out | figure | value | 95 % interval | n |"]
        lines.append("|---|---|---|---|---|")
        for item in rows:
            known = item.low is not None and item.high is not None
            interval = f"{item.low:.3f} to {item.high:.3f}" if known else ""
            what = item.left_out if item.note is None else f"{item.left_out} ({item.note})"
            lines.append(f"| {what} | {item.name} | {item.value:.3f} | {interval} | {item.n} |")
    return "\n".join(lines) + "\n"


def save(trial: Trial, found: Sequence[LeftOut]) -> None:
    """Write `transfer.json` and `transfer.md` into the trial's folder."""
    trial.out.mkdir(parents=True, exist_ok=True)
    for ending, text in (("json", as_json), ("md", as_markdown)):
        (trial.out / f"transfer.{ending}").write_text(text(trial, found), encoding="utf-8")


def check_writable(trial: Trial) -> None:
    """Check that the manifest holds what was asked for, trained on the trial's backbone.

    Raises:
        TrainingError: it does not.
    """
    held = {entry.id for entry in _held(trial)}
    if lacking := sorted(trial.asked - held):
        raise TrainingError(
            f"{trial.path} holds no {lacking[0]} trained on this backbone, whose entry the figures could go into."
        )


def write(trial: Trial, found: Sequence[LeftOut]) -> None:
    """Put the figures into the manifest; those of other sources stay."""
    changed = []
    for entry in _held(trial):
        tried = [left for left in found if entry.id in left.scores]
        names = {str(left.source) for left in tried}
        kept = [item for item in entry.transfer if item.left_out not in names]
        new = [item for left in tried for item in left.figures(entry.id)]
        if tried:
            changed.append(entry.model_copy(update={"transfer": (*kept, *new)}))
    write_entries(trial.path, [], changed)


def _held(trial: Trial) -> list[SpecialistEntry]:
    """The specialists that stand in the trial's own manifest, trained on its backbone."""
    folder = (trial.run or PACKAGE_WEIGHTS).resolve()
    return [
        entry
        for entry in trial.entries
        if entry.directory.resolve() == folder
        and entry.installed
        and entry.backbone_sha256 == trial.model.sha256
    ]


def _sources_of(trial: Trial, samples: Sequence[Sample]) -> list[Source]:
    """The data sets, then the devices, that can be left out."""
    found = [
        Source(column=column, value=value)
        for column in COLUMNS
        for value in sorted({str(getattr(sample, column)) for sample in samples} - {""})
    ]
    return [source for source in found if _learnable(trial, samples, source)]


def _others(samples: Sequence[Sample], source: Source) -> list[Sample]:
    """The samples of other sources; none of a patient whom the source holds too."""
    held = {sample.group for sample in samples if source.has(sample)}
    return [sample for sample in samples if sample.group not in held]


def _learnable(trial: Trial, samples: Sequence[Sample], source: Source) -> list[SpecialistEntry]:
    """The specialists with images of the source, and with images for train and val without it."""
    others = _others(samples, source)
    inside = {task for sample in samples if source.has(sample) for task in sample.tasks}
    for split in ("train", "val"):
        inside &= {task for sample in others if sample.split == split for task in sample.tasks}
    return [entry for entry in trial.entries if entry.id in inside]


def _as_taught(entry: SpecialistEntry, others: Sequence[Sample]) -> tuple[SpecialistEntry, str]:
    """The entry as the other sources can teach it, and what they cannot."""
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


def _without(trial: Trial, samples: Sequence[Sample], source: Source) -> LeftOut:
    others = _others(samples, source)
    taught = [_as_taught(entry, others) for entry in _learnable(trial, samples, source)]
    entries = [entry for entry, _ in taught]
    folder = trial.out / re.sub(r"[^A-Za-z0-9]+", "-", str(source)).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    weighed = _trained(trial, entries, others, folder)
    scores = _scored(trial, weighed, source, folder)
    notes = {entry.id: note for entry, note in taught if note}
    return LeftOut(source=source, scores=scores, notes=notes)


def _trained(
    trial: Trial, entries: list[SpecialistEntry], others: Sequence[Sample], folder: Path
) -> Manifest:
    """The manifest of the specialists that the other sources taught, their weights in the folder."""
    config, model = trial.config, trial.model
    train, val = ([s for s in others if s.split == split] for split in ("train", "val"))
    ids = {entry.id for entry in entries}
    packs = (build_pack(train, config.pack_px), build_pack(val, model.input_px))
    drawn = packs[0]
    if LABELLED & ids:
        phantoms = phantom_samples(trial.out / "phantoms", int(SHARE * len(train)))
        drawn = build_pack(train + phantoms, config.pack_px)
    # what is installed has learnt from the source, so no region may come from it
    bare = {
        name: entry.model_copy(update={"weights": None, "sha256": None})
        for name, entry in trial.manifest.specialists.items()
    }
    known = {**bare, **{entry.id: entry for entry in entries}}
    manifest = trial.manifest.model_copy(update={"specialists": known})
    backbone = load_backbone(model)
    nets = train_heads(manifest, entries, backbone, drawn, config, Start())
    run = Run(command="ustri evaluate transfer", config={}, data=trial.data, out=folder)
    weighed = calibrated_weights(manifest, nets, backbone, packs, run)
    with_weights = {**known, **{entry.id: entry for entry in weighed}}
    return manifest.model_copy(update={"specialists": with_weights}).only(ids)


def _scored(trial: Trial, manifest: Manifest, source: Source, folder: Path) -> dict[str, Score]:
    """Scores of all rows of the source, as `ustri predict` and `ustri evaluate` give them."""
    engine = load_engine(answering(manifest), "cpu")
    found, _ = rows_by_task(trial.data, ("image_path",))
    share_columns(found)
    scores = {}
    for entry in manifest.specialists.values():
        rows = [row for row in found[entry.task_id] if source.states(row) and counts(row, entry)]
        namespace = entry.id.removesuffix(entry.task_id).removesuffix("_") or None
        place = folder / "predictions" / entry.id
        predict_rows(engine, {entry.task_id: rows}, (trial.data, place), namespace)
        scores[entry.id] = score_rows(entry, rows, place, trial.data)
    return scores
