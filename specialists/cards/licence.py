"""What the licences of training data allow weights to be used for: research only, or more."""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from specialists.manifest import DataSource, Manifest, ModelEntry, SpecialistEntry

_FREE = re.compile(
    r"CC0( 1\.0)?|CC BY(-SA)? \d\.\d|Apache-2\.0|MIT|BSD-[23]-Clause|PDDL 1\.0"
    r"|use, copying and distribution with citation and notice"
)
"""Terms known to allow more than research; a licence with any further text is not known to."""

_ASIDE = re.compile(r"\([^()]*\)")
"""A remark in brackets that says which part of the data a licence covers."""


class Doubt(StrEnum):
    """Why the licence of training data allows research only."""

    UNREAD = "was not read at the source"
    LIMITED = "is not known to allow more"
    UNNAMED = "is not stated"


def research_only(
    entries: Iterable[ModelEntry | SpecialistEntry], manifest: Manifest
) -> str | None:
    """Return why the weights of those entries are for research only, as a clause.

    The result is None where they may be used for more. A specialist cannot be separated from its
    backbone, so the licences of the backbone's data apply to it too. Whatever is not known to be
    free restricts the use: licences that were not read at the source, and data that is not named.
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
        f"the weights of {_joined(bound, 'and')} may be used for research only, "
        f"since the licence of what they or their backbone learnt from {_joined(why, 'or')}"
    )


def research_only_of(entry: SpecialistEntry, manifest: Manifest) -> str | None:
    """Return the same clause for one specialist.

    It covers the backbone and, where the specialist is installed, its own weights.
    """
    backbone = manifest.models.get(entry.model)
    used = [item for item in (backbone, entry if entry.installed else None) if item is not None]
    return research_only(used, manifest)


def _doubts(learner: str, sources: Sequence[DataSource]) -> dict[str, Doubt]:
    """Return what restricts the weights of `learner`, by the name of the data set.

    Where no data is named, the key is the id of the learner.
    """
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
