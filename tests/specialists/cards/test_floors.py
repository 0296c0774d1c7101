"""Floors of a specialist's figures: data, judged by the manifest's own numbers."""

import pytest

from specialists.cards.card import card_of
from specialists.cards.card_words import Floor, read_words
from specialists.cards.floors import below_floor, judged_of
from specialists.manifest import Kind, Metric, SpecialistEntry, read_manifest

MANIFEST = read_manifest()
OUTLINING = [e for e in MANIFEST.installed() if e.kind is Kind.SEGMENT]


def with_dice(value: float) -> SpecialistEntry:
    figure = Metric(name="dice fascicle", value=value, n=10, split="val")
    return MANIFEST.specialist("muscle_fascicle").model_copy(update={"metrics": (figure,)})


@pytest.mark.parametrize("entry", OUTLINING, ids=lambda entry: entry.id)
def test_every_outlined_label_of_the_shipped_specialists_is_judged(entry: SpecialistEntry) -> None:
    assert {judged.label for judged in judged_of(entry)} == set(entry.labels[1:])


def test_the_floor_itself_is_good_enough_and_less_is_not() -> None:
    least = next(floor.least for floor in read_words().floor if floor.kind is Kind.SEGMENT)
    assert least is not None
    assert below_floor(with_dice(least), "fascicle") is None
    said = below_floor(with_dice(0.13), "fascicle")
    assert said == (
        "on labelled images, outlines of the fascicle agreed only in part with an expert's "
        "(overlap 0.13 of 1)"
    )
    assert below_floor(with_dice(0.13), "aponeurosis") is None


def test_without_a_figure_there_is_no_doubt() -> None:
    entry = MANIFEST.specialist("muscle_fascicle").model_copy(update={"metrics": ()})
    assert below_floor(entry, "fascicle") is None


def test_a_floor_has_one_bound() -> None:
    floor = {"kind": "segment", "metric": "dice", "says": "so", "source": "here"}
    for bounds in ({}, {"least": 0.1, "most": 0.2}):
        with pytest.raises(ValueError, match="either least or most"):
            Floor.model_validate(floor | bounds)


def test_a_card_states_the_floor_its_source_and_what_reports_make_of_it() -> None:
    limits = card_of(MANIFEST.specialist("nerve_vessel_multi"), MANIFEST).limits
    told = [line for line in limits if line.startswith("Floor of dice nerve")]
    assert len(told) == 1
    assert "at least 0.7" in told[0]
    assert "Zijdenbos 1994" in told[0]
    assert told[0].endswith("reports call them unreliable.")
