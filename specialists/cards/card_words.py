"""The words of all model cards and the floors of their figures, as `cards.toml` holds them."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from specialists.manifest import Kind

WORDS = Path(__file__).with_name("cards.toml")


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CommonWords(_Table):
    """Texts that every card shares."""

    users: str
    not_for: tuple[str, ...]
    limits: tuple[str, ...]
    licence: str
    research_only: str
    unnamed: str
    stands_in: str
    not_measured: str


class KindWords(_Table):
    """Texts for one kind of specialist.

    `absence` is used for a detector that learned absence, `no_absence` for one that did not.
    """

    answers: str
    absence: str | None = None
    no_absence: str | None = None


class Floor(_Table):
    """What a figure must reach, at `least` or at `most`, for a report to rely on the numbers.

    `metric` names the figure in the manifest, where `{label}` stands for each label; `says` is the
    clause beside a number below the floor, with `{label}` and `{value}`. Without `specialists` it
    holds for all of the `kind`.
    """

    kind: Kind
    specialists: tuple[str, ...] = ()
    metric: str
    least: float | None = None
    most: float | None = None
    says: str
    source: str

    @model_validator(mode="after")
    def _have_one_bound(self) -> Self:
        if (self.least is None) == (self.most is None):
            raise ValueError(f"the floor of {self.metric} needs either least or most")
        return self


class Words(_Table):
    """The texts of all cards, and the floors of their figures."""

    common: CommonWords
    kind: dict[Kind, KindWords]
    exam: dict[str, str]
    data: dict[str, tuple[str, ...]]
    specialist: dict[str, tuple[str, ...]]
    floor: tuple[Floor, ...]


@cache
def read_words() -> Words:
    """Read the texts of the cards."""
    return Words.model_validate(tomllib.loads(WORDS.read_text(encoding="utf-8")))
