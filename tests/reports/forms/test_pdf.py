import io
import re

import pytest

from reports.layout import lay_out
from reports.model import Report
from reports.wording.phrases import NOT_FOR_CLINICAL_USE, capital
from tests.builders import a_worded_report
from tests.reports.report_forms import REPORTS, frame_png
from tests.tools import module

module("reportlab", "pip install 'ustri[dicom]'")

from reports.forms.pdf.document import SYNTHETIC, to_pdf  # noqa: E402


def pages(report: Report) -> list[str]:
    """The text of each page, with single spaces."""
    reader = module("pypdf", "pip install pypdf").PdfReader
    read = reader(io.BytesIO(to_pdf(report, frame_png())))
    return [" ".join(page.extract_text().split()) for page in read.pages]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_the_text_holds_everything_that_the_layout_holds(report: Report) -> None:
    text = " ".join(pages(report))
    laid = lay_out(report)
    said = [
        *report.impression,
        *report.limitations,
        *(row.text for row in laid.header),
        *(finding.statement for finding in report.findings),
        *(capital(number.name) for number in report.measurements),
        *(note for part in laid.structures for note in part.notes),
        *(flag.text for flag in laid.flags),
        *laid.technique,
        *laid.made.classifiers,
        *(check.detail for check in report.checks),
        *(row.text for row in laid.made.methods),
        report.provenance.content_sha256,
        report.report_id,
    ]
    assert [line for line in said if line not in text] == []
    assert str(report.outcome) in text or report.outcome == "reported"


def test_no_id_of_evidence_is_printed() -> None:
    for name in ("breast", "fetal biometry"):
        assert re.findall(r"\be\d+\b", " ".join(pages(REPORTS[name]))) == []


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_page_is_numbered_and_says_what_it_is_not(report: Report) -> None:
    found = pages(report)
    for number, text in enumerate(found, start=1):
        assert f"Page {number} of {len(found)}" in text
        assert NOT_FOR_CLINICAL_USE in text
        assert (SYNTHETIC in text) == report.image.synthetic
        assert report.report_id in text


def test_an_interval_is_printed_with_its_coverage() -> None:
    text = " ".join(pages(REPORTS["fetal head"]))
    assert "90\u00a0% interval" in text.replace("90 % interval", "90\u00a0% interval")
    assert "170 to 184 mm" in text


def test_the_first_page_is_image_headline_and_table() -> None:
    report = REPORTS["fetal biometry"]
    first = pages(report)[0]
    places = [
        first.index(words)
        for words in ("HC 224 mm", report.impression[0], "Head circumference 224 mm")
    ]
    assert places == sorted(places)


def test_what_the_font_lacks_is_spelt_out_and_markup_is_text() -> None:
    report = a_worded_report(external_id="<b>中&")
    assert "<b>[U+4E2D]&" in " ".join(pages(report))


def test_a_long_report_breaks_over_pages() -> None:
    report = a_worded_report()
    many = tuple(f"Limitation {index} of a long list, which says little." for index in range(120))
    found = pages(report.model_copy(update={"limitations": many}))
    assert len(found) > 3
    assert all(line in " ".join(found) for line in many)


def test_fonts_are_embedded_and_the_same_report_gives_the_same_file() -> None:
    data = to_pdf(REPORTS["breast"], frame_png())
    assert data == to_pdf(REPORTS["breast"], frame_png())
    assert data.startswith(b"%PDF-")
    assert re.search(rb"/FontFile2", data)


def test_a_colour_frame_is_printed_too() -> None:
    assert to_pdf(REPORTS["refused"], frame_png(colour=True)).startswith(b"%PDF-")


def elements(data: bytes) -> list[tuple[str, dict[str, object]]]:
    """Each element of the structure tree, in reading order: its role and its dictionary."""
    reader = module("pypdf", "pip install pypdf").PdfReader(io.BytesIO(data))
    found: list[tuple[str, dict[str, object]]] = []

    def walk(node: object) -> None:
        entry = node.get_object()  # type: ignore[attr-defined]
        if not isinstance(entry, dict) or "/MCID" in entry:
            return
        if "/S" in entry:
            found.append((str(entry["/S"]).lstrip("/"), entry))
        kids = entry.get("/K", [])
        for kid in kids if isinstance(kids, list) else [kids]:
            walk(kid)

    walk(reader.trailer["/Root"]["/StructTreeRoot"])
    return found


def test_the_file_is_tagged_with_language_title_and_a_text_for_the_picture() -> None:
    report = REPORTS["breast"]
    data = to_pdf(report, frame_png())
    reader = module("pypdf", "pip install pypdf").PdfReader(io.BytesIO(data))
    root = reader.trailer["/Root"]
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert report.exam.title in reader.metadata.title
    tags = elements(data)
    roles = [role for role, _ in tags]
    assert roles[:2] == ["Document", "H1"]
    assert {"H2", "H3", "P", "L", "LI", "Lbl", "LBody", "Table", "TR", "TH", "TD"} <= set(roles)
    (figure,) = [entry for role, entry in tags if role == "Figure"]
    assert "outline of lesion (lesion)" in str(figure["/Alt"])
    heads = [entry for role, entry in tags if role == "TH"]
    assert all(entry["/A"]["/Scope"] == "/Column" for entry in heads)  # type: ignore[index]


@pytest.mark.parametrize("name", ["breast", "fetal head", "refused"])
def test_all_that_is_drawn_is_marked_and_every_mark_is_in_the_tree(name: str) -> None:
    reader = module("pypdf", "pip install pypdf").PdfReader(
        io.BytesIO(to_pdf(REPORTS[name], frame_png()))
    )
    parents = reader.trailer["/Root"]["/StructTreeRoot"]["/ParentTree"]["/Nums"]
    for index, page in enumerate(reader.pages):
        assert page["/StructParents"] == index
        depth, marks, loose = 0, [], []
        for operands, operator in page.get_contents().operations:
            if operator in (b"BDC", b"BMC"):
                depth += 1
                if operator == b"BDC":
                    marks.append(int(operands[1]["/MCID"]))
            elif operator == b"EMC":
                depth -= 1
            elif operator in (b"Tj", b"TJ", b"Do", b"f", b"S", b"B", b"f*", b"B*") and not depth:
                loose.append(operator)
        assert depth == 0
        assert loose == []
        assert marks == list(range(len(parents[2 * index + 1].get_object())))


def test_eighty_measurements_and_long_words_break_over_pages() -> None:
    report = REPORTS["breast"]
    first = report.measurements[0]
    many = tuple(
        first.model_copy(update={"id": f"m{n}", "name": f"long axis {n} {'x' * 90}"})
        for n in range(1, 81)
    )
    long = report.model_copy(
        update={
            "measurements": many,
            "impression": (" ".join(["A finding that takes long to tell."] * 200),),
        }
    )
    text = "".join(pages(long)).replace(" ", "")
    assert all(f"axis{n}x" in text for n in range(1, 81))
