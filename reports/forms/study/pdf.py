"""The summary of a study as a PDF to print and file: what the page says, on A4, tagged."""

import io
from collections.abc import Callable, Sequence
from functools import partial

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import SimpleDocTemplate, Spacer

from reports.forms.pdf import style as look
from reports.forms.pdf.document import FRAME_PADDING, Furniture, furniture
from reports.forms.pdf.story import PAGE_MARGIN, PAGE_WIDTH, heading, lines
from reports.forms.pdf.tags import Element, TaggedCanvas
from reports.forms.study.rows import (
    all_values,
    comparison_rows,
    image_words,
    measurement_tables,
    title_of,
)
from reports.study.model import StudyReport
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

_Flow = list[object]


def to_pdf(report: StudyReport, code_version: str) -> bytes:
    """Return the PDF; the same summary gives the same bytes.

    `code_version` is that of the program, for the file's properties.
    """
    look.fonts()
    pages = 0

    def count(canvas: object, document: SimpleDocTemplate) -> None:
        nonlocal pages
        pages = document.page

    _build(report, code_version, count)
    around = Furniture(
        title="USTri summary of a study",
        which=f"Study {report.study.id}",
        status=report.status,
        synthetic=report.synthetic,
    )
    return _build(report, code_version, partial(furniture, around=around, of=pages))


def _build(report: StudyReport, code_version: str, on_page: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    root = Element("Document")
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=PAGE_MARGIN - FRAME_PADDING,
        rightMargin=PAGE_MARGIN - FRAME_PADDING,
        topMargin=23 * mm if report.synthetic else 15 * mm,
        bottomMargin=17 * mm,
        title=f"{title_of(report)}, summary",
        author="USTri",
        subject=NOT_FOR_CLINICAL_USE,
        creator=f"USTri {code_version}",
        lang="en",
        invariant=1,
    )
    document.build(
        _story(report, root),
        onFirstPage=on_page,
        onLaterPages=on_page,
        canvasmaker=partial(TaggedCanvas, root=root),
    )
    return buffer.getvalue()


def _story(report: StudyReport, root: Element) -> _Flow:
    limitations = [line for line in report.limitations if line != NOT_FOR_CLINICAL_USE]
    return [
        *_head(report, root),
        *_boxed("Summary", report.summary, root),
        *lines("To review", report.flags, root, bulleted=True),
        *_measurements(report, root),
        *_comparisons(report, root),
        *_images(report, root),
        *lines("Limitations", limitations, root, bulleted=True),
    ]


def _head(report: StudyReport, root: Element) -> _Flow:
    title = look.style(17, bold=True, ink=look.ACCENT)
    facts = [
        ("Images", str(len(report.images))),
        ("Received", f"{report.received_at[:16].replace('T', ' ')} UTC"),
        ("Status", str(report.status)),
        ("Outcome", str(report.outcome)),
    ]
    return [
        look.paragraph(root.add("H1"), title_of(report), title),
        Spacer(1, 4),
        look.pairs(root.add("P"), facts),
        Spacer(1, 5),
    ]


def _boxed(title: str, said: Sequence[str], root: Element) -> _Flow:
    if not said:
        return []
    edge = look.ACCENT
    words: _Flow = [look.paragraph(root.add("H2"), title, look.style(7.6, bold=True, ink=edge))]
    words += [look.paragraph(root.add("P"), line, look.style(10, bold=True)) for line in said]
    return [look.boxed(words, PAGE_WIDTH, edge, look.GROUND), Spacer(1, 7)]


def _measurements(report: StudyReport, root: Element) -> _Flow:
    parts: _Flow = []
    for table in measurement_tables(report):
        rows = [
            (row.name, row.taken, row.source, all_values(row.item.values), row.note)
            for row in table.rows
        ]
        widths = (36 * mm, 38 * mm, 15 * mm, 52 * mm, PAGE_WIDTH - 141 * mm)
        head = ("Measurement", "Taken", "From", "All values", "Note")
        name = look.paragraph(root.add("H3"), table.title, look.style(9, bold=True))
        parts += [name, Spacer(1, 2), look.ruled(root, head, rows, widths, bold=(1,))]
        if table.note:
            parts.append(look.paragraph(root.add("P"), table.note, look.style(7, ink=look.SOFT)))
        parts.append(Spacer(1, 5))
    return [*heading("Measurements", root), *parts] if parts else []


def _comparisons(report: StudyReport, root: Element) -> _Flow:
    rows = [
        (row.name, row.date, row.then, row.now, row.change, row.intervals)
        for row in comparison_rows(report)
    ]
    if not rows:
        return []
    widths = (36 * mm, 20 * mm, 36 * mm, 36 * mm, 20 * mm, PAGE_WIDTH - 148 * mm)
    head = ("Measurement", "Received", "Then", "Now", "Change", "Intervals")
    table = look.ruled(root, head, rows, widths, bold=(4,))
    return [*heading("Then and now", root), table, Spacer(1, 7)]


def _images(report: StudyReport, root: Element) -> _Flow:
    rows = [
        (
            str(image.number),
            image_words(image),
            " ".join(image.impression),
            "" if image.report_id is None else f"{image.report_id}, version {image.version}",
        )
        for image in report.images
    ]
    widths = (8 * mm, 42 * mm, 84 * mm, PAGE_WIDTH - 134 * mm)
    head = ("#", "Image", "Impression", "Report")
    return [*heading("Images", root), look.ruled(root, head, rows, widths), Spacer(1, 7)]
