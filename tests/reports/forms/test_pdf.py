import io
import re

import pytest

from reports.measure.intervals import caveat
from reports.model import Report
from reports.wording import NOT_FOR_CLINICAL_USE
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
def test_the_text_holds_every_statement(report: Report) -> None:
    text = " ".join(pages(report))
    said = [
        *report.impression,
        *report.limitations,
        *(finding.statement for finding in report.findings),
        *(number.statement for number in report.measurements),
        *(why for number in report.measurements if (why := caveat(number.reason))),
        *(check.detail for check in report.checks),
        report.provenance.content_sha256,
        report.report_id,
    ]
    assert [line for line in said if line not in text] == []
    assert str(report.outcome).upper() in text or report.outcome == "reported"
    assert (report.reason or "") in text


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_page_is_numbered_and_says_what_it_is_not(report: Report) -> None:
    found = pages(report)
    for number, text in enumerate(found, start=1):
        assert f"Page {number} of {len(found)}" in text
        assert NOT_FOR_CLINICAL_USE in text
        assert (SYNTHETIC in text) == report.image.synthetic
        assert report.report_id in text


def test_an_interval_is_printed_with_its_coverage() -> None:
    assert "170.0 to 184.0 mm (90 % interval)" in " ".join(pages(REPORTS["fetal head"]))


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
