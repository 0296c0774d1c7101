"""The keyword matcher: the topics that a free-text question asks for, in the question's order.

It orders a report and answers the question first; what it does not recognise, it says nothing of.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from planner.protocols import GeneralTopic, Protocols, Question, folded
from reports.model import ExamCode

_CLAUSE_END = re.compile(r"[.;:,?!]|\bbut\b")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One thing that a question asks for; `questions` of the exam answer it.

    `everything` says that the whole report does, or, where it `cannot` be answered, that the
    structures that were looked for stand for it. `cannot` is the sentence that says what this
    service does not answer; it is set where nothing answers.
    """

    name: str
    questions: tuple[Question, ...] = ()
    everything: bool = False
    cannot: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a question asks of one exam, in its order; no topics where nothing was recognised.

    `given` says whether there is a question in words. `excludes` says that it leaves something
    out, which keywords cannot tell from what it asks for.
    """

    topics: tuple[Heard, ...] = ()
    given: bool = False
    excludes: bool = False

    @property
    def own(self) -> tuple[Question, ...]:
        """The exam's questions that the topics name, each once, in the question's order."""
        return tuple(dict.fromkeys(q for topic in self.topics for q in topic.questions))

    @property
    def distinct(self) -> bool:
        """Whether the question names a part of the exam that a report can be narrowed to."""
        whole = self.excludes or any(topic.everything for topic in self.topics)
        return bool(self.own) and not whole


class _Hit(NamedTuple):
    start: int
    end: int
    question: Question | None = None
    exam: ExamCode | None = None
    """The other exam that the words belong to; None for this one and for general topics."""
    general: GeneralTopic | None = None

    def inside(self, other: "_Hit") -> bool:
        return (
            other.start <= self.start
            and self.end <= other.end
            and other.end - other.start > self.end - self.start
        )

    def overlaps(self, other: "_Hit") -> bool:
        return self.start < other.end and other.start < self.end


def read_question(text: str | None, exam: ExamCode, protocols: Protocols) -> Reading:
    """Return what `text` asks, seen from `exam`."""
    plain = folded(text or "")
    if not plain:
        return Reading()
    excluded = _clauses(plain, protocols.negations)
    aside = excluded + _clauses(plain, protocols.histories)
    found = [*_own(plain, exam, protocols), *_general(plain, protocols)]
    others = [hit for hit in _foreign(plain, exam, protocols) if not any(map(hit.overlaps, found))]
    hits = [hit for hit in found + others if not any(hit.inside(o) for o in found + others)]
    asked = [hit for hit in hits if not any(a <= hit.start < z for a, z in aside)]
    topics = _topics(sorted(asked, key=lambda hit: hit.start), exam, protocols)
    present = any(_spans(word, plain) for word in protocols.presence)
    topics = _without_subjects(topics, present=present)
    if excluded and not topics:
        topics = [_everything(protocols)]
    return Reading(topics=tuple(topics), given=True, excludes=bool(excluded))


def _topics(hits: list[_Hit], exam: ExamCode, protocols: Protocols) -> list[Heard]:
    """Return the topics in the order of their first words; what has one name is one topic."""
    title = protocols.exams[exam].title
    general = [hit for hit in hits if hit.general is not None]
    topics: dict[str, Heard] = {}
    for hit in hits:
        if hit.general is not None:
            own = [h.question for h in hits if h.question and not h.exam and h.overlaps(hit)]
            heard = Heard(
                name=hit.general.name,
                questions=tuple(own),
                everything=hit.general.everything,
                cannot=hit.general.cannot,
            )
        elif hit.exam is not None:
            heard = _elsewhere(hit, hit.exam, title, protocols)
        elif hit.question is not None and not any(map(hit.overlaps, general)):
            name = hit.question.topic or hit.question.label
            heard = Heard(name=name, questions=(hit.question,))
        else:
            continue
        before = topics.get(heard.name, heard)
        union = tuple(dict.fromkeys((*before.questions, *heard.questions)))
        topics[heard.name] = replace(before, questions=union)
    named = _without_titles(list(topics.values()), protocols)
    return [_named(topic, exam, protocols) for topic in named]


def _named(topic: Heard, exam: ExamCode, protocols: Protocols) -> Heard:
    """Return the topic under the label of its only question, where its name covers more."""
    sharing = [q for q in protocols.exams[exam].questions if q.topic == topic.name]
    if len(topic.questions) == 1 < len(sharing) and topic.cannot is None:
        return replace(topic, name=topic.questions[0].label)
    return topic


def _elsewhere(hit: _Hit, exam: ExamCode, title: str, protocols: Protocols) -> Heard:
    """Return the topic of words that belong to another exam."""
    other, this = protocols.exams[exam].title, title[:1].lower() + title[1:]
    return Heard(
        name=other if hit.question is None else hit.question.label,
        cannot=f"{other} answers it; this is {this}.",
    )


def _without_titles(topics: list[Heard], protocols: Protocols) -> list[Heard]:
    """Return the topics without another exam as such, where one of its questions is named too."""
    titles = {protocol.title for protocol in protocols.exams.values()}
    said = [topic.cannot for topic in topics if topic.name not in titles]
    return [topic for topic in topics if topic.name not in titles or topic.cannot not in said]


def _without_subjects(topics: list[Heard], *, present: bool) -> list[Heard]:
    """Return the topics without a structure that is named only to ask something else of it.

    "How big is the mass?" asks for the size. Where the whole report answers, the structures that
    the question names come first in it. `present` says that the question asks what there is.
    """
    whole = next((topic for topic in topics if topic.everything), None)
    if whole is not None:
        subjects = [q for topic in topics if _is_subject(topic) for q in topic.questions]
        first = tuple(dict.fromkeys((*subjects, *whole.questions)))
        kept = [topic for topic in topics if not _is_subject(topic)]
        return [replace(topic, questions=first) if topic is whole else topic for topic in kept]
    if present:
        return topics
    of = {q.structure for topic in topics for q in topic.questions if not q.subject} - {None}
    return [
        topic
        for topic in topics
        if not _is_subject(topic) or not of.intersection(q.structure for q in topic.questions)
    ]


def _is_subject(topic: Heard) -> bool:
    plain = topic.cannot is None and not topic.everything and bool(topic.questions)
    return plain and all(question.subject for question in topic.questions)


def _everything(protocols: Protocols) -> Heard:
    topic = next(t for t in protocols.topics if t.everything and t.cannot is None)
    return Heard(name=topic.name, everything=True)


def _clauses(plain: str, words: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return from where to where the text follows one of `words`, to the end of its clause."""
    found = []
    for start, end in (span for word in words for span in _spans(word, plain)):
        stop = _CLAUSE_END.search(plain, end)
        found.append((start, len(plain) if stop is None else stop.start()))
    return found


