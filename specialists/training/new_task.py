"""The manifest entry of a task that no manifest lists, from its CSV and the command's options."""

import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from specialists.errors import TrainingError
from specialists.manifest import (
    DataSource,
    GeometryPolicy,
    Kind,
    ModelEntry,
    Roi,
    SpecialistEntry,
)
from specialists.training.data.problems import Problems
from specialists.training.data.strict import Task, read_task
from specialists.training.data.tables import read_table

DEFAULTS = Path(__file__).with_name("new_task.toml")
ID = re.compile(r"[a-z][a-z0-9_]{1,59}")
RESERVED = "fmc_"
"""Prefix of the ids of the challenge's own tasks."""

LEAST = 30
"""Fewest images with which a new task is trained."""

FEW = 100
"""Number of images below which the figures of a new task are too uncertain to mean much."""

STEPS = (150, 300)
"""Least and most steps of a new task; between them, one step per training image."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A new task as the command's options declare it.

    A value of None leaves the decision to the CSV, the kind, or an earlier training.
    """

    title: str | None = None
    labels: tuple[str, ...] | None = None
    hflip: bool | None = None
    rotate_deg: float | None = None
    source: str | None = None
    licence: str | None = None

    @property
    def anything(self) -> bool:
        """Whether any option is given."""
        return self != Declared()

    def options(self) -> list[str]:
        """Return the command-line options that declare the same."""
        words = {
            "--title": self.title,
            "--labels": None if self.labels is None else ",".join(self.labels),
            "--rotate-deg": None if self.rotate_deg is None else f"{self.rotate_deg:g}",
            "--source": self.source,
            "--licence": self.licence,
        }
        said = [
            word for name, value in words.items() if value is not None for word in (name, value)
        ]
        flips = {None: [], True: ["--flip"], False: ["--no-flip"]}
        return said + flips[self.hflip]


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A new task's entry, its messages to the user, and how many steps to train it for."""

    entry: SpecialistEntry
    notes: tuple[str, ...]
    steps: int


def new_task(
    task_id: str,
    data: Path,
    model: ModelEntry,
    declared: Declared,
    earlier: SpecialistEntry | None,
) -> NewTask:
    """Return the entry of `csv_files/<task_id>.csv` under `data`.

    Args:
        task_id: becomes the specialist's id.
        data: the data root.
        model: whose frozen backbone the task is trained on.
        declared: the command's options.
        earlier: the entry of an earlier training of that id, whose values stay unless declared
            again.

    Raises:
        TrainingError: the id, the CSV or what is declared cannot be used.
    """
    check_id(task_id)
    task = read_task(data, task_id)
    if earlier is not None and earlier.kind is not task.kind:
        earlier = None  # another task under the same name
    counted = _counted(task, data)
    entry = _entry(task, data, model, declared, earlier)
    entry = entry.model_copy(update={"absence_known": counted.negatives})
    least, most = STEPS
    steps = max(least, min(most, counted.train))
    return NewTask(entry=entry, notes=_notes(task, entry, counted), steps=steps)


def check_id(task_id: str) -> None:
    """Check that a new task may have that id.

    Raises:
        TrainingError: it may not.
    """
    if not ID.fullmatch(task_id) or task_id.startswith(RESERVED):
        raise TrainingError(
            f"{task_id!r} cannot be the id of a specialist. Use small letters, digits and _, "
            f"begin with a letter, and not with {RESERVED}, which is the challenge's."
        )


@dataclass(frozen=True, kw_only=True)
class _Counted:
    train: int
    val: int
    groups: int
    negatives: bool


def _counted(task: Task, data: Path) -> _Counted:
    """Return how many images there are on each side of the split.

    Raises:
        TrainingError: there are too few, or a class is on one side only.
    """
    problems = Problems(file=f"{task.task_id}.csv")
    if task.rows < LEAST:
        problems.add(
            0,
            f"it has {task.rows} images. {LEAST} are the least; {FEW} to 400 are what works well.",
        )
    table = read_table(data, task.task_id)
    splits = dict(zip(table["image_path"], table["split"], strict=True))
    shown: dict[str, Counter[int]] = {"train": Counter(), "val": Counter()}
    for path, labels in task.labels.items():
        if (side := splits.get(path)) in shown:
            shown[side].update(labels)
    sides = Counter(splits.values())
    for name, counter in shown.items():
        if not sides[name]:
            problems.add(0, f"no row is in the split {name}. It needs some.")
            continue
        for number in _expected(task):
            if not counter[number]:
                what = _what(task, number)
                problems.add(
                    0, f"{name} has no image with {what}. Add some, or move a group to {name}."
                )
    problems.refuse()
    return _Counted(
        train=sides["train"],
        val=sides["val"],
        groups=table.loc[table["split"] == "val", "group_id"].nunique(),
        negatives=task.kind is Kind.DETECT and _has_negatives(task),
    )


