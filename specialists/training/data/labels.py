"""Validation of a row's label against its image, for each kind of task, and the label's content."""

import json
import math
from pathlib import Path

import numpy as np

from specialists.manifest import Kind
from specialists.training.data.csv_lines import SHOWN, Line, place_of
from specialists.training.data.problems import Problems
from specialists.training.data.readable import picture_of

Labels = frozenset[int]
"""The classes, or landmarks counted from 1, that an image shows.

For a detector, 1 stands for its structure and 0 for the structure's absence.
"""

CORNERS = ("x_min", "y_min", "x_max", "y_max")
LABEL_COLUMNS: dict[Kind, tuple[str, ...]] = {
    Kind.SEGMENT: ("mask_path",),
    Kind.CLASSIFY: ("mask",),
    Kind.DETECT: CORNERS,
    Kind.REGRESS: (),
}
"""Label columns of each kind; a regression's columns follow from its number of points."""

OUTSIDE = 0.05
"""Share of the image's side by which a point may lie outside: ends of fitted axes do."""

EDGE_PX = 1.0
"""Pixels by which a box may pass the edge of its image.

It allows for the rounding of annotation tools that count pixels differently.
"""


def label_problems(
    data: Path, line: Line, size: tuple[int, int], task: tuple[Kind, int], problems: Problems
) -> Labels:
    """Return what the row's label shows; add what is wrong with it to `problems`.

    Args:
        data: the data root.
        line: the row.
        size: (height, width) of its image.
        task: kind, and number of classes or points.
        problems: of the file.
    """
    kind, classes = task
    match kind:
        case Kind.SEGMENT:
            return _mask(data, line, size, classes, problems)
        case Kind.CLASSIFY:
            return _class(line, classes, problems)
        case Kind.DETECT:
            return _box(line, size, problems)
        case Kind.REGRESS:
            return _points(line, size, classes, problems)


def _mask(
    data: Path, line: Line, size: tuple[int, int], classes: int, problems: Problems
) -> Labels:
    path = place_of(data, line.cells["mask_path"])
    if isinstance(path, str):
        problems.add(line.number, f"mask_path {path}")
        return frozenset()
    picture = picture_of(path)
    if isinstance(picture, str):
        problems.add(line.number, f"the mask {picture}")
    elif picture.lossy:
        problems.add(
            line.number,
            f"the mask {path} is a JPEG, which does not keep its values. Save it as PNG.",
        )
    elif picture.mode != "L":
        problems.add(
            line.number,
            f"the mask {path} is of mode {picture.mode}. "
            "Save it as 8-bit grey, pixel value = class.",
        )
    elif picture.size != size:
        given, wanted = (f"{width} × {height}" for height, width in (picture.size, size))
        problems.add(line.number, f"the mask {path} is {given} px, its image {wanted} px.")
    elif (largest := int(picture.pixels.max())) >= classes:
        problems.add(
            line.number,
            f"the mask {path} holds the value {largest}, but num_classes is {classes}: "
            f"values are 0 to {classes - 1}.",
        )
    else:
        return frozenset(np.unique(picture.pixels).tolist())
    return frozenset()


def _class(line: Line, classes: int, problems: Problems) -> Labels:
    text = line.cells["mask"]
    number = number_of(text)
    if number is None or number not in range(classes):
        problems.add(
            line.number,
            f"mask is {text[:SHOWN]!r}. Write the class, a whole number from 0 to {classes - 1}.",
        )
        return frozenset()
    return frozenset([int(number)])


def _box(line: Line, size: tuple[int, int], problems: Problems) -> Labels:
    cells = [line.cells[name] for name in CORNERS]
    if not any(cells):
        return frozenset([0])
    corners = [number for number in map(number_of, cells) if number is not None]
    if len(corners) < len(CORNERS):
        problems.add(
            line.number,
            f"the box ({', '.join(cells)}) is not four numbers. "
            "Write all in pixels, or leave all empty where nothing is there.",
        )
        return frozenset()
    x_min, y_min, x_max, y_max = corners
    height, width = size
    if not (x_min < x_max and y_min < y_max):
        problems.add(
            line.number,
            f"the box ({', '.join(cells)}) is inverted or empty. "
            "It must hold x_min < x_max, y_min < y_max; leave all empty where nothing is there.",
        )
    elif min(x_min, y_min) < -EDGE_PX or x_max > width + EDGE_PX or y_max > height + EDGE_PX:
        problems.add(
            line.number,
            f"the box ({', '.join(cells)}) lies outside its image of {width} × {height} px. "
            "Corners are in pixels of the stored image.",
        )
    return frozenset([1])


def _points(line: Line, size: tuple[int, int], points: int, problems: Problems) -> Labels:
    height, width = size
    marked = set()
    for number in range(1, points + 1):
        name = f"point_{number}_xy"
        text = line.cells[name]
        if not text:
            continue  # not marked
        point = point_of(text)
        if point is None:
            problems.add(
                line.number,
                f'{name} is {text[:SHOWN]!r}. Write "[x, y]" in pixels, or leave it empty.',
            )
            continue
        x, y = point
        if not (
            -OUTSIDE * width <= x <= (1 + OUTSIDE) * width
            and -OUTSIDE * height <= y <= (1 + OUTSIDE) * height
        ):
            problems.add(
                line.number,
                f"{name} {text} lies more than {OUTSIDE:.0%} outside its image "
                f"of {width} × {height} px. "
                "Points are (x, y) in pixels of the stored image.",
            )
        marked.add(number)
    return frozenset(marked)


def number_of(text: str) -> float | None:
    """Return the finite number that a cell holds; None if it holds none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def point_of(text: str) -> tuple[float, float] | None:
    """Return the point (x, y) that a cell holds; None if it holds none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or len(values) != 2:
        return None
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        return None
    try:
        x, y = float(values[0]), float(values[1])
    except OverflowError:
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None
