"""What a request's question asks, as far as it was understood, for the sentence that answers it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One thing that was asked for, such as "size", and what of the report answers it.

    `findings` and `measurements` are ids, in the order of the question. `cannot` is the sentence
    that says what this service does not answer; it is set where both are empty, and may stand
    beside what it does say ("BI-RADS category" beside the classification).
    """

    name: str
    findings: tuple[str, ...] = ()
    measurements: tuple[str, ...] = ()
    cannot: str | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question in words: its topics in the order of the question; none was recognised if empty.

    `narrowed` says that the request asked for these topics only (`scope=question`).
    """

    topics: tuple[Topic, ...] = ()
    narrowed: bool = False
