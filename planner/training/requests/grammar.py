"""Requests as clinicians write them, with their meanings, drawn from `grammar.toml` by a seed."""

import enum
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from planner.errors import ProtocolInvalid
from planner.protocols import Answer, Protocols, read_protocols
from planner.training.requests.topics import coded_topics
from reports.model import ExamCode

PACKAGE_REQUESTS = Path(__file__).with_name("grammar.toml")

TYPO_SHARE, TAUGHT_TYPO_SHARE = 0.25, 0.35
"""Share of requests with one or two typing errors, in evaluation and in training."""
SURROUNDED = 0.3
"""Share of training requests with words before or after them that ask for nothing."""
PHRASES_SHARE = 0.35
"""Share of requests that are a phrase of their own, not a name in a frame."""
COUNTS, TAUGHT_COUNTS = (1, 1, 1, 1, 2, 2, 3), (1, 1, 1, 2, 2, 2, 3)
"""How many single items a request asks for, in evaluation and in training."""
PHRASES_JOINED = 0.3
"""Share of training requests for several items that are put together from a phrase for each."""
JOINTS = (" ", " ", ", ", "; ", ". ", "? ", " and ", " also ", " then ", " plus ", " + ", " & ")
CODED_TOPICS = 0.3
"""Share of unserved training topics that are names of DICOM's context groups.

The others are topics of the grammar.
"""
MIXED_TOPICS = 0.3
"""Share of unserved training topics that are put together from two.

They make an unknown word less likely to be read as one of our questions.
"""

T = TypeVar("T")

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


class Want(enum.StrEnum):
    """The kind of a request."""

    NONE = "none"
    WHOLE = "whole exam"
    ITEMS = "single items"
    EXCEPT = "all but one item"
    UNSERVED = "not served"
    IRRELEVANT = "irrelevant"


class Phrasing(enum.StrEnum):
    """The part of the grammar that a text comes from; only `seen` is used in training."""

    SEEN = "seen"
    HELD = "unseen phrasing"
    HELD_INTENT = "unseen intent"
    OTHER_HAND = "another hand's words"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Item(_Table):
    """The wordings of one question of the protocols."""

    id: str
    names: tuple[str, ...]
    held: tuple[str, ...]
    phrases: tuple[str, ...]
    phrases_held: tuple[str, ...]


class HeldOut(_Table):
    """Questions, and pairs of questions, that training never asks for."""

    items: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


class Frames(_Table):
    """Sentences with {x} for an item's name, by the kind of question that they fit."""

    any: tuple[str, ...]
    any_held: tuple[str, ...]
    finding: tuple[str, ...]
    finding_held: tuple[str, ...]
    measurement: tuple[str, ...]
    measurement_held: tuple[str, ...]


class Texts(_Table):
    """Texts or sentences, seen in training and held out."""

    any: tuple[str, ...]
    held: tuple[str, ...]


class Around(_Table):
    """Text that may stand before or after a request; `only_` texts exclude everything else."""

    openings: tuple[str, ...]
    closings: tuple[str, ...]
    only_openings: tuple[str, ...]
    only_closings: tuple[str, ...]


class Unserved(_Table):
    """Topics that no protocol answers, and how they are asked for."""

    topics: tuple[str, ...]
    held: tuple[str, ...]
    any: tuple[str, ...]
    any_held: tuple[str, ...]
    phrases: tuple[str, ...]


class Grammar(_Table):
    """The whole table."""

    held_out: HeldOut
    item: tuple[Item, ...]
    frames: Frames
    around: Around
    joined: Texts
    whole: Texts
    exam_names: dict[ExamCode, tuple[str, ...]]
    exam_names_held: dict[ExamCode, tuple[str, ...]]
    unserved: Unserved
    irrelevant: Texts
    except_: Texts

    def taught(self) -> list[str]:
        """Return every text, name and frame that training may draw from."""
        lists = [self.joined.any, self.whole.any, self.irrelevant.any, self.except_.any]
        lists += [self.frames.any, self.frames.finding, self.frames.measurement]
        lists += [part for item in self.item for part in (item.names, item.phrases)]
        lists += [self.unserved.topics, self.unserved.any, self.unserved.phrases]
        lists += [self.around.openings, self.around.closings, *self.exam_names.values()]
        return [text for texts in lists for text in texts] + list(coded_topics(self.unserved.held))

    @property
    def exams(self) -> tuple[ExamCode, ...]:
        """The exams that the grammar has words for; a planner is trained on no others."""
        return tuple(exam for exam in ExamCode if exam in self.exam_names)

    def items_of(self, exam: ExamCode, phrasing: Phrasing, protocols: Protocols) -> list[Item]:
        """Return the exam's items that a text of that phrasing may ask for."""
        own = {question.id for question in protocols.exams[exam].questions}
        held = set(self.held_out.items)
        return [
            item
            for item in self.item
            if item.id in own and (phrasing is Phrasing.HELD_INTENT) == (item.id in held)
        ]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The meaning of a request, which can be worded in many ways.

    `about` is the exam that its words come from, `exam` the one that they name. `items` are the
    questions asked for or, with `Want.EXCEPT`, excluded.
    """

    want: Want
    about: ExamCode
    phrasing: Phrasing = Phrasing.SEEN
    items: tuple[str, ...] = ()
    exam: ExamCode | None = None


@cache
def read_grammar(path: Path = PACKAGE_REQUESTS) -> Grammar:
    """Read the grammar from `path`.

    Raises:
        ProtocolInvalid: the file is unreadable, or names a question that no protocol has.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        grammar = Grammar(**{("except_" if key == "except" else key): table[key] for key in table})
    except (OSError, ValueError, TypeError, ValidationError) as error:
        raise ProtocolInvalid(f"The requests {path} cannot be used: {error}") from error
    known = {q.id for exam in read_protocols().exams.values() for q in exam.questions}
    named = {item.id for item in grammar.item} | set(grammar.held_out.items)
    if unknown := sorted(named - known):
        raise ProtocolInvalid(f"The requests {path} name no known question: {', '.join(unknown)}.")
    return grammar


