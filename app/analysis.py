"""Analyses as the rest of the service speaks of them: what is asked for, what was accepted, and where it stands."""

from dataclasses import dataclass

from app.tables import JobState
from reports.model import ExamCode, ImageInfo, Outcome

ENDED = (JobState.DONE, JobState.FAILED)
"""States after which nothing more happens to a version."""


@dataclass(frozen=True, kw_only=True)
class NewAnalysis:
    """What is asked of one image."""

    exam: ExamCode | None = None
    question: str | None = None
    frame: int | None = None
    external_id: str | None = None
    idempotency_key: str | None = None
    deadline_s: float | None = None
    """Time from now within which it must be done; None: however long it takes."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The analysis that a request got; `replayed` when an earlier request with its key made it."""

    analysis_id: str
    replayed: bool


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One image, one request, and where its newest version stands."""

    id: str
    created_at: str
    exam: ExamCode | None
    question_given: bool
    frame: int | None
    external_id: str | None
    image: ImageInfo
    image_key: str
    version: int
    state: JobState
    attempts: int
    problem: str | None
    report_id: str | None
    outcome: Outcome | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to this version."""
        return self.state in ENDED
