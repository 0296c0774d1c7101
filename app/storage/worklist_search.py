"""What a search of the worklist may ask for, and how it is asked of the database.

Terms match literally and in any case; they are parameters of statements, which no message quotes.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.storage.tables import JobRow, JobState, WorklistRow
from reports.model import ExamCode, Outcome, Status

Sorted = ColumnElement[Any] | InstrumentedAttribute[Any]

LONGEST = 200
"""Characters of a search that count."""

MOST_TERMS = 8
"""Words of a search that count."""


class Standing(StrEnum):
    """Where an analysis stands, as the worklist tells it apart."""

    IN_PROGRESS = "in_progress"
    FAILED = "failed"
    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"


class Order(StrEnum):
    """Orders of the worklist; where two rows are alike, the newer one comes first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    EXAM = "exam"
    LABEL = "label"
    REVIEW = "review"


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which analyses are asked for, and in which order.

    Every word of `text` must occur in the label, the exam, the findings or the date. Where
    `flagged` or `refused` is set, only rows with either property are wanted.
    """

    text: str = ""
    exam: ExamCode | None = None
    standing: Standing | None = None
    flagged: bool = False
    refused: bool = False
    order: Order = Order.NEWEST

    @property
    def narrows(self) -> bool:
        """Whether it asks for some of the analyses only."""
        return bool(terms(self.text)) or any((self.exam, self.standing, self.flagged, self.refused))


def folded(text: str) -> str:
    """Return a text as it is stored and searched for: no case, one form of each character."""
    return unicodedata.normalize("NFKC", text).casefold()


def terms(text: str) -> list[str]:
    """Return the words of a search, folded; no character that a database refuses."""
    return folded(text[:LONGEST].replace("\x00", " ")).split()[:MOST_TERMS]


def words_of_request(exam: ExamCode | None, created_at: str) -> str:
    """Return what a request can be found by beside its label: its exam, and its date in UTC."""
    date = datetime.fromisoformat(created_at)
    day = f"{date:%Y-%m-%d} {date.day} {date:%B %Y}"
    return folded("\n".join([day, *_exam_words(exam)]))


def words_of_report(exam: ExamCode | None, title: str, findings: str) -> str:
    """Return what a report can be found by: its exam and its findings."""
    return folded("\n".join([title, *_exam_words(exam), findings]))


def conditions(search: Search) -> Iterator[ColumnElement[bool]]:
    """Yield what must hold of a `WorklistRow`."""
    for term in terms(search.text):
        texts = (WorklistRow.label, WorklistRow.words, WorklistRow.report_words)
        yield or_(*(text.contains(term, autoescape=True) for text in texts))
    if search.exam is not None:
        yield WorklistRow.exam == search.exam
    if search.standing is not None:
        yield _stands(search.standing)
    properties = {
        WorklistRow.flagged.is_(True): search.flagged,
        WorklistRow.outcome == Outcome.REFUSED: search.refused,
    }
    if any(properties.values()):
        yield or_(*(has for has, wanted in properties.items() if wanted))


def order_of(order: Order, row: type[WorklistRow]) -> Iterator[Sorted]:
    """Yield the columns by which such rows are sorted; those without a value come last."""
    match order:
        case Order.OLDEST:
            yield from (row.created_at.asc(), row.analysis_id.asc())
            return
        case Order.EXAM:
            yield from (row.exam.is_(None), row.exam)
        case Order.LABEL:
            yield from (row.label.is_(None), row.label)
        case Order.REVIEW:
            yield row.flagged.desc()
        case Order.NEWEST:
            pass
    yield from (row.created_at.desc(), row.analysis_id.desc())


def _stands(standing: Standing) -> ColumnElement[bool]:
    match standing:
        case Standing.IN_PROGRESS:
            return WorklistRow.analysis_id.in_(_newest_in(JobState.QUEUED, JobState.RUNNING))
        case Standing.FAILED:
            return WorklistRow.analysis_id.in_(_newest_in(JobState.FAILED))
    return WorklistRow.status == Status(standing.value)


def _newest_in(*states: JobState) -> Select[str]:
    """Return the query for the analyses whose newest version is in one of those states."""
    other = aliased(JobRow)
    newest = (
        select(func.max(other.version))
        .where(other.analysis_id == JobRow.analysis_id)
        .correlate(JobRow)
        .scalar_subquery()
    )
    return select(JobRow.analysis_id).where(JobRow.state.in_(states), JobRow.version == newest)


def _exam_words(exam: ExamCode | None) -> list[str]:
    return [] if exam is None else [exam.replace("_", " ")]
