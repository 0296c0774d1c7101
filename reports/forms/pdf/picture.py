"""The analysed frame for the PDF, with boxes, outlines and points as vectors over the pixels."""

import io
from collections.abc import Sequence

import PIL.Image
from reportlab.graphics.shapes import (
    FILL_EVEN_ODD,
    Drawing,
    Group,
    Image,
    Line,
    Path,
    Rect,
    String,
)
from reportlab.lib.colors import Color, HexColor, black

from reports.measure.geometry import box_of
from reports.model import BoxEvidence, MaskEvidence, Point, PointsEvidence, Report, Ring

MASK, BOX, POINTS = HexColor("#00b8cc"), HexColor("#ff9d00"), HexColor("#c3ee1c")
_ARM_PT = 3.2
_LABEL_PT = 6.5


def picture(report: Report, png: bytes, width_pt: float, height_pt: float) -> Drawing:
    """Draw the frame with its overlays, as large as the two limits allow."""
    info = report.image
    scale = min(width_pt / info.width_px, height_pt / info.height_px)
    drawing = Drawing(info.width_px * scale, info.height_px * scale)
    with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as frame:
        drawing.add(Image(0, 0, drawing.width, drawing.height, frame.convert("RGB")))
    overlays = _Overlays(scale, drawing.height)
    for item in report.evidence:
        if isinstance(item, MaskEvidence):
            drawing.add(overlays.outline(item.polygons))
    for item in report.evidence:
        if isinstance(item, BoxEvidence):
            drawing.add(overlays.box(item))
    for item in report.evidence:
        if isinstance(item, PointsEvidence):
            drawing.add(overlays.points(item))
    for item in report.evidence:
        if isinstance(item, MaskEvidence):
            x_min, _, _, y_max = box_of(item.polygons)
            drawing.add(overlays.label(item.id, (x_min, y_max), MASK))
    return drawing


class _Overlays:
    """Shapes from image coordinates, where y points down; on paper it points up."""

    def __init__(self, scale: float, height_pt: float) -> None:
        self._scale = scale
        self._height_pt = height_pt

    def outline(self, polygons: Sequence[Ring]) -> Path:
        tint = Color(MASK.red, MASK.green, MASK.blue, alpha=0.14)
        path = Path(fillColor=tint, strokeColor=MASK, strokeWidth=1.1, fillMode=FILL_EVEN_ODD)
        for ring in polygons:
            for index, point in enumerate(ring):
                (path.lineTo if index else path.moveTo)(*self._at(point))
            path.closePath()
        return path

    def box(self, item: BoxEvidence) -> Group:
        x_min, y_min, x_max, y_max = item.box
        left, bottom = self._at((x_min, y_max))
        size = ((x_max - x_min) * self._scale, (y_max - y_min) * self._scale)
        frame = Rect(left, bottom, *size, fillColor=None, strokeColor=BOX, strokeWidth=1.1)
        frame.strokeDashArray = [4, 2.5]
        return Group(frame, self.label(item.id, (x_min, y_min), BOX, above=True))

    def points(self, item: PointsEvidence) -> Group:
        places = [self._at((point.x, point.y)) for point in item.points]
        group = Group()
        if len(places) == 2:
            dashes = [1.2, 1.8]
            group.add(
                Line(
                    *places[0],
                    *places[1],
                    strokeColor=POINTS,
                    strokeWidth=0.8,
                    strokeDashArray=dashes,
                )
            )
        for x, y in places:
            for dx, dy in ((_ARM_PT, 0.0), (0.0, _ARM_PT)):
                group.add(Line(x - dx, y - dy, x + dx, y + dy, strokeColor=POINTS, strokeWidth=1.0))
        if item.points:
            last = item.points[-1]
            group.add(self.label(item.id, (last.x, last.y), POINTS))
        return group

    def label(self, text: str, at: Point, ink: Color, *, above: bool = False) -> Group:
        """Return a tag beside a point, with a background that keeps it legible on any tissue."""
        x, y = self._at(at)
        width = 0.62 * _LABEL_PT * len(text) + 3
        low = y + 2 if above else y - _LABEL_PT - 4
        low = min(max(low, 0.0), self._height_pt - _LABEL_PT - 2)
        ground = Rect(x, low, width, _LABEL_PT + 2, fillColor=black, strokeColor=None)
        name = String(x + 1.5, low + 2, text, fontName="Vera-Bold", fontSize=_LABEL_PT)
        name.fillColor = ink
        return Group(ground, name)

    def _at(self, point: Point) -> tuple[float, float]:
        return point[0] * self._scale, self._height_pt - point[1] * self._scale
