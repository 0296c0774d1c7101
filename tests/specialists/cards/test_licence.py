"""The licences of the data behind weights and their backbone decide what they may be used for."""

from pathlib import Path

import pytest

from specialists.cards.card import card_of
from specialists.cards.licence import research_only, research_only_of
from specialists.manifest import DataSource, Manifest, ModelEntry, SpecialistEntry, read_manifest
from specialists.training.registry import write_entries
from tests.specialists.nets import a_model, an_entry

FREE = "CC BY 4.0"
ROOT = Path(__file__).parents[3]


def a_source(name: str, licence: str = FREE, *, verified: bool = True) -> DataSource:
    return DataSource(name=name, reference="r", licence=licence, licence_verified=verified)


def a_manifest(backbone: DataSource | None, own: DataSource | None) -> Manifest:
    """A specialist that learnt from `own`, on a backbone that learnt from `backbone`."""
    where = Path("weights")
    model = a_model(where, training_data=() if backbone is None else (backbone,))
    entry = an_entry("breast_2cls", where, weights="w", training_data=() if own is None else (own,))
    return Manifest(models={model.id: model}, specialists={entry.id: entry})


def parts(manifest: Manifest) -> tuple[ModelEntry, SpecialistEntry]:
    return manifest.models["tiny"], manifest.specialist("breast_2cls")


@pytest.mark.parametrize(
    "licence",
    [
        FREE,
        "Apache-2.0 (repository that holds the images)",
        "CC0 (sets 1, 2), CC BY 4.0 (sets 3, 4)",
        "use, copying and distribution with citation and notice (the copy's LICENSE.txt)",
    ],
)
def test_data_whose_free_licence_was_read_at_the_source_binds_nothing(licence: str) -> None:
    manifest = a_manifest(a_source("a", licence), a_source("b", licence))
    assert research_only(parts(manifest), manifest) is None
    assert "No licence" in card_of(parts(manifest)[1], manifest).licence
    unread = a_manifest(a_source("a", licence, verified=False), a_source("b", licence))
    assert "was not read at the source (a)" in str(research_only(parts(unread), unread))


@pytest.mark.parametrize(
    "licence",
    [
        "CC BY-NC-SA 4.0, strictly non-commercial scientific research only",
        "none stated",
        "by image: CC BY, CC BY-NC or CC BY-NC-SA",
        "CC BY 4.0 for members",
        "submitted work",
        "",
    ],
)
def test_a_licence_that_is_not_known_to_allow_more_binds_even_where_it_was_read(
    licence: str,
) -> None:
    manifest = a_manifest(a_source("a"), a_source("b", licence))
    model, entry = parts(manifest)
    assert research_only([model], manifest) is None
    assert "is not known to allow more (b)" in str(research_only([entry], manifest))


def test_a_specialist_is_bound_by_what_its_backbone_learnt_from() -> None:
    manifest = a_manifest(a_source("a", verified=False), a_source("b"))
    assert research_only(parts(manifest), manifest) == (
        "the weights of tiny and breast_2cls may be used for research only, since "
        "the licence of what they or their backbone learnt from was not read at the source (a)"
    )
    assert research_only_of(parts(manifest)[1], manifest) == research_only(
        parts(manifest), manifest
    )


def test_data_that_nobody_names_binds() -> None:
    for backbone, own, whose in (
        (a_source("a"), None, "breast_2cls"),
        (None, a_source("b"), "tiny"),
    ):
        manifest = a_manifest(backbone, own)
        assert f"is not stated ({whose})" in str(research_only(parts(manifest), manifest))
    lost = a_manifest(a_source("a"), a_source("b")).model_copy(update={"models": {}})
    assert "is not stated (tiny)" in str(research_only([lost.specialist("breast_2cls")], lost))


def test_every_doubt_is_named_once_with_the_data_that_it_is_of() -> None:
    manifest = a_manifest(a_source("a", verified=False), a_source("b", "none stated"))
    assert str(research_only(parts(manifest), manifest)).endswith(
        "learnt from was not read at the source (a) or is not known to allow more (b)"
    )


def test_a_backbone_learnt_from_all_that_its_own_manifest_names_whether_installed_or_not() -> None:
    manifest = read_manifest()
    named = {s for e in manifest.specialists.values() for s in e.training_data}
    assert set(manifest.models["usgen"].training_data) == named
    without = manifest.model_copy(update={"specialists": {}})
    assert set(without.models["usgen"].training_data) == named


def test_a_users_data_binds_their_specialist_and_not_the_shipped_backbone(tmp_path: Path) -> None:
    shipped = read_manifest().specialist("breast_2cls")
    secret = (a_source("secret", "not stated"),)
    mine = shipped.model_copy(update={"id": "mine", "training_data": secret})
    write_entries(tmp_path / "manifest.toml", [], [mine])
    manifest = read_manifest(tmp_path)
    assert "secret" in str(research_only_of(manifest.specialist("mine"), manifest))
    assert "secret" not in str(research_only_of(manifest.specialist("breast_2cls"), manifest))


def test_a_backbone_of_ones_own_on_free_data_frees_what_stands_on_it(tmp_path: Path) -> None:
    backbone, own = parts(a_manifest(a_source("a"), a_source("b")))
    write_entries(tmp_path / "manifest.toml", [backbone], [own])
    manifest = read_manifest(tmp_path)
    assert manifest.models["tiny"].training_data == (a_source("b"),)
    assert research_only_of(manifest.specialist("breast_2cls"), manifest) is None


def test_all_that_ships_is_for_research_only_and_notice_and_cards_say_so() -> None:
    manifest = read_manifest()
    for entry in manifest.specialists.values():
        card = card_of(entry, manifest)
        assert card.research_only is not None
        assert card.licence.startswith(f"Research use only: {card.research_only}. ")
        assert ("the weights of usgen and " in card.licence) == entry.installed
    assert "SHIPPED WEIGHTS: FOR RESEARCH USE" in (ROOT / "NOTICE").read_text(encoding="utf-8")
