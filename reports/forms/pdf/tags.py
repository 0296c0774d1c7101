"""The structure of a PDF for screen readers: headings, lists, tables, figures.

ISO 32000-1, section 14.8. reportlab writes untagged files. Here each flowable draws itself between
marks that name its element, all else is an artifact, and the canvas writes the tree of elements as
it is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from reportlab.graphics.shapes import Drawing
from reportlab.pdfbase.pdfdoc import PDFArray, PDFDictionary, PDFName, PDFObjectReference, PDFString
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, HRFlowable, Paragraph, Table

_ROOT = "StructureRoot"


@dataclass(eq=False)
class Element:
    """One element: its standard role, what it holds in reading order, and a text in its place."""

    role: str
    alt: str | None = None
    kids: list[Element] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    """Page index and number of each piece of marked content."""

    def add(self, role: str, alt: str | None = None) -> Element:
        """Append an element and return it."""
        kid = Element(role, alt)
        self.kids.append(kid)
        return kid

    def walk(self) -> Iterator[Element]:
        """Yield the element and all below it, in reading order."""
        yield self
        for kid in self.kids:
            yield from kid.walk()


class TaggedCanvas(Canvas):  # type: ignore[misc]
    """A canvas that marks content with its element, and writes the tree of `root` on saving."""

    def __init__(self, *args: Any, root: Element, **options: Any) -> None:
        super().__init__(*args, **options)
        self._root = root
        self._marked: dict[int, list[Element]] = {}

    @contextmanager
    def marked(self, element: Element | None) -> Iterator[None]:
        """Mark what is drawn meanwhile as content of the element; without one, as an artifact."""
        if element is None:
            self._code.append("/Artifact BMC")
        else:
            page = self.getPageNumber() - 1
            here = self._marked.setdefault(page, [])
            self._code.append(f"/{element.role} <</MCID {len(here)}>> BDC")
            element.marks.append((page, len(here)))
            here.append(element)
        yield
        self._code.append("EMC")

    def save(self) -> None:
        """Write the structure tree, then the file."""
        if self._code:
            self.showPage()
        document = self._doc
        for index, page in enumerate(document.Pages.pages):
            page.__NoDefault__ = [*type(page).__NoDefault__, "StructParents", "Tabs"]
            page.StructParents, page.Tabs = index, PDFName("S")
        elements = [element for element in self._root.walk() if element.marks or element.kids]
        names = {id(element): f"Structure{place}" for place, element in enumerate(elements)}
        for element in elements:
            parents = [other for other in elements if element in other.kids]
            parent = names[id(parents[0])] if parents else _ROOT
            document.Reference(self._entry(element, parent, names), names[id(element)])
        document.Reference(self._tree(names), _ROOT)
        document.Catalog.StructTreeRoot = PDFObjectReference(_ROOT)
        document.Catalog.MarkInfo = PDFDictionary({"Marked": "true"})
        self.setViewerPreference("DisplayDocTitle", "true")
        super().save()

    def _tree(self, names: dict[int, str]) -> PDFDictionary:
        parents: list[object] = []
        for page, elements in sorted(self._marked.items()):
            parents += [page, PDFArray([PDFObjectReference(names[id(e)]) for e in elements])]
        return PDFDictionary(
            {
                "Type": PDFName("StructTreeRoot"),
                "K": PDFObjectReference(names[id(self._root)]),
                "ParentTree": PDFDictionary({"Nums": PDFArray(parents)}),
            }
        )

    def _entry(self, element: Element, parent: str, names: dict[int, str]) -> PDFDictionary:
        kids: list[object] = [
            PDFDictionary(
                {
                    "Type": PDFName("MCR"),
                    "Pg": self._doc.Reference(self._doc.Pages.pages[page]),
                    "MCID": number,
                }
            )
            for page, number in element.marks
        ]
        kids += [PDFObjectReference(names[id(kid)]) for kid in element.kids if id(kid) in names]
        entry: dict[str, object] = {
            "Type": PDFName("StructElem"),
            "S": PDFName(element.role),
            "P": PDFObjectReference(parent),
            "K": PDFArray(kids),
        }
        if element.alt is not None:
            entry["Alt"] = PDFString(element.alt)
        if element.role == "TH":
            entry["A"] = PDFDictionary({"O": PDFName("Table"), "Scope": PDFName("Column")})
        return PDFDictionary(entry)


class Words(Paragraph):  # type: ignore[misc]
    """A paragraph of an element; drawn again, as the head of a table that goes on, an artifact."""

    element: Element | None = None
    _drawn = False

    def draw(self) -> None:
        """Draw the text as content of its element."""
        with self.canv.marked(None if self._drawn else self.element):
            super().draw()
        self._drawn = True

    def split(self, *args: Any) -> list[Any]:
        """Return the parts before and after a page break, both of the same element."""
        parts: list[Any] = super().split(*args)
        for part in parts:
            part.element = self.element
        return parts


class Grid(Table):  # type: ignore[misc]
    """A table whose cells are tagged paragraphs; its lines and grounds are artifacts."""

    def _drawBkgrnd(self) -> None:  # noqa: N802, reportlab's name
        with self.canv.marked(None):
            super()._drawBkgrnd()

    def _drawLines(self) -> None:  # noqa: N802, reportlab's name
        with self.canv.marked(None):
            super()._drawLines()


class Rule(HRFlowable):  # type: ignore[misc]
    """A line across the page, which says nothing."""

    def draw(self) -> None:
        """Draw the line as an artifact."""
        with self.canv.marked(None):
            super().draw()


class Figure(Flowable):  # type: ignore[misc]
    """A drawing as content of one element, which has a text in its place."""

    def __init__(self, drawing: Drawing, element: Element) -> None:
        super().__init__()
        self.hAlign = "CENTER"
        self.width, self.height = drawing.width, drawing.height
        self._drawing, self._element = drawing, element

    def draw(self) -> None:
        """Draw it between marks."""
        with self.canv.marked(self._element):
            self._drawing.drawOn(self.canv, 0, 0)
