"""What stands in the PDF, part by part, in the order of the page; each part with its tags."""

from collections.abc import Sequence

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, KeepTogether, Spacer

from reports.forms.overlay.scene import Scene
from reports.forms.pdf import style as look
from reports.forms.pdf.picture import picture
from reports.forms.pdf.tags import Element, Rule
from reports.forms.rows import (
    evidence_rows,
    number_table,
    picture_text,
    step_rows,
    unsaid,
)
from reports.layout import Layout, Structure, lay_out
from reports.model import Outcome, Report, Status
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

PAGE_MARGIN = 16 * mm
PAGE_WIDTH = A4[0] - 2 * PAGE_MARGIN

WHERE = ("What", "By", "Step", "Score", "Where")

_PICTURE_HEIGHT = 84 * mm
_Flow = list[object]


def story_of(report: Report, scene: Scene, png: bytes, root: Element) -> _Flow:
    """Return the parts in reading order; their elements are added below the root.

    `scene` is what is drawn over the frame, `png`.
    """
    laid = lay_out(report)
    every = (*laid.limitations, *laid.more_limitations)
    limitations = [line for line in every if line != NOT_FOR_CLINICAL_USE]  # on every page already
    return [
        *_head(laid, root),
        *_picture(report, scene, png, root),
        *_impression(report, laid, root),
        *_findings(report, laid, root),
        *lines("To review", [flag.text for flag in laid.flags], root, bulleted=True),
        *lines("Technique", laid.technique, root),
        *lines("Limitations", limitations, root, bulleted=True),
        *_signature(report, root),
        *_made(report, laid, root),
    ]


def _head(laid: Layout, root: Element) -> _Flow:
    title = look.paragraph(root.add("H1"), laid.title, look.style(17, bold=True, ink=look.ACCENT))
    facts = [(row.name, row.text) for row in laid.header]
    return [title, Spacer(1, 4), look.pairs(root.add("P"), facts), Spacer(1, 5)]


def _picture(report: Report, scene: Scene, png: bytes, root: Element) -> _Flow:
    figure = root.add("Figure", picture_text(report))
    drawing = picture(scene, png, figure, (PAGE_WIDTH, _PICTURE_HEIGHT))
    legend = _legend(scene, root)
    return [KeepTogether([drawing, *legend]), Spacer(1, 5)]


def _legend(scene: Scene, root: Element) -> _Flow:
    if not scene.inks:
        return []
    return [look.legend(root.add("P"), scene.inks)]


def _impression(report: Report, laid: Layout, root: Element) -> _Flow:
    parts: _Flow = []
    if laid.asked:
        asked = look.paragraph(root.add("P"), laid.asked, look.style(9.4, bold=True))
        parts += [asked, Spacer(1, 4)]
    open_questions = unsaid(report)
    if not laid.impression and not open_questions:
        return parts
    refused = report.outcome is Outcome.REFUSED
    edge = look.BAD if refused else look.ACCENT
    lines: _Flow = [
        look.paragraph(root.add("H2"), "Impression", look.style(7.6, bold=True, ink=edge))
    ]
    if laid.headline:
        large = look.style(13, bold=True, ink=look.BAD if refused else look.INK, lead=1.25)
        lines += [look.paragraph(root.add("P"), laid.headline, large), Spacer(1, 2)]
    lines += [look.paragraph(root.add("P"), line, look.style(9)) for line in laid.impression[1:]]
    if open_questions:
        lines.append(look.paragraph(root.add("P"), open_questions, look.style(9, ink=look.WARN)))
    ground = look.BAD_GROUND if refused else look.GROUND
    return [*parts, look.boxed(lines, PAGE_WIDTH, edge, ground), Spacer(1, 7)]


def _findings(report: Report, laid: Layout, root: Element) -> _Flow:
    if not laid.structures:
        return []
    content: _Flow = []
    head = heading("Findings", root)
    for part in laid.structures:
        content += [*_structure(part, report, root), Spacer(1, 5)]
    return [*head, *content, Spacer(1, 4)]


