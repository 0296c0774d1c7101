"""A report as a PDF to print, sign and file: the same sentences as every other form, on A4."""

import io
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from reportlab.lib.colors import black
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import (
    CondPageBreak,
    HRFlowable,
    KeepTogether,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from reports.forms.pdf import style as look
from reports.forms.pdf.picture import picture
from reports.measure.intervals import caveat
from reports.model import (
    Finding,
    FindingState,
    Measurement,
    MeasurementState,
    Outcome,
    Report,
    Status,
)
from reports.wording import NOT_FOR_CLINICAL_USE, digits, exam_basis

SYNTHETIC = "SYNTHETIC TEST IMAGE: drawn by a program, it shows no patient."

_MARGIN = 16 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_FRAME_PADDING = 6
"""What reportlab keeps free inside a frame, in points."""

_PICTURE_HEIGHT = 78 * mm
_STATES = {
    FindingState.FOUND: "Found",
    FindingState.NOT_FOUND: "Not found",
    FindingState.NOT_ASSESSED: "Not assessed",
}
_STATUSES = {
    Status.PRELIMINARY: "PRELIMINARY: not reviewed by a clinician",
    Status.FINAL: "FINAL",
    Status.AMENDED: "AMENDED",
}
_Flow = list[object]


def to_pdf(report: Report, png: bytes) -> bytes:
    """Return the PDF; `png` is the analysed frame.

    The same report and frame give the same bytes.
    """
    look.fonts()
    pages = 0

    def count(canvas: object, document: SimpleDocTemplate) -> None:
        nonlocal pages
        pages = document.page

    _build(report, png, count)
    return _build(report, png, partial(_furniture, report=report, of=pages))


def _build(report: Report, png: bytes, on_page: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=_MARGIN - _FRAME_PADDING,
        rightMargin=_MARGIN - _FRAME_PADDING,
        topMargin=25 * mm if report.image.synthetic else 18 * mm,
        bottomMargin=18 * mm,
        title=f"{report.exam.title}, report {report.report_id}",
        author="USTri",
        subject=NOT_FOR_CLINICAL_USE,
        creator=f"USTri {report.provenance.code_version}",
        lang="en",
        invariant=1,
    )
    document.build(_story(report, png), onFirstPage=on_page, onLaterPages=on_page)
    return buffer.getvalue()


def _story(report: Report, png: bytes) -> _Flow:
    return [
        *_head(report),
        *_outcome(report),
        *_impression(report),
        *_picture(report, png),
        *_findings(report),
        *_measurements(report),
        *_checks(report),
        *_section("Limitations", [look.bullets(report.limitations)] if report.limitations else []),
        *_signature(report),
        *_provenance(report),
    ]


def _furniture(canvas: Any, document: SimpleDocTemplate, *, report: Report, of: int) -> None:
    """Draw what stands on every page: whose report, which page, and the notice on clinical use."""
    width, height = A4
    draw = _Pen(canvas)
    if report.image.synthetic:
        draw.band(height - 13 * mm, 8 * mm, SYNTHETIC)
    top = height - (18 if report.image.synthetic else 11) * mm
    draw.text(_MARGIN, top, "USTri ultrasound report", look.BOLD, 8, look.ACCENT)
    draw.right(width - _MARGIN, top, f"Report {report.report_id}, version {report.version}")
    draw.line(_MARGIN, top - 4, width - _MARGIN)
    draw.line(_MARGIN, 14 * mm, width - _MARGIN)
    draw.text(_MARGIN, 10.5 * mm, NOT_FOR_CLINICAL_USE, look.BOLD, 7, look.BAD)
    draw.right(width - _MARGIN, 10.5 * mm, f"Page {document.page} of {of}")
    draw.text(_MARGIN, 7 * mm, _STATUSES[report.status], look.REGULAR, 6.5, look.SOFT)


class _Pen:
    """The few text and line operations of a page's furniture."""

    def __init__(self, canvas: Any) -> None:
        self._canvas = canvas

    def text(self, x: float, y: float, text: str, font: str, size: float, ink: object) -> None:
        self._canvas.setFont(font, size)
        self._canvas.setFillColor(ink)
        self._canvas.drawString(x, y, look.shown(text))

    def right(self, x: float, y: float, text: str) -> None:
        self._canvas.setFont(look.REGULAR, 7)
        self._canvas.setFillColor(look.SOFT)
        self._canvas.drawRightString(x, y, look.shown(text))

    def line(self, x: float, y: float, to: float) -> None:
        self._canvas.setStrokeColor(look.RULE)
        self._canvas.setLineWidth(0.6)
        self._canvas.line(x, y, to, y)

    def band(self, y: float, height: float, text: str) -> None:
        self._canvas.setFillColor(look.LOUD)
        self._canvas.rect(0, y, A4[0], height, stroke=0, fill=1)
        self._canvas.setFillColor(black)
        self._canvas.setFont(look.BOLD, 11)
        self._canvas.drawCentredString(A4[0] / 2, y + height / 2 - 4, text)


def _head(report: Report) -> _Flow:
    image = report.image
    frame = "" if image.frame is None else f", frame {image.frame} (from 0)"
    spacing = "not known"
    if image.spacing_mm is not None:
        spacing = f"{image.spacing_mm.x:.4g} × {image.spacing_mm.y:.4g} mm per px"
        spacing += f" ({image.spacing_source})" if image.spacing_source else ""
    elif any(region.spacing_mm for region in image.regions):
        spacing = f"by region ({image.spacing_source or 'stated by the source'})"
    facts = [
        ("Status", _STATUSES[report.status]),
        ("Report made", f"{datetime.fromisoformat(report.created_at):%Y-%m-%d %H:%M %Z}"),
        ("Exam", exam_basis(report.exam)),
        ("External id", report.external_id or "none given"),
        ("Patient", "not held by this software: file by the external id or the analysis"),
        ("Analysis", report.analysis_id),
        ("Image", f"{image.width_px} × {image.height_px} px{frame}"),
        ("Pixel spacing", spacing),
    ]
    if report.supersedes:
        facts += [("Supersedes", report.supersedes), ("", "")]
    key, value = look.style(6.8, ink=look.SOFT), look.style(7.8)
    cells = [
        [
            look.paragraph(text, kind)
            for pair in row
            for text, kind in zip(pair, (key, value), strict=True)
        ]
        for row in zip(facts[::2], facts[1::2], strict=True)
    ]
    grid = Table(cells, colWidths=[22 * mm, _WIDTH / 2 - 22 * mm] * 2, hAlign="LEFT")
    grid.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ]
        )
    )
    title = look.paragraph(report.exam.title, look.style(17, bold=True, ink=look.ACCENT))
    return [title, Spacer(1, 4), grid, Spacer(1, 6)]


