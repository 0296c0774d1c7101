"""Studies: the analyses that belong together, in order of arrival, each at its newest version.

A study has no row of its own: it is what its analyses say. Its id is a keyed hash, as is that of
the patient, which leaves this file only as a count and as the earlier studies of the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.storage.analysis import Analysis
from app.storage.database import Sessions
from app.storage.tables import AnalysisRow, JobRow, JobState, ReportRow
from reports.model import Report
from reports.study.comparison import MOST_EARLIER, Earlier
from reports.study.model import MemberState
from reports.study.summary import Gathered, Member, measured
from reports.upgrade import read_report


@dataclass(frozen=True, kw_only=True)
class StudyEntry:
    """One study of the list; `first` is the id of its first analysis."""

    id: str
    label: str | None
    images: int
    received_at: str
    changed_at: str
    first: str


@dataclass(frozen=True, kw_only=True)
class StudyPage:
    """Some studies, the one that an image came to last first, and how many there are in all."""

    entries: tuple[StudyEntry, ...]
    total: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an analysis stands in its study: its number, from 1, among how many."""

    study_id: str
    label: str | None
    number: int
    images: int


class Studies:
    """The studies of a store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def page(self, rows: int, skipped: int = 0) -> StudyPage:
        """Return up to `rows` studies after the newest `skipped` ones."""
        changed = func.max(AnalysisRow.created_at)
        found = (
            select(
                AnalysisRow.study_id,
                func.count(),
                func.min(AnalysisRow.created_at),
                changed,
            )
            .where(AnalysisRow.study_id.is_not(None))
            .group_by(AnalysisRow.study_id)
            .order_by(changed.desc(), AnalysisRow.study_id)
            .limit(rows)
            .offset(skipped)
        )
        count = select(func.count(AnalysisRow.study_id.distinct()))
        with self._sessions.read() as session:
            total = session.scalar(count) or 0
            grouped = session.execute(found).all()
            firsts = _firsts(session, [study_id for study_id, *_ in grouped])
            return StudyPage(
                entries=tuple(
                    StudyEntry(
                        id=study_id or "",
                        label=firsts[study_id or ""][1],
                        images=images,
                        received_at=received_at,
                        changed_at=changed_at,
                        first=firsts[study_id or ""][0],
                    )
                    for study_id, images, received_at, changed_at in grouped
                ),
                total=total,
            )

    def gathered(self, study_id: str) -> Gathered:
        """Return the analyses of a study, each with its newest report.

        Raises:
            NotFound: there is no study of that id.
        """
        with self._sessions.read() as session:
            return _gathered(session, study_id)

    def earlier(self, study_id: str) -> tuple[Earlier, ...]:
        """Return the studies of the same patient that arrived before this one, newest first.

        There is none where the files of this study name no patient, or several. Measurements are
        read of the newest `MOST_EARLIER` only, and of none whose files name several patients.
        """
        with self._sessions.read() as session:
            found = _earlier(session, study_id)
            return tuple(
                replace(one, measurements=measured(_gathered(session, one.id)))
                if place < MOST_EARLIER and len(_patients(session, one.id)) == 1
                else one
                for place, one in enumerate(found)
            )

    def earlier_named(self, study_id: str) -> tuple[Earlier, ...]:
        """Return the same studies without their measurements."""
        with self._sessions.read() as session:
            return _earlier(session, study_id)

    def place(self, analysis_id: str) -> Place | None:
        """Return where an analysis stands in its study; None where it belongs to none."""
        with self._sessions.read() as session:
            row = session.get(AnalysisRow, analysis_id)
            if row is None or row.study_id is None:
                return None
            ids = session.scalars(_in_order(row.study_id)).all()
            return Place(
                study_id=row.study_id,
                label=row.study,
                number=ids.index(analysis_id) + 1,
                images=len(ids),
            )

    def started_at(self, analysis: Analysis) -> str:
        """Return when the first image of an analysis's study arrived, which dates the study."""
        if analysis.study_id is None:
            return analysis.created_at
        first = func.min(AnalysisRow.created_at)
        with self._sessions.read() as session:
            found = session.scalar(select(first).where(AnalysisRow.study_id == analysis.study_id))
        return found or analysis.created_at