def _own(plain: str, exam: ExamCode, protocols: Protocols) -> list[_Hit]:
    """Return the hits of the exam's questions; the exam's own name asks for nothing."""
    protocol = protocols.exams[exam]
    asked = [
        _Hit(start, end, question)
        for question in protocol.questions
        for keyword in question.keywords
        for start, end in _spans(keyword, plain)
    ]
    return asked + [_Hit(*span) for word in protocol.keywords for span in _spans(word, plain)]


def _general(plain: str, protocols: Protocols) -> list[_Hit]:
    """Return the hits of general topics, but for words that an exam goes by."""
    exams = {folded(word) for protocol in protocols.exams.values() for word in protocol.keywords}
    return [
        _Hit(start, end, general=topic)
        for topic in protocols.topics
        for keyword in topic.keywords
        if folded(keyword) not in exams
        for start, end in _spans(keyword, plain)
    ]


def _foreign(plain: str, exam: ExamCode, protocols: Protocols) -> list[_Hit]:
    """Return the hits of other exams, by words that belong to one exam alone."""
    return [
        _Hit(start, end, question, code)
        for code, protocol in protocols.exams.items()
        if code is not exam
        for question, keywords in [
            (None, protocol.keywords),
            *((question, question.keywords) for question in protocol.questions),
        ]
        for keyword in keywords
        if protocols.owners[folded(keyword)] == 1 and keyword not in protocols.everyday
        for start, end in _spans(keyword, plain)
    ]


@cache
def _word(keyword: str) -> tuple[str, re.Pattern[str]]:
    """Return a protocol keyword in normalised form, and a pattern for it as a whole word."""
    plain = folded(keyword)
    return plain, re.compile(rf"(?<!\w){re.escape(plain)}(?!\w)")


def _spans(keyword: str, plain: str) -> list[tuple[int, int]]:
    word, pattern = _word(keyword)
    if word not in plain:
        return []
    return [match.span() for match in pattern.finditer(plain)]