class RequestSampler:
    """Draws requests, the same for the same generator."""

    def __init__(self, grammar: Grammar, protocols: Protocols) -> None:
        self.grammar, self.protocols = grammar, protocols
        self._by_id = {item.id: item for item in grammar.item}
        self._kinds = {q.id: q.kind for exam in protocols.exams.values() for q in exam.questions}

    def wish(
        self, rng: np.random.Generator, want: Want, exam: ExamCode, phrasing: Phrasing
    ) -> Wish:
        """Draw a request of that kind about that exam, not yet worded."""
        items: tuple[str, ...] = ()
        if want is Want.ITEMS:
            items = self._items(rng, exam, phrasing)
        elif want is Want.EXCEPT:
            items = (pick(rng, self._askable(exam, phrasing)).id,)
        named = want is Want.WHOLE and rng.random() < 0.5
        return Wish(
            want=want, about=exam, phrasing=phrasing, items=items, exam=exam if named else None
        )

    def word(self, rng: np.random.Generator, wish: Wish) -> str | None:
        """Return a text for that wish, a different one each time; None where nothing is asked."""
        items = [self._by_id[name] for name in wish.items]
        match wish.want:
            case Want.NONE:
                return None
            case Want.WHOLE:
                text = self._whole(rng, wish)
            case Want.ITEMS if len(items) == 1:
                text = self._one(rng, items[0], wish.phrasing)
            case Want.ITEMS:
                text = self._several(rng, items, wish.phrasing)
            case Want.EXCEPT:
                frames = self.grammar.except_
                frame = pick(rng, frames.held if wish.phrasing is Phrasing.HELD else frames.any)
                text = frame.format(x=pick(rng, items[0].names))
            case Want.UNSERVED:
                text = self._unserved(rng, wish.phrasing)
            case Want.IRRELEVANT:
                texts = self.grammar.irrelevant
                text = pick(rng, texts.any if wish.phrasing is Phrasing.SEEN else texts.held)
        if wish.phrasing is not Phrasing.SEEN:
            return _as_typed(text, rng, TYPO_SHARE)
        return _as_typed(self._surrounded(rng, text, wish.want), rng, TAUGHT_TYPO_SHARE)

    def _surrounded(self, rng: np.random.Generator, text: str, want: Want) -> str:
        """Add words to some texts that ask for nothing, or that say that nothing else is asked."""
        if want is Want.IRRELEVANT or rng.random() >= SURROUNDED:
            return text
        around = self.grammar.around
        alone = want in {Want.ITEMS, Want.UNSERVED}
        if rng.random() < 0.5:
            openings = around.openings + (around.only_openings if alone else ())
            return f"{pick(rng, openings)} {text}"
        closings = around.closings + (around.only_closings if alone else ())
        return f"{text} {pick(rng, closings)}"

    def _whole(self, rng: np.random.Generator, wish: Wish) -> str:
        held = wish.phrasing is not Phrasing.SEEN
        texts = self.grammar.whole.held if held else self.grammar.whole.any
        frame = pick(rng, [t for t in texts if ("{exam}" in t) == (wish.exam is not None)])
        names = self.grammar.exam_names_held if held else self.grammar.exam_names
        return frame.format(exam=pick(rng, names[wish.about]))

    def _items(
        self, rng: np.random.Generator, exam: ExamCode, phrasing: Phrasing
    ) -> tuple[str, ...]:
        if phrasing is Phrasing.HELD_INTENT:
            return self._held_intent(rng, exam)
        askable = self._askable(exam, phrasing)
        count = pick(rng, TAUGHT_COUNTS if phrasing is Phrasing.SEEN else COUNTS)
        chosen = [askable[i].id for i in rng.permutation(len(askable))[:count]]
        return tuple(chosen[:1] if self._is_held_pair(chosen) else chosen)

    def _held_intent(self, rng: np.random.Generator, exam: ExamCode) -> tuple[str, ...]:
        """Draw a question, or a pair of questions, that training never asks for."""
        alone = self.grammar.items_of(exam, Phrasing.HELD_INTENT, self.protocols)
        known = {item.id for item in self._askable(exam, Phrasing.SEEN)}
        pairs = [pair for pair in self.grammar.held_out.pairs if known.issuperset(pair)]
        if alone and (not pairs or rng.random() < 0.5):
            return (pick(rng, alone).id,)
        return pick(rng, pairs)

    def _askable(self, exam: ExamCode, phrasing: Phrasing) -> list[Item]:
        return self.grammar.items_of(
            exam, Phrasing.SEEN if phrasing is Phrasing.HELD_INTENT else phrasing, self.protocols
        )

    def _is_held_pair(self, ids: Sequence[str]) -> bool:
        return any({a, b} <= set(ids) for a, b in self.grammar.held_out.pairs)

    def _one(self, rng: np.random.Generator, item: Item, phrasing: Phrasing) -> str:
        """Word one item: a phrase of its own, or its name in a frame; any may be held out."""
        held = phrasing is Phrasing.HELD
        if rng.random() < PHRASES_SHARE:
            return pick(rng, item.phrases_held if held else item.phrases)
        by_name = held and rng.random() < 0.5
        by_frame = held and (not by_name or rng.random() < 0.3)
        name = pick(rng, item.held if by_name else item.names)
        frames = self._frames(item, held=by_frame)
        return pick(rng, frames).format(x=name)

    def _frames(self, item: Item, *, held: bool) -> tuple[str, ...]:
        frames = self.grammar.frames
        finding = self._kinds[item.id] is Answer.FINDING
        if held:
            own = frames.finding_held if finding else frames.measurement_held
            return frames.any_held + own
        return frames.any + (frames.finding if finding else frames.measurement)

    def _several(self, rng: np.random.Generator, items: Sequence[Item], phrasing: Phrasing) -> str:
        held = phrasing is Phrasing.HELD
        if phrasing is Phrasing.SEEN and rng.random() < PHRASES_JOINED:
            phrases = [self._one(rng, item, phrasing) for item in items]
            joint = pick(rng, JOINTS)
            return joint.join([*(p.rstrip(" .?!") for p in phrases[:-1]), phrases[-1]])
        joined = self.grammar.joined
        frame = pick(rng, joined.held if held and rng.random() < 0.5 else joined.any)
        names = [pick(rng, item.held if held else item.names) for item in items]
        return frame.format(x=", ".join(names[:-1]), y=names[-1])

    def _unserved(self, rng: np.random.Generator, phrasing: Phrasing) -> str:
        unserved = self.grammar.unserved
        seen = phrasing is Phrasing.SEEN
        if seen and rng.random() < PHRASES_SHARE:
            return pick(rng, unserved.phrases)
        topic = self._topic(rng) if seen else pick(rng, unserved.held)
        if seen and rng.random() < MIXED_TOPICS:
            topic = _mixed(topic, self._topic(rng))
        held_frame = phrasing is Phrasing.HELD and rng.random() < 0.5
        return pick(rng, unserved.any_held if held_frame else unserved.any).format(x=topic)

    def _topic(self, rng: np.random.Generator) -> str:
        """Draw a training topic that no protocol answers."""
        unserved = self.grammar.unserved
        if rng.random() < CODED_TOPICS:
            return pick(rng, coded_topics(unserved.held))
        return pick(rng, unserved.topics)


