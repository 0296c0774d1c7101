"""A report in each of its forms, as bytes: for HTTP, and for the files of `ustri analyze --out`.

PDF and DICOM need libraries that a small installation may lack; they are loaded when a form is made, and
a missing one is an error that says what to install.
"""

import base64
from dataclasses import dataclass
from enum import StrEnum

from app.errors import NotAcceptable, NotFound
from reports.content import to_json
from reports.dicom_source import Source, own_source
from reports.errors import NothingOutlined
from reports.fhir import to_fhir
from reports.html import to_html
from reports.model import Report
from reports.text import to_text

_EXTRA = frozenset({"highdicom", "pydicom", "reportlab"})


class ReportForm(StrEnum):
    """A form of the report, by its suffix; `image.dcm` is the picture that the DICOM forms refer to."""

    JSON = "json"
    HTML = "html"
    TXT = "txt"
    PDF = "pdf"
    SR = "dcm"
    SEG = "seg.dcm"
    IMAGE = "image.dcm"
    FHIR = "fhir.json"


MEDIA = {
    ReportForm.JSON: "application/json",
    ReportForm.HTML: "text/html",
    ReportForm.TXT: "text/plain",
    ReportForm.PDF: "application/pdf",
    ReportForm.SR: "application/dicom",
    ReportForm.SEG: "application/dicom",
    ReportForm.IMAGE: "application/dicom",
    ReportForm.FHIR: "application/fhir+json",
}
"""The first form of a media type is the one that `Accept` gets; the others have their suffix."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A report with what its forms show: its picture as PNG bytes, where that lies, and since when it is.

    `source` is the instance that its DICOM forms refer to; our own picture unless given.
    """

    report: Report
    png: bytes
    image_href: str | None = None
    started_at: str | None = None
    source: Source | None = None


def render(form: ReportForm, subject: Subject) -> bytes:
    """The report in that form; text is UTF-8. Without `image_href` the page holds the picture itself.

    Raises:
        NotFound: the report has nothing of which the form is made: a SEG without an outline.
        NotAcceptable: this installation lacks what makes the form.
    """
    report = subject.report
    match form:
        case ReportForm.JSON:
            return to_json(report)
        case ReportForm.TXT:
            return to_text(report).encode()
        case ReportForm.HTML:
            return to_html(report, subject.image_href or _inside(subject.png)).encode()
        case ReportForm.FHIR:
            return to_fhir(report, subject.image_href)
        case _:
            return _with_extra(form, subject)


def _with_extra(form: ReportForm, subject: Subject) -> bytes:
    try:
        return _pdf(subject) if form is ReportForm.PDF else _dicom(form, subject)
    except NothingOutlined as error:
        raise NotFound(str(error)) from error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise NotAcceptable(
            f"The form .{form} needs {error.name}, which is not installed: "
            "install ustri with its extra, as in pip install 'ustri[dicom]'."
        ) from error


def _pdf(subject: Subject) -> bytes:
    from reports.pdf import to_pdf

    return to_pdf(subject.report, subject.png)


def _dicom(form: ReportForm, subject: Subject) -> bytes:
    from reports.dicom_image import to_image
    from reports.dicom_seg import to_seg
    from reports.dicom_sr import to_sr

    source = subject.source or own_source(subject.report, started_at=subject.started_at)
    if form is ReportForm.IMAGE:
        return to_image(subject.report, subject.png, source)
    make = to_seg if form is ReportForm.SEG else to_sr
    return make(subject.report, source)


def _inside(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
