"""The model card of a manifest entry.

It says what a specialist is for, which data it was trained on, and how good it is.
"""

import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from reports.model import ExamCode
from specialists.cards.card_words import Words, read_words
from specialists.cards.elsewhere import not_kept
from specialists.cards.floors import judged_of
from specialists.cards.licence import research_only_of
from specialists.manifest import (
    DataSource,
    Kind,
    Manifest,
    Metric,
    SpecialistEntry,
    Threshold,
    Transfer,
)

UNNAMED = ("class ", "class_", "point ", "point_")
"""Prefixes of placeholder names of classes and points whose source gives them no names."""


class Making(BaseModel):
    """How the weights were made, as the training command recorded it in a file beside them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: str
    command: str
    config: dict[str, JsonValue]
    git_commit: str | None
    data_sha256: dict[str, str]


class Card(BaseModel):
    """Facts for those who decide whether to use a specialist; all numbers are the manifest's."""

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    kind: Kind
    installed: bool
    not_installed: str | None
    intended_use: str
    users: str
    not_for: tuple[str, ...]
    answers: str
    stands_in: str | None = Field(
        description="Which specialist answers for it in prediction files while it has no weights, "
        "and what that one learnt from."
    )
    exams: tuple[ExamCode, ...]
    training_data: tuple[DataSource, ...]
    research_only: str | None = Field(
        description="Why its weights and its backbone's may be used for research only; "
        "null where they may for more."
    )
    rows: dict[str, float] = Field(
        description="By column of its table: rows with another number neither train nor judge it."
    )
    licence: str
    transfer: tuple[Transfer, ...] = Field(
        description="Figures on sources that decoder and head were trained without; "
        "the backbone has seen them."
    )
    metrics: tuple[Metric, ...]
    temperature: float | None
    thresholds: dict[str, Threshold]
    further: dict[str, JsonValue] = Field(
        description="Everything else that its calibration wrote into the manifest, "
        "by the field's name."
    )
    limits: tuple[str, ...]
    model: str
    sha256: str | None
    backbone_sha256: str | None
    bf16: bool = Field(
        description="Whether decoder and head run in bf16 by default, "
        "where runtime and processor have it."
    )
    int8: bool = Field(
        description="Whether decoder and head run in int8 by default, "
        "where runtime and processor are faster with it."
    )
    making: Making | None


SHOWN_ELSEWHERE = frozenset(
    {
        *(
            "id",
            "kind",
            "title",
            "model",
            "backbone_sha256",
            "exams",
            "task_id",
            "labels",
            "landmarks",
        ),
        *(
            "units",
            "requires",
            "provides",
            "features",
            "roi",
            "roi_slot",
            "geometry",
            "absence_known",
        ),
        *(
            "temperature",
            "thresholds",
            "training_data",
            "metrics",
            "transfer",
            "not_installed",
            "holds_without",
            "stands_in",
            "weights",
            "sha256",
            "bf16_sha256",
            "int8",
        ),
        *("line_ends", "rows"),
    }
)
"""Fields of an entry that have their own place on the card or tell its reader nothing."""


def card_of(entry: SpecialistEntry, manifest: Manifest) -> Card:
    """Return the card of that entry, whose backbone and stand-in are those of the manifest.

    `making` is None where no file beside the weights describes these very weights.
    """
    words, stand_in = read_words(), manifest.stand_in(entry)
    why = research_only_of(entry, manifest)
    dumped: Mapping[str, JsonValue] = entry.model_dump(mode="json", exclude_defaults=True)
    return Card(
        id=entry.id,
        title=entry.title,
        kind=entry.kind,
        installed=entry.installed,
        not_installed=entry.not_installed,
        intended_use=_intended_use(entry, words),
        users=words.common.users,
        not_for=words.common.not_for,
        answers=_answers(entry, words),
        stands_in=None if stand_in is None else _stands_in(entry, stand_in, words),
        exams=entry.exams,
        training_data=entry.training_data,
        research_only=why,
        licence=_licence(why, words),
        transfer=entry.transfer,
        rows=entry.rows,
        metrics=entry.metrics,
        temperature=entry.temperature,
        thresholds=entry.thresholds,
        further={k: v for k, v in dumped.items() if k not in SHOWN_ELSEWHERE},
        limits=_limits(entry, words),
        model=entry.model,
        sha256=entry.sha256,
        backbone_sha256=entry.backbone_sha256,
        bf16=entry.bf16,
        int8=entry.int8 is not None and entry.int8.current(entry.sha256),
        making=_making(entry),
    )


def cards_of(manifest: Manifest) -> tuple[Card, ...]:
    """Return the card of every specialist of the manifest, in its order."""
    return tuple(card_of(entry, manifest) for entry in manifest.specialists.values())


def _licence(research_only: str | None, words: Words) -> str:
    if research_only is None:
        return words.common.licence
    return words.common.research_only.format(why=research_only)


def _intended_use(entry: SpecialistEntry, words: Words) -> str:
    match entry.exams:
        case ():
            key = "none"
        case (exam,):
            key = exam.value
        case _:
            key = "several"
    return words.exam[key].format(title=entry.title)


def _answers(entry: SpecialistEntry, words: Words) -> str:
    names = entry.landmarks or entry.labels
    if entry.kind is Kind.SEGMENT:
        names = names[1:]  # the background has no outline
    known = words.kind[entry.kind]
    sentences = [known.answers.format(names=", ".join(names))]
    absence = known.absence if entry.absence_known else known.no_absence
    if absence is not None:
        sentences.append(absence)
    return " ".join(sentences)


def _stands_in(entry: SpecialistEntry, other: SpecialistEntry, words: Words) -> str:
    """State which specialist answers for the entry and what data it learned from.

    The text also maps the challenge's names to those of that specialist.
    """
    same = zip(entry.names, other.names, strict=True)
    return words.common.stands_in.format(
        title=other.title,
        id=other.id,
        data="; ".join(f"{source.name} ({source.reference})" for source in other.training_data),
        names=", ".join(f"{theirs} = {ours}" for theirs, ours in same if theirs != ours),
    )


def _limits(entry: SpecialistEntry, words: Words) -> tuple[str, ...]:
    found = list(words.specialist.get(entry.id, ()))
    for source in entry.training_data:
        found += words.data.get(source.name, ())
    if any(name.startswith(UNNAMED) for name in (*entry.labels, *entry.landmarks)):
        found.append(words.common.unnamed)
    found += not_kept(entry)
    found += [judged.sentence for judged in judged_of(entry)]
    found += words.common.limits if entry.installed else [words.common.not_measured]
    return tuple(dict.fromkeys(found))


def _making(entry: SpecialistEntry) -> Making | None:
    if not entry.installed:
        return None
    try:
        text = (entry.directory / f"{entry.id}.json").read_text(encoding="utf-8")
        making = Making.model_validate(json.loads(text))
    except (OSError, ValueError, ValidationError):
        return None
    return making if making.sha256 == entry.sha256 else None
