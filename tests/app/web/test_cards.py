"""Model cards from the manifest: over HTTP as pages and JSON, as Markdown in docs/, and linked."""

import json
import re
from pathlib import Path

import html5lib
import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.web.pages.cards import card_page, index_of, markdown_of, table_of
from specialists.cards.card import SHOWN_ELSEWHERE, card_of, cards_of
from specialists.cards.card_words import read_words
from specialists.manifest import (
    DataSource,
    Metric,
    SpecialistEntry,
    Threshold,
    Transfer,
    read_manifest,
)
from tests.app.conftest import Serve, a_png
from tests.specialists.nets import an_entry

DOCS = Path(__file__).parents[3] / "docs" / "cards"
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MANIFEST = read_manifest()


def test_the_committed_cards_are_what_the_command_writes(tmp_path: Path) -> None:
    environment = {"USTRI_DATA_DIR": str(tmp_path / "home")}
    words = ["specialists", "--cards", str(tmp_path / "cards")]
    assert CliRunner().invoke(app, words, env=environment).exit_code == 0
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "cards").iterdir()}
    committed = {path.name: path.read_text("utf-8") for path in DOCS.iterdir()}
    assert written.keys() == committed.keys()
    stale = [name for name, text in written.items() if committed[name] != text]
    assert not stale, "run `ustri specialists --cards docs/cards` with an empty USTRI_DATA_DIR"


def test_a_card_of_what_is_no_longer_listed_is_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old", encoding="utf-8")
    environment = {"USTRI_DATA_DIR": str(tmp_path / "home")}
    CliRunner().invoke(app, ["specialists", "--cards", str(tmp_path)], env=environment)
    assert not (tmp_path / "gone.md").exists()


@pytest.mark.parametrize("card", cards_of(MANIFEST), ids=lambda card: card.id)
def test_every_specialist_has_a_card_that_says_what_it_must(card: object) -> None:
    text = markdown_of(card)  # type: ignore[arg-type]
    entry = MANIFEST.specialist(card.id)  # type: ignore[attr-defined]
    for part in ("Intended use", "Not for", "What it answers", "Limits", "Data and licence"):
        assert part in text
    for source in entry.training_data:
        assert source.reference in text
    for metric in entry.metrics:
        assert f"| {metric.name} | {metric.value:.3f} |" in text
    for threshold in entry.thresholds.values():
        assert threshold.source in text
    if entry.installed:
        assert f"`{entry.sha256}`" in text
        assert f"`{entry.backbone_sha256}`" in text
        assert "- Command: `ustri train specialist" in text
        assert "- Seed: " in text
    else:
        assert f"Not installed: {entry.not_installed}" in text


def test_known_traps_of_the_data_are_limits() -> None:
    def limits(name: str) -> str:
        return " ".join(card_of(MANIFEST.specialist(name), MANIFEST).limits)

    assert "squashed" in limits("aop_landmarks")
    assert "Callipers" in limits("breast_2cls")
    assert "unlabelled, not absent" in limits("fetal_csp_det")
    assert "not established" in limits("fmc_lung_2cls")


def test_words_of_the_cards_are_of_things_that_are_there() -> None:
    words = read_words()
    assert words.specialist.keys() <= MANIFEST.specialists.keys()
    sources = {s.name for e in MANIFEST.specialists.values() for s in e.training_data}
    assert words.data.keys() <= sources
    assert SpecialistEntry.model_fields.keys() >= SHOWN_ELSEWHERE


def test_whatever_else_a_calibration_wrote_is_shown_as_a_table() -> None:
    value = [{"measurement": "hc", "low": -1.5, "n": 116}, {"measurement": "bpd", "reason": "few"}]
    card = card_of(MANIFEST.specialist("fetal_head"), MANIFEST)
    text = markdown_of(card.model_copy(update={"further": {"intervals": value}}))
    assert "### Intervals" in text
    assert "| measurement | low | n | reason |" in text
    assert "| hc | -1.5 | 116 |  |" in text
    assert "| bpd |  |  | few |" in text
    assert table_of(0.25) == [{"value": "0.25"}]


