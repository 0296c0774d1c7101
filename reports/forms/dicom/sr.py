"""A report as a DICOM structured report: Comprehensive 3D SR, TID 1500, by highdicom.

It refers to the instance of `Source`: the original, where the link to it is kept, else USTri's own
image (`reports.forms.dicom.image.to_image`), which then has to be stored beside it.
"""

from collections.abc import Iterable

from highdicom import sr
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes as standard
from pydicom.uid import Comprehensive3DSRStorage

from reports.forms import codes
from reports.forms.attributes import fitted, person_name
from reports.forms.codes import Coded
from reports.forms.dicom.equipment import add_equipment, device_uid
from reports.forms.dicom.image import (
    CHARACTER_SET,
    MANUFACTURER,
    MODEL_NAME,
    coded,
    file_of,
    reference,
    series_number,
)
from reports.forms.dicom.source import Source, own_source, sop_uid, uid_of
from reports.forms.dicom.sr_groups import blank_gaps, groups_of, text
from reports.model import Outcome, Report, Status
from reports.wording.phrases import NOT_FOR_CLINICAL_USE

SYNTHETIC = "SYNTHETIC TEST IMAGE: drawn by a program, it shows no patient."
_CONTAINS = sr.RelationshipTypeValues.CONTAINS


def to_sr(report: Report, source: Source | None = None) -> bytes:
    """Return the SR as a file (PS3.10); the same report gives the same bytes.

    `source` is `own_source` unless given.
    """
    source = source or own_source(report)
    content = sr.MeasurementReport(
        observation_context=observation_context(
            report, report.exam.code in codes.FETAL_EXAMS, report.request.operator
        ),
        procedure_reported=coded(codes.title_of(report.exam.code)),
        title=standard.DCM.ImagingMeasurementReport,
        imaging_measurements=groups_of(report, source) or None,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept(*codes.ENGLISH)
        ),
    )
    content[0].ContentSequence = [*content[0].ContentSequence, sentences(_lines(report))]
    document = sr.Comprehensive3DSR(
        evidence=[reference(report, source)],
        content=content[0],
        series_instance_uid=_series_uid(report, source),
        series_number=series_number("sr"),
        sop_instance_uid=sop_uid("sr", report.report_id, source),
        instance_number=report.version,
        manufacturer=MANUFACTURER,
        is_complete=report.outcome is Outcome.REPORTED,
        is_final=report.status is not Status.PRELIMINARY,
        previous_versions=_predecessors(report, source),
        performed_procedure_codes=[coded(codes.title_of(report.exam.code))],
        specific_character_set=CHARACTER_SET,
    )
    if report.outcome is not Outcome.REPORTED and report.reason:
        document.CompletionFlagDescription = fitted(report.reason, "LO")
    document.SeriesDescription = "USTri report"
    add_equipment(document, report)
    blank_gaps(document)
    return file_of(document, report)


def observation_context(
    report: Report, fetus: bool, operator: str | None = None
) -> sr.ObservationContext:
    """Return who observed: USTri, and who took the image; `fetus` says that a fetus is observed."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(MODEL_NAME, report.provenance.code_version),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=report.provenance.code_version,
    )
    return sr.ObservationContext(
        observer_person_context=None if operator is None else _performed_by(operator),
        observer_device_context=sr.ObserverContext(
            observer_type=standard.DCM.Device, observer_identifying_attributes=device
        ),
        subject_context=sr.SubjectContext(
            subject_class=standard.DCM.Fetus,
            subject_class_specific_context=sr.SubjectContextFetus(subject_id="1"),
        )
        if fetus
        else None,
    )


def _performed_by(operator: str) -> sr.ObserverContext:
    """Return who took the image, as the sender names them, in that role (TID 1003)."""
    return sr.ObserverContext(
        observer_type=standard.DCM.Person,
        observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(
            name=person_name(operator), role_in_procedure=standard.DCM.Performing
        ),
    )


def sentences(lines: Iterable[tuple[Coded, str]]) -> Dataset:
    """Return what is stated of a report as a whole, in the container of TID 1500 for it."""
    container = sr.ContainerContentItem(
        name=coded(codes.QUALITATIVE_EVALUATIONS), relationship_type=_CONTAINS
    )
    items = [text(name, line, _CONTAINS) for name, line in lines]
    container.ContentSequence = Sequence(items)
    return container


def _lines(report: Report) -> list[tuple[Coded, str]]:
    made_by = report.provenance
    lines = [(codes.NOTICE, NOT_FOR_CLINICAL_USE)]
    if report.image.synthetic:
        lines.append((codes.NOTICE, SYNTHETIC))
    lines += sent_of(report)
    if report.asked is not None:
        lines.append((codes.ASKED, report.asked))
    reason = f": {report.reason}" if report.reason else "."
    lines.append((codes.OUTCOME, f"{report.outcome.capitalize()}{reason}"))
    lines += [(codes.IMPRESSION, line) for line in report.impression]
    lines += [
        (codes.CHECK, f"{check.outcome}: {check.name}. {check.detail}") for check in report.checks
    ]
    lines += [(codes.LIMITATION, line) for line in report.limitations]
    lines += [
        (codes.PROVENANCE, f"Report {report.report_id}, version {report.version}, {report.status}"),
        (codes.PROVENANCE, f"Image SHA-256 {report.image.sha256}"),
        (codes.PROVENANCE, f"Content SHA-256 {made_by.content_sha256}"),
        (codes.PROVENANCE, f"USTri {made_by.code_version}, runtime {made_by.runtime}"),
        (codes.PROVENANCE, f"Planner {made_by.planner.id} {made_by.planner.sha256}"),
    ]
    lines += [(codes.PROVENANCE, f"Model {model.id} {model.sha256}") for model in made_by.models]
    if report.image.frame is not None:
        lines.append((codes.PROVENANCE, f"Frame {report.image.frame + 1} of the source, from 1"))
    if report.external_id:
        lines.append((codes.PROVENANCE, f"External id {report.external_id}"))
    return lines


def sent_of(report: Report) -> list[tuple[Coded, str]]:
    """Return what the sender states of the examination, in the sender's words."""
    request = report.request
    sent = (
        (codes.INDICATION, request.indication),
        (codes.SENT_LABEL, request.label),
        (codes.SENT_STUDY, request.study),
        (codes.SENT_SITE, request.site),
        (codes.SENT_AGE, request.gestational_age),
    )
    return [(name, words) for name, words in sent if words is not None]


def _series_uid(report: Report, source: Source) -> str:
    return uid_of("sr series", source.study_uid, report.analysis_id)


def _predecessors(report: Report, source: Source) -> list[Dataset] | None:
    """Return the version that this one supersedes, with the UIDs that it was written with."""
    if report.supersedes is None:
        return None
    earlier = Dataset()
    earlier.SOPClassUID = Comprehensive3DSRStorage
    earlier.SOPInstanceUID = sop_uid("sr", report.supersedes, source)
    earlier.StudyInstanceUID = source.study_uid
    earlier.SeriesInstanceUID = _series_uid(report, source)
    return [earlier]
