"""The picture of a report as shapes, labels and scale bars in image pixels, for every form.

The page draws it as SVG, the PDF as vectors; both show the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from reports.forms.overlay import naming
from reports.forms.overlay.palette import inks
from reports.forms.overlay.placing import Board, Place
from reports.forms.overlay.scale_bars import ScaleBar, scale_bars
from reports.forms.overlay.text import text_width
from reports.measure.geometry import Scale, area, box_of
from reports.measure.numbers import calibration_for
from reports.model import (
    Box,
    BoxEvidence,
    Evidence,
    MaskEvidence,
    Point,
    PointsEvidence,
    Report,
    Ring,
)

LINES_ACROSS, LINES_DOWN = 40.0, 30.0
"""Heights of text in an image's width and height; whichever gives the larger text counts."""

LARGE = 0.15
"""Share of the image from which a structure is large: a label may lie over it, not on its edge."""

ARC = 0.4
"""Radius of an angle's arc, as a share of its shorter side."""

ARC_ERROR_DEG = 2.0
"""The most that a drawn angle may differ from the measured one; beyond it no arc is drawn."""

LEADING = 1.25
"""Height of a label, in heights of its text."""

SMALL = 0.75
"""Size of a caliper's number, as a share of a label's."""

BESIDE = 1.2
"""Distance up to which a label stands beside the end of its line, in heights of a line of text."""

SAME_PLACE = 0.25
"""Distance up to which two crosses are one, in heights of a line of text."""

_ARC_STEPS = 32


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text on the image, its box, and the line that leads to what it names, if it is apart."""

    text: str
    box: Box
    size: float
    leader: tuple[Point, Point] | None = None


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One piece of evidence as it is drawn; `measured` lines have calipers at their ends."""

    evidence: Evidence
    structure: str
    ink: str
    rings: tuple[Ring, ...] = ()
    box: Box | None = None
    lines: tuple[tuple[Point, Point], ...] = ()
    arc: tuple[Point, ...] = ()
    marks: tuple[Point, ...] = ()
    labels: tuple[Label, ...] = ()

    @property
    def shows(self) -> bool:
        """Whether anything is drawn of it."""
        return bool(self.rings or self.box or self.lines or self.arc or self.marks)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that is drawn; `height` holds the image and the room for labels below it."""

    width: float
    height: float
    line: float
    shapes: tuple[Shape, ...]
    bars: tuple[ScaleBar, ...]

    @property
    def inks(self) -> dict[str, str]:
        """The colour of each structure that is drawn, in order."""
        return {shape.structure: shape.ink for shape in self.shapes}


def scene_of(report: Report) -> Scene:
    """Return what is drawn over the report's image; the same report gives the same scene."""
    image = report.image
    width, height = float(image.width_px), float(image.height_px)
    line = max(width / LINES_ACROSS, height / LINES_DOWN)
    board = Board(width=width, height=height, line=line)
    shapes = _once(shapes_of(report), line)
    for shape in shapes:
        _take(shape, board)
    bars = scale_bars(image, board, text_width("200 mm", 1.0))
    tags = _labels(shapes, report, board)
    lowest = max((label.box[3] for labels in tags.values() for label in labels), default=0.0)
    lowest = max([lowest, *(bar.y + 0.4 * line for bar in bars)])
    return Scene(
        width=width,
        height=height if lowest <= height else math.ceil(lowest + 0.4 * line),
        line=line,
        shapes=tuple(_tagged(shape, tags) for shape in shapes),
        bars=bars,
    )


def shapes_of(report: Report) -> list[Shape]:
    """Return the shapes of a report's evidence, without labels, in the order of the evidence."""
    names = naming.structures(report)
    colours = inks(names.values())
    return [
        _shape(item, names[item.id], colours[names[item.id]], report)
        for item in naming.drawn(report)
    ]


def _shape(item: Evidence, structure: str, ink: str, report: Report) -> Shape:
    shape = Shape(evidence=item, structure=structure, ink=ink)
    match item:
        case MaskEvidence():
            return replace(shape, rings=item.polygons)
        case BoxEvidence():
            return replace(shape, box=item.box)
        case PointsEvidence():
            return _of_points(shape, item, report)
    return shape


def _once(shapes: Sequence[Shape], line: float) -> list[Shape]:
    """Return the shapes without landmarks' crosses and lines where a measured line draws them."""

    def measured(shape: Shape) -> bool:
        item = shape.evidence
        return isinstance(item, PointsEvidence) and all(p.score is None for p in item.points)

    ends = [mark for shape in shapes if measured(shape) for mark in shape.marks]

    def drawn(point: Point) -> bool:
        return any(math.dist(point, end) <= SAME_PLACE * line for end in ends)

    return [
        shape
        if measured(shape)
        else replace(
            shape,
            marks=tuple(mark for mark in shape.marks if not drawn(mark)),
            lines=tuple(pair for pair in shape.lines if not all(map(drawn, pair))),
        )
        for shape in shapes
    ]


