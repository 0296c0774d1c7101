"""Where labels stand: off the structures, the lines and each other, inside the frame, and near.

A board of cells holds what is taken. A label goes to the free place with the least cost: its
distance to what it names, more where it lies over a large structure, which may fill the image, and
most under the image, where there is always room.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from reports.measure.geometry import rasterize
from reports.model import Box, Point, Ring

CELLS_PER_LINE = 5
"""Cells in the height of a line of text."""

OVER_LARGE = 6.0
UNDER_IMAGE = 30.0
"""Costs of a place over a large structure and under the image, in heights of a line."""

LEADER_FROM = 0.8
"""Distance between a label and what it names from which a line joins them, in heights of a line."""

_TRIES = 60
_ANCHORS = 24

_Cells = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a label stands, and the line to what it names, if it stands apart from it."""

    box: Box
    leader: tuple[Point, Point] | None


@dataclass
class Board:
    """The cells of a frame, with room for labels below it; lengths are in image pixels.

    `taken` is never covered; `large` may be, at a cost; `anatomy` is what a scale bar keeps off.
    """

    width: float
    height: float
    line: float
    taken: _Cells = field(init=False)
    large: _Cells = field(init=False)
    anatomy: _Cells = field(init=False)
    labels: _Cells = field(init=False)

    def __post_init__(self) -> None:
        """Free every cell."""
        self.cell = self.line / CELLS_PER_LINE
        below = self.height + 40 * self.line
        shape = (math.ceil(below / self.cell), max(math.floor(self.width / self.cell), 1))
        self.taken, self.large, self.anatomy, self.labels = (
            np.zeros(shape, dtype=np.bool_) for _ in range(4)
        )

    def area(self, rings: Sequence[Ring], *, large: bool) -> None:
        """Take the inside of an outline; of a large one, its border alone."""
        scaled = [np.asarray(ring, dtype=np.float64) / self.cell for ring in rings]
        inside = rasterize(scaled, self.taken.shape[1], self.taken.shape[0])
        (self.large if large else self.taken)[inside] = True
        for ring in rings:
            self.path((*ring, ring[0]))

    def path(self, points: Sequence[Point]) -> None:
        """Take the cells of a line through the points, and their neighbours."""
        cells = self._along(points)
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                self._set(self.taken, cells + np.array((down, right)))

    def keep_off(self, box: Box) -> None:
        """Keep scale bars off a box."""
        self.anatomy[self._span(box)] = True

    def is_free(self, box: Box, *, bar: bool = False) -> bool:
        """Return whether nothing is in a box; for a scale bar, no structure either."""
        span = self._span(box)
        if bar and (self.anatomy[span].any() or self.large[span].any()):
            return False
        return not self.taken[span].any()

    def fill(self, box: Box) -> None:
        """Take a box, with a margin of one cell, as a label."""
        x_min, y_min, x_max, y_max = box
        grown = (x_min - self.cell, y_min - self.cell, x_max + self.cell, y_max + self.cell)
        self.taken[self._span(grown)] = True
        self.labels[self._span(box)] = True

    def place(self, size: tuple[float, float], anchors: Sequence[Point]) -> Place:
        """Return the best free place of a label of (width, height) that names what is there.

        The place is taken, and so is the line that leads to it.
        """
        wide, tall = (math.ceil(length / self.cell) for length in size)
        rows, columns = self.taken.shape
        wide = min(wide, columns)
        near = np.asarray(_some(anchors), dtype=np.float64) / self.cell
        apart = _distances(rows - tall + 1, columns - wide + 1, (wide, tall), near)
        line = float(CELLS_PER_LINE)
        cost = apart + OVER_LARGE * line * (_covered(self.large, wide, tall) > 0)
        bottoms = np.arange(rows - tall + 1) + tall
        cost[bottoms > self.height / self.cell] += UNDER_IMAGE * line
        cost[_covered(self.taken, wide, tall) > 0] = np.inf
        best = self._best(cost, (wide, tall), near)
        self.fill(best.box)
        if best.leader is not None:
            self._set(self.taken, self._along(best.leader))
        return best

    def _best(
        self, cost: npt.NDArray[np.float64], size: tuple[int, int], near: npt.NDArray[np.float64]
    ) -> Place:
        """Return the first of the cheapest places whose leader crosses no label."""
        order = np.argsort(cost, axis=None, kind="stable")[:_TRIES]
        for index in order:
            place = self._at(int(index), cost.shape[1], size, near)
            if place.leader is None:
                return place
            if not self.labels[self._inside(self._along(place.leader))].any():
                return place
        return self._at(int(order[0]), cost.shape[1], size, near)

    def _at(
        self, index: int, columns: int, size: tuple[int, int], near: npt.NDArray[np.float64]
    ) -> Place:
        row, column = divmod(index, columns)
        box = (column, row, column + size[0], row + size[1])
        met = np.clip(near, box[:2], box[2:])
        gaps = np.hypot(*(near - met).T)
        closest = int(gaps.argmin())
        leader = None
        if gaps[closest] > LEADER_FROM * CELLS_PER_LINE:
            start, end = met[closest] * self.cell, near[closest] * self.cell
            leader = ((float(start[0]), float(start[1])), (float(end[0]), float(end[1])))
        x_min, y_min, x_max, y_max = (value * self.cell for value in box)
        return Place(box=(x_min, y_min, x_max, y_max), leader=leader)

    def _along(self, points: Sequence[Point]) -> npt.NDArray[np.int64]:
        """Return (N, 2) rows and columns of the cells along a line."""
        found = [np.asarray([points[0]], dtype=np.float64)] if points else []
        for start, end in zip(points, points[1:], strict=False):
            steps = max(2, math.ceil(2 * math.dist(start, end) / self.cell))
            found.append(np.linspace(start, end, steps))
        path = np.concatenate(found) if found else np.empty((0, 2))
        return np.floor(path[:, ::-1] / self.cell).astype(np.int64)

    def _inside(self, cells: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
        rows, columns = cells.T
        shown = (rows >= 0) & (columns >= 0)
        shown &= (rows < self.taken.shape[0]) & (columns < self.taken.shape[1])
        return rows[shown], columns[shown]

    def _set(self, board: _Cells, cells: npt.NDArray[np.int64]) -> None:
        board[self._inside(cells)] = True

    def _span(self, box: Box) -> tuple[slice, slice]:
        """Return the cells that a box touches."""
        x_min, y_min, x_max, y_max = (value / self.cell for value in box)
        return (
            slice(max(math.floor(y_min + 1e-6), 0), max(math.ceil(y_max - 1e-6), 0)),
            slice(max(math.floor(x_min + 1e-6), 0), max(math.ceil(x_max - 1e-6), 0)),
        )


def _some(anchors: Sequence[Point]) -> Sequence[Point]:
    """Return so many of the points, evenly spread."""
    step = max(1, math.ceil(len(anchors) / _ANCHORS))
    return anchors[::step]


def _distances(
    rows: int, columns: int, size: tuple[int, int], near: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return (rows, columns): how far a box with that corner is from the nearest anchor."""
    parts = []
    for count, extent, at in zip((columns, rows), size, near.T, strict=True):
        low = np.arange(count)[:, None]
        parts.append(np.maximum(np.maximum(low - at, at - low - extent), 0) ** 2)
    apart: npt.NDArray[np.float64] = np.sqrt((parts[1][:, None] + parts[0][None]).min(axis=2))
    return apart


def _covered(board: _Cells, wide: int, tall: int) -> npt.NDArray[np.int64]:
    """Return how many set cells a box of that size covers, by its upper left corner."""
    total = np.pad(board.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return (  # type: ignore[no-any-return]
        total[tall:, wide:] - total[:-tall, wide:] - total[tall:, :-wide] + total[:-tall, :-wide]
    )