def test_figures_on_a_source_left_out_stand_above_those_on_known_ones() -> None:
    item = Transfer(
        left_out="dataset=one", name="auc", value=0.7, low=0.6, high=0.8, n=9, note="why"
    )
    entry = MANIFEST.specialist("breast_2cls")
    known = (Metric(name="auc", value=0.9, n=4, split="val"),)
    changed = entry.model_copy(update={"transfer": (item,), "metrics": known})
    card = card_of(changed, MANIFEST)
    page = bytes(card_page(card).body).decode()
    html5lib.HTMLParser(strict=True).parse(page)
    for text in (markdown_of(card), page):
        places = [
            text.index(part) for part in ("the backbone has seen the source", "0.700", "0.900")
        ]
        assert places == sorted(places)
        assert "dataset=one (why)" in text
    assert "| figure | dataset=one (why) |" in markdown_of(card)
    assert "| auc | 0.700 (0.600 to 0.800), n 9 |" in markdown_of(card)
    assert "auc 0.700 (dataset=one)" in index_of([card])
    bare = card_of(entry.model_copy(update={"transfer": (), "thresholds": {}}), MANIFEST)
    assert "left out" not in markdown_of(bare)


def test_what_did_not_hold_on_a_source_left_out_is_a_limit_with_its_figure() -> None:
    def item(name: str, value: float, **changes: object) -> Transfer:
        values = {"left_out": "dataset=one", "name": name, "value": value, "n": 40, **changes}
        return Transfer.model_validate(values)

    found = (
        item("label set coverage of malignant, fitted to known sources", 0.59),
        item("label set coverage of malignant, fitted to other sources left out", 0.93),
        item(
            "label set coverage of benign, fitted to other sources left out", 0.8, low=0.7, high=0.9
        ),
        item("label set coverage of benign, fitted to other sources left out", 0.95),
    )
    entry = MANIFEST.specialist("breast_2cls").model_copy(update={"transfer": found})
    named = {"label_set benign": Threshold(value=0.3, source="of val and of sources left out")}

    def said_of(entry: SpecialistEntry) -> list[str]:
        return [
            line for line in card_of(entry, MANIFEST).limits if "does not hold elsewhere" in line
        ]

    known = said_of(entry.model_copy(update={"thresholds": {}}))
    assert ["malignant was 0.59" in line for line in known] == [
        True
    ]  # as its thresholds were fitted
    entry = entry.model_copy(update={"thresholds": named})
    said = said_of(entry)
    assert said == [
        "It does not hold elsewhere: label set coverage of benign was 0.80 (0.70 to 0.90) "
        "on a source left out of its training (dataset=one), where 0.9 is meant."
    ]
    assert said[0] in markdown_of(card_of(entry, MANIFEST))
    unseen = item("auc", 0.7, backbone_saw=False)
    card = card_of(entry.model_copy(update={"transfer": (unseen,)}), MANIFEST)
    assert "| figure | dataset=one, not seen by the backbone either |" in markdown_of(card)
    assert "dataset=one, not seen by the backbone either" in bytes(card_page(card).body).decode()


def test_a_record_of_other_weights_is_not_taken_for_these(tmp_path: Path) -> None:
    record: dict[str, object] = {
        "sha256": "1" * 64,
        "command": "c",
        "config": {},
        "git_commit": None,
    }
    path = tmp_path / "breast_2cls.json"
    path.write_text(json.dumps({**record, "data_sha256": {}}), encoding="utf-8")
    for digest, known in (("1" * 64, True), ("2" * 64, False)):
        changes = {"weights": "w", "sha256": digest, "not_installed": None}
        card = card_of(an_entry("breast_2cls", tmp_path, **changes), MANIFEST)
        assert (card.making is not None) == known
        assert ("No record of the training" in markdown_of(card)) != known


