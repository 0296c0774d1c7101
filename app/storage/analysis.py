"""Analyses as the rest of the service sees them: the request, its acceptance and its state."""

from dataclasses import dataclass

from app.storage.tables import JobState
from planner.case import Details, Request
from reports.model import ExamCode, ImageInfo, Outcome, Scope

ENDED = (JobState.DONE, JobState.FAILED)
"""States after which a version does not change any more."""


@dataclass(frozen=True, kw_only=True)
class SealedLink:
    """An encrypted link as stored; `key_id` names the key that opens it without revealing it."""

    key_id: str
    sealed: bytes


@dataclass(frozen=True, kw_only=True)
class NewAnalysis:
    """A request to analyse one image."""

    exam: ExamCode | None = None
    question: str | None = None
    scope: Scope = Scope.PROTOCOL
    frame: int | None = None
    details: Details = Details()
    external_id: str | None = None
    idempotency_key: str | None = None
    deadline_s: float | None = None
    """Seconds from now within which the analysis must be done; None for no limit."""
    link: SealedLink | None = None
    """The link to the original file, where the deployment asks for it."""
    study_id: str | None = None
    """The study that the image belongs to (`app.images.dicom.uids`)."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The analysis of a request; `replayed` if an earlier request with the same key created it."""

    analysis_id: str
    replayed: bool


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One image, one request, and the state of its newest version."""

    id: str
    created_at: str
    exam: ExamCode | None
    question_given: bool
    scope: Scope
    frame: int | None
    details: Details
    study_id: str | None
    external_id: str | None
    image: ImageInfo
    image_key: str
    version: int
    state: JobState
    attempts: int
    problem: str | None
    report_id: str | None
    outcome: Outcome | None

    def request(self, question: str | None) -> Request:
        """Return the request as the planner reads it; `question` is kept only until it is done."""
        return Request(
            exam=self.exam,
            question=question,
            scope=self.scope,
            frame=self.frame,
            details=self.details,
        )

    @property
    def ended(self) -> bool:
        """Whether this version has ended."""
        return self.state in ENDED
