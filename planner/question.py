"""The keyword matcher: what a free-text question asks for, by keywords of the protocol table."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from planner.protocols import Protocols, Question
from reports.model import ExamCode

UNMATCHED = (
    "No keyword of the question was recognised, so the whole protocol was followed; "
    "whether it answers the question was not established."
)
NEGATED = (
    "The question excludes something, which keywords cannot tell, "
    "so the whole protocol was followed."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a question asks of one exam: all of the exam's questions where nothing narrows them.

    `foreign` holds what belongs to other exams (None for the exam as such). `note` is a sentence on
    how the question was read.
    """

    own: tuple[Question, ...]
    foreign: tuple[tuple[ExamCode, Question | None], ...] = ()
    narrowed: bool = False
    note: str | None = None


class _Hit(NamedTuple):
    start: int
    end: int
    exam: ExamCode
    question: Question | None

    def inside(self, other: "_Hit") -> bool:
        return (
            other.start <= self.start
            and self.end <= other.end
            and other.end - other.start > self.end - self.start
        )

    def overlaps(self, other: "_Hit") -> bool:
        return self.start < other.end and other.start < self.end


def read_question(text: str | None, exam: ExamCode, protocols: Protocols) -> Asked:
    """Return what `text` asks, seen from `exam`; None or blank text asks for the whole protocol."""
    questions = protocols.exams[exam].questions
    plain = _plain(text or "")
    if not plain:
        return Asked(own=questions)
    if any(_spans(word, plain) for word in protocols.negations):
        return Asked(own=questions, note=NEGATED)
    hits = _hits(plain, protocols)
    own_hits = [hit for hit in hits if hit.exam == exam]
    asked = {hit.question.id for hit in own_hits if hit.question}
    others = [h for h in hits if h.exam != exam and not any(h.overlaps(own) for own in own_hits)]
    foreign = [(hit.exam, hit.question) for hit in others if hit.exam is _meant(hit, others)]
    own = tuple(question for question in questions if question.id in asked)
    unique = tuple(pair for n, pair in enumerate(foreign) if pair not in foreign[:n])
    if own or unique:
        return Asked(own=own, foreign=unique, narrowed=True, note=_heard(own, protocols, unique))
    note = None if own_hits else UNMATCHED
    return Asked(own=questions, note=note)


def _meant(hit: _Hit, hits: list[_Hit]) -> ExamCode:
    """Return the exam that words shared by several exams refer to.

    It is the one that other words of the text belong to exclusively, or else the first.
    """
    sharing = _sharing(hit, hits)
    alone = {other.exam for other in hits if len(set(_sharing(other, hits))) == 1}
    return next((exam for exam in sharing if exam in alone), sharing[0])


def _sharing(hit: _Hit, hits: list[_Hit]) -> list[ExamCode]:
    return [other.exam for other in hits if (other.start, other.end) == (hit.start, hit.end)]


def _heard(
    own: tuple[Question, ...],
    protocols: Protocols,
    foreign: tuple[tuple[ExamCode, Question | None], ...],
) -> str | None:
    if not own:
        return None
    titles = [protocols.exams[exam].title for exam, question in foreign if question is None]
    also = (
        f" It also mentions {', '.join(titles)}, which the image was not taken as."
        if titles
        else ""
    )
    return f"By its keywords the question asks for: {', '.join(q.label for q in own)}.{also}"


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(folded.split())


@cache
def _word(keyword: str) -> tuple[str, re.Pattern[str]]:
    """Return a protocol keyword in normalised form, and a pattern for it as a whole word."""
    plain = _plain(keyword)
    return plain, re.compile(rf"(?<!\w){re.escape(plain)}(?!\w)")


def _spans(keyword: str, plain: str) -> list[tuple[int, int]]:
    word, pattern = _word(keyword)
    if word not in plain:
        return []
    return [match.span() for match in pattern.finditer(plain)]


def _hits(plain: str, protocols: Protocols) -> list[_Hit]:
    hits = [
        _Hit(start, end, exam, question)
        for exam, protocol in protocols.exams.items()
        for question, keywords in [
            (None, protocol.keywords),
            *((question, question.keywords) for question in protocol.questions),
        ]
        for keyword in keywords
        for start, end in _spans(keyword, plain)
    ]
    return [hit for hit in hits if not any(hit.inside(other) for other in hits)]
