"""Every DICOM instance of a study in one ZIP file: the summary's SR, and what each image has.

A SEG refers to one image, so that there is none of a whole study; the archive holds those of its
images, and the images that all of them refer to.
"""

import io
import zipfile
from collections.abc import Callable, Sequence

from reports.forms.render import ReportForm, Subject, render
from reports.forms.study.sr import to_sr
from reports.model import MaskEvidence, Report
from reports.study.model import StudyReport

_WHEN = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a ZIP file can state, so that the same study gives the same bytes."""

_README = """\
study.dcm is the summary of the whole study, a structured report. It refers to image-N.dcm, the
analysed frame of image N. image-N.sr.dcm is the report of that image alone, and image-N.seg.dcm its
outlines; there is no segmentation of a study as a whole. Research software: not for clinical use
without review.
"""


def to_archive(
    report: StudyReport, members: Sequence[Report], png: Callable[[str], bytes]
) -> bytes:
    """Return the archive.

    `png` returns the analysed frame of an analysis, by its id.

    Raises:
        NothingReported: no image of the study has a report.
    """
    numbers = {image.analysis_id: image.number for image in report.images}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "README.txt", _README.encode())
        _add(archive, "study.dcm", to_sr(report, members))
        for member in members:
            subject = Subject(
                report=member, png=png(member.analysis_id), started_at=report.received_at
            )
            name = f"image-{numbers[member.analysis_id]}"
            _add(archive, f"{name}.dcm", render(ReportForm.IMAGE, subject))
            _add(archive, f"{name}.sr.dcm", render(ReportForm.SR, subject))
            if any(isinstance(item, MaskEvidence) for item in member.evidence):
                _add(archive, f"{name}.seg.dcm", render(ReportForm.SEG, subject))
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _WHEN)
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
