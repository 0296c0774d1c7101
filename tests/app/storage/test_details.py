"""The sender's details of a request: what each field takes, and that they are kept."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from app.errors import Conflict, RequestRejected
from app.images.ingest import ingest
from app.settings import Settings
from app.storage.analysis import NewAnalysis
from app.storage.database import MIGRATIONS, open_engine, writer
from app.storage.details import DETAILS, LONGEST, read_details, read_scope
from app.storage.store import Store
from planner.case import Details
from reports.model import Laterality, Scope
from tests.app.conftest import a_png

SENT = {
    "label": "Case 12",
    "study": "Visit 7",
    "laterality": "LEFT",
    "site": "3 o'clock",
    "indication": "Palpable lump",
    "gestational_age": "19+6",
    "operator": "JD",
}
KEPT = Details(
    label="Case 12",
    study="Visit 7",
    laterality=Laterality.LEFT,
    site="3 o'clock",
    indication="Palpable lump",
    gestational_age="19w6d",
    operator="JD",
)


@pytest.fixture
def store(either: Settings) -> Iterator[Store]:
    opened = Store.open(either)
    yield opened
    opened.close()


def test_what_was_sent_is_kept_in_one_form() -> None:
    assert read_details(SENT) == KEPT
    assert read_details({}) == read_details(dict.fromkeys(DETAILS, " ")) == Details()


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("19w6d", "19w6d"), ("19W6D", "19w6d"), ("09+0", "9w0d"), ("4w0d", "4w0d"), ("44+6", "44w6d")],
)
def test_an_age_is_kept_as_weeks_and_days(sent: str, kept: str) -> None:
    assert read_details({"gestational_age": sent}).gestational_age == kept


@pytest.mark.parametrize(
    "sent", ["19", "19w", "19w7d", "3w6d", "45w0d", "-19+6", "19 w 6 d", "19.6", "١٩w6d"]
)
def test_another_age_is_refused_with_what_to_send(sent: str) -> None:
    with pytest.raises(RequestRejected, match=r"gestational_age takes .*19w6d or 19\+6"):
        read_details({"gestational_age": sent})


@pytest.mark.parametrize("name", LONGEST)
def test_words_have_a_length_and_are_printable_and_no_message_repeats_them(name: str) -> None:
    longest = "é" * LONGEST[name]
    assert getattr(read_details({name: longest}), name) == longest
    with pytest.raises(RequestRejected, match=f"{name} takes up to {LONGEST[name]} characters"):
        read_details({name: longest + "x"})
    for hidden in ("\n", "\t", "\x1b", "\x85", "\u202e", "\u200b", "\ufeff", "\u2028"):
        with pytest.raises(RequestRejected, match=f"{name} takes printable") as refused:
            read_details({name: f"Jane{hidden}Roe"})
        assert "Jane" not in str(refused.value)


def test_another_side_or_scope_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(RequestRejected, match="laterality takes left, right, bilateral"):
        read_details({"laterality": "middle"})
    with pytest.raises(RequestRejected, match="scope takes protocol"):
        read_scope("everything")
    assert (read_scope(None), read_scope(" "), read_scope("Question")) == (
        *(Scope.PROTOCOL, Scope.PROTOCOL),
        Scope.QUESTION,
    )


def test_an_analysis_keeps_what_was_said_of_its_image(store: Store) -> None:
    new = NewAnalysis(scope=Scope.QUESTION, details=KEPT, question="size?")
    accepted = store.accept(ingest(a_png(64, 64), 10_000), new, 9)
    analysis = store.analysis(accepted.analysis_id)
    assert (analysis.scope, analysis.details) == (Scope.QUESTION, KEPT)
    request = analysis.request("size?")
    assert (request.scope, request.details, request.question) == (Scope.QUESTION, KEPT, "size?")
    plain = store.accept(ingest(a_png(64, 64), 10_000), NewAnalysis(), 9)
    assert store.analysis(plain.analysis_id).details == Details()


def test_a_key_belongs_to_the_details_too(store: Store) -> None:
    ingested = ingest(a_png(64, 64), 10_000)
    first = NewAnalysis(details=KEPT, idempotency_key="k")
    kept = store.accept(ingested, first, 9)
    assert store.accept(ingested, first, 9).analysis_id == kept.analysis_id
    for other in (
        NewAnalysis(idempotency_key="k"),
        NewAnalysis(details=Details(label="Case 13"), idempotency_key="k"),
        NewAnalysis(details=KEPT, scope=Scope.QUESTION, idempotency_key="k"),
    ):
        with pytest.raises(Conflict):
            store.accept(ingested, other, 9)


def test_an_analysis_from_before_the_details_is_read_as_one_without(either: Settings) -> None:
    either.data_dir.mkdir(parents=True, exist_ok=True)
    engine = open_engine(either.store_url, either.busy_s)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with writer(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        for line in OLD_ROWS:
            connection.execute(sa.text(line[0]), line[1])
    engine.dispose()
    store = Store.open(either)
    analysis = store.analysis("a" * 32)
    store.close()
    assert (analysis.scope, analysis.details) == (Scope.PROTOCOL, Details())
    assert analysis.external_id == "old"


OLD_ROWS = (
    (
        "INSERT INTO images (key, size_bytes, created_at) VALUES (:key, 1, '2026-11-01T12:00:00Z')",
        {"key": "b" * 64},
    ),
    (
        "INSERT INTO analyses (id, image_key, image_info, question_given, external_id, "
        "request_sha256, created_at) "
        "VALUES (:id, :key, :info, :given, 'old', :sha, '2026-11-01T12:00:00Z')",
        {
            "id": "a" * 32,
            "key": "b" * 64,
            "info": ingest(a_png(64, 64), 10_000).image.info.model_dump_json(),
            "given": False,
            "sha": "c" * 64,
        },
    ),
    (
        "INSERT INTO jobs (analysis_id, version, state, fencing_token, attempts) "
        "VALUES (:id, 1, 'queued', 0, 0)",
        {"id": "a" * 32},
    ),
)