def _in_order(study_id: str) -> Select[str]:
    return (
        select(AnalysisRow.id)
        .where(AnalysisRow.study_id == study_id)
        .order_by(AnalysisRow.created_at, AnalysisRow.id)
    )


def _firsts(session: Session, study_ids: Sequence[str | None]) -> dict[str, tuple[str, str | None]]:
    """Return of each of these studies the id of its first analysis, and what it is called first."""
    rows = session.execute(
        select(AnalysisRow.study_id, AnalysisRow.id, AnalysisRow.study)
        .where(AnalysisRow.study_id.in_(study_ids))
        .order_by(AnalysisRow.created_at.desc(), AnalysisRow.id.desc())
    )
    found: dict[str, tuple[str, str | None]] = {}
    for study_id, analysis_id, label in rows:
        _, later = found.get(study_id or "", (None, None))
        found[study_id or ""] = (analysis_id, label or later)
    return found


def _earlier(session: Session, study_id: str) -> tuple[Earlier, ...]:
    patients = _patients(session, study_id)
    if len(patients) != 1:
        return ()
    arrived = func.min(AnalysisRow.created_at)
    mine = session.scalar(select(arrived).where(AnalysisRow.study_id == study_id))
    of_patient = select(AnalysisRow.study_id).where(
        AnalysisRow.patient_key == patients[0], AnalysisRow.study_id != study_id
    )
    found = session.execute(
        select(AnalysisRow.study_id, arrived, func.count())
        .where(AnalysisRow.study_id.in_(of_patient))
        .group_by(AnalysisRow.study_id)
        .having(arrived < mine)
        .order_by(arrived.desc(), AnalysisRow.study_id)
    )
    return tuple(
        Earlier(id=other or "", received_at=received_at, images=images)
        for other, received_at, images in found
    )


def _patients(session: Session, study_id: str) -> list[str]:
    """Return the patients that the files of a study name, as keyed hashes."""
    found = select(AnalysisRow.patient_key).where(
        AnalysisRow.study_id == study_id, AnalysisRow.patient_key.is_not(None)
    )
    return [key for key in session.scalars(found.distinct()) if key is not None]


def _gathered(session: Session, study_id: str) -> Gathered:
    newest = (
        select(func.max(JobRow.version))
        .where(JobRow.analysis_id == AnalysisRow.id)
        .correlate(AnalysisRow)
        .scalar_subquery()
    )
    report = (
        select(func.max(ReportRow.version))
        .where(ReportRow.analysis_id == AnalysisRow.id)
        .correlate(AnalysisRow)
        .scalar_subquery()
    )
    rows = session.execute(
        select(
            AnalysisRow.id,
            AnalysisRow.created_at,
            AnalysisRow.study,
            JobRow.state,
            JobRow.problem,
            ReportRow.body,
        )
        .join(JobRow, (JobRow.analysis_id == AnalysisRow.id) & (JobRow.version == newest))
        .outerjoin(
            ReportRow, (ReportRow.analysis_id == AnalysisRow.id) & (ReportRow.version == report)
        )
        .where(AnalysisRow.study_id == study_id)
        .order_by(AnalysisRow.created_at, AnalysisRow.id)
    ).all()
    if not rows:
        raise NotFound(f"There is no study {study_id[:60]!r}.")
    return Gathered(
        id=study_id,
        label=next((row.study for row in rows if row.study is not None), None),
        members=tuple(_member(*row) for row in rows),
        patients=len(_patients(session, study_id)),
    )


def _member(
    analysis_id: str,
    received_at: str,
    _: str | None,
    state: str,
    problem: str | None,
    body: str | None,
) -> Member:
    """Return a member: reported as soon as it has a report, even while another version is made."""
    if body is not None:
        report: Report = read_report(body)
        return Member(
            analysis_id=analysis_id,
            received_at=received_at,
            state=MemberState.REPORTED,
            report=report,
        )
    failed = state == JobState.FAILED
    return Member(
        analysis_id=analysis_id,
        received_at=received_at,
        state=MemberState.FAILED if failed else MemberState.WAITING,
        problem=problem if failed else None,
    )
