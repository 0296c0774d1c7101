"""Word vectors: which words get a token of their own, and how the small planner reads them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from planner.protocols import read_protocols
from planner.training.learning.network import Size, build_network, in_pieces, learn_tokenizer
from planner.training.learning.word_vectors import (
    FREQUENT,
    WordEmbedding,
    WordVectors,
    fold_vectors,
    give_vectors,
    read_vectors,
    save_table,
    saved_table,
    words_in,
)
from planner.vlm.prompt import Turn, render_prefix
from specialists.errors import TrainingError
from tests.planner.schooling import TOWER, word_vectors

TAUGHT = "measure the head of the fetus"


def prompt(question: str) -> str:
    return f"\n{render_prefix(Turn(request_exam=None, question=question, state='', legal=()))}"


@pytest.fixture
def vectors() -> WordVectors:
    words = ("the", "head", "skull", "parking")
    table = np.array([[1, 0, 0], [0, 1, 0], [0, 0.8, 0.6], [0, 0, -1]], np.float32)
    return WordVectors(words=words, vectors=table)


@pytest.fixture
def network(vectors: WordVectors) -> LlavaForConditionalGeneration:
    tokenizer = learn_tokenizer([prompt(TAUGHT)], read_protocols(), vectors.words)
    torch.manual_seed(0)
    network = build_network(tokenizer, TOWER, Size(width=48, layers=6, heads=4))
    give_vectors(network, vectors.table(tokenizer))
    return network


def test_a_file_is_read_with_its_words_in_order_and_vectors_of_length_one(tmp_path: Path) -> None:
    read = read_vectors(word_vectors(tmp_path, {"the": [3, 0, 4], "head": [0, 2, 0]}))
    assert read.words == ("the", "head")
    assert read.vectors.tolist() == pytest.approx(np.array([[0.6, 0, 0.8], [0, 1, 0]]))


@pytest.mark.parametrize("text", ["", "{}", '{"dimensions": 3, "words": [], "vectors": {}}'])
def test_a_file_of_another_form_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "words.json").write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"words\.json"):
        read_vectors(tmp_path / "words.json")


def test_words_are_the_frequent_ones_the_taught_ones_and_those_like_them() -> None:
    names = [
        f"w{chr(97 + i // 676)}{chr(97 + i // 26 % 26)}{chr(97 + i % 26)}" for i in range(9000)
    ]
    table = np.tile(np.array([[1, 0, 0]], np.float32), (9000, 1))
    table[8000], table[8500] = [0, 1, 0], [0, 0.8, 0.6]
    held = WordVectors(words=tuple(names), vectors=table)
    chosen = held.near([names[8000], "unheard"], FREQUENT + 2)
    assert chosen == [*names[:FREQUENT], names[8000], names[8500]]


def test_a_known_word_is_one_token_in_small_or_large_letters_and_pieces_where_asked(
    vectors: WordVectors,
) -> None:
    tokenizer = learn_tokenizer([prompt(TAUGHT)], read_protocols(), vectors.words)
    plain, large = tokenizer.encode(prompt("parking")), tokenizer.encode(prompt("PARKING"))
    assert "Ġparking" in plain.tokens
    assert large.ids == plain.ids
    pieces = in_pieces(tokenizer, 0.0).encode(prompt("parking"))
    assert "Ġparking" not in pieces.tokens
    assert len(pieces.ids) > len(plain.ids)


def test_a_word_that_was_never_taught_is_read_by_its_vector_alone(
    network: LlavaForConditionalGeneration, vectors: WordVectors
) -> None:
    words = network.model.language_model.embed_tokens
    assert isinstance(words, WordEmbedding)
    tokenizer = learn_tokenizer([prompt(TAUGHT)], read_protocols(), vectors.words)
    head, skull, parking = (tokenizer.token_to_id(f"Ġ{w}") for w in ("head", "skull", "parking"))
    words.eval()
    with torch.no_grad():
        words.weight[head] += 1.0  # what was learnt of this word itself
        read = words(torch.tensor([head, skull, parking]))
        own = words.said(torch.tensor([[0, 1, 0], [0, 0.8, 0.6], [0, 0, -1.0]]))
    torch.testing.assert_close(read[0], own[0] + 1.0)
    torch.testing.assert_close(read[1:], own[1:])


def test_the_own_part_of_words_is_left_out_now_and_then_in_training_but_never_of_pieces(
    network: LlavaForConditionalGeneration, vectors: WordVectors
) -> None:
    words = network.model.language_model.embed_tokens
    assert isinstance(words, WordEmbedding)
    known = words.get_buffer("known").tolist()
    head, piece = known.index(True), known.index(False)
    with torch.no_grad():
        words.weight[head] = 7.0
        words.said.weight.zero_()
        torch.manual_seed(0)
        words.train()
        read = words(torch.tensor([[head, piece]]).repeat(400, 1))
    dropped = (read[:, 0] == 0).all(1)
    assert 60 < int(dropped.sum()) < 140
    torch.testing.assert_close(read[:, 1], words.weight[piece].expand(400, -1))


def test_folded_vectors_change_nothing_that_is_read(network: LlavaForConditionalGeneration) -> None:
    network.eval()
    tokens = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = network.model.language_model(input_ids=tokens).last_hidden_state
        letters = network.lm_head.weight[:300].clone()
        fold_vectors(network, 300)
        after = network.model.language_model(input_ids=tokens).last_hidden_state
    assert type(network.model.language_model.embed_tokens) is torch.nn.Embedding
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.lm_head.weight[:300], letters)
    assert not network.lm_head.weight[300:].any()


def test_the_vectors_of_a_training_are_kept_in_its_folder(tmp_path: Path) -> None:
    assert saved_table(tmp_path) is None
    save_table(tmp_path, torch.eye(3))
    kept = saved_table(tmp_path)
    assert kept is not None
    torch.testing.assert_close(kept, torch.eye(3))


def test_words_are_told_apart_from_signs() -> None:
    assert words_in(["Head/neck, 3 mm?", "the HEAD"]) == {"head", "neck", "mm", "the"}
