"""A report as a PDF to print, sign and file: what the page says, in its order, on A4, tagged."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from reportlab.lib.colors import black
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import SimpleDocTemplate

from reports.forms.overlay.scene import Scene, scene_of
from reports.forms.pdf import style as look
from reports.forms.pdf.story import PAGE_MARGIN, PAGE_WIDTH, story_of
from reports.forms.pdf.tags import Element, TaggedCanvas
from reports.model import Report, Status
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

SYNTHETIC = "SYNTHETIC TEST IMAGE: drawn by a program, it shows no patient."

FRAME_PADDING = 6
"""What reportlab keeps free inside a frame, in points."""

_STATUSES = {
    Status.PRELIMINARY: "PRELIMINARY: not reviewed by a clinician",
    Status.FINAL: "FINAL",
    Status.AMENDED: "AMENDED",
}


def to_pdf(report: Report, png: bytes) -> bytes:
    """Return the PDF; `png` is the analysed frame.

    The same report and frame give the same bytes.
    """
    look.fonts()
    scene, pages = scene_of(report), 0

    def count(canvas: object, document: SimpleDocTemplate) -> None:
        nonlocal pages
        pages = document.page

    _build(report, scene, png, count)
    around = Furniture(
        title="USTri ultrasound report",
        which=f"Report {report.report_id}, version {report.version}",
        status=report.status,
        synthetic=report.image.synthetic,
    )
    return _build(report, scene, png, partial(furniture, around=around, of=pages))


def _build(report: Report, scene: Scene, png: bytes, on_page: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    root = Element("Document")
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=PAGE_MARGIN - FRAME_PADDING,
        rightMargin=PAGE_MARGIN - FRAME_PADDING,
        topMargin=23 * mm if report.image.synthetic else 15 * mm,
        bottomMargin=17 * mm,
        title=f"{report.exam.title}, report {report.report_id}",
        author="USTri",
        subject=NOT_FOR_CLINICAL_USE,
        creator=f"USTri {report.provenance.code_version}",
        lang="en",
        invariant=1,
    )
    document.build(
        story_of(report, scene, png, root),
        onFirstPage=on_page,
        onLaterPages=on_page,
        canvasmaker=partial(TaggedCanvas, root=root),
    )
    return buffer.getvalue()


@dataclass(frozen=True, kw_only=True)
class Furniture:
    """What stands on every page: the kind of document, which one it is, and its status."""

    title: str
    which: str
    status: Status
    synthetic: bool


def furniture(
    canvas: TaggedCanvas, document: SimpleDocTemplate, *, around: Furniture, of: int
) -> None:
    """Draw what stands on every page: whose report, which page, and the notice on clinical use."""
    height = A4[1]
    draw = _Pen(canvas)
    with canvas.marked(None):
        if around.synthetic:
            draw.band(height - 13 * mm, 8 * mm, SYNTHETIC)
        top = height - (18 if around.synthetic else 10) * mm
        draw.text(PAGE_MARGIN, top, around.title, look.BOLD, 8, look.ACCENT)
        draw.right(top, around.which)
        draw.line(top - 4)
        draw.line(14 * mm)
        draw.text(PAGE_MARGIN, 10.5 * mm, NOT_FOR_CLINICAL_USE, look.BOLD, 7, look.BAD)
        draw.right(10.5 * mm, f"Page {document.page} of {of}")
        draw.text(PAGE_MARGIN, 7 * mm, _STATUSES[around.status], look.REGULAR, 6.5, look.SOFT)


class _Pen:
    """The few text and line operations of a page's furniture."""

    def __init__(self, canvas: Any) -> None:
        self._canvas = canvas

    def text(self, x: float, y: float, text: str, font: str, size: float, ink: object) -> None:
        self._canvas.setFont(font, size)
        self._canvas.setFillColor(ink)
        self._canvas.drawString(x, y, look.shown(text))

    def right(self, y: float, text: str) -> None:
        self._canvas.setFont(look.REGULAR, 7)
        self._canvas.setFillColor(look.SOFT)
        self._canvas.drawRightString(PAGE_MARGIN + PAGE_WIDTH, y, look.shown(text))

    def line(self, y: float) -> None:
        self._canvas.setStrokeColor(look.RULE)
        self._canvas.setLineWidth(0.6)
        self._canvas.line(PAGE_MARGIN, y, PAGE_MARGIN + PAGE_WIDTH, y)

    def band(self, y: float, height: float, text: str) -> None:
        self._canvas.setFillColor(look.LOUD)
        self._canvas.rect(0, y, A4[0], height, stroke=0, fill=1)
        self._canvas.setFillColor(black)
        self._canvas.setFont(look.BOLD, 11)
        self._canvas.drawCentredString(A4[0] / 2, y + height / 2 - 4, text)
