"""The analysed frame for the PDF, with all that the page draws over it as vectors."""

import io
from collections.abc import Sequence

import PIL.Image
from reportlab.graphics.shapes import (
    FILL_EVEN_ODD,
    Drawing,
    Group,
    Image,
    Path,
    PolyLine,
    Rect,
    String,
)
from reportlab.lib.colors import Color, HexColor, black, white
from reportlab.pdfbase.pdfmetrics import stringWidth

from reports.forms.overlay.scale_bars import ScaleBar
from reports.forms.overlay.scene import Label, Scene, Shape
from reports.forms.pdf.style import REGULAR, fonts, shown
from reports.forms.pdf.tags import Element, Figure
from reports.model import Box, Point

_ARM_LINES = 0.33
_GROUND = Color(0, 0, 0, alpha=0.55)


def picture(scene: Scene, png: bytes, element: Element, limit_pt: tuple[float, float]) -> Figure:
    """Draw the frame with its overlays, as large as a limit of (width, height) allows."""
    fonts()
    scale = min(limit_pt[0] / scene.width, limit_pt[1] / scene.height)
    drawing = Drawing(scene.width * scale, scene.height * scale)
    with PIL.Image.open(io.BytesIO(png), formats=("PNG",)) as frame:
        drawing.add(Rect(0, 0, drawing.width, drawing.height, fillColor=black, strokeColor=None))
        tall = scale * scene.width * frame.height / frame.width
        drawing.add(Image(0, drawing.height - tall, drawing.width, tall, frame.convert("RGB")))
    pen = _Pen(scale, drawing.height, scene.line)
    kinds = ("mask", "box", "points")
    for shape in sorted(scene.shapes, key=lambda shape: kinds.index(shape.evidence.kind)):
        drawing.add(pen.shape(shape))
    for bar in scene.bars:
        drawing.add(pen.bar(bar))
    for shape in scene.shapes:
        for label in shape.labels:
            drawing.add(pen.label(label, HexColor(shape.ink)))
    return Figure(drawing, element)


class _Pen:
    """Shapes from image coordinates, where y points down; on paper it points up."""

    def __init__(self, scale: float, height_pt: float, line: float) -> None:
        self._scale = scale
        self._height_pt = height_pt
        self._line = line

    def shape(self, shape: Shape) -> Group:
        ink, group = HexColor(shape.ink), Group()
        if shape.rings:
            tint = Color(ink.red, ink.green, ink.blue, alpha=0.1)
            edge = Path(fillColor=tint, strokeColor=ink, strokeWidth=1.1, fillMode=FILL_EVEN_ODD)
            for ring in shape.rings:
                for index, point in enumerate(ring):
                    (edge.lineTo if index else edge.moveTo)(*self._at(point))
                edge.closePath()
            group.add(edge)
        if shape.box is not None:
            frame = self._rect(shape.box, fillColor=None, strokeColor=ink, strokeWidth=0.9)
            frame.strokeDashArray = [4, 2.5]
            group.add(frame)
        for line in shape.lines:
            group.add(self._stroke(line, ink, 0.9, dashes=[1.6, 2]))
        if shape.arc:
            group.add(self._stroke(shape.arc, ink, 1.2))
        arm = _ARM_LINES * self._line
        for x, y in shape.marks:
            group.add(self._stroke(((x - arm, y), (x + arm, y)), ink, 1.1))
            group.add(self._stroke(((x, y - arm), (x, y + arm)), ink, 1.1))
        return group

    def label(self, label: Label, ink: Color) -> Group:
        """Return a text with a dark ground that keeps it legible on any tissue."""
        group = Group()
        if label.leader is not None:
            group.add(self._stroke(label.leader, ink, 0.5))
        middle = (label.box[0] + label.box[2]) / 2
        half = (stringWidth(shown(label.text), REGULAR, label.size) + 0.3 * label.size) / 2
        ground = (middle - half, label.box[1], middle + half, label.box[3])
        group.add(self._rect(ground, fillColor=_GROUND, strokeColor=None))
        group.add(
            self._text((middle, label.box[1] + 0.97 * label.size), label, ink, anchor="middle")
        )
        return group

    def bar(self, bar: ScaleBar) -> Group:
        corners = ((bar.x, bar.y - bar.depth_px), (bar.x, bar.y), (bar.x + bar.across_px, bar.y))
        size = 0.9 * self._line
        label = Label(text=bar.text, box=(0, 0, 0, 0), size=size)
        return Group(
            self._stroke(corners, white, 1.3), self._text(bar.text_at, label, white, anchor="start")
        )

    def _text(self, at: Point, label: Label, ink: Color, *, anchor: str) -> String:
        x, y = self._at(at)
        size = label.size * self._scale
        text = String(x, y, shown(label.text), fontName=REGULAR, fontSize=size, textAnchor=anchor)
        text.fillColor = ink
        return text

    def _stroke(
        self,
        points: Sequence[Point],
        ink: Color,
        width: float,
        dashes: Sequence[float] | None = None,
    ) -> PolyLine:
        flat = [value for point in points for value in self._at(point)]
        return PolyLine(flat, strokeColor=ink, strokeWidth=width, strokeDashArray=dashes)

    def _rect(self, box: Box, **look: object) -> Rect:
        x_min, y_min, x_max, y_max = box
        left, bottom = self._at((x_min, y_max))
        return Rect(
            left, bottom, (x_max - x_min) * self._scale, (y_max - y_min) * self._scale, **look
        )

    def _at(self, point: Point) -> tuple[float, float]:
        return point[0] * self._scale, self._height_pt - point[1] * self._scale
