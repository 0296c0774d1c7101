"""Trains the small planner on decisions.

The loss is the cross-entropy over the legal labels at the answer's position, with the labels in any
order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from transformers import LlavaForConditionalGeneration

from planner.training.data.examples import Example
from planner.training.learning.intents import Meanings, drop_head, head_of
from planner.training.learning.network import IMAGE, PAD, in_pieces, label_ids, token_of
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
from planner.training.requests.grammar import RequestSampler, Want
from planner.vlm.prompt import Turn, render_prefix, render_state
from specialists.training.precision import begin

PIECES_DROPPED = 0.12
"""Share of BPE merges left out at random in requests (Provilkov 2020, "BPE-Dropout").

It prepares the planner for typing errors.
"""
IN_PIECES = 0.3
"""Share of training requests whose words are split into pieces even if each could be one token."""
NOISE = 0.2
"""Standard deviation of the noise on standardised features."""
MEANT_AT = 3
"""The layer after which the last token of the request must predict what is meant."""
NAMED_AT = 5
"""The layer after which actions and letters must be linked.

At the answer's position the name of the action must be known, and at each name's position its
letter; the next layer must attend from the one position to the other. So the letter can be copied,
and the model need not find out by chance that this is what letters are for.
"""
HELP_WEIGHT = 0.5
"""The weight of each of the three losses for that link, beside the loss of the answer itself."""
MEANING_WEIGHT = 4.0
"""The weight of the loss of the request's meaning, beside the loss of the answer.

The loss of the meaning is a mean over many zeros.
"""
LEAST_LOOK = 1e-4
RECENT = 50
"""The number of steps over which the logged share of right answers is averaged."""


@dataclass(frozen=True, kw_only=True)
class LearnConfig(Course):
    """The configuration of learning decisions."""

    steps: int = 2500
    batch: int = 64
    reading_times: float = 0.5
    """The learning rate of the layers that read the request, as a share of the others'."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Features (N, g², C) of all images, with mean and deviation (C,) over the training images."""

    features: Tensor
    mean: Tensor
    deviation: Tensor

    def of(self, rows: Sequence[int]) -> Tensor:
        """Return the standardised features of those rows, (B, g², C) float32."""
        return (self.features[list(rows)].float() - self.mean) / self.deviation


