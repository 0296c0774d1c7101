"""What the licences of their training data let weights be used for: research only, or more."""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from specialists.manifest import DataSource, Manifest, ModelEntry, SpecialistEntry

_FREE = re.compile(
    r"CC0( 1\.0)?|CC BY(-SA)? \d\.\d|Apache-2\.0|MIT|BSD-[23]-Clause|PDDL 1\.0"
    r"|use, copying and distribution with citation and notice"
)
"""Terms known to allow more than research; a licence that says anything else besides is not known to."""

_ASIDE = re.compile(r"\([^()]*\)")
"""What a licence is of, in brackets."""


class Doubt(StrEnum):
    """Why the licence of training data allows research only."""

    UNREAD = "was not read at the source"
    LIMITED = "is not known to allow more"
    UNNAMED = "is not stated"


def research_only(
    entries: Iterable[ModelEntry | SpecialistEntry], manifest: Manifest
) -> str | None:
    """Return why the weights of those may be used for research only, as a clause; None where they may be for more.

    A specialist cannot be separated from its backbone, so that the backbone's data binds it too. What
    is not known to be free binds: licences read second-hand, and data that nobody names.
    """
    bound: list[str] = []
    doubts: dict[str, Doubt] = {}
    for entry in entries:
        found = _doubts(entry.id, entry.training_data)
        if isinstance(entry, SpecialistEntry):
            model = manifest.models.get(entry.model)
            found |= _doubts(entry.model, () if model is None else model.training_data)
        if found:
            bound.append(entry.id)
            doubts |= found
    if not bound:
        return None
    named = {doubt: [name for name in doubts if doubts[name] is doubt] for doubt in Doubt}
    why = [f"{doubt} ({', '.join(names)})" for doubt, names in named.items() if names]
    return (
        f"the weights of {_joined(bound, 'and')} may be used for research only, since the licence of what they or "
        f"their backbone learnt from {_joined(why, 'or')}"
    )


def research_only_of(entry: SpecialistEntry, manifest: Manifest) -> str | None:
    """The same of its backbone and, where it is installed, of its own weights."""
    backbone = manifest.models.get(entry.model)
    used = [item for item in (backbone, entry if entry.installed else None) if item is not None]
    return research_only(used, manifest)


def _doubts(learner: str, sources: Sequence[DataSource]) -> dict[str, Doubt]:
    """What binds the weights of that id, by the name of the data; by the id where no data is named."""
    if not sources:
        return {learner: Doubt.UNNAMED}
    found = {source.name: _doubt(source) for source in sources}
    return {name: doubt for name, doubt in found.items() if doubt is not None}


def _doubt(source: DataSource) -> Doubt | None:
    licence = _ASIDE.sub("", source.licence)
    rest, terms = _FREE.subn("", licence)
    if not terms or rest.strip(" ,;"):
        return Doubt.LIMITED
    return None if source.licence_verified else Doubt.UNREAD


def _joined(parts: Sequence[str], word: str) -> str:
    *others, last = parts
    return f"{', '.join(others)} {word} {last}" if others else last
