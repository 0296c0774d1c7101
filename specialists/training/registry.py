"""Writing the results of a training into a manifest, every other line of the file unchanged."""

import shutil
from pathlib import Path
from typing import TypeVar

import tomlkit
from tomlkit.items import AoT, Table

from specialists.errors import TrainingError
from specialists.manifest import (
    PACKAGE_MANIFEST,
    PACKAGE_WEIGHTS,
    ModelEntry,
    SpecialistEntry,
    read_manifest,
)
from specialists.training.transfer.requirement import informative

TRAINED = (
    "weights",
    "sha256",
    "decoders",
    "decoders_sha256",
    "novelty",
    "novelty_sha256",
    "without",
    "gate_exams",
    "backbone_sha256",
    "temperature",
    "thresholds",
    "metrics",
    "transfer",
    "intervals",
    "not_installed",
    "int8",
)
"""Keys that a training decides; the rest of an entry is written by hand."""


_E = TypeVar("_E", ModelEntry, SpecialistEntry)


def write_entries(path: Path, models: list[ModelEntry], specialists: list[SpecialistEntry]) -> None:
    """Add the entries to the manifest at `path`, or replace those with their ids.

    Of an entry that exists, only what training decides is replaced; a task of the user's own is
    replaced whole, since its CSV and command decide the rest of it too.
    """
    listed = read_manifest()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    document = tomlkit.parse(text)
    for name, entries in (("model", models), ("specialist", specialists)):
        if not entries:
            continue
        if name not in document:
            document[name] = tomlkit.aot()
        tables = document[name]
        if not isinstance(tables, AoT):
            raise TrainingError(f"The manifest {path} has no tables [[{name}]].")
        for entry in entries:
            own = entry.id not in listed.models and entry.id not in listed.specialists
            _write(tables, entry, whole=own)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(tomlkit.dumps(document), encoding="utf-8")
    partial.replace(path)


def ship(source: Path, ids: list[str]) -> list[Path]:
    """Copy weights from a training's folder into the package and return the copied files.

    The entries are written to the package's manifest. For a specialist that fails on sources left
    out, and for a classifier that may be no better than chance, the reason is shipped instead of
    weights.

    Raises:
        TrainingError: the folder's manifest lacks one of the ids, it is not installed there, or it
            was not evaluated with sources left out as its entry requires.
    """
    manifest = read_manifest(source)
    models: dict[str, ModelEntry] = {}
    specialists: list[SpecialistEntry] = []
    files: list[tuple[Path, str]] = []
    for specialist_id in ids:
        entry = manifest.specialists.get(specialist_id)
        known = entry is not None and (entry.weights is not None or entry.transfer)
        if entry is None or not known or entry.directory != source:
            raise TrainingError(f"There is no trained {specialist_id} in {source}.")
        model = models.setdefault(entry.model, manifest.models[entry.model])
        if entry.backbone_sha256 != model.sha256:
            raise TrainingError(f"{specialist_id} was not trained on the backbone in {source}.")
        if entry.holds_without is not None and not entry.transfer:
            raise TrainingError(
                f"{specialist_id} ships only if it holds with sources left out: "
                f"run `ustri evaluate transfer "
                f"{specialist_id} --by {entry.holds_without} --run {source} --write` first."
            )
        entry = informative(_with_current_int8(entry))
        specialists.append(entry)
        if entry.weights is not None:
            files += [(source, entry.weights), (source, f"{entry.id}.json")]
            files += [(source, form.weights) for form in (entry.int8,) if form is not None]
    models = {name: _with_current_int8(model) for name, model in models.items()}
    for model in models.values():
        named = (model.weights, model.decoders, model.novelty, f"{model.id}.json")
        files += [(model.directory, name) for name in named if name is not None]
        files += [(model.directory, form.weights) for form in (model.int8,) if form is not None]
    copied = []
    for folder, name in files:
        target = PACKAGE_WEIGHTS / name
        if (folder / name).resolve() != target.resolve():
            shutil.copyfile(folder / name, target)
            copied.append(target)
    write_entries(PACKAGE_MANIFEST, list(models.values()), specialists)
    return copied


def _with_current_int8(entry: _E) -> _E:
    """Return the entry without an int8 form that was made of other weights."""
    if entry.int8 is None or entry.int8.current(entry.sha256):
        return entry
    return entry.model_copy(update={"int8": None})


def _write(tables: AoT, entry: ModelEntry | SpecialistEntry, *, whole: bool) -> None:
    values = entry.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    for table in tables:
        if table["id"] != entry.id:
            continue
        written = [*table, *values] if whole else TRAINED
        for key in dict.fromkeys(written):
            if key in table:
                table.remove(key)
            if key in values and key in written:
                table[key] = _item(values[key])
        return
    table = tomlkit.table()
    for key, value in values.items():
        if key != "not_installed" or "weights" not in values:
            table[key] = _item(value)
    tables.append(_spaced(table))


def _item(value: object) -> object:
    """Return the value as TOML: lists of tables one per line, tables inline."""
    if isinstance(value, list):
        array = tomlkit.array()
        array.extend(_item(part) for part in value)
        return array.multiline(any(isinstance(part, dict) for part in value))
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        table.update({key: _item(part) for key, part in value.items()})
        return table
    return value


def _spaced(table: Table) -> Table:
    table.add(tomlkit.nl())
    return table
