"""Starts a planner's language model from that of a planner trained before it.

Exams, actions and words are added between two planners, so their tokens have other numbers; what
was learnt of a token is found again by its text. The projection of the vision tower is not taken
over: it belongs to one backbone.
"""

from pathlib import Path
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from planner.training.learning.word_vectors import WordEmbedding
from specialists.checkpoints import read_tensors
from specialists.errors import TrainingError

LANGUAGE = "model.language_model."
TABLE, OUTPUT = f"{LANGUAGE}embed_tokens.weight", "lm_head.weight"


@torch.no_grad()
def start_from(network: LlavaForConditionalGeneration, tokenizer: Tokenizer, folder: Path) -> int:
    """Copy the language model of the planner in `folder`, and return how many tokens both know.

    A token that only the new planner knows keeps its random start; a word among them is read by its
    vector, with the projection that fits the known words best.

    Raises:
        TrainingError: that planner has another size, or is not one of ours.
        WeightsError: its weights are missing or unreadable.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TrainingError(f"No planner can be started from {folder}: {path.name} is missing.")
    known = Tokenizer.from_file(str(path)).get_vocab()
    held = read_tensors(folder / "model.safetensors")
    if TABLE not in held or OUTPUT not in held:
        raise TrainingError(f"No planner can be started from {folder}: it is not one of ours.")
    old_table, old_output = held.pop(TABLE).float(), held.pop(OUTPUT).float()
    _give_layers(cast(nn.Module, network.model.language_model), held, folder)
    pairs = [(new, known[text]) for text, new in tokenizer.get_vocab().items() if text in known]
    mine, theirs = (torch.tensor(side) for side in zip(*pairs, strict=True))
    _give_table(network.model.language_model.embed_tokens, mine, old_table[theirs])
    said = old_output[theirs].any(dim=1)
    network.lm_head.weight[mine[said]] = old_output[theirs][said]
    return len(pairs)


def _give_layers(speech: nn.Module, held: dict[str, Tensor], folder: Path) -> None:
    """Load the layers of a language model; its table of tokens stays as it is."""
    layers = {
        name.removeprefix(LANGUAGE): tensor.float()
        for name, tensor in held.items()
        if name.startswith(LANGUAGE)
    }
    try:
        found = speech.load_state_dict(layers, strict=False)
    except RuntimeError as error:
        raise TrainingError(
            f"No planner can be started from {folder}: it has another size."
        ) from error
    if found.unexpected_keys or any("embed_tokens" not in key for key in found.missing_keys):
        raise TrainingError(f"No planner can be started from {folder}: its layers differ.")


def _give_table(embedding: nn.Embedding, rows: Tensor, table: Tensor) -> None:
    """Set the embeddings of the tokens in `rows`, (N,), to those of `table`, (N, width)."""
    if not isinstance(embedding, WordEmbedding):
        embedding.weight[rows] = table
        return
    vectors = cast(Tensor, embedding.vectors)[rows]
    words = vectors.any(dim=1)
    if words.any():
        fitted = torch.linalg.lstsq(vectors[words], table[words], driver="gelsd").solution
        embedding.said.weight.copy_(fitted.T)
    embedding.weight[rows] = table - vectors @ embedding.said.weight.T
