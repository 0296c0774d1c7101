"""The DICOM instance that a report is about, and the UIDs that link its forms; without pydicom.

Where a deployment keeps the link to the original instance, `Source` names that one, else USTri's
own image of the frame. UIDs are UUIDs of version 5 under 2.25, hashed from ids of the report: the
same report gives the same UIDs.
"""

import uuid
from datetime import datetime

from reports.forms.dicom.identity import InstanceIdentity
from reports.model import Report

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage."""

US_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
"""Ultrasound Image Storage; its IOD has calibrated regions, that of Secondary Capture has not."""

_NAMESPACE = uuid.UUID("5b0e8c1e-7d0e-5a3f-9f57-5f1c3a4d8e21")


def uuid_of(*parts: str) -> uuid.UUID:
    """Return a UUID that is always the same for the same parts, and another one for others."""
    return uuid.uuid5(_NAMESPACE, "\0".join(parts))


class Source(InstanceIdentity):
    """The instance that a report is about, and the study that its forms are filed in.

    `frame` counts from 1 and is given for a multi-frame instance only. `original` is true of the
    instance that was received, and false of USTri's own image of it.
    """

    sop_class_uid: str
    original: bool = False
    frame: int | None = None


def uid_of(*parts: str) -> str:
    """Return a UID that is always the same for the same parts, and another one for others."""
    return f"2.25.{uuid_of(*parts).int}"


def sop_uid(form: str, report_id: str, source: Source) -> str:
    """Return the SOP Instance UID of a form of a report.

    It is another one beside the original, since that form has other content. The original's own
    UIDs take no part in it, so that it reveals nothing of them.
    """
    return uid_of(form, report_id, *(("beside the original",) if source.original else ()))


def own_source(
    report: Report, study_uid: str | None = None, started_at: str | None = None
) -> Source:
    """Return USTri's own image of the frame as the source.

    Its study is the one named, else the study that the report belongs to, whose id is the same
    number in other digits, else one of its own.

    Args:
        report: the report.
        study_uid: Study Instance UID to file under.
        started_at: ISO 8601 time that dates the study; the report's time unless given. A later
            version has to give it, so that all versions agree.
    """
    if study_uid is None:
        study_uid = _study_uid(report)
    frame = "" if report.image.frame is None else str(report.image.frame)
    pseudonym = uuid_of(study_uid).hex[:12].upper()
    when = datetime.fromisoformat(started_at or report.created_at)
    return Source(
        study_uid=study_uid,
        series_uid=uid_of("image series", study_uid, report.analysis_id),
        instance_uid=uid_of("image", study_uid, report.analysis_id, report.image.sha256, frame),
        sop_class_uid=US_IMAGE if _has_calibrated_regions(report) else SECONDARY_CAPTURE,
        patient_id=f"USTRI-{pseudonym}",
        patient_name="SYNTHETIC^PHANTOM" if report.image.synthetic else f"USTRI^{pseudonym}",
        study_id=pseudonym,
        study_date=when.strftime("%Y%m%d"),
        study_time=when.strftime("%H%M%S"),
    )


def _study_uid(report: Report) -> str:
    if report.study is not None:
        return f"2.25.{int(report.study.id, 16)}"
    dicom = report.image.dicom
    return dicom.study_uid if dicom else uid_of("study", report.analysis_id)


def _has_calibrated_regions(report: Report) -> bool:
    return any(region.spacing_mm is not None for region in report.image.regions)
