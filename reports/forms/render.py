"""A report in each of its forms, as bytes: for HTTP, and for the files of `ustri analyze --out`.

PDF and DICOM need libraries that a small installation may lack. They are imported when such a
form is made; if one is missing, the error says what to install.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from reports.canonical import to_json
from reports.errors import FormNotInstalled
from reports.forms.dicom.source import Source, own_source
from reports.forms.fhir.bundle import to_fhir
from reports.forms.html import to_html
from reports.forms.text import to_text
from reports.model import ExamCode, Report

_EXTRA = frozenset({"highdicom", "pydicom", "reportlab"})


class ReportForm(StrEnum):
    """A form of the report, by its suffix; `image.dcm` is what the DICOM forms refer to."""

    JSON = "json"
    HTML = "html"
    TXT = "txt"
    PDF = "pdf"
    SR = "dcm"
    SEG = "seg.dcm"
    BIOMETRY = "biometry.dcm"
    IMAGE = "image.dcm"
    FHIR = "fhir.json"


MEDIA = {
    ReportForm.JSON: "application/json",
    ReportForm.HTML: "text/html",
    ReportForm.TXT: "text/plain",
    ReportForm.PDF: "application/pdf",
    ReportForm.SR: "application/dicom",
    ReportForm.SEG: "application/dicom",
    ReportForm.BIOMETRY: "application/dicom",
    ReportForm.IMAGE: "application/dicom",
    ReportForm.FHIR: "application/fhir+json",
}
"""The media type of each form; `Accept` selects the first form of its type, a suffix any form."""


def forms_of(report: Report) -> tuple[ReportForm, ...]:
    """Return the forms that a report of its exam can have; biometry is a fetal head's alone."""
    head = report.exam.code is ExamCode.FETAL_HEAD
    return tuple(form for form in ReportForm if head or form is not ReportForm.BIOMETRY)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A report with what its forms show: the analysed frame as PNG, its address, a start time.

    `started_at` dates the study of the DICOM forms. `source` is the instance that they refer to;
    USTri's own image of the frame unless given.
    """

    report: Report
    png: bytes
    image_href: str | None = None
    started_at: str | None = None
    source: Source | None = None


def render(form: ReportForm, subject: Subject) -> bytes:
    """Render the report in a form; text is UTF-8.

    Without `image_href` the HTML page contains the image itself.

    Raises:
        NothingOutlined: a SEG was requested of a report without an outline.
        NoBiometry: biometry was requested of a report without a size of a fetal head in mm.
        FormNotInstalled: this installation lacks a library that the form needs.
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
        case ReportForm.PDF:
            return needing_extra(form, lambda: _pdf(subject))
        case _:
            return needing_extra(form, lambda: _dicom(form, subject))


def needing_extra(form: str, make: Callable[[], bytes]) -> bytes:
    """Return what `make` does, a form by libraries that a small installation may lack.

    Raises:
        FormNotInstalled: one of them is missing; the message says what to install.
    """
    try:
        return make()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise FormNotInstalled(
            f"The form .{form} needs {error.name}, which is not installed: "
            "install ustri with its extra, as in pip install 'ustri[dicom]'."
        ) from error


def _pdf(subject: Subject) -> bytes:
    from reports.forms.pdf.document import to_pdf

    return to_pdf(subject.report, subject.png)


def _dicom(form: ReportForm, subject: Subject) -> bytes:
    from reports.forms.dicom.biometry import to_biometry
    from reports.forms.dicom.image import to_image
    from reports.forms.dicom.seg import to_seg
    from reports.forms.dicom.sr import to_sr

    source = subject.source or own_source(subject.report, started_at=subject.started_at)
    if form is ReportForm.IMAGE:
        return to_image(subject.report, subject.png, source)
    make = {ReportForm.SEG: to_seg, ReportForm.BIOMETRY: to_biometry}.get(form, to_sr)
    return make(subject.report, source)


def _inside(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