def _structure(part: Structure, report: Report, root: Element) -> _Flow:
    name = look.paragraph(root.add("H3"), part.name, look.style(9, bold=True))
    says: _Flow = [
        look.paragraph(root.add("P"), finding.statement, look.style(8.4))
        for finding in part.findings
    ]
    parts: _Flow = [CondPageBreak(22 * mm), name, *says]
    if part.measurements:
        table = number_table(part, report)
        rows = [
            (
                f"{row.caliper}  {row.name}" if row.caliper else row.name,
                row.value,
                row.interval,
                row.note,
            )
            for row in table.rows
        ]
        widths = (46 * mm, 30 * mm, 36 * mm, PAGE_WIDTH - 112 * mm)
        head = ("Measurement", "Value", table.interval, "Note")
        parts += [Spacer(1, 2), look.ruled(root, head, rows, widths, bold=(1,))]
    small = look.style(7, ink=look.SOFT)
    return [*parts, *(look.paragraph(root.add("P"), note, small) for note in part.notes)]


def lines(title: str, said: Sequence[str], root: Element, *, bulleted: bool = False) -> _Flow:
    """Return sentences under a heading; nothing where there are none."""
    if not said:
        return []
    head = heading(title, root)
    if bulleted:
        return [*head, look.bullets(root, said), Spacer(1, 7)]
    return [*head, *(look.paragraph(root.add("P"), line) for line in said), Spacer(1, 7)]


def _signature(report: Report, root: Element) -> _Flow:
    """Return a place to sign, with a note on what review the report has had."""
    words = {
        Status.PRELIMINARY: (
            "Made by software and not reviewed. It says nothing until a clinician has reviewed it."
        ),
        Status.FINAL: "Reviewed; the signature is in the record that this report is filed in.",
        Status.AMENDED: "Amended after review; it replaces the version that it supersedes.",
    }
    line = "_" * 28
    fields = f"Reviewed by: {line}    Date and signature: {line}"
    small = look.style(7, ink=look.SOFT)
    return [
        KeepTogether(
            [
                Spacer(1, 10),
                look.paragraph(root.add("P"), fields),
                Spacer(1, 2),
                look.paragraph(root.add("P"), words[report.status], small),
                Spacer(1, 8),
            ]
        )
    ]


def _made(report: Report, laid: Layout, root: Element) -> _Flow:
    """Return how the report was made: the only place for specialists, scores and hashes."""
    made = laid.made
    small = look.style(7.6)
    parts = heading("How this was made", root)
    said = (f"{made.exam} {made.planner}", *made.classifiers)
    parts += [look.paragraph(root.add("P"), line, small) for line in said]
    if made.steps:
        steps = [
            (
                str(row.step.index),
                " ".join((row.step.action, row.parameters)).strip(),
                row.why,
                row.chosen_by,
                row.among,
                row.time,
            )
            for row in step_rows(report)
        ]
        widths = (8 * mm, 36 * mm, 48 * mm, 20 * mm, PAGE_WIDTH - 128 * mm, 16 * mm)
        head = ("#", "Step", "Why", "Chosen by", "Among", "Time")
        parts += [*_small_heading("Steps", root), look.ruled(root, head, steps, widths)]
    if made.checks:
        checks = [f"{check.name} ({check.outcome}): {check.detail}" for check in made.checks]
        parts += _small_heading("Checks", root)
        parts.append(look.bullets(root, checks, small))
    if made.methods:
        methods = [(row.name, row.text) for row in made.methods]
        parts += _small_heading("How each number is measured", root)
        parts.append(_pairs(("Number", "How"), methods, root))
    if report.evidence:
        rows = [(row.what, row.by, row.step, row.score, row.where) for row in evidence_rows(report)]
        of_evidence = (44 * mm, 36 * mm, 11 * mm, 14 * mm, PAGE_WIDTH - 105 * mm)
        parts += [*_small_heading("Evidence", root), look.ruled(root, WHERE, rows, of_evidence)]
    provenance = [(row.name, row.text) for row in made.provenance]
    parts += [*_small_heading("Provenance", root), _pairs(("What", "Which"), provenance, root)]
    return parts


def _pairs(head: Sequence[str], rows: Sequence[Sequence[str]], root: Element) -> object:
    return look.ruled(root, head, rows, (46 * mm, PAGE_WIDTH - 46 * mm))


def heading(title: str, root: Element) -> _Flow:
    """Return the heading of a part, with a line below it."""
    return [
        CondPageBreak(28 * mm),
        look.paragraph(root.add("H2"), title, look.style(9.6, bold=True, ink=look.ACCENT)),
        Rule(width="100%", thickness=0.6, color=look.RULE, spaceBefore=1, spaceAfter=4),
    ]


def _small_heading(title: str, root: Element) -> _Flow:
    words = look.paragraph(root.add("H3"), title, look.style(8.2, bold=True))
    return [CondPageBreak(22 * mm), Spacer(1, 5), words, Spacer(1, 2)]
