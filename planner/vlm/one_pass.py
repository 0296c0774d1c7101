"""The language model in one pass over the states of all orders, compiled by OpenVINO for the CPU.

Torch runs one row per order of the letters, padded to the longest, and each row repeats the state.
Here all orders are one flat row: what they begin with in common comes once, each order's rest
follows, and a mask lets a rest see the kept image and request, the common part and itself. So the
same letters get the same scores from fewer tokens, without padding between rows.
"""

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlavaForConditionalGeneration

from planner.vlm.network import Looked, Network, Template, Tokenizer
from specialists.errors import Unavailable
from specialists.runtime.openvino_import import CORE, frontend, ov, ts_decoder

Floats = npt.NDArray[np.float32]

UNSEEN = -1e9
"""What is added to the attention on a token that must not be seen."""
STEP = 16
"""Lengths are padded to multiples of this, so that OpenVINO meets few shapes."""
TOLERANCE = 1e-3
"""Largest difference from torch, as a share of the largest logit or of 1 if larger."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """All orders as one flat row of tokens.

    `ids` (T,) are the tokens, `places` (T,) how many tokens of its own order come before each,
    `sees` (T, T) which tokens each sees, itself included, and `last` (N,) the last of each order.
    """

    ids: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    sees: npt.NDArray[np.bool_]
    last: npt.NDArray[np.int64]


def flat(rows: Sequence[Sequence[int]]) -> Row:
    """Return the rows as one: what all begin with, then the rest of each, of one token or more."""
    common = 0
    while all(len(row) > common + 1 and row[common] == rows[0][common] for row in rows):
        common += 1
    ids = [*rows[0][:common], *(token for row in rows for token in row[common:])]
    places = [*range(common), *(place for row in rows for place in range(common, len(row)))]
    sees = np.zeros((len(ids), len(ids)), bool)
    sees[:, :common] = True
    start, last = common, []
    for row in rows:
        end = start + len(row) - common
        sees[start:end, start:end] = True
        start = end
        last.append(end - 1)
    return Row(
        ids=np.array(ids, np.int64),
        places=np.array(places, np.int64),
        sees=np.tril(sees),
        last=np.array(last, np.int64),
    )


class _Layers(nn.Module):
    """The layers of a Llama over one flat row, with the kept keys and values as a tensor.

    Only the last token of each order leaves the last layer, as scores of the letters.
    """

    def __init__(self, model: LlavaForConditionalGeneration, labels: Tensor) -> None:
        super().__init__()
        config = cast(LlamaConfig, model.config.text_config)
        language = cast(Any, model.model.language_model)
        self.layers = language.layers
        self.norm = language.norm
        self.letters = nn.Parameter(model.lm_head.weight[labels].detach().clone())
        self.heads = int(config.num_attention_heads)
        self.kept_heads = int(config.num_key_value_heads or self.heads)
        self.width = int(config.head_dim or config.hidden_size // self.heads)

    def forward(
        self, words: Tensor, cos: Tensor, sin: Tensor, hidden: Tensor, kept: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the letters, (N, labels), and keys and values, (2·L, H, T, d).

        Args:
            words: (T, D) embeddings.
            cos: (T, d) of the rotary positions; `sin` likewise.
            sin: see `cos`.
            hidden: (T, P + T), 0 where a token is seen, else `UNSEEN`.
            kept: (2·L, H, P, d) keys and values of the image and the request.
            last: (N,) the last token of each order.
        """
        found = []
        for place, layer in enumerate(self.layers):
            read = layer.input_layernorm(words)
            keys = _turned(self._split(layer.self_attn.k_proj(read), self.kept_heads), cos, sin)
            values = self._split(layer.self_attn.v_proj(read), self.kept_heads)
            found += [keys, values]
            mask, turn = hidden, (cos, sin)
            if place == len(self.layers) - 1:
                words, read, mask = words[last], read[last], hidden[last]
                turn = (cos[last], sin[last])
            asks = _turned(self._split(layer.self_attn.q_proj(read), self.heads), *turn)
            words = words + layer.self_attn.o_proj(
                self._attended(
                    asks,
                    torch.cat([kept[2 * place], keys], 1),
                    torch.cat([kept[2 * place + 1], values], 1),
                    mask,
                )
            )
            words = words + layer.mlp(layer.post_attention_layernorm(words))
        return F.linear(self.norm(words), self.letters), torch.stack(found)

    def _split(self, rows: Tensor, heads: int) -> Tensor:
        """Return (T, H·d) as (H, T, d)."""
        return rows.view(-1, heads, self.width).transpose(0, 1)

    def _attended(self, asks: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        if self.kept_heads != self.heads:
            keys = keys.repeat_interleave(self.heads // self.kept_heads, 0)
            values = values.repeat_interleave(self.heads // self.kept_heads, 0)
        scores = asks @ keys.transpose(1, 2) * self.width**-0.5 + mask
        return cast(
            Tensor,
            (scores.softmax(-1) @ values).transpose(0, 1).reshape(-1, self.heads * self.width),
        )


def _turned(rows: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return (H, T, d) turned by the rotary positions."""
    first, second = rows.chunk(2, -1)
    return rows * cos + torch.cat([-second, first], -1) * sin


def fits(model: LlavaForConditionalGeneration) -> bool:
    """Return whether the language model is one that `OnePassNetwork` computes: a plain Llama."""
    config = model.config.text_config
    if not isinstance(config, LlamaConfig) or config.attention_bias or config.mlp_bias:
        return False
    rope = cast(dict[str, object], config.rope_parameters or {})
    return config.hidden_act == "silu" and rope.get("rope_type", "default") == "default"


class OnePassNetwork(Network):
    """A network whose language model is compiled; one pass runs at a time.

    What it keeps of an image and a request is the same as a network in torch keeps.

    Raises:
        RuntimeError: OpenVINO cannot convert or compile it.
        Unavailable: its scores differ from those of torch.
    """

    runtime = "openvino"

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        tokenizer: Tokenizer,
        template: Template,
        threads: int | None = None,
    ) -> None:
        super().__init__(model, tokenizer, template)
        self._layers = _Layers(model, self._labels)
        self._words = cast(Tensor, model.get_input_embeddings().weight)
        self._rotary = cast(Any, model.model.language_model).rotary_emb
        self._shape = (2 * len(self._layers.layers), self._layers.kept_heads, self._layers.width)
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        compiled = CORE.compile_model(self._exported(), "CPU", config)
        self._threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))
        self._request = compiled.create_infer_request()
        self._one_at_a_time = threading.Lock()
        self._check()

    @property
    def threads(self) -> int:
        """The number of threads that share the work of a pass."""
        return self._threads

    def logits(self, looked: Looked, rows: Sequence[Sequence[int]]) -> Tensor:
        """Return the logits of all letters after each row of tokens, as `Network.logits`."""
        row = flat(rows)
        kept = torch.cat([part for layer in looked.kept for part in layer]).numpy()
        found, _ = self._run(F.embedding(torch.from_numpy(row.ids), self._words), row, kept)
        return torch.from_numpy(found.copy())

    def _read(self, words: Tensor) -> Looked:
        count = len(words)
        row = Row(
            ids=np.zeros(count, np.int64),
            places=np.arange(count),
            sees=np.tril(np.ones((count, count), bool)),
            last=np.array([count - 1]),
        )
        pairs, heads, width = self._shape
        _, found = self._run(words, row, np.zeros((pairs, heads, 0, width), np.float32))
        kept = torch.from_numpy(found[:, None, :, :count].copy())
        return Looked(kept=tuple(zip(kept[::2], kept[1::2], strict=True)))

    def _check(self) -> None:
        """Compare scores with those of torch, on rows with and without a common beginning.

        Raises:
            Unavailable: they differ by more than the tolerance.
        """
        most = min(len(self._words), 64)
        generator = torch.Generator().manual_seed(0)
        words = F.embedding(torch.randint(most, (2 * STEP + 3,), generator=generator), self._words)
        rows = [[1, 2, 3 % most, 4 % most], [1, 2, 5 % most], [1, 3 % most]]
        expected = super().logits(super()._read(words), rows)
        furthest = float((expected - self.logits(self._read(words), rows)).abs().max())
        if not furthest <= TOLERANCE * max(1.0, float(expected.abs().max())):
            raise Unavailable(f"The planner in OpenVINO differs from torch by {furthest:.3g}.")

    def _run(self, words: Tensor, row: Row, kept: Floats) -> tuple[Floats, Floats]:
        inputs = self._inputs(words, row, kept)
        with self._one_at_a_time:
            found = self._request.infer(inputs)
            return cast(Floats, found[0]), cast(Floats, found[1])

    def _inputs(self, words: Tensor, row: Row, kept: Floats) -> list[npt.NDArray[Any]]:
        count, before = len(words), kept.shape[2]
        length, held = _padded(count), _padded(before)
        hidden = np.full((length, held + length), UNSEEN, np.float32)
        hidden[:, :before] = 0
        hidden[:count, held : held + count][row.sees] = 0
        places = np.zeros(length, np.int64)
        places[:count] = row.places + before
        with torch.inference_mode():
            cos, sin = self._rotary(words.float(), torch.from_numpy(places)[None])
        padded = np.zeros((length, words.shape[1]), np.float32)
        padded[:count] = words.float().numpy()
        known = np.zeros((*kept.shape[:2], held, kept.shape[3]), np.float32)
        known[:, :, :before] = kept
        return [padded, cos[0].numpy(), sin[0].numpy(), hidden, known, row.last]

    def _exported(self) -> Any:
        """Return OpenVINO's graph of the layers, for rows of any length."""
        row = flat([[0, 1, 2], [0, 3, 2]])
        width = self._words.shape[1]
        pairs, heads, size = self._shape
        kept = np.zeros((pairs, heads, STEP, size), np.float32)
        example = tuple(
            torch.from_numpy(one) for one in self._inputs(torch.zeros(5, width), row, kept)
        )
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every size that it takes as fixed
            traced = torch.jit.trace(self._layers, example, check_trace=False)  # type: ignore[no-untyped-call]
            decoder = ts_decoder.TorchScriptPythonDecoder(traced)
            torch_frontend = frontend.FrontEndManager().load_by_framework("pytorch")
            graph = torch_frontend.convert(torch_frontend.load(decoder))
        graph.reshape(
            {
                0: ov.PartialShape([-1, width]),
                1: ov.PartialShape([-1, size]),
                2: ov.PartialShape([-1, size]),
                3: ov.PartialShape([-1, -1]),
                4: ov.PartialShape([pairs, heads, -1, size]),
                5: ov.PartialShape([-1]),
            }
        )
        return graph


def _padded(count: int) -> int:
    return -(-count // STEP) * STEP