def _of_points(shape: Shape, item: PointsEvidence, report: Report) -> Shape:
    """Return lines between points: those of a pair, or those that a measurement is drawn through.

    Landmarks have scores; the points of a measurement have none.
    """
    places = [(point.x, point.y) for point in item.points]
    measured = all(point.score is None for point in item.points)
    frame = (float(report.image.width_px), float(report.image.height_px))
    joined = pairwise(places) if measured or len(places) == 2 else ()
    lines = tuple(cut for pair in joined if (cut := _clipped(*pair, frame)) is not None)
    angle = naming.angle_of(item, report)
    arc: tuple[Point, ...] = ()
    if angle is not None:
        arc = _arc(places, calibration_for(report.image, places).scale, angle)
    marks = () if naming.is_reference(item, report) else places
    inside = tuple(p for p in marks if 0 <= p[0] <= frame[0] and 0 <= p[1] <= frame[1])
    return replace(shape, lines=lines, arc=arc, marks=inside)


def _take(shape: Shape, board: Board) -> None:
    """Mark on the board what a shape covers."""
    frame = board.width * board.height
    if shape.rings:
        board.area(shape.rings, large=area(shape.rings) > LARGE * frame)
        board.keep_off(box_of(shape.rings))
    if shape.box is not None:
        x_min, y_min, x_max, y_max = shape.box
        ring = ((x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max))
        board.area((ring,), large=area((ring,)) > LARGE * frame)
        board.keep_off(shape.box)
    for path in (*shape.lines, shape.arc):
        board.path(path)
        if path:
            xs, ys = zip(*path, strict=True)
            board.keep_off((min(xs), min(ys), max(xs), max(ys)))
    for x, y in shape.marks:
        arm = board.line / 3
        board.path(((x - arm, y), (x + arm, y)))
        board.path(((x, y - arm), (x, y + arm)))


def _labels(
    shapes: Sequence[Shape], report: Report, board: Board
) -> Mapping[str, tuple[Label, ...]]:
    """Place the labels, those of measurements first, then the numbers of the calipers.

    An end beside which the label stands needs no number: the label begins with it.
    """
    numbers, texts = naming.calipers(report), naming.labels(report)
    found: dict[str, list[Label]] = {}

    def add(shape: Shape, text: str, size: float, anchors: Sequence[Point]) -> None:
        place: Place = board.place((text_width(text, size), LEADING * size), anchors)
        label = Label(text=text, box=place.box, size=size, leader=place.leader)
        found.setdefault(shape.evidence.id, []).append(label)

    for shape in sorted(shapes, key=lambda shape: bool(shape.rings) or shape.box is not None):
        text, anchors = texts.get(shape.evidence.id), _anchors(shape)
        if text is not None and anchors:  # none: the shape lies outside the image
            add(shape, text, board.line, anchors)
    for shape in shapes:
        number = numbers.get(shape.evidence.id)
        for mark in shape.marks if number is not None else ():
            if _apart(mark, found[shape.evidence.id][0].box) > BESIDE * board.line:
                add(shape, str(number), SMALL * board.line, (mark,))
    return {name: tuple(labels) for name, labels in found.items()}


def _apart(point: Point, box: Box) -> float:
    """Return the distance from a point to a box."""
    across = max(box[0] - point[0], 0.0, point[0] - box[2])
    return math.hypot(across, max(box[1] - point[1], 0.0, point[1] - box[3]))


def _anchors(shape: Shape) -> Sequence[Point]:
    """Return the points beside which the label of a shape may stand."""
    if shape.arc:
        return shape.arc[4:-4]
    if shape.rings:
        return shape.rings[0]
    if shape.box is not None:
        x_min, y_min, x_max, y_max = shape.box
        return [(x, y) for y in (y_min, y_max) for x in (x_min, (x_min + x_max) / 2, x_max)]
    return shape.marks or [point for line in shape.lines for point in line]


def _arc(places: Sequence[Point], scale: Scale, angle_deg: float) -> tuple[Point, ...]:
    """Return the arc around the middle point from the first to the last; empty if it is another.

    It turns the way whose angle is the measured one, which may be more than half a turn.
    """
    (x, y), sides = places[1], []
    for other in (places[0], places[2]):
        across, down = (other[0] - x) * scale[0], (other[1] - y) * scale[1]
        sides.append((math.hypot(across, down), math.atan2(down, across)))
    (first, start), (last, end) = sides
    radius, turn = ARC * min(first, last), (end - start) % math.tau
    turn = min((turn, turn - math.tau), key=lambda way: abs(abs(math.degrees(way)) - angle_deg))
    if abs(abs(math.degrees(turn)) - angle_deg) > ARC_ERROR_DEG or radius == 0:
        return ()
    steps = [start + turn * step / _ARC_STEPS for step in range(_ARC_STEPS + 1)]
    return tuple(
        (x + radius * math.cos(step) / scale[0], y + radius * math.sin(step) / scale[1])
        for step in steps
    )


def _clipped(start: Point, end: Point, frame: tuple[float, float]) -> tuple[Point, Point] | None:
    """Return the part of a line that lies in the frame; None: no part does."""
    first, last = 0.0, 1.0
    for at, to, size in zip(start, end, frame, strict=True):
        if at == to:
            if not 0 <= at <= size:
                return None
            continue
        one, other = -at / (to - at), (size - at) / (to - at)
        first, last = max(first, min(one, other)), min(last, max(one, other))
    if first > last:
        return None
    return _between(start, end, first), _between(start, end, last)


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _tagged(shape: Shape, tags: Mapping[str, tuple[Label, ...]]) -> Shape:
    return replace(shape, labels=tags.get(shape.evidence.id, ()))