def standardised(features: Tensor, trained_on: Sequence[int]) -> Pictures:
    """Return the features with the statistics of the rows in `trained_on`."""
    chosen = features[list(trained_on)].float().flatten(0, 1)
    return Pictures(features=features, mean=chosen.mean(0), deviation=chosen.std(0).clamp_min(1e-3))


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Prompts, image cells and answers of B decisions.

    They are padded (B, L) tokens with their mask, (B, C, g, g) cells, and (B,) answers. For each
    letter, `legal` (B, A) says whether it is legal, `names` (B, A) is the token of the name that it
    stands for, and `places` (B, A) is that token's position in the prompt. `asked` (B,) is the
    position of the request's last token, `meant` (B, M) what the request means.
    """

    tokens: Tensor
    mask: Tensor
    cells: Tensor
    legal: Tensor
    names: Tensor
    places: Tensor
    answers: Tensor
    asked: Tensor
    meant: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on that device."""
        return Batch(**{part.name: getattr(self, part.name).to(device) for part in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One prompt with its answer.

    `names` are the tokens of the actions in the order of their letters, `places` their positions,
    and `asked` is the position where the request ends.
    """

    tokens: list[int]
    names: list[int]
    places: list[int]
    answer: int
    asked: int
    example: Example


class Composer:
    """Turns examples into batches, with the labels in any order and the requests worded anew."""

    def __init__(self, tokenizer: Tokenizer, pictures: Pictures, sampler: RequestSampler) -> None:
        self.tokenizer, self.pictures, self.sampler = tokenizer, pictures, sampler
        self.cells_per_picture = pictures.features.shape[1]
        self.labels = label_ids(tokenizer)
        self._slipping = in_pieces(tokenizer, PIECES_DROPPED)
        self._start = [token_of(tokenizer, IMAGE)] * self.cells_per_picture
        self._pad = token_of(tokenizer, PAD)
        self.meanings = Meanings(sampler.protocols)
        self._actions = token_of(tokenizer, "\nactions:\n")

    def prompt(
        self, turn: Turn, order: Sequence[int], *, slip: bool = False
    ) -> tuple[list[int], list[int]]:
        """Return the tokens of one prompt: up to the end of the request, and from there on.

        The second part ends with the cue for the answer. With `slip`, the words of the request are
        split into pieces at random.
        """
        first = (self._slipping if slip else self.tokenizer).encode(f"\n{render_prefix(turn)}")
        return [*self._start, *first.ids], self.tokenizer.encode(render_state(turn, order)).ids

    def batches(
        self, examples: Sequence[Example], size: int, rng: np.random.Generator
    ) -> Iterator[Batch]:
        """Yield batches without end."""
        while True:
            drawn = rng.integers(0, len(examples), size * SORTED_BATCHES)
            made = [self._drawn(examples[int(index)], rng) for index in drawn]
            for some in of_like_length(made, lambda item: len(item.tokens), rng):
                batch = self.collate(some)
                noise = rng.normal(0, NOISE, batch.cells.shape).astype(np.float32)
                yield replace(batch, cells=batch.cells + torch.from_numpy(noise))

    def _drawn(self, example: Example, rng: np.random.Generator) -> Drawn:
        if example.wish.want is not Want.NONE:
            turn = replace(example.turn, question=self.sampler.word(rng, example.wish))
            example = replace(example, turn=turn)
        order = [int(index) for index in rng.permutation(len(example.turn.legal))]
        return self.drawn(example, order, slip=bool(rng.random() < IN_PIECES))

    def drawn(self, example: Example, order: Sequence[int], *, slip: bool = False) -> Drawn:
        """Return the prompt of an example with its actions in that order."""
        before, after = self.prompt(example.turn, order, slip=slip)
        at = after.index(self._actions)
        places = []
        for letter in self.labels[: len(order)]:
            at = after.index(letter, at) + 1
            places.append(len(before) + at)
        tokens = before + after
        return Drawn(
            tokens=tokens,
            names=[tokens[place] for place in places],
            places=places,
            answer=list(order).index(example.target),
            asked=len(before) - 1,
            example=example,
        )

    def collate(self, made: Sequence[Drawn]) -> Batch:
        """Return the batch of those prompts."""
        tokens, mask = padded([item.tokens for item in made], self._pad)
        most = max(len(item.names) for item in made)
        legal = torch.zeros(len(made), most, dtype=torch.bool)
        names, places = torch.zeros(2, len(made), most, dtype=torch.long)
        for row, item in enumerate(made):
            legal[row, : len(item.names)] = True
            names[row, : len(item.names)] = torch.tensor(item.names)
            places[row, : len(item.names)] = torch.tensor(item.places)
        features = self.pictures.of([item.example.picture for item in made])  # (B, g², C)
        side = round(features.shape[1] ** 0.5)
        return Batch(
            tokens=tokens,
            mask=mask,
            cells=features.transpose(1, 2).reshape(len(made), -1, side, side),
            legal=legal,
            names=names,
            places=places,
            answers=torch.tensor([item.answer for item in made]),
            asked=torch.tensor([item.asked for item in made]),
            meant=self.meanings.of([item.example.wish for item in made]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Scores (B, A) of the letters, and of the names in a middle layer.

    Letters and names that are not legal score minus infinity. `own` (B, A, A) are the scores of the
    letters in that layer at the position of each name. `looked` (B, A) is the share of the next
    layer's attention that goes from the answer's position to each name, 0 where attention was not
    recorded. `ended` (B, width) is the hidden state of an earlier layer where the request ends.
    """

    letters: Tensor
    names: Tensor
    own: Tensor
    looked: Tensor
    ended: Tensor

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the losses of the answer, its name, each name's own letter, and the attention.

        The last one is that of the attention from the answer's position to the answer's name.
        """
        here = batch.legal.device
        own = torch.arange(batch.legal.shape[1], device=here).expand_as(batch.legal)
        looked = self.looked[torch.arange(len(batch.answers), device=here), batch.answers]
        return (
            F.cross_entropy(self.letters, batch.answers),
            F.cross_entropy(self.names, batch.answers),
            F.cross_entropy(self.own[batch.legal], own[batch.legal]),
            -(looked + LEAST_LOOK).log().mean(),
        )


def score(
    network: LlavaForConditionalGeneration,
    batch: Batch,
    labels: Sequence[int],
    *,
    watched: bool = False,
) -> Scored:
    """Return the scores at the answer's position.

    With `watched`, the attention is recorded too, which needs the eager implementation.
    """
    out = network.model(
        input_ids=batch.tokens,
        pixel_values=batch.cells,
        attention_mask=batch.mask,
        use_cache=False,
        output_hidden_states=True,
        output_attentions=watched,
    )
    here = batch.mask.device
    rows, last = torch.arange(len(batch.answers), device=here), batch.mask.sum(1) - 1
    weights = network.lm_head.weight[list(labels[: batch.legal.shape[1]])]
    letters = (out.last_hidden_state[rows, last] @ weights.T).float()
    middle = F.layer_norm(out.hidden_states[NAMED_AT], weights.shape[1:])
    words = cast(nn.Embedding, network.get_input_embeddings())
    table = words(batch.names)  # (B, A, width)
    names = torch.einsum("bw,baw->ba", middle[rows, last].float(), table.float())
    own = middle[rows[:, None], batch.places] @ weights.T
    looked = torch.zeros(batch.places.shape, device=here)
    if watched:
        seen = out.attentions[NAMED_AT][rows, :, last].float().mean(1)  # (B, L)
        looked = seen.gather(1, batch.places)
    return Scored(
        letters=letters.masked_fill(~batch.legal, -torch.inf),
        names=names.masked_fill(~batch.legal, -torch.inf),
        own=own.float().masked_fill(~batch.legal[:, None], -torch.inf),
        looked=looked,
        ended=out.hidden_states[MEANT_AT][rows, batch.asked],
    )


def told_loss(head: nn.Linear, scored: Scored, batch: Batch) -> Tensor:
    """Return the loss of the request's meaning, predicted from the hidden state at its end."""
    return F.binary_cross_entropy_with_logits(head(scored.ended.float()), batch.meant)


def train(
    network: LlavaForConditionalGeneration,
    composer: Composer,
    examples: Sequence[Example],
    config: LearnConfig,
    out: Path,
    *,
    resume: bool,
) -> None:
    """Train `network` on decisions, and leave the moving average of the weights in it.

    The state and `log.jsonl` lie in `out`.

    Raises:
        TrainingError: there is nothing to resume.
    """
    head = head_of(network, network.lm_head.weight.shape[1], composer.meanings)
    speech = network.model.language_model
    speech.set_attn_implementation("eager")  # the only one that returns attention
    compute = begin(config.compute, partial(trial, speech), out, resume=resume)
    cast(nn.Module, network).to(compute.device)
    pupil = Pupil(network, _optimizer(network, config), config, out)
    start = pupil.stand(resume=resume)
    rng = np.random.default_rng([config.seed, start])
    batches = made_ahead(composer.batches(examples, config.batch, rng))
    recent = list[float]()

    def learnt() -> tuple[Tensor, Told]:
        batch = next(batches).to(compute.device)
        with compute.autocast():
            scored = score(network, batch, composer.labels, watched=True)
        losses = (*scored.losses(batch), told_loss(head, scored, batch))
        recent.append(float((scored.letters.argmax(1) == batch.answers).float().mean()))
        total = losses[0] + HELP_WEIGHT * sum(losses[1:-1]) + MEANING_WEIGHT * losses[-1]
        return total, {
            "losses": [round(float(part.detach()), 4) for part in losses],
            "right": round(float(np.mean(recent[-RECENT:])), 4),
        }

    pupil.learn(learnt, start)
    speech.set_attn_implementation("sdpa")
    drop_head(network)
    network.cpu().eval()


def _optimizer(network: LlavaForConditionalGeneration, config: LearnConfig) -> AdamW:
    """Return an optimiser in which the layers that have learnt to read change more slowly."""
    speech = network.model.language_model
    reading = [*speech.embed_tokens.parameters(), *speech.layers[:MEANT_AT].parameters()]
    known = {id(parameter) for parameter in reading}
    others = [p for p in network.parameters() if id(p) not in known]
    groups = [{"params": reading, "times": config.reading_times}, {"params": others, "times": 1.0}]
    return AdamW(groups, lr=config.rate, weight_decay=config.decay, betas=BETAS)


def fold_statistics(network: LlavaForConditionalGeneration, pictures: Pictures) -> None:
    """Fold the standardisation of the features into the projector.

    The projector then reads the features as they are.
    """
    layer = network.model.multi_modal_projector.linear_1
    with torch.no_grad():
        layer.weight /= pictures.deviation
        layer.bias -= layer.weight @ pictures.mean
