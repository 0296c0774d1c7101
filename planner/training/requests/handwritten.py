"""Whole requests by writers who had not seen the grammar; for evaluation and the margin only."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from planner.errors import ProtocolInvalid
from planner.protocols import read_protocols
from planner.training.requests.grammar import Phrasing, Want, Wish, read_grammar
from planner.training.requests.topics import coded_topics
from reports.model import ExamCode

PACKAGE_WRITTEN = Path(__file__).with_name("handwritten.toml")
PACKAGE_KEPT_ASIDE = Path(__file__).with_name("kept_aside.toml")
"""Requests by further hands that calibrate the margin, and on which no planner is judged."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Item(_Table):
    id: str
    phrases: tuple[str, ...]


class _Pair(_Table):
    items: tuple[str, str]
    phrases: tuple[str, ...]


class _Except(_Table):
    item: str
    phrases: tuple[str, ...]


class _Whole(_Table):
    exam: ExamCode | None = None
    phrases: tuple[str, ...]


class _File(_Table):
    unserved: tuple[str, ...]
    irrelevant: tuple[str, ...]
    item: tuple[_Item, ...]
    pair: tuple[_Pair, ...]
    except_: tuple[_Except, ...]
    whole: tuple[_Whole, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """A request with its meaning; `about` is None if it fits any image."""

    text: str
    want: Want
    about: ExamCode | None
    items: tuple[str, ...] = ()
    named: ExamCode | None = None

    def wish(self, shown: ExamCode) -> Wish:
        """Return what the request asks of an image that shows that exam."""
        return Wish(
            want=self.want,
            about=self.about or shown,
            phrasing=Phrasing.OTHER_HAND,
            items=self.items,
            exam=self.named,
        )


@cache
def read_written(path: Path = PACKAGE_WRITTEN) -> tuple[Written, ...]:
    """Read the handwritten requests.

    Requests that the grammar happens to word alike are left out, and so are requests for questions
    that training holds out.

    Raises:
        ProtocolInvalid: the file is unreadable, or names a question that no protocol has.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        file = _File(**{("except_" if key == "except" else key): table[key] for key in table})
        trained = _trained_on()
        return tuple(
            text
            for text in _written(file)
            if words_of(text.text) not in trained and not _held_out(text.items)
        )
    except (OSError, ValueError, TypeError, KeyError, ValidationError) as error:
        raise ProtocolInvalid(f"The requests {path} cannot be used: {error}") from error


def _written(file: _File) -> list[Written]:
    exam_of = {q.id: exam for exam, p in read_protocols().exams.items() for q in p.questions}
    asked: list[tuple[tuple[str, ...], Want, tuple[str, ...]]] = [
        ((item.id,), Want.ITEMS, item.phrases) for item in file.item
    ]
    asked += [(pair.items, Want.ITEMS, pair.phrases) for pair in file.pair]
    asked += [((but.item,), Want.EXCEPT, but.phrases) for but in file.except_]
    found = [
        Written(text=text, want=want, about=exam_of[items[0]], items=items)
        for items, want, phrases in asked
        for text in phrases
    ]
    found += [
        Written(text=text, want=Want.WHOLE, about=whole.exam, named=whole.exam)
        for whole in file.whole
        for text in whole.phrases
    ]
    found += [Written(text=text, want=Want.UNSERVED, about=None) for text in file.unserved]
    found += [Written(text=text, want=Want.IRRELEVANT, about=None) for text in file.irrelevant]
    return found


def words_of(text: str) -> str:
    """Return the words of a text, in lower case and without punctuation."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _trained_on() -> set[str]:
    """Return the words of every whole text of the grammar."""
    grammar = read_grammar()
    texts = {text for item in grammar.item for text in (*item.phrases, *item.names)}
    texts |= {*grammar.unserved.phrases, *grammar.unserved.topics}
    texts |= {*grammar.irrelevant.any, *grammar.whole.any}
    texts |= set(coded_topics(grammar.unserved.held))
    return {words_of(text) for text in texts}


def _held_out(items: tuple[str, ...]) -> bool:
    held = read_grammar().held_out
    return bool(set(items) & set(held.items)) or any(set(pair) <= set(items) for pair in held.pairs)