def _has_negatives(task: Task) -> bool:
    return any(0 in labels for labels in task.labels.values())


def _expected(task: Task) -> range:
    """Return the labels that each side of the split needs."""
    match task.kind:
        case Kind.CLASSIFY:
            return range(task.classes)
        case Kind.DETECT:
            return range(0 if _has_negatives(task) else 1, 2)
        case Kind.SEGMENT:
            return range(1, task.classes)
        case Kind.REGRESS:
            return range(1, task.classes + 1)


def _what(task: Task, number: int) -> str:
    match task.kind:
        case Kind.DETECT:
            return "a box" if number else "empty box columns, although there are such rows"
        case Kind.REGRESS:
            return f"point_{number}_xy"
        case _:
            return f"class {number}"


def _entry(
    task: Task, data: Path, model: ModelEntry, declared: Declared, earlier: SpecialistEntry | None
) -> SpecialistEntry:
    defaults = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))[task.kind]
    policy = GeometryPolicy(**defaults["geometry"]) if earlier is None else earlier.geometry
    said = {"hflip": declared.hflip, "rotate_deg": declared.rotate_deg}
    policy = policy.model_copy(update={k: v for k, v in said.items() if v is not None})
    names = _names(task, declared, earlier)
    title = declared.title or (earlier and earlier.title) or _readable(task.task_id)
    source, licence = _origin(declared, earlier)
    points = task.kind is Kind.REGRESS
    return SpecialistEntry(
        id=task.task_id,
        kind=task.kind,
        title=title,
        model=model.id,
        exams=() if earlier is None else earlier.exams,
        task_id=task.task_id,
        labels=() if points else names,
        landmarks=names if points else (),
        units=defaults["units"],
        # a slot of its own, which no protocol reads
        provides=(f"{defaults['slot']}:own_{task.task_id}",),
        features=tuple(defaults["features"]),
        roi=Roi.NONE,
        geometry=policy,
        training_data=tuple(
            DataSource(name=name, reference=source, licence=licence, licence_verified=False)
            for name in task.datasets
        ),
    )


def _origin(declared: Declared, earlier: SpecialistEntry | None) -> tuple[str, str]:
    """Return reference and licence of the data."""
    known = earlier.training_data[0] if earlier is not None and earlier.training_data else None
    source = declared.source or (known.reference if known else "not stated")
    return source, declared.licence or (known.licence if known else "not stated")


def _names(task: Task, declared: Declared, earlier: SpecialistEntry | None) -> tuple[str, ...]:
    """Return the class or landmark names in order.

    Raises:
        TrainingError: the declared names are of the wrong number, empty, or not unique.
    """
    names = declared.labels
    if names is None:
        known = () if earlier is None else (earlier.landmarks or earlier.labels)
        return known if len(known) == task.classes else _numbered(task)
    if task.kind is Kind.SEGMENT and len(names) == task.classes - 1:
        names = ("background", *names)
    if len(names) != task.classes:
        raise TrainingError(
            f"--labels names {len(names)}, but num_classes of {task.task_id}.csv is {task.classes}."
        )
    if not all(names) or len(set(names)) < len(names):
        raise TrainingError("--labels must name each class or point once, separated by commas.")
    return names


def _numbered(task: Task) -> tuple[str, ...]:
    """Return placeholder names for classes or points whose meaning is not established."""
    if task.kind is Kind.REGRESS:
        return tuple(f"point_{number}" for number in range(1, task.classes + 1))
    names = [f"class_{number}" for number in range(task.classes)]
    if task.kind is Kind.SEGMENT:
        names[0] = "background"
    return tuple(names)


def _readable(task_id: str) -> str:
    words = task_id.replace("_", " ")
    return words[:1].upper() + words[1:]


def _notes(task: Task, entry: SpecialistEntry, counted: _Counted) -> tuple[str, ...]:
    names = ", ".join(entry.landmarks or entry.labels)
    notes = [
        f"{task.task_id}: {entry.kind}, {task.rows} images, {counted.train} to train and "
        f"{counted.val} to calibrate ({counted.groups} groups). Names: {names}."
    ]
    if not task.has_split:
        whole = "whole groups" if task.has_groups else "each image a group of its own"
        notes.append(
            f"There is no split column: a fifth was set aside as val "
            f"({whole}, the same in every run)."
        )
    if not task.has_groups:
        notes.append(
            "There is no group_id column. "
            "If a patient has several images, the figures are too good."
        )
    if task.kind is Kind.DETECT and not entry.absence_known:
        notes.append('No row has empty box columns: it learns no "none", and cannot say it.')
    if task.rows < FEW:
        notes.append(f"{task.rows} images are few; the figures will be uncertain.")
    flips = "mirrored" if entry.geometry.hflip else "never mirrored"
    notes.append(
        f"In training the images are {flips} and turned by up to {entry.geometry.rotate_deg:g}°."
    )
    return tuple(notes)