def _outcome(report: Report) -> _Flow:
    if report.outcome is Outcome.REPORTED:
        return []
    refused = report.outcome is Outcome.REFUSED
    ink = look.BAD if refused else look.WARN
    lines = [look.paragraph(report.outcome.upper(), look.style(12, bold=True, ink=ink))]
    if report.reason:
        lines.append(look.paragraph(report.reason, look.style(8.6, ink=ink)))
    ground = look.BAD_GROUND if refused else look.WARN_GROUND
    return [look.boxed(lines, _WIDTH, ink, ground), Spacer(1, 7)]


def _impression(report: Report) -> _Flow:
    if not report.impression:
        return []
    lines = [
        look.paragraph("IMPRESSION", look.style(7.2, bold=True, ink=look.ACCENT)),
        look.bullets(report.impression, look.style(9.2, bold=True)),
    ]
    return [look.boxed(lines, _WIDTH, look.ACCENT, look.GROUND), Spacer(1, 8)]


def _picture(report: Report, png: bytes) -> _Flow:
    drawing = picture(report, png, _WIDTH, _PICTURE_HEIGHT)
    drawing.hAlign = "CENTER"
    kinds = {item.kind for item in report.evidence}
    legend = [
        words
        for kind, words in (
            ("mask", "cyan line, outline"),
            ("box", "amber dashes, detector's box"),
            ("points", "yellow-green crosses, points and axes"),
        )
        if kind in kinds
    ]
    caption = "The analysed frame: " + (
        "; ".join(legend) + "." if legend else "nothing is drawn on it."
    )
    small = look.style(6.8, ink=look.SOFT)
    small.alignment = 1
    return [KeepTogether([drawing, Spacer(1, 3), look.paragraph(caption, small)]), Spacer(1, 6)]


def _findings(report: Report) -> _Flow:
    if not report.findings:
        return []
    rows = [
        (
            item.label,
            _finding_state(report, item),
            item.statement,
            ", ".join(item.evidence) or "none",
        )
        for item in report.findings
    ]
    widths = (30 * mm, 22 * mm, _WIDTH - 72 * mm, 20 * mm)
    return _section(
        "Findings", [look.ruled(("Finding", "State", "Statement", "Evidence"), rows, widths)]
    )


