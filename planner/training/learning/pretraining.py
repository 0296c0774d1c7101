"""Pretraining: the small planner's first layers learn to read requests before it plans.

Many more requests than decisions can be processed per second.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaModel, LlavaForConditionalGeneration

from planner.training.data.examples import EXAM_NAMED
from planner.training.learning.decisions import IN_PIECES, MEANING_WEIGHT, MEANT_AT, PIECES_DROPPED
from planner.training.learning.intents import Meanings, head_of
from planner.training.learning.network import PAD, VOCABULARY, in_pieces, token_of
from planner.training.learning.trainer import (
    BETAS,
    SORTED_BATCHES,
    Course,
    Pupil,
    Told,
    made_ahead,
    of_like_length,
    padded,
    trial,
)
from planner.training.requests.grammar import Phrasing, RequestSampler, Want, Wish, pick, pick_want
from planner.vlm.prompt import Turn, render_prefix
from specialists.training.precision import Compute, begin
from specialists.training.state import STATE

WANTS = {
    Want.WHOLE: 0.14,
    Want.ITEMS: 0.52,
    Want.EXCEPT: 0.12,
    Want.UNSERVED: 0.14,
    Want.IRRELEVANT: 0.08,
}
"""How often each kind of request is read."""
NEXT_WORD_WEIGHT = 0.3
"""The weight of the loss of each next token of the request.

Beside it, the loss of the request's meaning has `MEANING_TIMES` its usual weight.
"""
MEANING_TIMES = 5.0
FOLDER = "reading"
"""The folder for the state of this part of a training, inside the training's folder."""


@dataclass(frozen=True, kw_only=True)
class ReadConfig(Course):
    """The configuration of learning to read requests."""

    steps: int = 6000
    batch: int = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Page:
    """B requests: padded (B, L) tokens with their mask, and the meaning of each, (B, M)."""

    tokens: Tensor
    mask: Tensor
    meant: Tensor

    def to(self, device: torch.device) -> "Page":
        """Return the page on that device."""
        return Page(
            tokens=self.tokens.to(device), mask=self.mask.to(device), meant=self.meant.to(device)
        )


class Library:
    """An endless supply of requests with their meanings; the generator determines all of it."""

    def __init__(self, tokenizer: Tokenizer, sampler: RequestSampler, meanings: Meanings) -> None:
        self.tokenizer, self.meanings, self._sampler = tokenizer, meanings, sampler
        self._slipping = in_pieces(tokenizer, PIECES_DROPPED)
        self._pad = token_of(tokenizer, PAD)

    def pages(self, size: int, rng: np.random.Generator) -> Iterator[Page]:
        """Yield pages of `size` requests, those of similar length together."""
        while True:
            drawn = [self._request(rng) for _ in range(size * SORTED_BATCHES)]
            for some in of_like_length(drawn, lambda item: len(item[1]), rng):
                yield self._page(some)

    def _request(self, rng: np.random.Generator) -> tuple[Wish, list[int]]:
        exams = self._sampler.grammar.exams
        wish = self._sampler.wish(rng, pick_want(rng, WANTS), pick(rng, exams), Phrasing.SEEN)
        named = pick(rng, exams).value if rng.random() < EXAM_NAMED else None
        turn = Turn(request_exam=named, question=self._sampler.word(rng, wish), state="", legal=())
        tokenizer = self._slipping if rng.random() < IN_PIECES else self.tokenizer
        return wish, tokenizer.encode(f"\n{render_prefix(turn)}").ids

    def _page(self, drawn: Sequence[tuple[Wish, list[int]]]) -> Page:
        tokens, mask = padded([row for _, row in drawn], self._pad)
        return Page(tokens=tokens, mask=mask, meant=self.meanings.of([wish for wish, _ in drawn]))


class Reader(nn.Module):
    """The layers of a network that read its request, and the heads for meaning and next token.

    They are the network's own modules, so that what is learnt here is learnt there.
    """

    def __init__(self, network: LlavaForConditionalGeneration, head: nn.Linear) -> None:
        super().__init__()
        speech = network.model.language_model
        with torch.device("meta"):
            self.body = LlamaModel(speech.config)
        self.body.embed_tokens = speech.embed_tokens
        self.body.layers = speech.layers[:MEANT_AT]
        self.body.rotary_emb = speech.rotary_emb
        self.body.add_module("norm", nn.Identity())  # the hidden states are read unnormalised
        self.next_token, self.meaning = network.lm_head, head

    def losses(self, page: Page, compute: Compute) -> tuple[Tensor, Tensor]:
        """Return the losses of what each request means and of each next token."""
        page = page.to(compute.device)
        with compute.autocast():
            held = self.body(
                input_ids=page.tokens, attention_mask=page.mask, use_cache=False
            ).last_hidden_state  # (B, L, width)
            said = F.linear(F.layer_norm(held[:, :-1], held.shape[2:]), self._pieces())
        rows, ends = torch.arange(len(held), device=held.device), page.mask.sum(1) - 1
        told = self.meaning(held[rows, ends].float())
        coming = page.tokens[:, 1:].masked_fill(page.mask[:, 1:] == 0, -100)
        coming = coming.masked_fill(coming >= VOCABULARY, -100)
        return (
            F.binary_cross_entropy_with_logits(told, page.meant),
            F.cross_entropy(said.float().flatten(0, 1), coming.flatten()),
        )

    def _pieces(self) -> Tensor:
        """Return the weights of the tokens learnt from requests, (pieces, width).

        No other tokens are ever predicted.
        """
        return cast(Tensor, self.next_token.weight)[:VOCABULARY]


def learn_to_read(
    network: LlavaForConditionalGeneration,
    library: Library,
    config: ReadConfig,
    out: Path,
    *,
    resume: bool,
) -> None:
    """Train the network's first layers to read requests, with a head that predicts the meaning.

    The network is left with the moving average of the weights. The state and `log.jsonl` lie in a
    folder of `out`; a resumed training continues from there.
    """
    head = head_of(network, network.lm_head.weight.shape[1], library.meanings)
    reader, folder = Reader(network, head), out / FOLDER
    going_on = resume and (folder / STATE).is_file()
    compute = begin(config.compute, partial(trial, reader.body), folder, resume=going_on)
    cast(nn.Module, network).to(compute.device)
    optimizer = torch.optim.AdamW(
        reader.parameters(), lr=config.rate, weight_decay=config.decay, betas=BETAS
    )
    pupil = Pupil(reader, optimizer, config, folder)
    start = pupil.stand(resume=going_on)
    rng = np.random.default_rng([config.seed, 3, start])
    pages = made_ahead(library.pages(config.batch, rng))

    def learnt() -> tuple[Tensor, Told]:
        meaning, following = reader.losses(next(pages), compute)
        total = MEANING_TIMES * MEANING_WEIGHT * meaning + NEXT_WORD_WEIGHT * following
        return total, {"meaning": meaning.item(), "next": following.item()}

    pupil.learn(learnt, start)
    network.cpu()