def _mixed(first: str, second: str) -> str:
    """Return the beginning of one topic with the end of another, which no protocol answers."""
    left, right = first.split(), second.split()
    return " ".join([*left[: (len(left) + 1) // 2], *right[len(right) // 2 :]])


def _as_typed(text: str, rng: np.random.Generator, typo_share: float) -> str:
    """Return the text with random letter case, and with typing errors in the given share."""
    draw = rng.random()
    if draw < 0.2:
        text = text.lower()
    elif draw < 0.25:
        text = text.upper()
    elif draw < 0.4:
        text = text[:1].upper() + text[1:]
    if rng.random() < typo_share and len(text) >= 8:
        for _ in range(1 + int(rng.random() < 0.3)):
            text = with_slip(text, rng)
    return text


def with_slip(text: str, rng: np.random.Generator) -> str:
    """Return the text with one typing error.

    A letter is dropped, doubled, swapped with the next, or replaced by a neighbouring key's.
    """
    places = [i for i, letter in enumerate(text) if letter in string.ascii_letters]
    if not places:
        return text
    at = int(pick(rng, places))
    match int(rng.integers(4)):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + text[at] + text[at:]
        case 2 if at + 1 < len(text):
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case _:
            return text[:at] + _neighbour(text[at], rng) + text[at + 1 :]


def _neighbour(letter: str, rng: np.random.Generator) -> str:
    row = next(row for row in KEYBOARD if letter.lower() in row)
    at = row.index(letter.lower())
    near = row[max(0, at - 1) : at + 2].replace(letter.lower(), "")
    found: str = pick(rng, near)
    return found.upper() if letter.isupper() else found


def pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    """Draw one of `values`, all with the same probability."""
    return values[int(rng.integers(len(values)))]


def pick_want(rng: np.random.Generator, shares: Mapping[Want, float]) -> Want:
    """Draw a kind of request by its share; the shares add up to 1."""
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]
