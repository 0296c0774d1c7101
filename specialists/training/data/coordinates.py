"""Checks across the rows of a table that its coordinates are pixels, and that each marks a place.

Other tools write shares of the image's sides, and [-1, -1] or [0, 0] for what nobody marked: each
number is valid by itself, and a network learns the corner.
"""

from collections.abc import Sequence

from specialists.manifest import Kind
from specialists.training.data.csv_lines import Line
from specialists.training.data.labels import CORNERS, number_of, point_of
from specialists.training.data.problems import Problems

PIXELS = "Coordinates are pixels of the stored image, not shares of its sides."

NEAR_PX = 1.0
"""Distance from the upper left corner, along each axis, that a share of a side never exceeds."""

UNMARKED = (-1.0, -1.0)
"""What many tools write for a point that nobody marked."""

MANY = 3
MANY_SHARE = 0.05
"""Rows, and share of the rows with that point, from which points at the corner are no chance."""


def check_coordinates(lines: Sequence[Line], kind: Kind, points: int, problems: Problems) -> None:
    """Add to `problems` where boxes or points are not in pixels or mark nothing.

    Args:
        lines: all rows.
        kind: of the task.
        points: number of points of a row, where it has points.
        problems: of the file.
    """
    match kind:
        case Kind.DETECT:
            _check_boxes(lines, problems)
        case Kind.REGRESS:
            for number in range(1, points + 1):
                _check_points(lines, f"point_{number}_xy", problems)
        case _:
            pass


def _check_boxes(lines: Sequence[Line], problems: Problems) -> None:
    boxes = {}
    for line in lines:
        corners = [number_of(line.cells[name]) for name in CORNERS]
        x_min, y_min, x_max, y_max = corners
        if x_min is None or y_min is None or x_max is None or y_max is None:
            continue
        if x_min < x_max and y_min < y_max:
            boxes[line.number] = (x_min, y_min, x_max, y_max)
    small = [number for number, box in boxes.items() if _smaller_than_a_pixel(box)]
    if small and len(small) == len(boxes):
        problems.add(0, f"every box is smaller than a pixel. {PIXELS}")
        return
    for number in small:
        said = ", ".join(f"{value:g}" for value in boxes[number])
        problems.add(number, f"the box ({said}) is smaller than a pixel. {PIXELS}")


def _smaller_than_a_pixel(box: tuple[float, float, float, float]) -> bool:
    x_min, y_min, x_max, y_max = box
    return x_max - x_min < 1 or y_max - y_min < 1 or max(x_max, y_max) <= NEAR_PX


def _check_points(lines: Sequence[Line], name: str, problems: Problems) -> None:
    found = {line.number: point_of(line.cells[name]) for line in lines}
    marked = {number: point for number, point in found.items() if point is not None}
    near = [n for n, (x, y) in marked.items() if max(abs(x), abs(y)) <= NEAR_PX]
    for number in near:
        if marked[number] == UNMARKED:
            problems.add(
                number, f"{name} is [-1, -1], which marks nothing. Leave it empty if nobody could."
            )
    at_corner = [number for number in near if marked[number] != UNMARKED]
    if at_corner and len(at_corner) >= max(min(MANY, len(marked)), MANY_SHARE * len(marked)):
        problems.add(
            at_corner[0],
            f"{name} lies within a pixel of the upper left corner, as in {len(at_corner)} of "
            f"{len(marked)} rows that have it. {PIXELS} Leave it empty where nobody could mark it.",
        )