def test_a_bar_in_a_name_cannot_break_a_table(tmp_path: Path) -> None:
    entry = an_entry(
        "breast_2cls",
        tmp_path,
        title="a|b",
        metrics=(Metric(name="x|y", value=0.5, n=3, split="val"),),
        thresholds={"t": Threshold(value=0.1, source="p|q\nr")},
        training_data=(DataSource(name="d|e", reference="f", licence="g", licence_verified=False),),
    )
    card = card_of(entry, MANIFEST)
    rows = [line for line in markdown_of(card).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4, 5, 6}
    assert r"a\|b" in index_of([card])


async def test_a_card_is_json_for_programs_and_a_page_for_browsers(
    client: httpx.AsyncClient,
) -> None:
    path = "/specialists/breast_2cls/card"
    answer = await client.get(path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    assert answer.json()["intended_use"]
    page = await client.get(path, headers=PAGE)
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "Licence read at the source" in page.text
    html5lib.HTMLParser(strict=True).parse(page.text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page.text)
    assert (await client.get(path, headers={"Accept": "image/png"})).status_code == 406
    unknown = await client.get("/specialists/none/card")
    assert unknown.status_code == 404
    assert unknown.headers["content-type"] == "application/problem+json"


async def test_what_is_not_installed_has_a_card_that_says_why(client: httpx.AsyncClient) -> None:
    answer = await client.get("/specialists/fmc_fugc/card", headers=PAGE)
    assert "not installed" in answer.text
    assert "No weights in this test." in answer.text


async def test_the_list_of_specialists_is_a_page_for_browsers(client: httpx.AsyncClient) -> None:
    page = await client.get("/specialists", headers=PAGE)
    assert page.headers["content-type"].startswith("text/html")
    links = set(re.findall(r'href="/specialists/([a-z0-9_]+)/card"', page.text))
    listed = (await client.get("/specialists")).json()
    assert links == {entry["id"] for entry in listed}
    html5lib.HTMLParser(strict=True).parse(page.text)


async def test_the_report_page_links_each_specialist_to_its_card(serve: Serve) -> None:
    async with serve() as client:
        answer = await client.post("/analyze", files={"image": a_png()})
        assert answer.status_code == 200, answer.text
        report = answer.json()
        page = (await client.get(f"/analyses/{report['analysis_id']}/view")).text
    used = {step["action"] for step in report["steps"]} - {"stop"}
    assert used
    for name in used:
        assert f'href="/specialists/{name}/card"' in page
    assert 'href="/specialists/stop/card"' not in page


async def test_the_http_reference_shows_what_stands_between_backticks_as_code(
    serve: Serve,
) -> None:
    async with serve() as client:
        page = (await client.get("/docs")).text
    assert "With <code>Prefer: respond-async</code>" in page
    texts = re.findall(r"<(p|td|summary)>(.*?)</\1>", page, flags=re.DOTALL)
    assert texts
    assert not [text for _, text in texts if "`" in text]


async def test_a_specialist_whose_source_was_never_left_out_is_not_measured_there(
    serve: Serve,
) -> None:
    async with serve() as client:
        page = (await client.get("/specialists", headers={"Accept": "text/html"})).text
    assert "<td>not measured</td>" in page


def test_a_card_shows_a_command_as_code_and_escapes_what_is_none() -> None:
    entry = MANIFEST.specialist("fmc_breast_2cls")
    changed = entry.model_copy(update={"not_installed": "Run `ustri <b>` where a < b."})
    page = bytes(card_page(card_of(changed, MANIFEST)).body).decode()
    assert "Run <code>ustri &lt;b&gt;</code> where a &lt; b." in page
    assert "<code>ustri predict --namespace fmc</code> has breast_2cls" in page
    assert "`" not in page