def _finding_state(report: Report, finding: Finding) -> Paragraph:
    kinds = {item.id: item.kind for item in report.evidence}
    words = _STATES[finding.state]
    if finding.state is FindingState.FOUND and "scores" in {kinds[e] for e in finding.evidence}:
        words = "Assessed"
    missing = finding.state is FindingState.NOT_ASSESSED
    return look.paragraph(words, look.style(7.6, bold=True, ink=look.WARN if missing else look.INK))


def _measurements(report: Report) -> _Flow:
    """Return each number with its interval and formula; shared reasons stand once, below."""
    if not report.measurements:
        return []
    reasons = list(dict.fromkeys(why for m in report.measurements if (why := caveat(m.reason))))
    rows = [
        (
            look.paragraph(item.statement, look.style(7.6, bold=True)),
            _interval(item),
            item.formula or "",
            f"[{reasons.index(why) + 1}]" if (why := caveat(item.reason)) else "",
            ", ".join(item.evidence) or "none",
        )
        for item in report.measurements
    ]
    widths = (_WIDTH - 118 * mm, 28 * mm, 58 * mm, 12 * mm, 20 * mm)
    table = look.ruled(("Measurement", "Interval", "How", "Note", "Evidence"), rows, widths)
    small = look.style(7, ink=look.SOFT)
    notes = [look.paragraph(f"[{n}] {reason}", small) for n, reason in enumerate(reasons, start=1)]
    return _section("Measurements", [table, Spacer(1, 3), *notes])


def _interval(item: Measurement) -> str:
    if item.state is MeasurementState.NOT_ASSESSED:
        return "not assessed"
    if item.interval is None:
        return "not given"
    low, high = (digits(end, item.unit) for end in item.interval)
    share = "" if item.coverage is None else f" ({100 * item.coverage:.0f} % interval)"
    return f"{low} to {high} {item.unit if item.unit != '1' else ''}".rstrip() + share


def _checks(report: Report) -> _Flow:
    if not report.checks:
        return []
    rows = [
        (
            look.paragraph(
                check.outcome.upper(),
                look.style(7.2, bold=True, ink=look.WARN if check.outcome == "flag" else look.INK),
            ),
            check.name,
            check.detail,
        )
        for check in report.checks
    ]
    widths = (20 * mm, 62 * mm, _WIDTH - 82 * mm)
    return _section(
        "Cross-checks", [look.ruled(("Outcome", "Between", "What was compared"), rows, widths)]
    )


def _signature(report: Report) -> _Flow:
    """Return a place to sign, with a note on what review the report has had."""
    words = {
        Status.PRELIMINARY: (
            "Made by software and not reviewed. It says nothing until a clinician has reviewed it."
        ),
        Status.FINAL: "Reviewed; the signature is in the record that this report is filed in.",
        Status.AMENDED: "Amended after review; it replaces the version that it supersedes.",
    }
    line = "_" * 34
    cells = [[look.paragraph(f"{name}: {line}") for name in ("Reviewed by", "Date and signature")]]
    fields = Table(cells, colWidths=[_WIDTH / 2] * 2, hAlign="LEFT")
    small = look.style(7, ink=look.SOFT)
    return [
        KeepTogether(
            [
                Spacer(1, 12),
                fields,
                Spacer(1, 2),
                look.paragraph(words[report.status], small),
                Spacer(1, 8),
            ]
        )
    ]


def _provenance(report: Report) -> _Flow:
    made_by = report.provenance
    facts = [
        ("Report", f"{report.report_id}, version {report.version}"),
        ("Analysis", report.analysis_id),
        ("Image SHA-256", report.image.sha256),
        ("Content SHA-256", made_by.content_sha256),
        ("Code", f"USTri {made_by.code_version}, runtime {made_by.runtime}"),
        ("Planner", f"{made_by.planner.id} {made_by.planner.sha256}"),
        *((f"Model {model.id}", model.sha256) for model in made_by.models),
    ]
    tables: _Flow = [look.ruled(("What", "Which"), facts, (46 * mm, _WIDTH - 46 * mm))]
    if report.steps:
        rows = [
            (str(step.index), step.action, str(step.chosen_by), step.reason or "")
            for step in report.steps
        ]
        widths = (9 * mm, 46 * mm, 20 * mm, _WIDTH - 75 * mm)
        tables += [Spacer(1, 6), look.ruled(("#", "Step", "Chosen by", "Why"), rows, widths)]
    return _section("Provenance and steps", tables)


def _section(title: str, content: _Flow) -> _Flow:
    if not content:
        return []
    return [
        CondPageBreak(28 * mm),
        look.paragraph(title, look.style(9.6, bold=True, ink=look.ACCENT)),
        HRFlowable(width="100%", thickness=0.6, color=look.RULE, spaceBefore=1, spaceAfter=4),
        *content,
        Spacer(1, 9),
    ]
