"""Words that all sentences share: clauses, lists, scores, the names of special checks."""

import re
from collections.abc import Sequence

from reports.errors import ReasonMissing
from reports.model import ExamInfo

NOT_FOR_CLINICAL_USE = "Research software — not for clinical use without review."

RULES = "rules"
"""The id, in the provenance, of the planner that follows the protocols' rules."""

LATE_PLANNER = "The planner was late"
"""How the reason of a step begins that the rules chose because the planner was too slow."""

NOVELTY_CHECK = "image against training images"
"""The check that states how far the image is from the training images."""

QUALITY_CHECK = "image quality"
"""The check that states what is wrong with the image."""


def score_text(score: float) -> str:
    """Format a score with two decimals; near 0 and 1, which read as certainty, as a bound."""
    if score >= 0.995:
        return "> 0.99"
    return "< 0.01" if score < 0.005 else f"{score:.2f}"


def exam_basis(exam: ExamInfo) -> str:
    """State how the exam was chosen, as a sentence."""
    if exam.chosen_by == "request":
        how, whose = "Exam named in the request", "score for it"
    elif exam.code is None:
        how, whose = "No exam was recognised", "best score"
    else:
        how, whose = "Exam recognised from the image", "score for it"
    if exam.score is None:
        return f"{how}."
    return f"{how}; the router's {whose} is {score_text(exam.score)}."


def sentence(text: str | None) -> str:
    """Return the text as a sentence: a capital first, one full stop last.

    Raises:
        ReasonMissing: there is no text.
    """
    return capital(clause(text)) + "."


def clause(text: str | None) -> str:
    """Return the text to follow a colon or comma.

    It has no full stop, and no capital on an ordinary first word.

    Raises:
        ReasonMissing: there is no text.
    """
    text = (text or "").strip().rstrip(".")
    if not text:
        raise ReasonMissing("Something was not assessed or was refused, and no reason is given.")
    ordinary = re.match(r"[A-Z][a-z]+\b|A\b", text)
    return text[0].lower() + text[1:] if ordinary else text


def without_scores(reason: str | None) -> str | None:
    """Return a reason without its scores and thresholds, which belong to how a report was made."""
    return None if reason is None else re.sub(r" \(presence score [^)]*\)", "", reason)


def listed(names: Sequence[str], last: str = "and") -> str:
    """Join the names into a list in words: "a, b and c"."""
    return f" {last} ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def capital(text: str) -> str:
    """Return the text with a capital first."""
    return text[:1].upper() + text[1:]
