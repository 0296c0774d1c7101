"""The summary of a study as a DICOM structured report: Comprehensive 3D SR, TID 1500.

Each value is a measurement group of its own that refers to its image, with the tracking UID that it
has in the report of that image; a qualitative evaluation says whether the value is taken, and
whether it is an outlier. The images referred to are those of the members' own forms.
"""

from collections.abc import Iterator, Sequence

from highdicom import sr
from pydicom.sr.codedict import codes as standard

from reports.errors import NothingReported
from reports.forms import codes
from reports.forms.codes import Coded
from reports.forms.dicom.equipment import add_equipment
from reports.forms.dicom.image import (
    CHARACTER_SET,
    MANUFACTURER,
    coded,
    file_of,
    reference,
    series_number,
)
from reports.forms.dicom.source import Source, own_source, uid_of
from reports.forms.dicom.sr import SYNTHETIC, observation_context, sentences
from reports.forms.dicom.sr_groups import Group, blank_gaps, number_group
from reports.model import Outcome, Report, Status
from reports.study.model import StudyReport, StudyValue
from reports.wording.phrases import NOT_FOR_CLINICAL_USE


def to_sr(report: StudyReport, members: Sequence[Report]) -> bytes:
    """Return the SR as a file (PS3.10); the same summary gives the same bytes.

    Raises:
        NothingReported: no image of the study has a report.
    """
    if not members:
        raise NothingReported(
            "No image of the study is reported yet, so that there is no SR of it."
        )
    sources = {
        member.report_id: own_source(member, started_at=report.received_at) for member in members
    }
    newest = max(members, key=lambda member: member.created_at)
    newest = newest.model_copy(
        update={"image": newest.image.model_copy(update={"synthetic": report.synthetic})}
    )
    title = _title(members)
    content = sr.MeasurementReport(
        observation_context=observation_context(newest, _of_fetuses(members)),
        procedure_reported=coded(title),
        title=standard.DCM.ImagingMeasurementReport,
        imaging_measurements=list(_groups(report, members, sources)) or None,
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            sr.CodedConcept(*codes.ENGLISH)
        ),
    )
    content[0].ContentSequence = [*content[0].ContentSequence, sentences(_lines(report))]
    study_uid = sources[members[0].report_id].study_uid
    document = sr.Comprehensive3DSR(
        evidence=[reference(member, sources[member.report_id]) for member in members],
        content=content[0],
        series_instance_uid=uid_of("study sr series", study_uid),
        series_number=series_number("study"),
        sop_instance_uid=uid_of("study sr", study_uid, *sorted(sources)),
        instance_number=sum(member.version for member in members),
        manufacturer=MANUFACTURER,
        is_complete=report.complete and report.outcome is Outcome.REPORTED,
        is_final=report.status is not Status.PRELIMINARY,
        performed_procedure_codes=[coded(title)],
        specific_character_set=CHARACTER_SET,
    )
    document.SeriesDescription = "USTri summary of the study"
    add_equipment(document, *members)
    blank_gaps(document)
    return file_of(document, newest)


def _title(members: Sequence[Report]) -> Coded:
    titles = {codes.title_of(member.exam.code) for member in members}
    return titles.pop() if len(titles) == 1 else codes.US_REPORT


def _of_fetuses(members: Sequence[Report]) -> bool:
    """Return whether each image is of a fetus; a document has one subject."""
    return all(member.exam.code in codes.FETAL_EXAMS for member in members)


def _groups(
    report: StudyReport, members: Sequence[Report], sources: dict[str, Source]
) -> Iterator[Group]:
    known = {member.report_id: member for member in members}
    for item in report.measurements:
        for value in item.values:
            member = known[value.report_id]
            number = next(one for one in member.measurements if one.id == value.measurement)
            notes = _notes(value, taken=value.image == item.best)
            yield number_group(member, sources[member.report_id], number, notes)


def _notes(value: StudyValue, *, taken: bool) -> list[sr.QualitativeEvaluation]:
    said = {codes.BEST_IN_STUDY: taken, codes.OUTLIER_IN_STUDY: value.outlier is not None}
    return [
        sr.QualitativeEvaluation(name=coded(codes.IN_STUDY), value=coded(code))
        for code, holds in said.items()
        if holds
    ]


def _lines(report: StudyReport) -> Iterator[tuple[Coded, str]]:
    yield codes.NOTICE, NOT_FOR_CLINICAL_USE
    if report.synthetic:
        yield codes.NOTICE, SYNTHETIC
    if report.label is not None:
        yield codes.SENT_STUDY, report.label
    yield codes.OUTCOME, f"{report.outcome.capitalize()}, {len(report.images)} images"
    for line in report.summary:
        yield codes.IMPRESSION, line
    for line in report.flags:
        yield codes.CHECK, line
    for item in report.measurements:
        yield codes.COMMENT, item.statement
    for made in report.comparisons:
        yield codes.COMPARISON, made.statement
    for line in report.limitations:
        yield codes.LIMITATION, line
    yield codes.PROVENANCE, f"Study {report.study.id}, {report.status}"
    for image in report.images:
        made_by = "no report" if image.report_id is None else f"report {image.report_id}"
        yield codes.PROVENANCE, f"Image {image.number}: analysis {image.analysis_id}, {made_by}"
