"""What the small planner learns of requests before it plans, and what no protocol answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from planner.protocols import read_protocols
from planner.training.learning.decisions import MEANT_AT
from planner.training.learning.intents import Meanings
from planner.training.learning.network import Size, build_network, learn_tokenizer
from planner.training.learning.pretraining import FOLDER, Library, ReadConfig, Reader, learn_to_read
from planner.training.requests.grammar import Phrasing, Want, Wish, read_grammar
from planner.training.requests.handwritten import words_of
from planner.training.requests.topics import SERVED, coded_topics
from planner.vlm.prompt import Turn, render_prefix
from reports.model import ExamCode
from tests.planner.schooling import TOWER, a_generator, a_sampler
from tests.specialists.nets import IN_FP32

MEANINGS = Meanings(read_protocols())
GRAMMAR = read_grammar()
HELD = GRAMMAR.unserved.held
SMALL = ReadConfig(steps=20, batch=8, warmup=5, save_every=20, compute=IN_FP32)


@pytest.fixture
def library() -> Library:
    sampler, rng = a_sampler(), a_generator()
    wishes = [
        sampler.wish(rng, Want.ITEMS, exam, Phrasing.SEEN) for exam in sampler.grammar.exams
    ] * 8
    turns = [
        Turn(request_exam=None, question=sampler.word(rng, wish), state="", legal=())
        for wish in wishes
    ]
    tokenizer = learn_tokenizer([render_prefix(turn) for turn in turns], read_protocols())
    return Library(tokenizer, sampler, MEANINGS)


@pytest.fixture
def network(library: Library) -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return build_network(library.tokenizer, TOWER, Size(width=48, layers=6, heads=4))


def test_the_reader_holds_what_the_whole_network_holds_at_that_layer(
    library: Library, network: LlavaForConditionalGeneration
) -> None:
    reader = Reader(network, torch.nn.Linear(48, len(MEANINGS)))
    page = next(library.pages(4, a_generator()))
    with torch.no_grad():
        held = reader.body(
            input_ids=page.tokens, attention_mask=page.mask, use_cache=False
        ).last_hidden_state
        whole = network.model.language_model(
            input_ids=page.tokens,
            attention_mask=page.mask,
            use_cache=False,
            output_hidden_states=True,
        ).hidden_states[MEANT_AT]
    read = page.mask.bool()
    torch.testing.assert_close(held[read], whole[read])


def test_reading_is_learnt_in_the_first_layers_alone_and_goes_on_where_it_was_cut_short(
    library: Library, network: LlavaForConditionalGeneration, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learn_to_read(network, library, SMALL, tmp_path, resume=False)
    learn_to_read(network, library, replace(SMALL, steps=60), tmp_path, resume=True)
    lines = (tmp_path / FOLDER / "log.jsonl").read_text(encoding="utf-8").splitlines()
    log = [json.loads(line) for line in lines]
    assert [entry["step"] for entry in log] == [20, 40, 60]
    assert log[2]["meaning"] < 0.7 * log[0]["meaning"]
    assert log[2]["next"] < log[0]["next"]
    after = network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = {name.split("layers.")[1][0] for name in changed if "layers." in name}
    assert layers == {str(layer) for layer in range(MEANT_AT)}
    assert not any("projector" in name for name in changed)


def test_a_page_holds_requests_of_like_length_with_what_each_means(library: Library) -> None:
    pages = library.pages(6, a_generator())
    for page in (next(pages), next(pages)):
        assert page.tokens.shape == page.mask.shape
        assert page.meant.shape == (6, len(MEANINGS))
        assert page.meant[:, : len(Want)].sum(1).tolist() == [1.0] * 6
        lengths = page.mask.sum(1)
        assert lengths.max() < 2 * lengths.min()


def test_coded_topics_are_many_and_none_is_one_of_our_exams_or_held_out() -> None:
    topics = coded_topics(HELD)
    assert len(topics) > 1000
    assert {"gallbladder", "mitral valve", "placenta"} < set(topics)
    assert not [topic for topic in topics if SERVED.search(topic)]
    assert not {words_of(topic) for topic in topics} & {words_of(topic) for topic in HELD}
    assert not [t for t in topics if f" {t}".find(" pancrea") >= 0 or "epididym" in t]


def test_taught_requests_for_several_items_are_sometimes_a_phrase_for_each() -> None:
    sampler, rng = a_sampler(), a_generator()
    wish = Wish(want=Want.ITEMS, about=ExamCode.FETAL_HEAD, items=("hc", "csp"))
    phrases = {words_of(p) for item in GRAMMAR.item if item.id == "csp" for p in item.phrases}
    texts = [words_of(sampler.word(rng, wish) or "") for _ in range(200)]
    ends = [text for text in texts if any(text.endswith(phrase) for phrase in phrases)]
    assert 3 < len(ends) < 100
