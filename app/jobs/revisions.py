"""New versions of a report, made from recorded results after a reader changed something.

They pass no queue, since no network runs: the job of such a version is done when it is written.
"""

import uuid
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import NotFound, NotRevised
from app.settings import code_version
from app.storage.analysis import Analysis
from app.storage.reports import ReportRows
from app.storage.store import Store, utc_now
from app.storage.tables import AnalysisRow, JobRow, JobState, RecordRow
from planner.case import Case
from planner.conclusion.report import Identity
from planner.conclusion.revision import revise
from planner.errors import NotRevisable
from planner.protocols import read_protocols
from reports.measure.marked_scale import calibrate
from reports.measure.scan_area import scanned_outline
from reports.model import ImageInfo, ReaderCalibration, Report
from specialists.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Revised:
    """The newest report; `replayed` if an earlier request made it."""

    report: Report
    replayed: bool


def calibrated(
    store: Store, manifest: Manifest, analysis_id: str, marked: ReaderCalibration
) -> Revised:
    """Return the report with all numbers measured anew by a reader's calibration.

    If the newest version has the same calibration already, it is returned as it is.

    Raises:
        NotFound: there is no analysis of that id.
        NotRevised: the analysis has no report yet, or the report cannot be made anew.
        SpacingKnown: the image's source states millimetres.
        PointsUnusable: a point lies outside the image, or the points are too near.
    """
    analysis = store.analysis(analysis_id)
    earlier = _report_of(store, analysis)
    if earlier.image.reader_calibration == marked:
        return Revised(report=earlier, replayed=True)
    image = calibrate(analysis.image, marked)
    return Revised(report=new_version(store, manifest, earlier, image), replayed=False)


def new_version(store: Store, manifest: Manifest, earlier: Report, image: ImageInfo) -> Report:
    """Conclude the recorded results again with that image's facts, and store the next version.

    Raises:
        NotRevised: the report cannot be made anew, or another version was made meanwhile.
    """
    analysis = store.analysis(earlier.analysis_id)
    pixels = store.image(analysis).pixels
    case = Case(
        image=image,
        request=analysis.request(None),
        manifest=manifest,
        protocols=read_protocols(),
        planner=earlier.provenance.planner,
        records=store.records(analysis.id, earlier.version),
        scanned=lambda: scanned_outline(pixels),
        grey=lambda: pixels,
    )
    identity = Identity(
        report_id=uuid.uuid4().hex,
        analysis_id=analysis.id,
        version=earlier.version + 1,
        supersedes=earlier.report_id,
        external_id=analysis.external_id,
        created_at=utc_now(),
        code_version=code_version(),
        runtime=earlier.provenance.runtime,
        study_id=analysis.study_id,
    )
    try:
        report = revise(case, earlier, identity)
    except NotRevisable as error:
        raise NotRevised(str(error)) from error
    rows = ReportRows.of(report)
    with store.write() as session:
        _add(session, earlier, report, rows)
    return report


def _report_of(store: Store, analysis: Analysis) -> Report:
    report = store.report(analysis.id) if analysis.ended else None
    if report is None or report.version != analysis.version:
        raise NotRevised(
            f"The analysis is {analysis.state} and has no report that could be measured anew."
        )
    return report


def _add(session: Session, earlier: Report, report: Report, rows: ReportRows) -> None:
    """Write the version with its records; its job is done.

    Raises:
        NotFound: the analysis was deleted meanwhile.
        NotRevised: another version was made meanwhile.
    """
    # A query that waited for a row's lock misses rows that were added meanwhile; the next does not.
    session.execute(
        select(AnalysisRow.id).where(AnalysisRow.id == report.analysis_id).with_for_update()
    )
    jobs = select(JobRow).where(JobRow.analysis_id == report.analysis_id)
    newest = session.scalars(jobs.order_by(JobRow.version.desc()).with_for_update()).first()
    if newest is None:
        raise NotFound("The analysis is not there any more.")
    if newest.version != earlier.version:
        raise NotRevised(f"Version {newest.version} was made meanwhile; open it and try again.")
    session.add(
        JobRow(
            analysis_id=report.analysis_id,
            version=report.version,
            state=JobState.DONE,
            finished_at=report.created_at,
        )
    )
    records = select(RecordRow).where(
        RecordRow.analysis_id == report.analysis_id, RecordRow.version == earlier.version
    )
    for row in session.scalars(records).all():
        session.add(
            RecordRow(
                analysis_id=row.analysis_id,
                version=report.version,
                index=row.index,
                record=row.record,
            )
        )
    rows.add(session)
