"""The summary of a study, from the newest report of each of its images.

Pure: the same reports give the same summary. A study is final when all of its reports are, and its
status is the least of theirs; an image that waits for its report leaves it preliminary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reports.model import ExamCode, Outcome, Report, Status, StudyRef
from reports.study.comparison import MOST_EARLIER, Earlier, compare
from reports.study.grouping import LESIONS, Numbered, called, measurements_of
from reports.study.model import MemberState, StudyImage, StudyMeasurement, StudyReport
from reports.wording.numbers import AREA_PX
from reports.wording.phrases import NOT_FOR_CLINICAL_USE
from reports.wording.templates import lines

_STANDING = (Status.PRELIMINARY, Status.AMENDED, Status.FINAL)
"""The least first."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One analysis of a study, with its newest report; `problem` says why there is none."""

    analysis_id: str
    received_at: str
    state: MemberState
    report: Report | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What belongs to one study, its members in order of arrival.

    `patients` counts the patients that the DICOM files of the members name.
    """

    id: str
    label: str | None
    members: Sequence[Member]
    patients: int = 0


def summarise(gathered: Gathered, earlier: Sequence[Earlier] = ()) -> StudyReport:
    """Return the summary of a study, compared with earlier ones of the patient, newest first.

    Only the newest `MOST_EARLIER` of them are compared; the others are named. Where the images name
    several patients, none is compared.
    """
    images = tuple(_image(place, one) for place, one in enumerate(gathered.members, start=1))
    measurements = measured(gathered)
    earlier = earlier if gathered.patients == 1 else ()
    report = StudyReport(
        study=StudyRef(id=gathered.id),
        label=gathered.label,
        received_at=gathered.members[0].received_at,
        changed_at=max(_changed(one) for one in gathered.members),
        status=_status(gathered.members),
        outcome=_outcome(gathered.members),
        complete=all(one.state is not MemberState.WAITING for one in gathered.members),
        patients=gathered.patients,
        images=images,
        measurements=measurements,
        earlier=tuple(
            one.shown(compared=place < MOST_EARLIER) for place, one in enumerate(earlier)
        ),
        comparisons=compare(measurements, earlier[:MOST_EARLIER]),
        summary=(),
        flags=(),
        limitations=(),
    )
    numbers = [item for item in measurements if _says_it_all(item)]
    parts = {
        part: lines("study.j2", part=part, report=report, called=called, numbers=numbers)
        for part in _PARTS
    }
    limitations = (*parts["limitations"], NOT_FOR_CLINICAL_USE)
    return report.model_copy(update=parts | {"limitations": limitations})


_PARTS = ("summary", "flags", "limitations")


def _says_it_all(item: StudyMeasurement) -> bool:
    """Return whether a value stands in the summary, and not the impression of its image.

    A lesion's or a heart's number says little without what else was found in its image, and an area
    in pixels says nothing to a reader.
    """
    apart = item.structure in LESIONS or item.exam.code is ExamCode.HEART
    return item.taken is not None and not apart and item.unit != AREA_PX


def measured(gathered: Gathered) -> tuple[StudyMeasurement, ...]:
    """Return the measurements over the reports of a study."""
    return measurements_of(
        [
            Numbered(image=place, report=one.report)
            for place, one in enumerate(gathered.members, start=1)
            if one.report is not None
        ]
    )


def _image(number: int, member: Member) -> StudyImage:
    report = member.report
    if report is None:
        return StudyImage(
            number=number,
            analysis_id=member.analysis_id,
            received_at=member.received_at,
            state=member.state,
            problem=member.problem,
        )
    return StudyImage(
        number=number,
        analysis_id=member.analysis_id,
        received_at=member.received_at,
        state=MemberState.REPORTED,
        report_id=report.report_id,
        version=report.version,
        outcome=report.outcome,
        status=report.status,
        exam=report.exam,
        label=report.request.label,
        laterality=report.request.laterality,
        site=report.request.site,
        frame=report.image.frame,
        synthetic=report.image.synthetic,
        impression=report.impression,
    )


def _changed(member: Member) -> str:
    return member.received_at if member.report is None else member.report.created_at


def _status(members: Sequence[Member]) -> Status:
    if any(one.state is MemberState.WAITING for one in members):
        return Status.PRELIMINARY
    found = [one.report.status for one in members if one.report is not None]
    return min(found, key=_STANDING.index, default=Status.PRELIMINARY)


def _outcome(members: Sequence[Member]) -> Outcome:
    """Return "reported" if each image is, "refused" if none is, else "partial"."""
    found = [None if one.report is None else one.report.outcome for one in members]
    if all(outcome is Outcome.REPORTED for outcome in found):
        return Outcome.REPORTED
    answered = any(outcome in (Outcome.REPORTED, Outcome.PARTIAL) for outcome in found)
    return Outcome.PARTIAL if answered else Outcome.REFUSED
