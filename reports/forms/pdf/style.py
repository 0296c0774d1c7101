"""The typography of the PDF: embedded fonts, paragraph styles, tables, and safe text."""

from collections.abc import Sequence
from functools import cache
from html import escape

from reportlab.lib.colors import HexColor, white
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import getFont, registerFont, registerFontFamily
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph, Table, TableStyle

INK, SOFT, RULE = HexColor("#17212b"), HexColor("#5a6875"), HexColor("#c9d2da")
ACCENT, GROUND = HexColor("#0b5561"), HexColor("#eef3f5")
BAD, BAD_GROUND = HexColor("#8c1212"), HexColor("#fbeaea")
WARN, WARN_GROUND = HexColor("#7a4d00"), HexColor("#fff3d9")
LOUD = HexColor("#ffd400")
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
    """Return a paragraph style."""
    fonts()
    name = f"{size}-{bold}-{ink.hexval()}"
    return ParagraphStyle(
        name, fontName=BOLD if bold else REGULAR, fontSize=size, leading=lead * size, textColor=ink
    )


def shown(text: str) -> str:
    """Spell out each character that the font lacks as its code point, so that none is dropped."""
    fonts()
    known = getFont(REGULAR).face.charToGlyph
    return "".join(
        char if char == "\n" or ord(char) in known else f"[U+{ord(char):04X}]" for char in text
    )


def paragraph(text: str, look: ParagraphStyle | None = None) -> Paragraph:
    """Return plain text as a paragraph; nothing in it is markup."""
    return Paragraph(escape(shown(text)).replace("\n", "<br/>"), look or style())


def bullets(lines: Sequence[str], look: ParagraphStyle | None = None) -> Table:
    """Return the lines as a bulleted list."""
    look = look or style()
    rows = [[paragraph("•", look), paragraph(line, look)] for line in lines]
    table = Table(rows, colWidths=[9, None], hAlign="LEFT")
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


def ruled(head: Sequence[str], rows: Sequence[Sequence[object]], widths: Sequence[float]) -> Table:
    """Return a table with a head that repeats on every page; cells are text or flowables."""
    look, top = style(7.6), style(6.8, bold=True, ink=white)
    cells = [[paragraph(name, top) for name in head]]
    cells += [
        [paragraph(cell, look) if isinstance(cell, str) else cell for cell in row] for row in rows
    ]
    table = Table(cells, colWidths=list(widths), repeatRows=1, hAlign="LEFT")
    table.setStyle(
        TableStyle(
            [
                ("BACKGROUND", (0, 0), (-1, 0), ACCENT),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
                ("TOPPADDING", (0, 0), (-1, -1), 2.6),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.6),
                ("LEFTPADDING", (0, 0), (-1, -1), 4),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
            ]
        )
    )
    return table


def boxed(content: Sequence[object], width: float, edge: HexColor, ground: HexColor) -> Table:
    """Return flowables in a tinted box with a coloured edge."""
    table = Table([[list(content)]], colWidths=[width], hAlign="LEFT")
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
