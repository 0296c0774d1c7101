"""A planner's training that starts from the language model of another planner."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlavaForConditionalGeneration

from planner.protocols import read_protocols
from planner.training.learning.network import Size, build_network, learn_tokenizer
from planner.training.learning.warm_start import start_from
from planner.training.learning.word_vectors import SPACE, fold_vectors, give_vectors
from specialists.checkpoints import save_tensors
from specialists.errors import TrainingError, WeightsError
from tests.planner.schooling import TOWER

SMALL = Size(width=48, layers=6, heads=4)
OLD, NEW = ("nerve", "head"), ("thyroid", "nerve", "head")


def a_tokenizer(words: tuple[str, ...]) -> Tokenizer:
    texts = [f"\nrequest: how large is the {word}?" for word in words]
    return learn_tokenizer(texts, read_protocols(), words)


def vectors_of(tokenizer: Tokenizer) -> torch.Tensor:
    table = torch.zeros(tokenizer.get_vocab_size(), 8)
    for place, word in enumerate(sorted(NEW)):
        token = tokenizer.token_to_id(f"{SPACE}{word}")
        if token is not None:
            table[token, place] = 1.0
    return table


def a_network(tokenizer: Tokenizer, size: Size = SMALL) -> LlavaForConditionalGeneration:
    network = build_network(tokenizer, TOWER, size)
    give_vectors(network, vectors_of(tokenizer))
    network.eval()
    return network


@pytest.fixture
def old(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    tokenizer = a_tokenizer(OLD)
    network = a_network(tokenizer)
    fold_vectors(network, tokenizer.get_vocab_size())
    save_tensors(tmp_path / "model.safetensors", dict(network.state_dict()), {})
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def outputs(
    network: LlavaForConditionalGeneration, tokenizer: Tokenizer, text: str
) -> torch.Tensor:
    ids = torch.tensor([tokenizer.encode(text).ids])
    with torch.no_grad():
        held: torch.Tensor = network.model.language_model(input_ids=ids).last_hidden_state
    return held


def test_the_new_planner_reads_what_both_know_as_the_old_one_did(old: Path) -> None:
    before = Tokenizer.from_file(str(old / "tokenizer.json"))
    torch.manual_seed(1)
    first = a_network(a_tokenizer(OLD))
    tokenizer = a_tokenizer(NEW)
    network = a_network(tokenizer)
    both = start_from(network, tokenizer, old)
    text = "\nrequest: nerve head"
    assert both >= 256  # every byte at least
    assert torch.allclose(
        outputs(network, tokenizer, text), outputs(first, before, text), atol=1e-4
    )


def test_a_word_that_only_the_new_planner_knows_is_read_by_its_vector(old: Path) -> None:
    tokenizer = a_tokenizer(NEW)
    network = a_network(tokenizer)
    start_from(network, tokenizer, old)
    embedding = network.model.language_model.embed_tokens
    assert not embedding.weight[tokenizer.token_to_id(f"{SPACE}thyroid")].any()


def test_a_planner_of_another_size_is_refused(old: Path) -> None:
    tokenizer = a_tokenizer(NEW)
    with pytest.raises(TrainingError, match="another size"):
        start_from(a_network(tokenizer, Size(width=32, layers=6, heads=4)), tokenizer, old)


def test_a_folder_without_a_planner_is_refused(tmp_path: Path, old: Path) -> None:
    tokenizer = a_tokenizer(NEW)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(TrainingError, match=r"tokenizer\.json is missing"):
        start_from(a_network(tokenizer), tokenizer, empty)
    (empty / "tokenizer.json").write_bytes((old / "tokenizer.json").read_bytes())
    with pytest.raises(WeightsError, match="cannot be read"):
        start_from(a_network(tokenizer), tokenizer, empty)
