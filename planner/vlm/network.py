"""A LLaVA network that scores lettered actions.

The image and the request are run once; each step then runs only its own tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import DynamicCache, LlavaForConditionalGeneration
from transformers.cache_utils import DynamicLayer

from planner.errors import PlannerFailed
from planner.vlm.prompt import LABELS
from specialists.errors import WeightsError


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    bos_token_id: int | None

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the tokens of `text`."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """The text before the image and after the answer's cue, as the language model was tuned."""

    before: str = ""
    after: str = ""


INSTRUCT = Template(before="[INST] ", after=" [/INST]")
"""Mistral's instruction template, with which LLaVA-Med v1.5 was tuned.

LLaVA-Med calls it `conv_mistral_instruct`.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Looked:
    """The keys and values kept of an image and a request, per layer, each (1, heads, N, width)."""

    kept: tuple[tuple[Tensor, Tensor], ...]


class Network:
    """Scores labels after an image, a request and a state; deterministic, without gradients."""

    runtime = "torch"

    def __init__(
        self, model: LlavaForConditionalGeneration, tokenizer: Tokenizer, template: Template
    ) -> None:
        self.model = model.requires_grad_(False)
        self.model.train(False)
        self.device = model.lm_head.weight.device
        self.dtype = model.lm_head.weight.dtype
        self._tokenizer = tokenizer
        self._template = template
        self._labels = torch.tensor(_label_tokens(tokenizer), device=self.device)

    @property
    def threads(self) -> int:
        """The number of threads that share the work of a pass on the CPU; 1 on another device."""
        return torch.get_num_threads() if self.device.type == "cpu" else 1

    def tokens_before(self, prefix: str, image_tokens: int) -> list[int]:
        """Return the tokens before the state.

        They are the template's beginning, a placeholder per image token, and the prefix.
        """
        bos = [] if self._tokenizer.bos_token_id is None else [self._tokenizer.bos_token_id]
        image = [int(cast(Any, self.model.config).image_token_id)] * image_tokens
        return [*bos, *self._text(self._template.before), *image, *self._text(f"\n{prefix}")]

    def tokens_after(self, state: str) -> list[int]:
        """Return the tokens of a state with its lettered actions, and of the template's end."""
        return self._text(state + self._template.after)

    @torch.inference_mode()
    def look(self, pixels: Tensor, prefix: str) -> Looked:
        """Run the image and the request once, and return their keys and values.

        Args:
            pixels: the vision tower's input, (1, C, H, W).
            prefix: the text after the image.
        """
        seen = self.model.get_image_features(pixel_values=pixels.to(self.device, self.dtype))
        image = cast(Tensor, seen.pooler_output[0])
        ids = torch.tensor(self.tokens_before(prefix, len(image)), device=self.device)
        words = self.model.get_input_embeddings()(ids)
        words[ids == int(cast(Any, self.model.config).image_token_id)] = image.to(words.dtype)
        return self._read(words)

    @torch.inference_mode()
    def score(self, looked: Looked, states: Sequence[str], labels: int) -> Tensor:
        """Return the log-probabilities of the first `labels` letters after each state.

        The result is float32, (states, labels). All states are run in one pass, on the same kept
        image and request.

        Raises:
            PlannerFailed: a score is not finite.
        """
        rows = [self.tokens_after(state) for state in states]
        logits = self.logits(looked, rows)[:, :labels].float()
        if not torch.isfinite(logits).all():
            raise PlannerFailed("The planner's scores are not finite.")
        return logits.log_softmax(dim=-1).cpu()

    def logits(self, looked: Looked, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the logits of all letters after each row of tokens, (rows, letters)."""
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        ids = torch.zeros((len(rows), int(lengths.max())), dtype=torch.long, device=self.device)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row, device=self.device)
        cache = DynamicCache(
            [tuple(part.expand(len(rows), -1, -1, -1) for part in layer) for layer in looked.kept]
        )
        # Padding is on the right, where no earlier token attends to it (causal attention).
        out = self.model.model.language_model(input_ids=ids, past_key_values=cache, use_cache=True)
        last = out.last_hidden_state[torch.arange(len(rows), device=self.device), lengths - 1]
        return cast(Tensor, self.model.lm_head(last)[:, self._labels])

    @torch.inference_mode()
    def write(self, looked: Looked, state: str, most: int) -> str:
        """Return the text of the likeliest tokens after a state, `most` at most, of any token.

        No plan is made of it: it is what agents do that are asked for text.
        """
        cache = DynamicCache([tuple(part.clone() for part in layer) for layer in looked.kept])
        ids, written = self.tokens_after(state), list[int]()
        for _ in range(most):
            row = torch.tensor([ids], device=self.device)
            out = self.model.model.language_model(
                input_ids=row, past_key_values=cache, use_cache=True
            )
            ids = [int(self.model.lm_head(out.last_hidden_state[0, -1]).argmax())]
            written += ids
        return str(cast(Any, self._tokenizer).decode(written))

    def _read(self, words: Tensor) -> Looked:
        """Return the keys and values of (P, D) embeddings."""
        cache = DynamicCache()
        self.model.model.language_model(
            inputs_embeds=words[None], past_key_values=cache, use_cache=True
        )
        layers = cast(list[DynamicLayer], cache.layers)
        return Looked(
            kept=tuple((cast(Tensor, layer.keys), cast(Tensor, layer.values)) for layer in layers)
        )

    def _text(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False)) if text else []


def _label_tokens(tokenizer: Tokenizer) -> list[int]:
    """Return the token of each letter.

    Raises:
        WeightsError: a letter is more than one token, or shares its token with another.
    """
    rows = [tokenizer.encode(label, add_special_tokens=False) for label in LABELS]
    tokens = [row[0] for row in rows if len(row) == 1]
    if len(set(tokens)) < len(LABELS):
        raise WeightsError(
            "The planner's tokenizer has no token of its own for each letter A to Z."
        )
    return tokens
