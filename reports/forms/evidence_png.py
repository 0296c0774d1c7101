"""The evidence behind one statement, as a PNG: a crop, a mask or points on the frame, or bars."""

import io
import math

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont

from reports.forms.overlay.naming import structures
from reports.forms.overlay.palette import SKY, inks
from reports.measure.geometry import rasterize
from reports.model import (
    Box,
    BoxEvidence,
    Evidence,
    MaskEvidence,
    PointsEvidence,
    Report,
    Ring,
    ScoresEvidence,
)

_BACK = (18, 20, 24)
_INK = (235, 235, 235)
_BAR_PX = (360, 26)
_LABEL_PX = 150


_Ink = tuple[int, int, int]


def draw(evidence: Evidence, report: Report, frame_png: bytes) -> bytes:
    """Draw a report's evidence as a PNG; except for scores, in the pixels of the frame.

    It has the colour that its structure has in the report's picture.
    """
    ink = _ink(evidence, report)
    match evidence:
        case ScoresEvidence():
            return _png(_bars(evidence.scores, ink))
        case BoxEvidence():
            return _png(_frame(frame_png).crop(_outwards(evidence.box, _frame(frame_png).size)))
        case MaskEvidence():
            return _png(_masked(_frame(frame_png), evidence.polygons, ink))
        case PointsEvidence():
            return _png(_pointed(_frame(frame_png), evidence, ink))


def _ink(evidence: Evidence, report: Report) -> _Ink:
    """Return the colour of the evidence's structure; scores, which are of none, have the first."""
    names = structures(report)
    text = inks(names.values())[names[evidence.id]] if evidence.id in names else SKY
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _frame(frame_png: bytes) -> PIL.Image.Image:
    with PIL.Image.open(io.BytesIO(frame_png), formats=("PNG",)) as picture:
        return picture.convert("RGB")


def _outwards(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the whole pixels that the box touches, at least one, within the frame."""
    left = min(max(math.floor(box[0]), 0), size[0] - 1)
    top = min(max(math.floor(box[1]), 0), size[1] - 1)
    right = max(min(math.ceil(box[2]), size[0]), left + 1)
    bottom = max(min(math.ceil(box[3]), size[1]), top + 1)
    return left, top, right, bottom


def _masked(frame: PIL.Image.Image, polygons: tuple[Ring, ...], ink: _Ink) -> PIL.Image.Image:
    pixels = np.asarray(frame, dtype=np.float32)
    mask = rasterize(polygons, frame.width, frame.height)
    tinted = np.where(mask[..., None], 0.65 * pixels + 0.35 * np.array(ink), pixels)
    picture = PIL.Image.fromarray(np.rint(tinted).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for ring in polygons:
        # Pillow's coordinates are of pixel centres, the report's of pixel corners.
        outline = [(x - 0.5, y - 0.5) for x, y in (*ring, ring[0])]
        pen.line(outline, fill=ink, width=_width(frame))
    return picture


def _pointed(frame: PIL.Image.Image, evidence: PointsEvidence, ink: _Ink) -> PIL.Image.Image:
    pen = ImageDraw.Draw(frame)
    width = _width(frame)
    radius = 3 * width
    font = ImageFont.load_default(12.0 * width)
    for point in evidence.points:
        x, y = point.x - 0.5, point.y - 0.5
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink, width=width)
        pen.text((x + 1.5 * radius, y - radius), point.name, fill=ink, font=font)
    return frame


def _bars(scores: dict[str, float], ink: _Ink) -> PIL.Image.Image:
    width, height = _BAR_PX
    picture = PIL.Image.new("RGB", (_LABEL_PX + width + 70, height * len(scores) + 12), _BACK)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(14.0)
    for row, (label, score) in enumerate(scores.items()):
        top = 6 + row * height
        pen.text((10, top + 4), label, fill=_INK, font=font)
        pen.rectangle((_LABEL_PX, top + 4, _LABEL_PX + width, top + height - 4), outline=_INK)
        if score > 0:
            end = _LABEL_PX + round(width * score)
            pen.rectangle((_LABEL_PX, top + 4, end, top + height - 4), fill=ink)
        pen.text((_LABEL_PX + width + 10, top + 4), f"{score:.3f}", fill=_INK, font=font)
    return picture


def _width(frame: PIL.Image.Image) -> int:
    return max(1, round(max(frame.size) / 500))


def _png(picture: PIL.Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
