"""The typography of the PDF: embedded fonts, styles, and tagged paragraphs, lists and tables."""

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape

from reportlab.lib.colors import HexColor, white
from reportlab.lib.enums import TA_CENTER
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import getFont, registerFont, registerFontFamily
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import TableStyle

from reports.forms.pdf.tags import Element, Grid, Words

INK, SOFT, RULE = HexColor("#17212b"), HexColor("#4f5d6a"), HexColor("#c9d2da")
ACCENT, GROUND = HexColor("#0b5561"), HexColor("#eef3f5")
BAD, BAD_GROUND = HexColor("#8c1212"), HexColor("#fbeaea")
WARN, WARN_GROUND = HexColor("#7a4d00"), HexColor("#fff3d9")
LOUD, NIGHT = HexColor("#ffd400"), HexColor("#0b0f14")
REGULAR, BOLD = "Vera", "Vera-Bold"


@cache
def fonts() -> None:
    """Register reportlab's Bitstream Vera; embedded, it looks the same on any machine."""
    for name, file in ((REGULAR, "Vera.ttf"), (BOLD, "VeraBd.ttf"), ("Vera-Italic", "VeraIt.ttf")):
        registerFont(TTFont(name, file))
    registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic="Vera-Italic", boldItalic=BOLD)


def style(
    size: float = 8.0, *, bold: bool = False, ink: HexColor = INK, lead: float = 1.38
) -> ParagraphStyle:
    """Return a paragraph style; a word that is too long for its line is broken."""
    fonts()
    name = f"{size}-{bold}-{ink.hexval()}"
    return ParagraphStyle(
        name,
        fontName=BOLD if bold else REGULAR,
        fontSize=size,
        leading=lead * size,
        textColor=ink,
        splitLongWords=1,
    )


def shown(text: str) -> str:
    """Spell out each character that the font lacks as its code point, so that none is dropped."""
    fonts()
    known = getFont(REGULAR).face.charToGlyph
    return "".join(
        char if char == "\n" or ord(char) in known else f"[U+{ord(char):04X}]" for char in text
    )


def paragraph(element: Element, text: str, look: ParagraphStyle | None = None) -> Words:
    """Return plain text as a paragraph of an element; nothing in it is markup."""
    words = Words(escape(shown(text)).replace("\n", "<br/>"), look or style())
    words.element = element
    return words


def pairs(element: Element, facts: Sequence[tuple[str, str]]) -> Words:
    """Return names with their values in one paragraph, as the head of a letter."""
    parts = (
        f'<font color="{SOFT.hexval().replace("0x", "#")}">{escape(shown(name))}</font> '
        f"{escape(shown(text))}"
        for name, text in facts
    )
    words = Words(" &nbsp; &nbsp; ".join(parts), style(8.2))
    words.element = element
    return words


def legend(element: Element, inks: Mapping[str, str]) -> Words:
    """Return the names of structures, each behind a mark of its colour, light on dark."""
    parts = (
        f'<font color="{ink}" size="13">•</font> {escape(shown(name))}'
        for name, ink in inks.items()
    )
    look = style(7.6, ink=white, lead=1.9)
    look.alignment, look.backColor, look.borderPadding = TA_CENTER, NIGHT, (0, 0, 1, 0)
    words = Words(" &nbsp; &nbsp; ".join(parts), look)
    words.element = element
    return words


def bullets(parent: Element, lines: Sequence[str], look: ParagraphStyle | None = None) -> Grid:
    """Return the lines as a bulleted list."""
    look = look or style()
    listed = parent.add("L")
    rows = []
    for line in lines:
        item = listed.add("LI")
        mark, body = item.add("Lbl"), item.add("LBody")
        rows.append([[paragraph(mark, "•", look)], [paragraph(body, line, look)]])
    table = Grid(rows, colWidths=[9, None], hAlign="LEFT", splitInRow=1)
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 0),
                ("TOPPADDING", (0, 0), (-1, -1), 0.6),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 0.6),
            ]
        )
    )
    return table


def ruled(
    parent: Element,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    *,
    bold: Sequence[int] = (),
) -> Grid:
    """Return a table with a head that repeats on every page; `bold` names columns in bold."""
    table = parent.add("Table")
    top = style(6.8, bold=True, ink=white)
    looks = [style(7.8, bold=place in bold) for place in range(len(head))]
    line = table.add("TR")
    cells = [[[paragraph(line.add("TH"), name, top)] for name in head]]
    for row in rows:
        line = table.add("TR")
        cells.append(
            [[paragraph(line.add("TD"), cell, look)] for cell, look in zip(row, looks, strict=True)]
        )
    grid = Grid(cells, colWidths=list(widths), repeatRows=1, hAlign="LEFT", splitInRow=1)
    grid.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, 0), ACCENT),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
                ("TOPPADDING", (0, 0), (-1, -1), 2.4),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.4),
                ("LEFTPADDING", (0, 0), (-1, -1), 4),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
            ]
        )
    )
    return grid


def boxed(content: Sequence[object], width: float, edge: HexColor, ground: HexColor) -> Grid:
    """Return flowables in a tinted box with a coloured edge; the box may go on on the next page."""
    table = Grid([[list(content)]], colWidths=[width], hAlign="LEFT", splitInRow=1)
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, -1), ground),
                ("LINEBEFORE", (0, 0), (0, -1), 3, edge),
                ("LEFTPADDING", (0, 0), (-1, -1), 9),
                ("RIGHTPADDING", (0, 0), (-1, -1), 8),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
            ]
        )
    )
    return table
