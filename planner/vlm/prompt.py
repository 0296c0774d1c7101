"""The prompt of a vision-language planner.

The request follows the image; the folded state and the lettered actions follow the request.
"""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from planner.case import EXPECT, Case
from planner.conclusion.checks import checks_of
from planner.plan import plan_for
from planner.policy import Action
from reports.model import CheckOutcome, Scope
from specialists.result import ClassifyResult, DetectResult, RegressResult, Result, SegmentResult

LABELS = tuple(string.ascii_uppercase)
"""The letters that stand for actions in a prompt: one token each in every tokenizer in use."""

NOTHING_YET = "nothing yet"
"""The state of a case without results."""

LONGEST_QUESTION = 300
"""The number of characters read of a question; a longer text is no request about an image."""

INSTRUCTIONS = (
    "Plan the analysis of this ultrasound image. "
    "Choose the next action by its letter. With scope protocol, run what the exam requires and "
    "what the request asks for besides; with scope question, only what the request asks for."
)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One decision: request, state, and the labels of the legal actions in protocol order."""

    request_exam: str | None
    question: str | None
    state: str
    legal: tuple[str, ...]
    scope: Scope = Scope.PROTOCOL


def turn_of(case: Case, legal: Sequence[Action]) -> Turn:
    """Return the decision that comes next in the case."""
    exam = case.request.exam
    return Turn(
        request_exam=None if exam is None else exam.value,
        question=case.request.question,
        state=fold_text(case),
        legal=tuple(action.label for action in legal),
        scope=case.request.scope,
    )


def render_prefix(turn: Turn) -> str:
    """Return the text after the image, which is the same at every step of a case."""
    question = plain(turn.question)
    return (
        f"{INSTRUCTIONS}\nexam: {turn.request_exam or 'not named'}\nscope: {turn.scope.value}\n"
        f"request: {question or 'none'}\n"
    )


def render_state(turn: Turn, order: Sequence[int]) -> str:
    """Return the text after the prefix: state, lettered actions, and the cue for one letter.

    Args:
        turn: the decision.
        order: indices into `turn.legal`; letter n stands for `turn.legal[order[n]]`.
    """
    lines = [
        f"{label} {turn.legal[index]}"
        for label, index in zip(LABELS[: len(order)], order, strict=True)
    ]
    return "\n".join([f"state: {turn.state}", "actions:", *lines, "answer:"])


def rotations(count: int, most: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Return rotations of `count` indices: each of them, so that each action gets each letter once.

    With `most`, they are as many at most, evenly spaced.
    """
    wanted = count if most is None else min(count, most)
    shifts = [number * count // wanted for number in range(wanted)]
    return tuple(tuple((place + shift) % count for place in range(count)) for shift in shifts)


def plain(question: str | None) -> str:
    """Return the question as one line in lower case without brackets.

    Without brackets and line breaks, no question can write a special token or a line of the state.
    In lower case it holds no action's letter, and a word is the same word however it was typed. The
    line is cut to `LONGEST_QUESTION` characters.
    """
    words = re.sub(r"[<>\[\]{}|\x00-\x1f\x7f]", " ", question or "").lower().split()
    return " ".join(words)[:LONGEST_QUESTION].strip()


def fold_text(case: Case) -> str:
    """Return the state in short: the expected exam, the slots' outcomes, and the flagged checks.

    The expected exam and the outcomes are in the order of the records.
    """
    parts: list[str] = []
    for record in case.records:
        if expected := record.step.parameters.get(EXPECT):
            parts.append(f"expected {expected}")
        slot = record.step.parameters.get("slot")
        if slot is not None:
            parts.append(f"{slot} {_outcome(record.result)}")
    flagged = [
        check.name for check in checks_of(plan_for(case)) if check.outcome is CheckOutcome.FLAG
    ]
    parts += [f"flag {name}" for name in flagged]
    return "; ".join(parts) or NOTHING_YET


def _outcome(result: Result | None) -> str:
    """Return what a slot's result shows, in a few words."""
    match result:
        case None:
            return "declined"
        case DetectResult(box=box, score=score):
            return f"{'none' if box is None else 'found'} {score:.2f}"
        case SegmentResult(components=components):
            labels = [component.label for component in components]
            counts = [f"{label} {labels.count(label)}" for label in dict.fromkeys(labels)]
            return f"found {' '.join(counts)}" if counts else "none"
        case ClassifyResult(scores=scores):
            ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
            return " ".join(f"{label} {score:.2f}" for label, score in ranked[:2])
        case RegressResult(points=points, missing=missing):
            return f"{'found' if points else 'none'} {len(points)} of {len(points) + len(missing)}"
