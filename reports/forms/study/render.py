"""The summary of a study in each of its forms, as bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from reports.forms.render import needing_extra
from reports.forms.study.fhir import to_fhir
from reports.forms.study.html import to_html
from reports.forms.study.text import to_text
from reports.model import Report
from reports.study.model import StudyReport


class StudyForm(StrEnum):
    """A form of a study's summary, by its suffix; `dicom.zip` holds its DICOM instances."""

    JSON = "json"
    HTML = "html"
    TXT = "txt"
    PDF = "pdf"
    SR = "dcm"
    FHIR = "fhir.json"
    ARCHIVE = "dicom.zip"


STUDY_MEDIA = {
    StudyForm.JSON: "application/json",
    StudyForm.HTML: "text/html",
    StudyForm.TXT: "text/plain",
    StudyForm.PDF: "application/pdf",
    StudyForm.SR: "application/dicom",
    StudyForm.FHIR: "application/fhir+json",
    StudyForm.ARCHIVE: "application/zip",
}
"""The media type of each form."""


@dataclass(frozen=True, kw_only=True)
class StudySubject:
    """A summary with what its forms show: its images' reports, and where their pages are.

    `png` returns the analysed frame of an analysis, by its id. `analyses` and `studies` are the
    addresses below which analyses and studies are.
    """

    report: StudyReport
    members: tuple[Report, ...]
    png: Callable[[str], bytes]
    code_version: str
    analyses: str | None = None
    studies: str | None = None


def render_study(form: StudyForm, subject: StudySubject) -> bytes:
    """Render the summary in a form; text is UTF-8.

    Raises:
        NothingReported: a form made of reports was requested, and no image has one yet.
        FormNotInstalled: this installation lacks a library that the form needs.
    """
    report = subject.report
    match form:
        case StudyForm.JSON:
            return report.model_dump_json(indent=2).encode() + b"\n"
        case StudyForm.TXT:
            return to_text(report).encode()
        case StudyForm.HTML:
            return to_html(report, subject.analyses, subject.studies).encode()
        case StudyForm.FHIR:
            return to_fhir(report, subject.members, subject.analyses)
        case _:
            return needing_extra(form, lambda: _with_extra(form, subject))


def _with_extra(form: StudyForm, subject: StudySubject) -> bytes:
    if form is StudyForm.PDF:
        from reports.forms.study.pdf import to_pdf

        return to_pdf(subject.report, subject.code_version)
    from reports.forms.study.archive import to_archive
    from reports.forms.study.sr import to_sr

    if form is StudyForm.SR:
        return to_sr(subject.report, subject.members)
    return to_archive(subject.report, subject.members, subject.png)
