"""The strict reading of one task's CSV before a training.

Every row is validated and every problem is named.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from specialists.errors import TrainingError
from specialists.manifest import Kind
from specialists.training.data.coordinates import check_coordinates
from specialists.training.data.csv_lines import Line, place_of, read_lines
from specialists.training.data.labels import LABEL_COLUMNS, Labels, label_problems
from specialists.training.data.problems import Problems
from specialists.training.data.readable import picture_of
from specialists.training.data.tables import ASPECT_WANTED, is_aspect

KINDS = {
    "segmentation": Kind.SEGMENT,
    "classification": Kind.CLASSIFY,
    "detection": Kind.DETECT,
    "regression": Kind.REGRESS,
}
"""The challenge's `task_name`, in lower case."""

NEEDED = ("task_id", "task_name", "num_classes", "image_path")
NEEDED_OF_LISTED = ("task_id", "image_path")
MOST = 255
"""Most classes or points of a task: a pixel of a mask holds no larger number."""

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a valid CSV states of its task."""

    task_id: str
    kind: Kind
    classes: int
    """Number of classes with the background, or of points."""
    rows: int
    labels: dict[str, Labels]
    """The labels of each image, by its path as the CSV writes it."""
    datasets: tuple[str, ...]
    has_groups: bool
    has_split: bool


def read_task(data: Path, task_id: str, known: tuple[Kind, int] | None = None) -> Task:
    """Read the task in `csv_files/<task_id>.csv`, with every row of it validated.

    Args:
        data: the data root.
        task_id: of the rows.
        known: kind and number of classes of a listed task, which its CSV may leave out.

    Raises:
        TrainingError: the file or a row cannot be used; the message names the lines.
    """
    path = data / "csv_files" / f"{task_id}.csv"
    problems = Problems(file=path.name)
    columns, lines = read_lines(path, NEEDED if known is None else NEEDED_OF_LISTED, problems)
    problems.refuse()
    if known is not None:
        name = next(name for name, kind in KINDS.items() if kind is known[0])
        for line in lines:
            line.cells.setdefault("task_name", name)
            line.cells.setdefault("num_classes", str(known[1]))
    kind, classes = _declared(lines[0])
    for line in lines:
        _check_constant(line, (task_id, lines[0]), problems)
    problems.refuse()
    if kind is None:
        raise TrainingError(f"{path.name}, line {lines[0].number}: {_names()}")
    _check_columns(columns, kind, classes, problems)
    problems.refuse()
    _check_groups(columns, lines, problems)
    labels = _read_rows(data, lines, kind, classes, problems)
    check_coordinates(lines, kind, classes, problems)
    problems.refuse()
    return Task(
        task_id=task_id,
        kind=kind,
        classes=classes,
        rows=len(lines),
        labels=labels,
        datasets=tuple(dict.fromkeys(line.cells.get("dataset", task_id) for line in lines)),
        has_groups="group_id" in columns,
        has_split="split" in columns,
    )


def _declared(first: Line) -> tuple[Kind | None, int]:
    """Return kind and number of classes from the first row."""
    number = first.cells["num_classes"]
    return KINDS.get(first.cells["task_name"].lower()), int(number) if number.isdecimal() else 0


def _names() -> str:
    return f"task_name is none of {', '.join(KINDS)}. Write what kind of task it is."


def _check_constant(line: Line, expected: tuple[str, Line], problems: Problems) -> None:
    """Check that a row agrees on the task with the file name and the first row."""
    task_id, first = expected
    if line.cells["task_id"] != task_id:
        said = line.cells["task_id"]
        problems.add(
            line.number, f"task_id is {said!r}, but the file is {task_id}.csv. Make them one."
        )
    for name in ("task_name", "num_classes"):
        if line.cells[name].lower() != first.cells[name].lower():
            problems.add(
                line.number,
                f"{name} is {line.cells[name]!r}, "
                f"but {first.cells[name]!r} in line {first.number}. "
                "One task has one of it.",
            )
    if line is not first:
        return
    kind, classes = _declared(first)
    if kind is None:
        problems.add(line.number, _names())
        return
    least = 2 if kind in (Kind.SEGMENT, Kind.CLASSIFY) else 1
    if not least <= classes <= MOST or (kind is Kind.DETECT and classes != 1):
        wanted = "1 (one box)" if kind is Kind.DETECT else f"a whole number from {least} to {MOST}"
        problems.add(line.number, f"num_classes is {first.cells['num_classes']!r}. Write {wanted}.")


def _check_columns(columns: list[str], kind: Kind, classes: int, problems: Problems) -> None:
    wanted = LABEL_COLUMNS[kind]
    if kind is Kind.REGRESS:
        wanted = tuple(f"point_{number}_xy" for number in range(1, classes + 1))
        if f"point_{classes + 1}_xy" in columns:
            problems.add(
                1, f"there is a column point_{classes + 1}_xy, but num_classes is {classes}."
            )
    if missing := [name for name in wanted if name not in columns]:
        problems.add(
            1, f"a task of this task_name needs the columns {', '.join(missing)}. Add them."
        )


def _check_groups(columns: list[str], lines: list[Line], problems: Problems) -> None:
    """Check that no group is in two splits, and that groups and splits have valid names."""
    home: dict[str, tuple[str, int]] = {}
    for line in lines:
        split = line.cells.get("split", "")
        if "split" in columns and split not in SPLITS:
            problems.add(line.number, f"split is {split!r}. Write one of {', '.join(SPLITS)}.")
            continue
        if "group_id" not in columns:
            continue
        group = line.cells["group_id"]
        if not group:
            problems.add(
                line.number, "group_id is empty. Name the patient, or leave the column out."
            )
            continue
        first, number = home.setdefault(group, (split, line.number))
        if split != first:
            problems.add(
                line.number,
                f"the group {group!r} is in {split}, but in {first} in line {number}. "
                "Keep all images of a group in one split.",
            )


def _read_rows(
    data: Path, lines: list[Line], kind: Kind, classes: int, problems: Problems
) -> dict[str, Labels]:
    seen: dict[str, int] = {}
    found: dict[str, Labels] = {}
    for line in lines:
        path = place_of(data, line.cells["image_path"])
        if isinstance(path, str):
            problems.add(line.number, f"image_path {path}")
            continue
        file = os.path.realpath(path)
        if file in seen:
            problems.add(
                line.number,
                f"{path.name} is already the image of line {seen[file]}. Keep one row per image.",
            )
            continue
        seen[file] = line.number
        picture = picture_of(path)
        if isinstance(picture, str):
            problems.add(line.number, f"the image {picture}")
            continue
        labels = label_problems(data, line, picture.size, (kind, classes), problems)
        found[line.cells["image_path"]] = labels
        spacing = line.cells.get("mm_per_px", "")
        aspect = line.cells.get("pixel_aspect", "")
        if aspect and not is_aspect(aspect):
            problems.add(line.number, f"pixel_aspect is {aspect!r}. {ASPECT_WANTED}")
        if spacing and not _positive(spacing):
            problems.add(
                line.number, f"mm_per_px is {spacing!r}. Write millimetres, or leave it empty."
            )
    return found


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
