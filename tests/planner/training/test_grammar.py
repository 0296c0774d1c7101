"""The grammar of requests: wide, its held-out parts apart, and true to the protocols."""

from pathlib import Path

import pytest

from planner.errors import ProtocolInvalid
from planner.protocols import read_protocols
from planner.training.requests.grammar import Item, Phrasing, Want, read_grammar, with_slip
from planner.training.requests.handwritten import read_written, words_of
from planner.training.requests.topics import coded_topics
from reports.model import ExamCode
from tests.planner.schooling import a_generator, a_sampler

GRAMMAR = read_grammar()


@pytest.mark.parametrize("item", GRAMMAR.item, ids=lambda item: item.id)
def test_what_is_held_out_of_an_item_is_not_trained_on(item: Item) -> None:
    assert not {n.lower() for n in item.names} & {n.lower() for n in item.held}
    assert not {p.lower() for p in item.phrases} & {p.lower() for p in item.phrases_held}


@pytest.mark.parametrize(
    ("seen", "held"),
    [
        (GRAMMAR.frames.any, GRAMMAR.frames.any_held),
        (GRAMMAR.frames.finding, GRAMMAR.frames.finding_held),
        (GRAMMAR.frames.measurement, GRAMMAR.frames.measurement_held),
        (GRAMMAR.joined.any, GRAMMAR.joined.held),
        (GRAMMAR.except_.any, GRAMMAR.except_.held),
        (GRAMMAR.whole.any, GRAMMAR.whole.held),
        (GRAMMAR.unserved.topics, GRAMMAR.unserved.held),
        (GRAMMAR.irrelevant.any, GRAMMAR.irrelevant.held),
        *((GRAMMAR.exam_names[exam], GRAMMAR.exam_names_held[exam]) for exam in GRAMMAR.exams),
    ],
)
def test_what_is_held_out_of_a_list_is_not_trained_on(
    seen: tuple[str, ...], held: tuple[str, ...]
) -> None:
    assert held
    assert not {text.lower() for text in seen} & {text.lower() for text in held}


def test_every_question_of_a_taught_exam_can_be_asked_for_but_the_cross_check() -> None:
    asked = {item.id for item in GRAMMAR.item}
    protocols = read_protocols()
    known = {q.id for exam in GRAMMAR.exams for q in protocols.exams[exam].questions}
    assert known - asked == {"cross_classification"}
    assert asked <= known


def test_nothing_that_a_question_is_asked_by_is_taught_as_unserved() -> None:
    asked = {
        text.lower()
        for item in GRAMMAR.item
        for text in (*item.names, *item.held, *item.phrases, *item.phrases_held)
    }
    names = {n.lower() for exam in GRAMMAR.exams for n in GRAMMAR.exam_names[exam]}
    unserved = GRAMMAR.unserved
    topics = (*unserved.topics, *unserved.held, *unserved.phrases, *coded_topics(unserved.held))
    assert not (asked | names) & {topic.lower() for topic in topics}


def test_training_never_asks_for_a_held_out_item_or_pair() -> None:
    sampler, rng = a_sampler(), a_generator()
    for exam in GRAMMAR.exams:
        for want in (Want.ITEMS, Want.EXCEPT):
            for _ in range(300):
                items = set(sampler.wish(rng, want, exam, Phrasing.SEEN).items)
                assert items
                assert not items & set(GRAMMAR.held_out.items)
                assert not any(items >= set(pair) for pair in GRAMMAR.held_out.pairs)


@pytest.mark.parametrize("exam", GRAMMAR.exams)
def test_an_unseen_intent_asks_for_a_held_out_item_or_pair(exam: ExamCode) -> None:
    sampler, rng = a_sampler(), a_generator()
    pairs = {tuple(pair) for pair in GRAMMAR.held_out.pairs}
    for _ in range(50):
        items = sampler.wish(rng, Want.ITEMS, exam, Phrasing.HELD_INTENT).items
        assert items in pairs or set(items) <= set(GRAMMAR.held_out.items)


def test_a_wish_has_many_wordings() -> None:
    sampler, rng = a_sampler(), a_generator()
    texts = set()
    for exam in GRAMMAR.exams:
        for _ in range(400):
            wish = sampler.wish(rng, Want.ITEMS, exam, Phrasing.SEEN)
            texts.add(sampler.word(rng, wish))
    assert len(texts) > 1800


def test_a_wish_that_names_its_exam_says_so_in_every_wording() -> None:
    sampler, rng = a_sampler(), a_generator()
    wishes = [sampler.wish(rng, Want.WHOLE, ExamCode.NERVE, Phrasing.SEEN) for _ in range(40)]
    assert {wish.exam for wish in wishes} == {None, ExamCode.NERVE}
    assert all(sampler.word(rng, wish) for wish in wishes)


def test_nothing_asked_is_no_text() -> None:
    sampler, rng = a_sampler(), a_generator()
    wish = sampler.wish(rng, Want.NONE, ExamCode.BREAST, Phrasing.SEEN)
    assert sampler.word(rng, wish) is None


def test_a_slip_of_the_keyboard_changes_one_place() -> None:
    rng = a_generator()
    for _ in range(200):
        slipped = with_slip("head circumference", rng)
        assert abs(len(slipped) - len("head circumference")) <= 1
    assert with_slip("123 ?", rng) == "123 ?"


def test_nothing_that_another_hand_wrote_is_trained_on_as_a_phrase() -> None:
    trained = {text for item in GRAMMAR.item for text in item.phrases}
    trained |= {*GRAMMAR.unserved.phrases, *GRAMMAR.irrelevant.any, *GRAMMAR.whole.any}
    judged = {words_of(written.text) for written in read_written()}
    assert len(judged) > 500
    assert not judged & {words_of(text) for text in trained}


def test_another_hand_asks_for_every_exam_and_for_nothing_held_out() -> None:
    written = read_written()
    assert {w.about for w in written} == {*GRAMMAR.exams, None}
    assert {w.want for w in written} == set(Want) - {Want.NONE}
    assert not {item for w in written for item in w.items} & set(GRAMMAR.held_out.items)


def test_an_unknown_question_of_another_hand_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requests.toml"
    path.write_text(
        "unserved = []\nirrelevant = []\npair = []\nexcept = []\nwhole = []\n"
        '[[item]]\nid = "liver"\nphrases = ["liver?"]\n',
        encoding="utf-8",
    )
    with pytest.raises(ProtocolInvalid, match="liver"):
        read_written(path)
