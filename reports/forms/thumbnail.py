"""A small picture of a report: the analysed frame with its outlines, boxes and lines, no text."""

import io
from collections.abc import Sequence

import PIL.Image
from PIL import ImageDraw

from reports.forms.overlay.scene import Shape, shapes_of
from reports.model import Point, Report

COLOURS = 64
"""Colours of the file, which halves it; greys of speckle need no more at this size."""

LINE_PX = 2


def to_thumbnail(report: Report | None, frame_png: bytes, most_px: tuple[int, int]) -> bytes:
    """Return the frame as a PNG within that width and height, with what a report found drawn on it.

    Without a report, it is the frame alone.
    """
    with PIL.Image.open(io.BytesIO(frame_png), formats=("PNG",)) as frame:
        scale = min(1.0, *(most / size for most, size in zip(most_px, frame.size, strict=True)))
        size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
        small = frame.convert("L").resize(size, PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    shapes = [] if report is None else [shape for shape in shapes_of(report) if shape.shows]
    if shapes:
        small = small.convert("RGB")
        pen = ImageDraw.Draw(small)
        for shape in shapes:
            for path in _paths(shape):
                # Pillow's coordinates are of pixel centres, the report's of pixel corners.
                line = [(x * scale - 0.5, y * scale - 0.5) for x, y in path]
                pen.line(line, fill=shape.ink, width=LINE_PX, joint="curve")
        small = small.quantize(COLOURS, PIL.Image.Quantize.MEDIANCUT)
    file = io.BytesIO()
    small.save(file, format="PNG")
    return file.getvalue()


def _paths(shape: Shape) -> list[Sequence[Point]]:
    """Return what is drawn of a shape as open paths in image pixels."""
    paths: list[Sequence[Point]] = [(*ring, ring[0]) for ring in shape.rings]
    if shape.box is not None:
        left, top, right, bottom = shape.box
        corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
        paths.append(corners)
    return [*paths, *shape.lines, *([shape.arc] if shape.arc else [])]
